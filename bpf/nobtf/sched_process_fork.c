/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * task:task_newtask, for ../sched_process_fork.c: the processes that a followed one starts. The
 * event sched_process_fork does not tell a process from a thread; this has the flags of clone().
 */
#define CLONE_THREAD	0x00010000

BPF_HASH(followed, u32, u32, 65536);
BPF_ARRAY(not_followed, u64, 1);	/* should have been, but the map was full */

int tracepoint__task__task_newtask(void *ctx)
{
	u32 from = bpf_get_current_pid_tgid() >> 32, child = 0, zero = 0;
	u64 flags = 0;

	FIELD(&flags, sched_process_fork, clone_flags);
	FIELD(&child, sched_process_fork, pid);
	if (flags & CLONE_THREAD)
		return 0;
	if (!followed.lookup(&from))
		followed.delete(&child);	/* the number of one that ended is used again */
	else if (followed.update(&child, &from))
		add_one(not_followed.lookup(&zero));
	return 0;
}
