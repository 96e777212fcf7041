/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tcp:tcp_send_reset: this host's TCP decided to reset. Without BTF: state, reason, addresses,
 * stacks. The segment that it answers is only an address, and a listener's other end is not told.
 */
int tracepoint__tcp__tcp_send_reset(void *ctx)
{
	struct record *r = get_record(KIND_TCP_SEND_RESET);
	struct flow_key k = {};
	u32 state = 0, stack_bytes;
	u64 sk = 0, skb = 0, alive;

	if (!r)
		return 0;
	FIELD(&sk, tcp_send_reset, skaddr);
	FIELD(&skb, tcp_send_reset, skbaddr);
	FIELD(&state, tcp_send_reset, state);
	FIELD(&r->reason, tcp_send_reset, reason);
	r->sk = sk;
	r->skb = skb;
	r->sk_state = state;
	read_task(r);
	stack_bytes = read_stack(ctx, r);
	if (!skb)
		bpf_get_stack(ctx, r->ustack, sizeof(r->ustack), BPF_F_USER_STACK_);
	READ_ENDS(&k, tcp_send_reset);
	use_key(r, &k);
	/* as in ../tcp_send_reset.c: whose life is it? */
	alive = state == TCP_LISTEN || state == TCP_TIME_WAIT ? 0 : sk;
	if (state == TCP_SYN_SENT && ended_lately(&k, r->time_ns))
		alive = 0;
	read_history(r, alive, &k);
	if (!skb || (sk && state != TCP_LISTEN && state != TCP_SYN_SENT && state != TCP_SYN_RECV))
		mark_history(sk, &k, H_SENT_RESET);
	return submit(ctx, r, stack_bytes);
}
