/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * Repeats for a packet what user space decided about its flow. */
#pragma once
#include "parse.h"
#include "router.h"

/* Linux 5.11; older headers do not name it. */
static __u64 (*const coarse_ns)(void) = (void *)160;

/* One hop less (RFC 1624). */
static __always_inline void take_hop_v4(struct iphdr *ip)
{
	__u16 *word = (__u16 *)&ip->ttl, old = *word;

	ip->ttl--;
	ip->check = ~fold((__u16)~ip->check + (__u16)~old + *word);
}

/* Whether a packet, or the largest segment of a super-packet, fits. */
static __always_inline int fits(struct __sk_buff *skb, struct packet *packet, struct flow *flow)
{
	__u32 len = skb->gso_size ? packet->header_len + skb->gso_size : skb->len - ETH_HLEN;

	return len <= flow->mtu;
}

static __always_inline void note(struct __sk_buff *skb, struct packet *packet, struct flow *flow)
{
	__u32 bytes = skb->len - ETH_HLEN, size = skb->gso_size;

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

/* What is to be done with a workload's frame: REPEATED, or why it goes to user space. */
static __always_inline __u32 repeat(struct __sk_buff *skb, struct flow **found)
{
	struct packet packet = {};
	__u32 zero = 0;

	if (parse(skb, &packet))
		return ROUTER_UNUSUAL;
	struct flow *flow = bpf_map_lookup_elem(&flows, &packet.key);
	struct settings *now = bpf_map_lookup_elem(&settings, &zero);
	if (!flow || !now)
		return ROUTER_UNKNOWN;
	if (flow->generation != now->generation)
		return ROUTER_STALE;
	struct ethhdr *frame = (void *)(long)skb->data;
	struct iphdr *v4 = (void *)(frame + 1);
	struct ipv6hdr *v6 = (void *)(frame + 1);
	if ((void *)(v4 + 1) > (void *)(long)skb->data_end)
		return ROUTER_UNUSUAL;
	if (!same_mac(frame->h_source, flow->from))
		return ROUTER_OTHER_MAC;
	if (!fits(skb, &packet, flow))
		return ROUTER_TOO_BIG;
	if (packet.hops <= 1)
		return ROUTER_TTL;
	note(skb, &packet, flow);
	if (packet.key.family == 4)
		take_hop_v4(v4);
	else
		v6->hop_limit--;
	__builtin_memcpy(frame->h_dest, flow->to, ETH_ALEN);
	__builtin_memset(frame->h_source, 0xee, ETH_ALEN);
	*found = flow;
	return REPEATED;
}
