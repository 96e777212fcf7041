/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the hooks share where the kernel does not describe its types (no BTF): it still describes
 * its events (tracefs, events/.../format). AT(hook, field) is the offset of a field in the event
 * that ctx points at; rsttrace/kernel/formats.py names the fields and makes -DAT_... of them. A
 * field that this kernel's event does not have is -1 and reads nothing.
 *
 * Members of structs are not known, so every OFF() in common.h is -1 as well: no socket, no packet,
 * no namespace. What the events say is exact.
 */
#define AT(hook, field) AT_##hook##__##field
#define FIELD(dst, hook, field)                                                                \
	(AT(hook, field) >= 0 ?                                                                 \
		 bpf_probe_read_kernel((dst), sizeof(*(dst)), (void *)ctx + AT(hook, field)) : -1)

#define TCP_FIN_WAIT1	4
#define TCP_LAST_ACK	9
#define SAME_ACT_NS	20000000ULL	/* two events of one act */

/* struct sockaddr_in and sockaddr_in6, as the events of 6.10 and newer have them */
struct end {
	u16 family;
	u16 port;
	u32 v4;
	u8 v6[16];
	u32 scope;
};

INLINE void read_end(struct end *e, u8 *address, u16 *port)
{
	*port = NTOHS(e->port);
	if (e->family == AF_INET6)
		__builtin_memcpy(address, e->v6, 16);
	else if (e->family == AF_INET)
		map_v4(address, e->v4);
}

/* Addresses and ports. saddr_v6 holds IPv4 as well, in our form (TP_STORE_ADDRS): the family is
 * not needed, which events before 5.11 do not tell. */
#define READ_ENDS(k, hook)                                                                     \
	do {                                                                                   \
		struct end here = {}, there = {};                                              \
		if (AT(hook, saddr_v6) >= 0) {                                                 \
			FIELD(&(k)->laddr, hook, saddr_v6);                                    \
			FIELD(&(k)->raddr, hook, daddr_v6);                                    \
			FIELD(&(k)->lport, hook, sport);                                       \
			FIELD(&(k)->rport, hook, dport);                                       \
		} else {                                                                       \
			FIELD(&here, hook, saddr);                                             \
			FIELD(&there, hook, daddr);                                            \
			read_end(&here, (k)->laddr, &(k)->lport);                              \
			read_end(&there, (k)->raddr, &(k)->rport);                             \
		}                                                                              \
	} while (0)

/* An end or an error that another event of the same act speaks of. */
struct moment {
	u64 time_ns;
	u64 sk;
	u32 error;
	u32 pad;
};

BPF_TABLE("lru_hash", u64, u64, judging, 4096);	/* sk: tcp_receive_reset spoke, ns */
BPF_TABLE("lru_hash", struct flow_key, struct moment, ended, 4096);	/* went to CLOSE */
BPF_TABLE("lru_hash", struct flow_key, struct moment, reported, 4096); /* errors before the end */

INLINE int just_now(u64 then, u64 now)
{
	return now - then < SAME_ACT_NS;
}

INLINE int send_error(void *ctx, u64 sk, struct flow_key *k, u32 state, u32 error)
{
	struct record *r = get_record(KIND_INET_SK_ERROR_REPORT);
	u32 stack_bytes;

	if (!r)
		return 0;
	read_task(r);
	r->sk = sk;
	r->sk_state = state;
	r->errno = error;
	stack_bytes = read_stack(ctx, r);
	use_key(r, k);
	read_history(r, sk, k);
	if ((state == TCP_CLOSE || error == ETIMEDOUT) &&
	    !(r->h_flags & (H_SENT_RESET | H_GOT_RESET)))
		note_error(sk, k, error);
	return submit(ctx, r, stack_bytes);
}
