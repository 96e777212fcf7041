/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one record that every hook sends. Its layout exists only here: rsttrace/layout.py
 * reads this file. Keep to one field per line, fixed-width types, no padding (members are
 * sorted by size; those before the stacks fill whole u64s), and say the unit. Zero means "not
 * known" unless the field says otherwise; "have" has one bit for each group of facts that the
 * hook could read. The stacks come last: a record is sent only as far as it is filled.
 */
#define KIND_TCP_SEND_RESET	1
#define KIND_TCP_RECEIVE_RESET	2
#define KIND_KFREE_SKB		3
#define KIND_NET_DEV_QUEUE	4
#define KIND_NETIF_RECEIVE_SKB	5
#define KIND_INET_SK_ERROR_REPORT 6
#define KIND_INET_SOCK_SET_STATE 7	/* of listening sockets only */
#define KIND_COUNT		8

#define HAVE_TUPLE	1	/* laddr .. netns */
#define HAVE_SOCK	2	/* a full socket: every sk_ and tcp_ fact */
#define HAVE_TIMEWAIT	4	/* a timewait minisocket: sk_state and tw_substate only */
#define HAVE_PACKET	8	/* packet[], and the device if skb->dev was set */
#define HAVE_HISTORY	16	/* h_: this very socket, seen through inet_sock_set_state */
#define HAVE_CLOSED	32	/* h_: an earlier connection of the same addresses and ports */
#define HAVE_SYN	64	/* syn_: the handshake was seen on the wire */
#define HAVE_USER_WORDS	128	/* user_words: a task was on the CPU that has a user stack */
#define HAVE_FOUND	256	/* the hook names no socket: found by its addresses and ports */

#define H_ACTIVE	1	/* opened here: SYN_SENT seen */
#define H_PASSIVE	2	/* opened by the peer: SYN_RECV -> ESTABLISHED seen */
#define H_LISTENER	4	/* a listening socket */
#define H_SENT_RESET	8	/* we reset it */
#define H_GOT_RESET	16	/* the peer's reset ended it */
#define H_PROCESS	32	/* h_close_pid closed it in process context */

#define ID_V4		65536	/* the low 16 bits are an IPv4 identification */
#define ID_DF		131072	/* and this is its DF bit */

#define STACK_DEPTH	32
#define USER_STACK_DEPTH 12
#define USER_WORDS	16
#define PACKET_BYTES	128
#define PAYLOAD_BYTES	32

