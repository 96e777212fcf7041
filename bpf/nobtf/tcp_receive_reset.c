/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tcp:tcp_receive_reset: first statement of tcp_reset(). The event does not tell the state, the
 * next one does: tcp_done() goes from it to CLOSE. So the record is sent there
 * (inet_sock_set_state.c); a socket that is in CLOSE already loses nothing.
 */
int tracepoint__tcp__tcp_receive_reset(void *ctx)
{
	u64 sk = 0, now = bpf_ktime_get_ns();

	FIELD(&sk, tcp_receive_reset, skaddr);
	if (sk)
		judging.update(&sk, &now);
	return 0;
}
