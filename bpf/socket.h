/* SPDX-License-Identifier: GPL-2.0-only */
/* Facts of a struct sock. Everything is read by offset; nothing here follows a type. */

INLINE u8 sock_state(u64 sk)
{
	u8 state = 0;

	if (sk)
		READ(&state, sk, sock_common, skc_state);
	return state;
}

/* Is it more than a sock_common? (sk_fullsock(): not TIME_WAIT, not NEW_SYN_RECV) */
INLINE int is_full(u8 state)
{
	return state && state != TCP_TIME_WAIT && state != TCP_NEW_SYN_RECV;
}

/* /proc/PID/fd inode: sk_ino where the kernel has it (6.17), else of the struct socket, which
 * is the first member of struct socket_alloc. */
INLINE void read_inode(struct record *r, u64 sk, u64 socket)
{
	if (OFF(sock, sk_ino) >= 0)
		READ(&r->inode, sk, sock, sk_ino);
	else if (socket && OFF(socket_alloc, vfs_inode) >= 0)
		READ(&r->inode, socket + OFF(socket_alloc, vfs_inode), inode, i_ino);
}

INLINE void read_cgroup(struct record *r, u64 sk)
{
	u64 cgroup = 0, kn = 0;

	if (OFF(sock, sk_cgrp_data) >= 0)
		READ(&cgroup, sk + OFF(sock, sk_cgrp_data), sock_cgroup_data, cgroup);
	if (cgroup)
		READ(&kn, cgroup, cgroup, kn);
	if (kn)
		READ(&r->cgroup, kn, kernfs_node, id);
}

/* jiffies as ms; HZ is what the loader found */
INLINE u32 to_ms(u64 jiffies)
{
	return jiffies * 1000 / KERNEL_HZ;
}

/* ms + 1 since a tcp_jiffies32 time */
INLINE u32 ms_since(u32 time)
{
	return to_ms((u32)bpf_jiffies64() - time) + 1;
}

/* When did the peer last say something: data, or an ACK of something new? The kernel's own
 * keepalive counts from the later of the two (keepalive_time_elapsed()). */
INLINE void read_times(struct record *r, u64 sk)
{
	u32 ack = 0, data = 0, sent = 0, now = bpf_jiffies64();

	READ(&ack, sk, tcp_sock, rcv_tstamp);
	READ(&data, sk, inet_connection_sock, icsk_ack__lrcvtime);
	READ(&sent, sk, tcp_sock, lsndtime);
	if (data && (!ack || now - data < now - ack))
		ack = data;
	if (ack)
		r->tcp_heard_ms = ms_since(ack);
	if (sent)
		r->tcp_spoke_ms = ms_since(sent);
	READ(&r->tcp_wstamp_ns, sk, tcp_sock, tcp_wstamp_ns);
	READ(&r->tcp_srtt_us, sk, tcp_sock, srtt_us);
	if (OFF(tcp_sock, rtt_min) >= 0 && OFF(minmax, s) >= 0)
		READ(&r->tcp_min_rtt_us, sk + OFF(tcp_sock, rtt_min) + OFF(minmax, s),
		     minmax_sample, v);
}

INLINE void read_sock(struct record *r, u64 sk)
{
	u64 socket = 0, linger = 0;

	READ(&r->sk_shutdown, sk, sock, sk_shutdown);
	READ(&r->sk_flags, sk, sock_common, skc_flags);
	READ(&r->sk_uid, sk, sock, sk_uid);
	READ(&r->sk_err_soft, sk, sock, sk_err_soft);
	READ(&linger, sk, sock, sk_lingertime);
	r->sk_linger_ms = to_ms(linger);
	READ(&r->sk_ack_backlog, sk, sock, sk_ack_backlog);
	READ(&r->sk_max_ack_backlog, sk, sock, sk_max_ack_backlog);
	READ(&r->cookie, sk, sock_common, skc_cookie);
	READ(&socket, sk, sock, sk_socket);
	r->has_socket = socket != 0;
	if (OFF(sock, sk_lock) >= 0)
		READ(&r->owned, sk + OFF(sock, sk_lock), socket_lock_t, owned);
	read_inode(r, sk, socket);
	read_cgroup(r, sk);
}

INLINE void read_tcp(struct record *r, u64 sk)
{
	u64 request = 0;
	u16 header = 0;

	read_times(r, sk);
	READ(&r->tcp_rcv_nxt, sk, tcp_sock, rcv_nxt);
	READ(&r->tcp_copied_seq, sk, tcp_sock, copied_seq);
	READ(&r->tcp_rcv_wnd, sk, tcp_sock, rcv_wnd);
	READ(&r->tcp_snd_nxt, sk, tcp_sock, snd_nxt);
	READ(&r->tcp_snd_una, sk, tcp_sock, snd_una);
	READ(&r->tcp_write_seq, sk, tcp_sock, write_seq);
	READ(&r->tcp_linger2, sk, tcp_sock, linger2);
	READ(&r->tcp_bytes_received, sk, tcp_sock, bytes_received);
	READ(&r->tcp_bytes_acked, sk, tcp_sock, bytes_acked);
	READ(&r->tcp_is_mptcp, sk, tcp_sock, is_mptcp);
	READ(&r->tcp_user_timeout, sk, inet_connection_sock, icsk_user_timeout);
	READ(&r->tcp_probes_out, sk, inet_connection_sock, icsk_probes_out);
	READ(&r->tcp_retransmits, sk, inet_connection_sock, icsk_retransmits);
	READ(&r->tcp_segs_in, sk, tcp_sock, segs_in);
	READ(&header, sk, tcp_sock, tcp_header_len);
	r->tcp_header_len = header;
	READ(&request, sk, tcp_sock, fastopen_rsk);
	r->tcp_fastopen = request != 0;
}

INLINE int is_tcp(u64 sk)
{
	u16 protocol = 0;

	return READ(&protocol, sk, sock, sk_protocol) || protocol == IPPROTO_TCP;
}

INLINE void read_timewait(struct record *r, u64 sk)
{
	u64 net = 0;
	u8 rfc1337 = 0;

	READ(&r->tw_substate, sk, inet_timewait_sock, tw_substate);
	READ(&r->tw_rcv_nxt, sk, sock_common, skc_tw_rcv_nxt);
	READ(&r->tcp_rcv_wnd, sk, tcp_timewait_sock, tw_rcv_wnd);
	READ(&net, sk, sock_common, skc_net);
	if (net && OFF(net, ipv4) >= 0)
		READ(&rfc1337, net + OFF(net, ipv4), netns_ipv4, sysctl_tcp_rfc1337);
	r->tw_rfc1337 = rfc1337;
	r->have |= HAVE_TIMEWAIT;
}

/* All facts of whatever sk is: NULL, a full socket, a listener, a timewait minisocket. */
INLINE void read_any_sock(struct record *r, u64 sk)
{
	r->sk = sk;
	if (!sk)
		return;
	READ(&r->sk_state, sk, sock_common, skc_state);
	READ(&r->sk_family, sk, sock_common, skc_family);
	if (r->sk_state == TCP_TIME_WAIT) {
		read_timewait(r, sk);
	} else if (is_full(r->sk_state)) {
		read_sock(r, sk);
		read_tcp(r, sk);
		r->have |= HAVE_SOCK;
	}
}
