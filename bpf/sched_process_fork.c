/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sched:sched_process_fork: the processes that a followed one starts, and those in turn. It sends no
 * record. Loaded only where processes are asked for (rsttrace diagnose -- CMD, --pid).
 */
BPF_HASH(followed, u32, u32, 65536);
BPF_ARRAY(not_followed, u64, 1);	/* should have been, but the map was full */

RAW_TRACEPOINT_PROBE(sched_process_fork)
{
	u64 parent = ctx->args[0], child = ctx->args[1];
	u32 from = 0, pid = 0, tgid = 0, zero = 0;

	READ(&from, parent, task_struct, tgid);
	READ(&pid, child, task_struct, pid);
	READ(&tgid, child, task_struct, tgid);
	if (pid != tgid)
		return 0;	/* a thread */
	if (!followed.lookup(&from))
		followed.delete(&tgid);	/* the number of one that ended is used again */
	else if (followed.update(&tgid, &from))
		add_one(not_followed.lookup(&zero));
	return 0;
}
