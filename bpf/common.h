/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the hooks share: reading by BTF offset, the scratch record, maps and filters.
 *
 * OFF(struct, member) is the byte offset in the running kernel. The loader finds every
 * OFF() and READ() in these files, looks the member up in BTF and passes -DOFF_...;
 * a member this kernel does not have is -1 and reads nothing.
 */
#define INLINE static inline __attribute__((always_inline))

#define OFF(s, m) OFF_##s##__##m
#define READ(dst, base, s, m)                                                                  \
	(OFF(s, m) >= 0 ?                                                                       \
		 bpf_probe_read_kernel((dst), sizeof(*(dst)), (void *)((base) + OFF(s, m))) : -1)

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define NTOHS(x) __builtin_bswap16(x)
#define NTOHL(x) __builtin_bswap32(x)
#else
#define NTOHS(x) (x)
#define NTOHL(x) (x)
#endif

#define IPPROTO_TCP	6
#define ETIMEDOUT	110
#define AF_INET		2
#define AF_INET6	10
#define TCP_ESTABLISHED	1
#define TCP_SYN_SENT	2
#define TCP_SYN_RECV	3
#define TCP_TIME_WAIT	6
#define TCP_CLOSE	7
#define TCP_LISTEN	10
#define TCP_NEW_SYN_RECV 12
#define PF_EXITING	0x00000004
#define PF_KTHREAD	0x00200000
#define BPF_F_USER_STACK_ (1ULL << 8)

/*
 * What older kernels do not tell, by presence:
 * SILENT_ON_STRAYS: tcp_send_reset says nothing of segments that met no full socket (before 6.10);
 * NO_RX_SK: kfree_skb does not name the socket (before 6.11), so the programs look for it;
 * QUIET_DROPS: what TCP itself refuses is freed without kfree_skb (before 5.19).
 */
#define SILENT_ON_STRAYS	(NARGS_tcp_send_reset < 3)
#define NO_RX_SK		(NARGS_kfree_skb < 4)
#define QUIET_DROPS		(NO_RX_SK && TCP_RESET < 0)

struct flow_key {
	u8 laddr[16];
	u8 raddr[16];
	u16 lport;
	u16 rport;
	u32 netns;
};

/* A connection's life as inet_sock_set_state shows it: no record is sent for it, so that
 * ordinary connections cost a map update per state change and nothing in user space. */
struct history {
	u64 open_ns;
	u64 established_ns;
	u64 change_ns;
	u64 close_ns;
	u32 flags;
	u32 pid;
	u32 close_pid;
	u32 old_state;
	u32 close_flags;
	u32 close_exit_code;
	u32 error;
	u32 closing_error;	/* sk_err on the way to CLOSE, until it was reported */
	u64 tw_until_ns;	/* a timewait minisocket stands for it until then, 0: none */
	u32 tw_rcv_nxt;		/* the sequence number that it waits for */
	u32 tw_rcv_wnd;		/* its window, bytes */
	u32 tw_substate;	/* FIN_WAIT2 or TIME_WAIT */
	u32 tw_rfc1337;		/* net.ipv4.tcp_rfc1337 */
	u8 comm[16];
	u8 close_comm[16];
};

/* A SYN that the connection then challenges (RFC 5961 4.2) was none: "before" comes back. */
struct syn_notes {
	u64 rx_ns;
	u64 tx_ns;
	u32 rx_seq;
	u32 rx_ttl;
	u32 rx_id;
	u32 tx_seq;
};

struct handshake {
	struct syn_notes now;
	struct syn_notes before;
};

#define SCRATCH_SLOTS 4

