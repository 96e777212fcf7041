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

INLINE void read_sock(struct record *r, u64 sk)
{
	u64 socket = 0;

	READ(&r->sk_shutdown, sk, sock, sk_shutdown);
	READ(&r->sk_flags, sk, sock_common, skc_flags);
	READ(&r->sk_uid, sk, sock, sk_uid);
	READ(&r->sk_lingertime, sk, sock, sk_lingertime);
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
	READ(&r->tcp_rcv_nxt, sk, tcp_sock, rcv_nxt);
	READ(&r->tcp_copied_seq, sk, tcp_sock, copied_seq);
	READ(&r->tcp_rcv_wnd, sk, tcp_sock, rcv_wnd);
	READ(&r->tcp_snd_nxt, sk, tcp_sock, snd_nxt);
	READ(&r->tcp_snd_una, sk, tcp_sock, snd_una);
	READ(&r->tcp_write_seq, sk, tcp_sock, write_seq);
	READ(&r->tcp_rcv_tstamp, sk, tcp_sock, rcv_tstamp);
	READ(&r->tcp_lsndtime, sk, tcp_sock, lsndtime);
	READ(&r->tcp_srtt_us, sk, tcp_sock, srtt_us);
	READ(&r->tcp_linger2, sk, tcp_sock, linger2);
	READ(&r->tcp_bytes_received, sk, tcp_sock, bytes_received);
	READ(&r->tcp_bytes_acked, sk, tcp_sock, bytes_acked);
	READ(&r->tcp_is_mptcp, sk, tcp_sock, is_mptcp);
	READ(&r->tcp_user_timeout, sk, inet_connection_sock, icsk_user_timeout);
	READ(&r->tcp_probes_out, sk, inet_connection_sock, icsk_probes_out);
	READ(&r->tcp_retransmits, sk, inet_connection_sock, icsk_retransmits);
}

INLINE int is_tcp(u64 sk)
{
	u16 protocol = 0;

	return READ(&protocol, sk, sock, sk_protocol) || protocol == IPPROTO_TCP;
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
		READ(&r->tw_substate, sk, inet_timewait_sock, tw_substate);
		r->have |= HAVE_TIMEWAIT;
	} else if (is_full(r->sk_state)) {
		read_sock(r, sk);
		read_tcp(r, sk);
		r->have |= HAVE_SOCK;
	}
}
