/* SPDX-License-Identifier: GPL-2.0-only */
/* sock:inet_sk_error_report: the errno the application is about to get. */
RAW_TRACEPOINT_PROBE(inet_sk_error_report)
{
	u64 sk = ctx->args[0];
	struct flow_key k = {};
	struct history *h = sockets.lookup(&sk);
	u32 error = 0, stack_bytes;
	struct record *r;

	READ(&error, sk, sock, sk_err);
	/* tcp_done() wakes the task before the report: it may have taken the error already */
	if (h) {
		if (!error)
			error = h->closing_error;
		h->closing_error = 0;
	}
	/* the error queue (time stamps, zero copy) speaks up with no error */
	if (!error || !is_tcp(sk))
		return 0;
	r = get_record(KIND_INET_SK_ERROR_REPORT);
	if (!r)
		return 0;
	read_task(r);
	r->errno = error;
	stack_bytes = read_stack(ctx, r);
	read_any_sock(r, sk);
	read_sock_key(sk, &k, r->sk_state);
	use_key(r, &k);
	read_history(r, sk, &k);
	read_handshake(r, &k);
	/* before 6.10 the report comes first; this errno is always an end */
	if ((r->sk_state == TCP_CLOSE || error == ETIMEDOUT) &&
	    !(r->h_flags & (H_SENT_RESET | H_GOT_RESET)))
		note_error(sk, &k, error);
	return submit(ctx, r, stack_bytes);
}
