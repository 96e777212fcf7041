/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * net:netif_receive_skb: every RST that arrives, before any judgement. SYNs only note the
 * peer's TTL and sequence number, the baseline a RST is later held against.
 */
RAW_TRACEPOINT_PROBE(netif_receive_skb)
{
	u64 skb = ctx->args[0];
	struct flow_key k = {};
	struct peek p = {};
	struct record *r;

	if (!peek_tcp(&p, skb, 1) || !(p.flags & (TCP_RST | TCP_SYN)))
		return 0;
	if (!(p.flags & TCP_RST))
		return note_syn(&p, skb, 0);
	r = get_record(KIND_NETIF_RECEIVE_SKB);
	if (!r)
		return 0;
	read_segment(r, &p, skb);
	__builtin_memcpy(&k, r->laddr, sizeof(k));
	read_task(r);
	read_handshake(r, &k);
	return submit(ctx, r, 0);
}