BPF_PERF_OUTPUT(events);
BPF_PERCPU_ARRAY(scratch, struct record, SCRATCH_SLOTS);
BPF_PERCPU_ARRAY(depth, u32, 1);
BPF_PERCPU_ARRAY(lost, u64, KIND_COUNT);	/* records that did not fit */
BPF_TABLE("lru_hash", u64, struct history, sockets, 32768);
BPF_TABLE("lru_hash", struct flow_key, struct history, closed, 16384);
BPF_TABLE("lru_hash", struct flow_key, struct handshake, handshakes, 16384);
BPF_TABLE("lru_hash", u64, u64, provoking, 4096);	/* skb that tcp_send_reset answers */
BPF_TABLE("lru_hash", struct flow_key, u64, answered, 4096); /* segments answered by a RST */
/* 0, 1: vmemmap_base and page_offset_base; 2, 3: where the kernel keeps them, if known */
BPF_ARRAY(page_bases, u64, 4);

INLINE void add_one(u64 *n)
{
	if (n)
		*n += 1;
}

/*
 * A record from this CPU's scratch. Hooks nest: a softirq may interrupt a hook that runs in
 * process context, so each level has its own slot. Every get_record() that returned a
 * record is followed by submit().
 */
INLINE struct record *get_record(u32 kind)
{
	u32 zero = 0, slot;
	u32 *level = depth.lookup(&zero);
	struct record *r;

	if (!level)
		return 0;
	slot = *level;
	r = slot < SCRATCH_SLOTS ? scratch.lookup(&slot) : 0;
	if (!r) {
		add_one(lost.lookup(&kind));
		return 0;
	}
	*level = slot + 1;
	/* the compiler writes out 1024 bytes at most; user_words are sent only when they are filled */
	__builtin_memset(r, 0, __builtin_offsetof(struct record, user_words));
	r->time_ns = bpf_ktime_get_ns();
	r->kind = kind;
	return r;
}

INLINE void drop_record(void)
{
	u32 zero = 0;
	u32 *level = depth.lookup(&zero);

	if (level && *level)
		*level -= 1;
}

/*
 * Send the record as far as it is filled, and give it back. KEEP(r) is the user's filter as a
 * C expression over the tuple, made by kernel/filters.py.
 */
INLINE int submit(void *ctx, struct record *r, u32 stack_bytes)
{
	u32 kind = r->kind, size = __builtin_offsetof(struct record, ustack);

	/* only constant sizes: every verifier understands them */
	if (r->have & HAVE_USER_WORDS)
		size = sizeof(*r);
	else if (stack_bytes > sizeof(r->kstack) / 2)
		size = __builtin_offsetof(struct record, user_words);
	else if (stack_bytes)
		size = __builtin_offsetof(struct record, kstack) + sizeof(r->kstack) / 2;

	/* listeners are few, and a hint may need one that the filter would hide */
	if (KEEP(r) || kind == KIND_INET_SOCK_SET_STATE) {
		if (events.perf_submit(ctx, r, size))
			add_one(lost.lookup(&kind));
	}
	drop_record();
	return 0;
}

INLINE void read_task(struct record *r)
{
	u64 id = bpf_get_current_pid_tgid();
	u64 task = bpf_get_current_task();

	r->cpu = bpf_get_smp_processor_id();
	r->pid = id >> 32;
	r->tid = id;
	r->task_cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(r->comm, sizeof(r->comm));
	READ(&r->task_flags, task, task_struct, flags);
	READ(&r->task_exit_code, task, task_struct, exit_code);
}

/* Returns the number of bytes filled. */
INLINE u32 read_stack(void *ctx, struct record *r)
{
	int bytes = bpf_get_stack(ctx, r->kstack, sizeof(r->kstack), 0);

	return bytes > 0 ? bytes : 0;
}

INLINE void map_v4(u8 *dst, u32 v4)
{
	*(u64 *)dst = 0;
	*(u16 *)(dst + 8) = 0;
	*(u16 *)(dst + 10) = 0xffff;
	*(u32 *)(dst + 12) = v4;
}