struct record {
	u64 time_ns;		/* CLOCK_MONOTONIC, ns (bpf_ktime_get_ns) */
	u64 sk;			/* address of the socket, an identity only */
	u64 skb;		/* address of the packet, an identity only */
	u64 location;		/* kfree_skb: the kernel address that dropped it */
	u64 cookie;		/* skc_cookie, 0 if none was made yet */
	u64 inode;		/* of the socket, as in /proc/PID/fd */
	u64 cgroup;		/* cgroup v2 id of the socket */
	u64 task_cgroup;	/* cgroup v2 id of the task on the CPU */
	u64 tcp_bytes_received;	/* bytes (RFC 4898 ThruOctetsReceived) */
	u64 tcp_bytes_acked;	/* bytes (RFC 4898 ThruOctetsAcked) */
	u64 tcp_wstamp_ns;	/* last segment sent, CLOCK_MONOTONIC */
	u64 h_open_ns;		/* first state change seen, CLOCK_MONOTONIC */
	u64 h_established_ns;	/* ESTABLISHED, CLOCK_MONOTONIC, 0: before the trace */
	u64 h_change_ns;	/* last state change, CLOCK_MONOTONIC */
	u64 h_close_ns;		/* the application closed, CLOCK_MONOTONIC */
	u64 syn_rx_ns;		/* SYN or SYN-ACK came in, CLOCK_MONOTONIC */
	u64 syn_tx_ns;		/* SYN or SYN-ACK went out, CLOCK_MONOTONIC */
	u8 laddr[16];		/* local address, IPv4 as ::ffff:a.b.c.d */
	u8 raddr[16];		/* remote address */
	u16 lport;		/* local port, host order */
	u16 rport;		/* remote port, host order */
	u32 netns;		/* inode number of the network namespace */
	u32 kind;		/* KIND_ */
	u32 have;		/* HAVE_ bits */
	u32 cpu;		/* the CPU the hook ran on */
	u32 pid;		/* task on the CPU: process id */
	u32 tid;		/* task on the CPU: thread id */
	u32 task_flags;		/* task_struct.flags (PF_) */
	u32 task_exit_code;	/* task_struct.exit_code: signal | status << 8 */
	u32 reason;		/* tcp_send_reset: enum sk_rst_reason */
	u32 drop_reason;	/* kfree_skb: enum skb_drop_reason */
	u32 errno;		/* inet_sk_error_report: sk_err */
	u32 sk_uid;		/* owner of the socket */
	u32 sk_err_soft;	/* errno of an ICMP message that did not end it */
	u32 sk_ack_backlog;	/* connections in the accept queue */
	u32 sk_max_ack_backlog;	/* its limit */
	u32 sk_linger_ms;	/* SO_LINGER, ms */
	u32 tcp_rcv_nxt;	/* sequence number */
	u32 tcp_copied_seq;	/* sequence number */
	u32 tcp_rcv_wnd;	/* receive window, bytes */
	u32 tcp_snd_nxt;	/* sequence number */
	u32 tcp_snd_una;	/* sequence number */
	u32 tcp_write_seq;	/* sequence number */
	u32 tcp_heard_ms;	/* since the last segment with data or an ACK came in, ms + 1 */
	u32 tcp_spoke_ms;	/* since the last data was sent, ms + 1 */
	u32 tcp_srtt_us;	/* smoothed round trip, 1/8 us */
	u32 tcp_min_rtt_us;	/* shortest round trip lately, us */
	u32 tcp_header_len;	/* bytes of TCP header this end sends, options included */
	u32 tcp_segs_in;	/* segments received */
	u32 tcp_fastopen;	/* fastopen_rsk is set: a Fast Open child before its last ACK */
	u32 tcp_user_timeout;	/* TCP_USER_TIMEOUT, ms */
	u32 tcp_linger2;	/* TCP_LINGER2, jiffies, signed */
	u32 sk_flags;		/* sock.sk_flags, low 32 bits */
	u32 has_socket;		/* sk_socket is set: an application holds it */
	u32 owned;		/* sk_lock.owned: a process is inside the socket */
	u32 h_flags;		/* H_ bits */
	u32 h_pid;		/* task that opened it: connect(), listen() */
	u32 h_close_pid;	/* task that closed it */
	u32 h_close_flags;	/* its task_struct.flags then: PF_EXITING if it was ending */
	u32 h_close_exit_code;	/* its task_struct.exit_code then */
	u32 h_error;		/* sk_err that ended it without a RST */
	u32 syn_rx_seq;		/* initial sequence number of the peer */
	u32 syn_rx_ttl;		/* TTL or hop limit of its SYN */
	u32 syn_rx_id;		/* its IPv4 identification, ID_ bits */
	u32 syn_tx_seq;		/* our initial sequence number */
	u32 tw_rcv_nxt;		/* timewait: the sequence number it waits for */
	u32 tw_rfc1337;		/* timewait: net.ipv4.tcp_rfc1337 */
	u32 ifindex;		/* of skb->dev */
	u32 skb_iif;		/* ifindex the packet came in by, 0: made here */
	u32 skb_len;		/* bytes from the network header to the end */
	u32 packet_len;		/* bytes valid in packet[] */
	u32 payload_len;	/* bytes valid in payload[] */
	u8 packet[PACKET_BYTES]; /* from the network header on */
	u8 payload[PAYLOAD_BYTES]; /* first payload bytes when not linear */
	u8 comm[16];		/* task on the CPU: name */
	u8 h_comm[16];		/* task that opened it: name */
	u8 h_close_comm[16];	/* task that closed it: name */
	u8 dev[16];		/* name of skb->dev */
	u8 sk_state;		/* TCP state number */
	u8 sk_family;		/* address family of the socket */
	u8 sk_shutdown;		/* RCV_SHUTDOWN 1, SEND_SHUTDOWN 2 */
	u8 tw_substate;		/* timewait: FIN_WAIT2 or TIME_WAIT */
	u8 tcp_is_mptcp;	/* an MPTCP subflow */
	u8 tcp_probes_out;	/* icsk_probes_out */
	u8 tcp_retransmits;	/* icsk_retransmits */
	u8 h_old_state;		/* the state before the last change */
	u64 ustack[USER_STACK_DEPTH]; /* user return addresses, innermost first */
	u64 kstack[STACK_DEPTH]; /* kernel return addresses, innermost first */
	u64 user_words[USER_WORDS]; /* the user stack, from its top on; no address there: 0 */
};
