/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sock:inet_sock_set_state: the life of every connection, kept in maps; the hooks that see a
 * reset copy what is known here. Only listening sockets that come or go send a record.
 */
INLINE void note_task(u32 *pid, u8 *comm)
{
	*pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(comm, 16);
}

INLINE int send_listener(void *ctx, u64 sk, u32 state)
{
	struct record *r = get_record(KIND_INET_SOCK_SET_STATE);
	struct flow_key k = {};

	if (!r)
		return 0;
	read_task(r);
	read_any_sock(r, sk);
	read_sock_key(sk, &k, TCP_LISTEN);
	use_key(r, &k);
	r->sk_state = state;
	return submit(ctx, r, 0);
}

#ifndef NARGS_inet_sk_error_report
/* Before 5.14 nothing else tells of an abort without a RST. */
INLINE void report_error(void *ctx, u64 sk, struct flow_key *k, struct history *h)
{
	struct record *r;
	u32 stack_bytes;

	if (!h->closing_error || h->flags & (H_SENT_RESET | H_GOT_RESET))
		return;
	r = get_record(KIND_INET_SK_ERROR_REPORT);
	if (!r)
		return;
	read_task(r);
	r->errno = h->closing_error;
	stack_bytes = read_stack(ctx, r);
	read_any_sock(r, sk);
	r->sk_state = TCP_CLOSE;
	use_key(r, k);
	read_history(r, sk, k);
	read_handshake(r, k);
	h->error = h->closing_error;
	submit(ctx, r, stack_bytes);
}
#endif

RAW_TRACEPOINT_PROBE(inet_sock_set_state)
{
	u64 sk = ctx->args[0], now = bpf_ktime_get_ns();
	u32 old = (u32)ctx->args[1], new = (u32)ctx->args[2], owned = 0;
	struct history fresh = {}, *h;
	struct flow_key k = {};

	if (!is_tcp(sk))
		return 0;
#if NO_RX_SK
	note_live(sk, old, new);
#endif
	/* a child is cloned in LISTEN and goes to SYN_RECV: no listener comes or goes then */
	if (new == TCP_LISTEN || (old == TCP_LISTEN && new == TCP_CLOSE))
		send_listener(ctx, sk, new);
	/* socket addresses are reused: these changes begin a new life */
	h = sockets.lookup(&sk);
	if (!h || new == TCP_SYN_SENT || new == TCP_LISTEN || old == TCP_SYN_RECV) {
		fresh.open_ns = now;
		sockets.update(&sk, &fresh);
		h = sockets.lookup(&sk);
		if (!h)
			return 0;
	}
	h->change_ns = now;
	h->old_state = old;
	h->closing_error = 0;
	if (new == TCP_CLOSE)
		READ(&h->closing_error, sk, sock, sk_err);
	if (OFF(sock, sk_lock) >= 0)
		READ(&owned, sk + OFF(sock, sk_lock), socket_lock_t, owned);
	if (new == TCP_SYN_SENT || new == TCP_LISTEN) {
		h->flags = new == TCP_LISTEN ? H_LISTENER : H_ACTIVE;
		note_task(&h->pid, h->comm);
		return 0;
	}
	if (new == TCP_ESTABLISHED) {
		h->established_ns = now;
		if (old == TCP_SYN_RECV)
			h->flags = H_PASSIVE;
		return 0;
	}
	/* FIN_WAIT1, LAST_ACK, CLOSE out of a call by the application */
	if (!h->close_ns && owned && !(h->flags & H_GOT_RESET)) {
		h->close_ns = now;
		h->flags |= H_PROCESS;
		note_task(&h->close_pid, h->close_comm);
		READ(&h->close_flags, bpf_get_current_task(), task_struct, flags);
		READ(&h->close_exit_code, bpf_get_current_task(), task_struct, exit_code);
	}
	if (new == TCP_CLOSE && old != TCP_LISTEN) {
		read_sock_key(sk, &k, TCP_CLOSE);
#if NO_RX_SK
		note_timewait(sk, h, old);
#endif
#ifndef NARGS_inet_sk_error_report
		report_error(ctx, sk, &k, h);
#endif
		closed.update(&k, h);
	}
	return 0;
}
