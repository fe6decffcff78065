/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * Repeats for a packet what user space decided about its flow. */
#pragma once
#include "parse.h"
#include "router.h"

#define TCP_MSS 2
/* User space says each 10 ms that it is there. */
#define ALIVE_NS 500000000

/* Linux 5.11; older headers do not name it. */
static __u64 (*const coarse_ns)(void) = (void *)160;

/* From whom a packet comes: a workload's MAC, or another node; neither of the host. */
struct from {
	__u8 mac[6];
	__u16 by_mac;
	__u32 node;
};

/* Whether a packet, or the largest segment of a super-packet, fits. */
static __always_inline int fits(struct __sk_buff *skb, struct packet *packet, struct flow *flow)
{
	__u32 len = skb->gso_size ? packet->header_len + skb->gso_size : packet->len;

	return len <= flow->mtu;
}

static __always_inline void note(struct __sk_buff *skb, struct packet *packet, struct flow *flow)
{
	__u32 bytes = packet->len, size = skb->gso_size;

	__sync_fetch_and_add(&flow->packets, size ? (bytes + size - 1) / size : 1);
	__sync_fetch_and_add(&flow->bytes, bytes);
	flow->last_seen = coarse_ns();
	if ((flow->tcp_flags & packet->tcp_flags) != packet->tcp_flags)
		__sync_fetch_and_or(&flow->tcp_flags, packet->tcp_flags);
}

