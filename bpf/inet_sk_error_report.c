/* SPDX-License-Identifier: GPL-2.0-only */
/* sock:inet_sk_error_report: the errno the application is about to get. */
RAW_TRACEPOINT_PROBE(inet_sk_error_report)
{
	u64 sk = ctx->args[0];
	struct flow_key k = {};
	struct record *r;

	if (!is_tcp(sk))
		return 0;
	r = get_record(KIND_INET_SK_ERROR_REPORT);
	if (!r)
		return 0;
	read_task(r);
	READ(&r->errno, sk, sock, sk_err);
	read_any_sock(r, sk);
	read_sock_key(sk, &k, r->sk_state);
	use_key(r, &k);
	read_history(r, sk, &k);
	return submit(ctx, r, 0);
}
