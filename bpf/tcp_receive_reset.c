/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tcp:tcp_receive_reset: first statement of tcp_reset(); state and sk_err are the old ones.
 * Also fires for data after shutdown(SHUT_RDWR), which is no RST at all (tcp_rcv_state_process).
 */
RAW_TRACEPOINT_PROBE(tcp_receive_reset)
{
	u64 sk = ctx->args[0];
	struct record *r = get_record(KIND_TCP_RECEIVE_RESET);
	struct flow_key k = {};
	u32 stack_bytes;

	if (!r)
		return 0;
	read_task(r);
	stack_bytes = read_stack(ctx, r);
	read_any_sock(r, sk);
	read_sock_key(sk, &k, r->sk_state);
	use_key(r, &k);
	read_history(r, sk, &k);
	read_handshake(r, &k);
	mark_history(sk, &k, H_GOT_RESET);
	return submit(ctx, r, stack_bytes);
}
