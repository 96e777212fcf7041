/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * sock:inet_sk_error_report: the errno the application is about to get. The event does not name the
 * socket: that of the same addresses which goes to CLOSE in the same act, just before (6.10 and
 * newer, and after a RST) or just after.
 */
int tracepoint__sock__inet_sk_error_report(void *ctx)
{
	struct moment now = {}, *end;
	struct flow_key k = {};
	u16 protocol = 0;

	FIELD(&now.error, inet_sk_error_report, error);
	FIELD(&protocol, inet_sk_error_report, protocol);
	/* the error queue (time stamps, zero copy) speaks up with no error */
	if (!now.error || protocol != IPPROTO_TCP)
		return 0;
	READ_ENDS(&k, inet_sk_error_report);
	now.time_ns = bpf_ktime_get_ns();
	end = ended.lookup(&k);
	if (end && just_now(end->time_ns, now.time_ns))
		return send_error(ctx, end->sk, &k, TCP_CLOSE, now.error);
	reported.update(&k, &now);
	return 0;
}
