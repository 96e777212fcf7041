/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * skb:kfree_skb: the drops that bear on a reset: the segment a passive reset answered
 * (tcp_send_reset named it), a RST that was not accepted or not let out, a segment that
 * a firewall rejected with a RST (net_dev_queue saw that RST), and a SYN that an established
 * connection challenged.
 */
/* A SYN in an established connection: challenge ACK (RFC 5961 4.2). */
INLINE int is_challenged(struct peek *p, u32 reason)
{
	return TCP_INVALID_SYN >= 0 && reason == TCP_INVALID_SYN && (p->flags & TCP_SYN);
}

/* Was it a firewall that dropped it? Without reasons any drop may be one. */
INLINE int may_be_firewall(u32 reason)
{
	return NETFILTER_DROP < 0 || reason == NETFILTER_DROP;
}

#if NO_RX_SK
/* Which socket it met, where the hook does not say and the reason does not rule one out. */
INLINE void look_for_socket(struct record *r, struct peek *p, u32 reason, int stray)
{
	struct flow_key k = {};

	if ((NETFILTER_DROP >= 0 && reason == NETFILTER_DROP) ||
	    (NO_SOCKET >= 0 && reason == NO_SOCKET))
		return;
	__builtin_memcpy(&k, r->laddr, sizeof(k));
	/* what tcp_v4_rcv() answers itself met no full socket */
	if (stray)
		use_timewait(r, p, &k);
	else
		use_found(r, p, &k);
}
#endif

RAW_TRACEPOINT_PROBE(kfree_skb)
{
	u64 skb = ctx->args[0], net = 0, *provoked = provoking.lookup(&skb);
	struct flow_key k = {};
	struct peek p = {};
	struct record *r;
	u32 stack_bytes;
	u32 reason = 0;
	int stray = 0;

#if NARGS_kfree_skb >= 3
	reason = (u32)ctx->args[2];
#endif
	if (provoked)
		provoking.delete(&skb);
	if (!peek_tcp(&p, skb, 0))
		return 0;
	if (!provoked && !(p.flags & TCP_RST) && !is_challenged(&p, reason)) {
		if (!SILENT_ON_STRAYS && !may_be_firewall(reason))
			return 0;
		peek_key(&p, &k, 0);
		if (!answered.lookup(&k))
			return 0;
		answered.delete(&k);
		stray = SILENT_ON_STRAYS;
	}
	r = get_record(KIND_KFREE_SKB);
	if (!r)
		return 0;
	r->location = ctx->args[1];
	r->drop_reason = reason;
	read_task(r);
	stack_bytes = read_stack(ctx, r);
#if !NO_RX_SK
	/* a segment that waited in the socket's backlog has lost its device (tcp_add_backlog) */
	if (ctx->args[3]) {
		READ(&net, ctx->args[3], sock_common, skc_net);
		r->netns = read_netns(net);
	}
#endif
	read_segment(r, &p, skb);
	__builtin_memcpy(&k, r->laddr, sizeof(k));
	/* our own RST, dropped on its way out: what it answers is dropped next */
	if (SILENT_ON_STRAYS && (p.flags & TCP_RST) && !r->skb_iif)
		note_answer(&p, 1);
	if (!provoked && is_challenged(&p, reason))
		forget_syn(&k);
	read_handshake(r, &k);
#if !NO_RX_SK
	read_any_sock(r, ctx->args[3]);
#else
	look_for_socket(r, &p, reason, stray);
	read_history(r, 0, &k);
#endif
	return submit(ctx, r, stack_bytes);
}
