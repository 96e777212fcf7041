/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * net:net_dev_queue: every RST that leaves, whoever made it; its stack names the maker. SYNs
 * only note the time of the handshake.
 */
RAW_TRACEPOINT_PROBE(net_dev_queue)
{
	u64 skb = ctx->args[0];
	struct flow_key k = {};
	struct peek p = {};
	struct record *r;
	u32 stack_bytes;

	if (!peek_tcp(&p, skb, 0) || !(p.flags & (TCP_RST | TCP_SYN)))
		return 0;
	if (!(p.flags & TCP_RST)) {
#if NO_RX_SK
		note_connecting(&p, skb);
#endif
		return note_syn(&p, skb, 1);
	}
	r = get_record(KIND_NET_DEV_QUEUE);
	if (!r)
		return 0;
	read_packet(r, &p, skb, 1);
	__builtin_memcpy(&k, r->laddr, sizeof(k));
	note_answer(&p, 1);
	read_task(r);
	stack_bytes = read_stack(ctx, r);
	READ(&r->sk, skb, sk_buff, sk);
	read_handshake(r, &k);
	return submit(ctx, r, stack_bytes);
}
