/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * Repeats for a packet what user space decided about its flow. */
#pragma once
#include "parse.h"
#include "router.h"

/* Linux 5.11; older headers do not name it. */
static __u64 (*const coarse_ns)(void) = (void *)160;

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

/* The flow of a packet that may be sent on; else why it goes to user space is in `why`. The caller
 * checks the sender. */
static __always_inline struct flow *find(struct __sk_buff *skb, struct packet *packet, __u32 *why)
{
	__u32 zero = 0;
	struct flow *flow = bpf_map_lookup_elem(&flows, &packet->key);
	struct settings *now = bpf_map_lookup_elem(&settings, &zero);

	*why = ROUTER_UNKNOWN;
	if (!flow || !now)
		return 0;
	*why = ROUTER_STALE;
	if (flow->generation != now->generation)
		return 0;
	*why = ROUTER_TOO_BIG;
	if (!fits(skb, packet, flow))
		return 0;
	*why = ROUTER_TTL;
	if (packet->hops <= 1)
		return 0;
	return flow;
}

/* To a workload of this node, whose link's header is in front of the packet. */
static __always_inline int to_workload(struct flow *flow)
{
	count(REPEATED);
	return flow->way == TO_PEER ? bpf_redirect_peer(flow->ifindex, 0) : bpf_redirect(flow->ifindex, 0);
}
