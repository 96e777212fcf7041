/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sock:inet_sock_set_state: the life of every connection, kept in maps, as in
 * ../inet_sock_set_state.c; and the end that other events of the same act spoke of.
 */
/* A RST was believed (or row P7: data met a closed reader): now the state is known. */
INLINE void send_judged(void *ctx, u64 sk, struct flow_key *k, u32 state, u64 time_ns)
{
	struct record *r = get_record(KIND_TCP_RECEIVE_RESET);
	u32 stack_bytes;

	if (!r)
		return;
	r->time_ns = time_ns;
	read_task(r);
	r->sk = sk;
	r->sk_state = state;
	stack_bytes = read_stack(ctx, r);
	use_key(r, k);
	read_history(r, sk, k);
	submit(ctx, r, stack_bytes);
}

INLINE int send_listener(void *ctx, u64 sk, struct flow_key *k, u32 state)
{
	struct record *r = get_record(KIND_INET_SOCK_SET_STATE);

	if (!r)
		return 0;
	read_task(r);
	r->sk = sk;
	r->sk_state = state;
	use_key(r, k);
	return submit(ctx, r, 0);
}

INLINE void note_task(u32 *pid, u8 *comm)
{
	*pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(comm, 16);
}

/* The life of this socket; addresses of sockets are reused: these changes begin a new one. */
INLINE struct history *life_of(u64 sk, u32 old, u32 new, u64 now)
{
	struct history fresh = {}, *h = sockets.lookup(&sk);

	if (h && new != TCP_SYN_SENT && new != TCP_LISTEN && old != TCP_SYN_RECV)
		return h;
	fresh.open_ns = now;
	sockets.update(&sk, &fresh);
	return sockets.lookup(&sk);
}

INLINE void over(void *ctx, u64 sk, struct flow_key *k, struct history *h, u32 old, u64 now)
{
	struct moment end = { .time_ns = now, .sk = sk }, *error = reported.lookup(k);

	closed.update(k, h);
	ended.update(k, &end);
	if (!error)
		return;
	if (just_now(error->time_ns, now))
		send_error(ctx, sk, k, old, error->error);
	reported.delete(k);
}

int tracepoint__sock__inet_sock_set_state(void *ctx)
{
	u64 sk = 0, now = bpf_ktime_get_ns(), *believed;
	u32 old = 0, new = 0;
	struct flow_key k = {};
	struct history *h;
	u16 protocol = 0;

	FIELD(&protocol, inet_sock_set_state, protocol);
	if (protocol != IPPROTO_TCP)
		return 0;
	FIELD(&sk, inet_sock_set_state, skaddr);
	FIELD(&old, inet_sock_set_state, oldstate);
	FIELD(&new, inet_sock_set_state, newstate);
	READ_ENDS(&k, inet_sock_set_state);
	/* a child is cloned in LISTEN and goes to SYN_RECV: no listener comes or goes then */
	if (new == TCP_LISTEN || (old == TCP_LISTEN && new == TCP_CLOSE))
		send_listener(ctx, sk, &k, new);
	h = life_of(sk, old, new, now);
	if (!h)
		return 0;
	believed = new == TCP_CLOSE ? judging.lookup(&sk) : 0;
	if (believed) {
		if (just_now(*believed, now)) {
			send_judged(ctx, sk, &k, old, *believed);
			h->flags |= H_GOT_RESET;
		}
		judging.delete(&sk);
	}
	h->change_ns = now;
	h->old_state = old;
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
	/* only close() and shutdown() send a FIN; who else ends a connection is not told here */
	if (!h->close_ns && (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK)) {
		h->close_ns = now;
		h->flags |= H_PROCESS;
		note_task(&h->close_pid, h->close_comm);
	}
	if (new == TCP_CLOSE && old != TCP_LISTEN)
		over(ctx, sk, &k, h, old, now);
	return 0;
}
