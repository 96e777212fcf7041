/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading a packet. A packet that does not matter costs two bpf_probe_read_kernel() calls:
 * one for the part of struct sk_buff that holds protocol, header offsets and head, one for
 * the first bytes of the headers.
 */
#define ETH_P_IP_BE	NTOHS(0x0800)
#define ETH_P_IPV6_BE	NTOHS(0x86dd)
#define TCP_FIN		0x01
#define TCP_SYN		0x02
#define TCP_RST		0x04
#define TCP_ACK		0x10

#define LOWER(a, b)	((a) < (b) ? (a) : (b))
#define HIGHER(a, b)	((a) > (b) ? (a) : (b))
#define SKB_LO		(LOWER(OFF(sk_buff, protocol), OFF(sk_buff, head)) & ~7)
#define SKB_HI		(HIGHER(OFF(sk_buff, protocol), OFF(sk_buff, data)) + 8)
#define SKB_AT(block, type, m) (*(type *)((block) + OFF(sk_buff, m) - SKB_LO))

#define PEEK_BYTES	60

struct peek {
	u8 block[SKB_HI - SKB_LO];
	u8 ip[PEEK_BYTES];	/* the first bytes of the network header */
	u64 start;		/* address of the network header */
	u32 transport;		/* bytes to the TCP header */
	u8 v6;
	u8 flags;
};

/*
 * Is it TCP, and with which flags? use_data: the network header is at skb->data, as in
 * netif_receive_skb before skb_reset_network_header(); else at head + network_header.
 * IPv6 extension headers are not followed. Returns 0 if it is not TCP.
 */
INLINE int peek_tcp(struct peek *p, u64 skb, int use_data)
{
	u16 protocol;

	if (bpf_probe_read_kernel(p->block, sizeof(p->block), (void *)(skb + SKB_LO)))
		return 0;
	protocol = SKB_AT(p->block, u16, protocol);
	if (protocol != ETH_P_IP_BE && protocol != ETH_P_IPV6_BE)
		return 0;
	if (use_data)
		p->start = SKB_AT(p->block, u64, data);
	else
		p->start = SKB_AT(p->block, u64, head) + SKB_AT(p->block, u16, network_header);
	if (bpf_probe_read_kernel(p->ip, sizeof(p->ip), (void *)p->start))
		return 0;
	p->v6 = protocol == ETH_P_IPV6_BE;
	if (p->v6) {
		if (p->ip[6] != IPPROTO_TCP)
			return 0;
		p->transport = 40;
		p->flags = p->ip[53];
		return 1;
	}
	/* a later fragment has no TCP header */
	if ((p->ip[0] & 0xf0) != 0x40 || p->ip[9] != IPPROTO_TCP ||
	    (p->ip[6] & 0x1f) || p->ip[7])
		return 0;
	p->transport = (p->ip[0] & 0xf) * 4;
	p->flags = p->ip[33];
	if (p->transport != 20)
		bpf_probe_read_kernel(&p->flags, 1, (void *)(p->start + p->transport + 13));
	return 1;
}

/* The tuple as this host sees it: outgoing packets are sent by the local end. */
INLINE void peek_key(struct peek *p, struct flow_key *k, int outgoing)
{
	u8 *src = outgoing ? k->laddr : k->raddr;
	u8 *dst = outgoing ? k->raddr : k->laddr;
	u16 ports[2] = {};

	if (p->v6) {
		__builtin_memcpy(src, p->ip + 8, 16);
		__builtin_memcpy(dst, p->ip + 24, 16);
	} else {
		map_v4(src, *(u32 *)(p->ip + 12));
		map_v4(dst, *(u32 *)(p->ip + 16));
	}
	bpf_probe_read_kernel(ports, sizeof(ports), (void *)(p->start + p->transport));
	k->lport = NTOHS(outgoing ? ports[0] : ports[1]);
	k->rport = NTOHS(outgoing ? ports[1] : ports[0]);
}

