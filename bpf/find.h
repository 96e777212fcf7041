/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sockets by addresses and ports, for kernels whose drop hook does not name them (NO_RX_SK).
 * What began before the trace is not known. A socket found here is proven by its own addresses
 * before use: the memory of a TCP socket only ever holds another TCP socket (SLAB_TYPESAFE_BY_RCU).
 */
#define SOCK_DONE	2		/* sk_flags: the peer's FIN has come */
#define TIMEWAIT_MS	60000		/* TCP_TIMEWAIT_LEN */
#define FIN_WAIT2	5
#define CLOSING		11

#if NO_RX_SK
BPF_TABLE("lru_hash", struct flow_key, u64, live, 32768);

INLINE int same_key(const struct flow_key *a, const struct flow_key *b)
{
	const u64 *x = (const u64 *)a, *y = (const u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}

/* From ESTABLISHED on, and listeners. Before, the addresses are not complete: a SYN_SENT socket
 * is noted when its SYN leaves, a child in SYN_RECV has its listener's. */
INLINE void note_live(u64 sk, u32 old, u32 new)
{
	struct flow_key k = {};

	if (new == TCP_SYN_SENT || new == TCP_SYN_RECV || new == TCP_NEW_SYN_RECV)
		return;
	read_sock_key(sk, &k, old == TCP_LISTEN ? TCP_LISTEN : new);
	if (new == TCP_CLOSE)
		live.delete(&k);
	else
		live.update(&k, &sk);
}

/* A SYN that leaves: its socket is known by now, where it is not hand-made. */
INLINE void note_connecting(struct peek *p, u64 skb)
{
	struct flow_key k = {};
	u64 sk = 0;

	READ(&sk, skb, sk_buff, sk);
	if (sock_state(sk) != TCP_SYN_SENT)
		return;
	read_sock_key(sk, &k, TCP_SYN_SENT);
	live.update(&k, &sk);
}

/* The connection with these addresses and ports, 0: not known. */
INLINE u64 find_sock(const struct flow_key *k)
{
	u64 *sk = live.lookup((struct flow_key *)k);
	struct flow_key own = {};

	if (!sk)
		return 0;
	read_sock_key(*sk, &own, sock_state(*sk));
	return same_key(&own, k) ? *sk : 0;
}

INLINE u64 listener_at(const struct flow_key *k)
{
	u64 *sk = live.lookup((struct flow_key *)k);

	return sk && sock_state(*sk) == TCP_LISTEN ? *sk : 0;
}

/* The listener for a segment to the local end of k: on that address, on any, on any of IPv6. */
INLINE u64 find_listener(const struct flow_key *k)
{
	struct flow_key any = {};
	u64 sk;

	any.lport = k->lport;
	any.netns = k->netns;
	__builtin_memcpy(any.laddr, k->laddr, sizeof(any.laddr));
	if (*(u64 *)k->laddr == 0 && *(u32 *)(k->laddr + 8) == NTOHL(0xffff)) {
		map_v4(any.raddr, 0);
		sk = listener_at(&any);
		if (sk)
			return sk;
		map_v4(any.laddr, 0);
		sk = listener_at(&any);
		if (sk)
			return sk;
		__builtin_memset(any.raddr, 0, sizeof(any.raddr));
	} else {
		sk = listener_at(&any);
		if (sk)
			return sk;
	}
	__builtin_memset(any.laddr, 0, sizeof(any.laddr));
	return listener_at(&any);
}

/* How long tcp_time_wait() keeps a minisocket: tcp_fin_time(), at most TCP_TIMEWAIT_LEN, and an
 * eighth more, by which timers may be late. */
INLINE u64 timewait_ns(u64 sk, u64 net, u32 substate)
{
	s32 jiffies = 0;
	u32 rto = 0, ms = TIMEWAIT_MS;

	if (substate == FIN_WAIT2) {
		READ(&jiffies, sk, tcp_sock, linger2);
		if (jiffies <= 0 && net && OFF(net, ipv4) >= 0)
			READ(&jiffies, net + OFF(net, ipv4), netns_ipv4, sysctl_tcp_fin_timeout);
		READ(&rto, sk, inet_connection_sock, icsk_rto);
		if (jiffies < (s32)(rto * 4 - rto / 2))
			jiffies = rto * 4 - rto / 2;
		ms = to_ms(jiffies);
		if (ms > TIMEWAIT_MS)
			ms = TIMEWAIT_MS;
	}
	return ms * 1125000ULL;
}

/* Did this step to CLOSE leave a timewait minisocket (tcp_time_wait())? An abort, sent or
 * received, is not told here: H_SENT_RESET may come later. */
INLINE void note_timewait(u64 sk, struct history *h, u32 old)
{
	u64 net = 0, flags = 0;
	u32 wup = 0;
	u8 rfc1337 = 0;

	h->tw_until_ns = 0;
	if ((old != FIN_WAIT2 && old != CLOSING) || h->closing_error || h->flags & H_GOT_RESET)
		return;
	READ(&flags, sk, sock_common, skc_flags);
	READ(&net, sk, sock_common, skc_net);
	READ(&h->tw_rcv_nxt, sk, tcp_sock, rcv_nxt);
	READ(&h->tw_rcv_wnd, sk, tcp_sock, rcv_wnd);
	if (!READ(&wup, sk, tcp_sock, rcv_wup))
		h->tw_rcv_wnd += wup - h->tw_rcv_nxt;	/* tcp_receive_window() */
	if ((s32)h->tw_rcv_wnd < 0)
		h->tw_rcv_wnd = 0;
	if (net && OFF(net, ipv4) >= 0)
		READ(&rfc1337, net + OFF(net, ipv4), netns_ipv4, sysctl_tcp_rfc1337);
	h->tw_rfc1337 = rfc1337;
	h->tw_substate = flags & SOCK_DONE || old == CLOSING ? TCP_TIME_WAIT : FIN_WAIT2;
	h->tw_until_ns = h->change_ns + timewait_ns(sk, net, h->tw_substate);
}

INLINE struct history *find_timewait(const struct flow_key *k)
{
	struct history *h = closed.lookup((struct flow_key *)k);

	if (!h || h->flags & H_SENT_RESET || h->tw_until_ns < bpf_ktime_get_ns())
		return 0;
	return h;
}

/* The peer's FIN, and nothing else, turns a minisocket in FIN_WAIT2 into one in TIME_WAIT
 * (tcp_timewait_state_process()). */
INLINE int note_fin(struct peek *p, u64 skb)
{
	struct flow_key k = {};
	struct history *h;

	peek_key(p, &k, 0);
	k.netns = dev_netns(packet_dev(skb));
	h = find_timewait(&k);
	if (!h || h->tw_substate != FIN_WAIT2 || peek_seq(p) != h->tw_rcv_nxt ||
	    peek_length(p))
		return 0;
	h->tw_substate = TCP_TIME_WAIT;
	h->tw_rcv_nxt += 1;
	h->tw_until_ns = bpf_ktime_get_ns() + TIMEWAIT_MS * 1125000ULL;
	return 0;
}

/* The minisocket that these addresses and ports have, as far as is known. A segment that it
 * answered with a RST, or a RST that it believed, has ended it. */
INLINE int use_timewait(struct record *r, struct peek *p, const struct flow_key *k)
{
	struct history *h = find_timewait(k);
	u32 ahead;

	if (!h)
		return 0;
	r->sk_state = TCP_TIME_WAIT;
	r->tw_substate = h->tw_substate;
	r->tw_rcv_nxt = h->tw_rcv_nxt;
	r->tcp_rcv_wnd = h->tw_rcv_wnd;
	r->tw_rfc1337 = h->tw_rfc1337;
	r->have |= HAVE_TIMEWAIT | HAVE_FOUND;
	ahead = peek_seq(p) - h->tw_rcv_nxt;
	if (!(p->flags & TCP_RST) || (h->tw_substate == FIN_WAIT2 && ahead <= h->tw_rcv_wnd) ||
	    (!ahead && !h->tw_rfc1337))
		h->tw_until_ns = 0;
	return 1;
}

/* Facts of the socket that a refused segment met, looked up by its addresses and ports. */
INLINE void use_found(struct record *r, struct peek *p, const struct flow_key *k)
{
	u64 sk = find_sock(k);

	if (!sk && use_timewait(r, p, k))
		return;
	if (!sk)
		sk = find_listener(k);
	if (!sk)
		return;
	read_any_sock(r, sk);
	r->have |= HAVE_FOUND;
}
#endif