INLINE u32 read_netns(u64 net)
{
	u32 inum = 0;

	if (net && OFF(net, ns) >= 0)
		READ(&inum, net + OFF(net, ns), ns_common, inum);
	return inum;
}

/* Address and ports of a socket that is connected or was: also after its port was released,
 * when skc_num is 0 already (tcp_set_state), so the port comes from inet_sport. */
INLINE void read_sock_key(u64 sk, struct flow_key *k, u8 state)
{
	u16 family = 0, port = 0;
	u64 net = 0;
	u32 v4 = 0;

	READ(&net, sk, sock_common, skc_net);
	k->netns = read_netns(net);
	READ(&family, sk, sock_common, skc_family);
	if (family == AF_INET) {
		READ(&v4, sk, sock_common, skc_rcv_saddr);
		map_v4(k->laddr, v4);
		READ(&v4, sk, sock_common, skc_daddr);
		map_v4(k->raddr, v4);
	} else {
		READ(&k->laddr, sk, sock_common, skc_v6_rcv_saddr);
		READ(&k->raddr, sk, sock_common, skc_v6_daddr);
	}
	READ(&port, sk, sock_common, skc_dport);
	k->rport = NTOHS(port);
	if (state == TCP_TIME_WAIT) {
		READ(&k->lport, sk, sock_common, skc_num);
	} else {
		READ(&port, sk, inet_sock, inet_sport);
		k->lport = NTOHS(port);
	}
}

INLINE void use_key(struct record *r, const struct flow_key *k)
{
	__builtin_memcpy(r->laddr, k->laddr, sizeof(k->laddr));
	__builtin_memcpy(r->raddr, k->raddr, sizeof(k->raddr));
	r->lport = k->lport;
	r->rport = k->rport;
	r->netns = k->netns;
	r->have |= HAVE_TUPLE;
}

INLINE void use_history(struct record *r, const struct history *h, u32 have)
{
	r->h_open_ns = h->open_ns;
	r->h_established_ns = h->established_ns;
	r->h_change_ns = h->change_ns;
	r->h_close_ns = h->close_ns;
	r->h_flags = h->flags;
	r->h_pid = h->pid;
	r->h_close_pid = h->close_pid;
	r->h_close_flags = h->close_flags;
	r->h_close_exit_code = h->close_exit_code;
	r->h_old_state = h->old_state;
	r->h_error = h->error;
	__builtin_memcpy(r->h_comm, h->comm, sizeof(h->comm));
	__builtin_memcpy(r->h_close_comm, h->close_comm, sizeof(h->close_comm));
	r->have |= have;
}

/* The life of this socket, or failing that of the last one with this tuple. */
INLINE void read_history(struct record *r, u64 sk, const struct flow_key *k)
{
	struct history *h = sk ? sockets.lookup(&sk) : 0;

	if (h) {
		use_history(r, h, HAVE_HISTORY);
		return;
	}
	h = closed.lookup((struct flow_key *)k);
	if (h)
		use_history(r, h, HAVE_CLOSED);
}

/* Did an earlier connection with this tuple end within two minutes (2 MSL, RFC 9293 3.4.2)? */
INLINE int ended_lately(const struct flow_key *k, u64 now)
{
	struct history *h = closed.lookup((struct flow_key *)k);

	return h && now - h->change_ns < 120000000000ULL;
}

/* An error that no RST told of has ended this connection. */
INLINE void note_error(u64 sk, const struct flow_key *k, u32 error)
{
	struct history *h = sockets.lookup(&sk);

	if (h)
		h->error = error;
	h = closed.lookup((struct flow_key *)k);
	if (h)
		h->error = error;
}

INLINE void mark_history(u64 sk, const struct flow_key *k, u32 flag)
{
	struct history *h = sk ? sockets.lookup(&sk) : 0;

	if (h)
		h->flags |= flag;
	h = closed.lookup((struct flow_key *)k);
	if (h)
		h->flags |= flag;
}