INLINE u32 peek_seq(struct peek *p)
{
	u32 seq = 0;

	bpf_probe_read_kernel(&seq, sizeof(seq), (void *)(p->start + p->transport + 4));
	return NTOHL(seq);
}

/* Bytes of payload. */
INLINE u32 peek_length(struct peek *p)
{
	u16 total = p->v6 ? *(u16 *)(p->ip + 4) : *(u16 *)(p->ip + 2);
	u8 offset = 0;

	bpf_probe_read_kernel(&offset, 1, (void *)(p->start + p->transport + 12));
	return NTOHS(total) + (p->v6 ? 40 : 0) - p->transport - (offset >> 4) * 4;
}

/* The packet's device, or that of its route where the TCP input path has cleared skb->dev
 * (tcp_v4_rcv). */
INLINE u64 packet_dev(u64 skb)
{
	u64 dev = 0, dst = 0;

	READ(&dev, skb, sk_buff, dev);
	if (dev)
		return dev;
	READ(&dst, skb, sk_buff, _skb_refdst);
	dst &= ~1ULL;
	if (dst)
		READ(&dev, dst, dst_entry, dev);
	return dev;
}

INLINE u32 dev_netns(u64 dev)
{
	u64 net = 0;

	if (dev)
		READ(&net, dev, net_device, nd_net);
	return read_netns(net);
}

INLINE void read_dev(struct record *r, u64 skb)
{
	u64 dev = packet_dev(skb);

	READ(&r->skb_iif, skb, sk_buff, skb_iif);
	if (!dev)
		return;
	READ(&r->ifindex, dev, net_device, ifindex);
	READ(&r->dev, dev, net_device, name);
	if (!r->netns)
		r->netns = dev_netns(dev);
}

/*
 * page_address() of a struct page: page_offset_base + page number * PAGE_SIZE. User space
 * gives the two bases, or the addresses of the variables that hold them; they are proven
 * before use: the lowest page of this task's own stack must begin with STACK_END_MAGIC.
 * Returns 0 if they are wrong or not known.
 */
#define STACK_END_MAGIC	0x57AC6E9DULL

INLINE u64 page_base(u32 key)
{
	u64 *value = page_bases.lookup(&key), base = 0;

	if (!value)
		return 0;
	base = *value;
	key += 2;
	value = page_bases.lookup(&key);
	if (value && *value)
		bpf_probe_read_kernel(&base, sizeof(base), (void *)*value);
	return base;
}

INLINE u64 page_address(u64 page)
{
	u64 vmemmap = page_base(0), linear = page_base(1), task = bpf_get_current_task();
	u64 area = 0, pages = 0, first = 0, magic = 0;

	READ(&area, task, task_struct, stack_vm_area);
	if (area)
		READ(&pages, area, vm_struct, pages);
	if (pages)
		bpf_probe_read_kernel(&first, sizeof(first), (void *)pages);
	if (!vmemmap || first < vmemmap || page < vmemmap)
		return 0;
	bpf_probe_read_kernel(&magic, sizeof(magic),
			      (void *)(linear + (first - vmemmap) / PAGE_STRUCT_SIZE * PAGE_SIZE));
	if (magic != STACK_END_MAGIC)
		return 0;
	return linear + (page - vmemmap) / PAGE_STRUCT_SIZE * PAGE_SIZE;
}

/* First payload bytes when they are not in the linear part: tcp_sendmsg() fills page
 * fragments, and so do many drivers. */
INLINE void read_fragment(struct record *r, u64 skb, u64 head)
{
	u32 end = 0, place[2] = {};
	u64 info, page = 0, address;
	u8 fragments = 0;

	if (OFF(skb_shared_info, frags) < 0 || READ(&end, skb, sk_buff, end))
		return;
	info = head + end;
	READ(&fragments, info, skb_shared_info, nr_frags);
	if (!fragments)
		return;
	info += OFF(skb_shared_info, frags);
	/* struct bio_vec and struct skb_frag: page or netmem, length, offset */
	bpf_probe_read_kernel(&page, sizeof(page), (void *)info);
	bpf_probe_read_kernel(place, sizeof(place), (void *)(info + 8));
	address = page & 1 ? 0 : page_address(page);
	if (!address || bpf_probe_read_kernel(r->payload, PAYLOAD_BYTES,
					      (void *)(address + place[1])))
		return;
	r->payload_len = place[0] < PAYLOAD_BYTES ? place[0] : PAYLOAD_BYTES;
}

