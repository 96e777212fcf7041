/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tcp:tcp_send_reset: this host's TCP decided to reset. An active reset (skb NULL) has left
 * already; a passive one answers skb and leaves right after. sk is NULL, full, or timewait.
 */
#if FN_task_pt_regs && FN_get_current_task_btf
/* by number: a bcc older than the kernel does not know their names */
static u64 (*current_task)(void) = (void *)FN_get_current_task_btf;
static u64 (*user_registers)(u64 task) = (void *)FN_task_pt_regs;

/*
 * The top of the user stack as it was at the system call: where a library keeps no frame
 * pointers, the address that it returns to is there. Numbers that are no address are not taken.
 */
INLINE void read_user_words(struct record *r)
{
	u64 registers = user_registers(current_task()), top = 0;
	u32 i;

	READ(&top, registers, pt_regs, sp);
	if (!top || bpf_probe_read_user(r->user_words, sizeof(r->user_words), (void *)top))
		return;
#pragma unroll
	for (i = 0; i < USER_WORDS; i++)
		if (r->user_words[i] < 65536 || r->user_words[i] >> 47)
			r->user_words[i] = 0;
	r->have |= HAVE_USER_WORDS;
}
#else
INLINE void read_user_words(struct record *r)
{
}
#endif

RAW_TRACEPOINT_PROBE(tcp_send_reset)
{
	u64 sk = ctx->args[0], skb = ctx->args[1], alive;
	struct record *r = get_record(KIND_TCP_SEND_RESET);
	struct flow_key k = {};
	u32 stack_bytes;
	struct peek p = {};

	if (!r)
		return 0;
#if NARGS_tcp_send_reset >= 3
	r->reason = (u32)ctx->args[2];
#endif
	read_task(r);
	stack_bytes = read_stack(ctx, r);
	read_any_sock(r, sk);
	if (sk) {
		read_sock_key(sk, &k, r->sk_state);
		r->netns = k.netns;
		/* a listener's own tuple has no remote end: the packet's has */
		if (r->sk_state != TCP_LISTEN)
			use_key(r, &k);
	}
	if (skb) {
		provoking.update(&skb, &r->time_ns);
		if (peek_tcp(&p, skb, 0))
			read_segment(r, &p, skb);
	} else if (!(r->task_flags & (PF_EXITING | PF_KTHREAD))) {
		bpf_get_stack(ctx, r->ustack, sizeof(r->ustack), BPF_F_USER_STACK_);
		read_user_words(r);
	}
	__builtin_memcpy(&k, r->laddr, sizeof(k));
	/* a listener is not the connection, a timewait minisocket has no life of its own; what a
	 * socket in SYN_SENT cannot use belongs to the connection before, if one ended lately */
	alive = (r->have & HAVE_SOCK) && r->sk_state != TCP_LISTEN ? sk : 0;
	if (r->sk_state == TCP_SYN_SENT && ended_lately(&k, r->time_ns))
		alive = 0;
	read_history(r, alive, &k);
	read_handshake(r, &k);
	/* a stray segment was answered: that ended no connection, neither one in its handshake
	 * nor the one before */
	if (!skb || (sk && r->sk_state != TCP_LISTEN && r->sk_state != TCP_SYN_SENT &&
		     r->sk_state != TCP_SYN_RECV))
		mark_history(sk, &k, H_SENT_RESET);
	return submit(ctx, r, stack_bytes);
}