static __always_inline int same_mac(const __u8 *a, const __u8 *b)
{
	return *(__u16 *)a == *(__u16 *)b && *(__u16 *)(a + 2) == *(__u16 *)(b + 2) &&
	       *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

static __always_inline int is_from(const struct from *from, const struct flow *flow)
{
	return from->by_mac ? same_mac(from->mac, flow->from) : from->node == flow->sender;
}

/* One hop less for the packet at `at`; IPv4's sum follows (RFC 1624). */
static __always_inline int take_hop(struct __sk_buff *skb, __u32 at, __u8 family)
{
	void *header = (void *)(long)skb->data + at, *end = (void *)(long)skb->data_end;

	if (family == 6) {
		struct ipv6hdr *ip = header;

		if ((void *)(ip + 1) > end)
			return -1;
		ip->hop_limit--;
		return 0;
	}
	struct iphdr *ip = header;

	if ((void *)(ip + 1) > end)
		return -1;
	__u16 *word = (__u16 *)&ip->ttl, old = *word;

	ip->ttl--;
	ip->check = ~fold((__u16)~ip->check + (__u16)~old + *word);
	return 0;
}

/* Whether the segment size that a SYN announces, as its first option, fits the way (user space lowers one
 * that does not). */
static __always_inline int announces_what_fits(struct __sk_buff *skb, struct packet *packet, struct flow *flow)
{
	__u8 option[4];
	__u32 tcp = skb->len - packet->len + packet->header_len - packet->tcp_len;

	if (packet->tcp_len == sizeof(struct tcphdr))
		return 1;
	if (bpf_skb_load_bytes(skb, tcp + sizeof(struct tcphdr), option, sizeof(option)))
		return 0;
	__u32 size = option[2] << 8 | option[3], headers = packet->header_len - packet->tcp_len + sizeof(struct tcphdr);

	return option[0] == TCP_MSS && option[1] == sizeof(option) && size + headers <= flow->mtu;
}

/* Begins the flows of a connection whose first packet this is, if user space has decided about all of the
 * pair and port; it learns of each. */
static __always_inline struct flow *admit(struct __sk_buff *skb, struct packet *packet, const struct from *from, __u32 generation)
{
	struct flow_key *key = &packet->key, reply = {};
	struct grant_key pair = { .ifindex = key->ifindex, .destination_port = key->destination_port, .family = key->family };

	__u32 zero = 0;
	__u64 *seen = bpf_map_lookup_elem(&alive, &zero);

	__builtin_memcpy(pair.source, key->source, 2 * sizeof(pair.source));
	struct grant *grant = bpf_map_lookup_elem(&grants, &pair);
	/* Nobody opens a connection while nobody could close it. */
	if (!seen || coarse_ns() - *seen > ALIVE_NS)
		return 0;
	if (!grant || grant->forward.generation != generation || !is_from(from, &grant->forward) ||
	    !announces_what_fits(skb, packet, &grant->forward))
		return 0;
	/* When user space cannot be told it decides. */
	struct admitted *admitted = bpf_ringbuf_reserve(&admissions, sizeof(*admitted), 0);
	if (!admitted)
		return 0;
	__builtin_memcpy(reply.source, key->destination, sizeof(reply.source));
	__builtin_memcpy(reply.destination, key->source, sizeof(reply.destination));
	reply.ifindex = grant->reply_ifindex;
	reply.source_port = key->destination_port;
	reply.destination_port = key->source_port;
	reply.protocol = key->protocol;
	reply.family = key->family;
	if (bpf_map_update_elem(&flows, key, &grant->forward, BPF_NOEXIST) ||
	    bpf_map_update_elem(&flows, &reply, &grant->reply, BPF_ANY)) {
		bpf_ringbuf_discard(admitted, BPF_RB_NO_WAKEUP);
		bpf_map_delete_elem(&flows, key);
		return 0;
	}
	admitted->key = *key;
	admitted->generation = generation;
	bpf_ringbuf_submit(admitted, BPF_RB_NO_WAKEUP);
	return bpf_map_lookup_elem(&flows, key);
}

/* The flow of a packet that may be sent on; else why it goes to user space is in `why`. */
static __always_inline struct flow *find(struct __sk_buff *skb, struct packet *packet, const struct from *from, __u32 *why)
{
	__u32 zero = 0;
	struct flow *flow = bpf_map_lookup_elem(&flows, &packet->key);
	struct settings *now = bpf_map_lookup_elem(&settings, &zero);

	int opens = packet->tcp_flags & SYN && !(packet->tcp_flags & ACK);

	*why = ROUTER_UNKNOWN;
	if (!now || (!flow && !opens))
		return 0;
	if (!flow)
		flow = admit(skb, packet, from, now->generation);
	else if (packet->tcp_flags & SYN) {
		/* A port that is used again; user space knows what of. */
		*why = ROUTER_UNUSUAL;
		if (opens || !announces_what_fits(skb, packet, flow))
			return 0;
	}
	if (!flow)
		return 0;
	*why = ROUTER_STALE;
	if (flow->generation != now->generation)
		return 0;
	*why = ROUTER_OTHER_SENDER;
	if (!is_from(from, flow))
		return 0;
	*why = ROUTER_TOO_BIG;
	if (!fits(skb, packet, flow))
		return 0;
	*why = ROUTER_TTL;
	if (packet->hops <= 1)
		return 0;
	return flow;
}

/* To the host's stack, as if its TUN had brought it. Hops are the stack's to count. */
static __always_inline int to_host(struct flow *flow)
{
	count(REPEATED);
	return bpf_redirect(flow->ifindex, BPF_F_INGRESS);
}

/* Puts a workload's link's header in front of a packet that has none. */
static __always_inline int add_frame(struct __sk_buff *skb, struct flow *flow)
{
	struct ethhdr frame = { .h_proto = skb->protocol };

	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		return -1;
	__builtin_memcpy(frame.h_dest, flow->to, ETH_ALEN);
	__builtin_memset(frame.h_source, 0xee, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame), 0);
}

/* To a workload of this node, whose link's header is in front of the packet. */
static __always_inline int to_workload(struct flow *flow)
{
	count(REPEATED);
	return flow->way == TO_PEER ? bpf_redirect_peer(flow->ifindex, 0) : bpf_redirect(flow->ifindex, 0);
}