/* Headers and what follows them in the linear part, and the tuple where the socket did not
 * give it. */
INLINE void read_packet(struct record *r, struct peek *p, u64 skb, int outgoing)
{
	u64 data = SKB_AT(p->block, u64, data);
	u32 len = 0, data_len = 0;
	u64 linear;
	struct flow_key k = {};

	r->skb = skb;
	read_dev(r, skb);
	READ(&len, skb, sk_buff, len);
	READ(&data_len, skb, sk_buff, data_len);
	linear = data + len - data_len - p->start;
	r->skb_len = linear + data_len;
	r->packet_len = linear < PACKET_BYTES ? linear : PACKET_BYTES;
	if (bpf_probe_read_kernel(r->packet, PACKET_BYTES, (void *)p->start))
		return;
	r->have |= HAVE_PACKET;
	if (r->have & HAVE_TUPLE)
		return;
	k.netns = r->netns;
	peek_key(p, &k, outgoing);
	use_key(r, &k);
}

/* A segment that arrived, with its first payload bytes wherever they are. */
INLINE void read_segment(struct record *r, struct peek *p, u64 skb)
{
	read_packet(r, p, skb, 0);
	read_fragment(r, skb, SKB_AT(p->block, u64, head));
}

/* A SYN or SYN-ACK: remember when it passed, and what the peer's looked like. No record. */
INLINE int note_syn(struct peek *p, u64 skb, int outgoing)
{
	struct handshake fresh = {}, *old;
	struct flow_key k = {};

	peek_key(p, &k, outgoing);
	k.netns = dev_netns(packet_dev(skb));
	old = handshakes.lookup(&k);
	/* the second half of a handshake keeps what the first half noted */
	if (old && p->flags & TCP_ACK)
		fresh = *old;
	else if (old)
		fresh.before = old->now;
	if (outgoing) {
		fresh.now.tx_ns = bpf_ktime_get_ns();
		bpf_probe_read_kernel(&fresh.now.tx_seq, 4, (void *)(p->start + p->transport + 4));
	} else {
		fresh.now.rx_ns = bpf_ktime_get_ns();
		fresh.now.rx_ttl = p->v6 ? p->ip[7] : p->ip[8];
		fresh.now.rx_id = p->v6 ? 0 : ID_V4 | p->ip[4] << 8 | p->ip[5];
		if (!p->v6 && p->ip[6] & 0x40)
			fresh.now.rx_id |= ID_DF;
		bpf_probe_read_kernel(&fresh.now.rx_seq, 4, (void *)(p->start + p->transport + 4));
	}
	handshakes.update(&k, &fresh);
	return 0;
}

/* The last SYN was no beginning: the connection lives on. */
INLINE void forget_syn(struct flow_key *k)
{
	struct handshake *h = handshakes.lookup(k);

	if (h)
		h->now = h->before;
}

/* A RST answers the segment that the other end sent: the drop hook waits for that. */
INLINE void note_answer(struct peek *p, int outgoing)
{
	u64 now = bpf_ktime_get_ns();
	struct flow_key k = {};

	peek_key(p, &k, outgoing);
	answered.update(&k, &now);
}

INLINE void read_handshake(struct record *r, struct flow_key *k)
{
	struct handshake *h = handshakes.lookup(k);

	if (!h)
		return;
	r->syn_rx_ns = h->now.rx_ns;
	r->syn_tx_ns = h->now.tx_ns;
	r->syn_rx_seq = h->now.rx_seq;
	r->syn_rx_ttl = h->now.rx_ttl;
	r->syn_rx_id = h->now.rx_id;
	r->syn_tx_seq = h->now.tx_seq;
	r->have |= HAVE_SYN;
}
