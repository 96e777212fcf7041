/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * net:netif_receive_skb: every RST that arrives, before any judgement. SYNs only note the
 * peer's TTL and sequence number, the baseline a RST is later held against.
 */
#if QUIET_DROPS
/* Nothing will tell what TCP made of it: the socket as it is now does. */
INLINE void see_socket(struct record *r, const struct flow_key *k)
{
	u64 sk = find_sock(k);

	if (!sk)
		sk = find_listener(k);
	if (!sk)
		return;
	read_any_sock(r, sk);
	r->have |= HAVE_FOUND;
}

/* A SYN in a synchronized state: challenge ACK (RFC 5961 4.2). */
INLINE int will_be_challenged(struct peek *p, u64 skb)
{
	struct flow_key k = {};
	u8 state;

	peek_key(p, &k, 0);
	k.netns = dev_netns(packet_dev(skb));
	state = sock_state(find_sock(&k));
	if (!is_full(state) || state == TCP_SYN_SENT || state == TCP_SYN_RECV ||
	    state == TCP_CLOSE || state == TCP_LISTEN)
		return 0;
	forget_syn(&k);
	return 1;
}
#else
#define will_be_challenged(p, skb) 0
#endif

RAW_TRACEPOINT_PROBE(netif_receive_skb)
{
	u64 skb = ctx->args[0];
	struct flow_key k = {};
	struct peek p = {};
	struct record *r;

	if (!peek_tcp(&p, skb, 1))
		return 0;
#if NO_RX_SK
	if ((p.flags & (TCP_FIN | TCP_SYN | TCP_RST)) == TCP_FIN)
		return note_fin(&p, skb);
#endif
	if (!(p.flags & (TCP_RST | TCP_SYN)))
		return 0;
	if (!(p.flags & TCP_RST)) {
		note_syn(&p, skb, 0);
		if (!QUIET_DROPS || !will_be_challenged(&p, skb))
			return 0;
	}
	r = get_record(KIND_NETIF_RECEIVE_SKB);
	if (!r)
		return 0;
	read_segment(r, &p, skb);
	__builtin_memcpy(&k, r->laddr, sizeof(k));
	read_task(r);
#if QUIET_DROPS
	see_socket(r, &k);
#endif
	read_handshake(r, &k);
	return submit(ctx, r, 0);
}
