/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * Between a workload and user space, by vrouter0: frames that name an interface in a MAC. */
#pragma once
#include "maps.h"
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>

#define DESTINATION 0
#define SOURCE ETH_ALEN

static __always_inline int drop(__u32 reason)
{
	count(reason);
	return TC_ACT_SHOT;
}

/* Whether a frame is for the gateway of every workload's link, or for a group. */
static __always_inline int is_for_gateway(const struct ethhdr *frame)
{
	const __u8 *to = frame->h_dest;

	return to[0] & 1 || (to[0] == 0xee && to[1] == 0xee && to[2] == 0xee &&
			     to[3] == 0xee && to[4] == 0xee && to[5] == 0xee);
}

/* Hands a workload's frame to user space. */
static __always_inline int to_router(struct __sk_buff *skb, __u32 why)
{
	__u32 ifindex = skb->ifindex, zero = 0;
	__u16 *number = bpf_map_lookup_elem(&numbers, &ifindex);
	struct settings *now = bpf_map_lookup_elem(&settings, &zero);

	if (!number || !now)
		return drop(DROP_UNKNOWN_SOURCE);
	__u8 mac[ETH_ALEN] = { INTERFACE_MAC_0, INTERFACE_MAC_1, INTERFACE_MAC_2, 0, *number >> 8, *number };
	if (bpf_skb_store_bytes(skb, DESTINATION, mac, sizeof(mac), 0))
		return drop(DROP_TRUNCATED);
	count(why);
	return bpf_redirect(now->router, 0);
}

/* Hands a frame of user space to the interface it names. */
static __always_inline int to_named(struct __sk_buff *skb)
{
	struct ethhdr *frame = (void *)(long)skb->data;

	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return drop(DROP_TRUNCATED);
	const __u8 *mac = frame->h_source;
	__u16 number = mac[4] << 8 | mac[5];
	if (mac[0] != INTERFACE_MAC_0 || mac[1] != INTERFACE_MAC_1 || mac[2] != INTERFACE_MAC_2 || mac[3])
		return drop(DROP_UNKNOWN_TARGET);
	struct interface *to = bpf_map_lookup_elem(&interfaces, &number);
	if (!to)
		return drop(DROP_UNKNOWN_TARGET);
	__builtin_memset(frame->h_source, 0xee, ETH_ALEN);
	count(TO_WORKLOAD);
	return to->has_peer ? bpf_redirect_peer(to->ifindex, 0) : bpf_redirect(to->ifindex, 0);
}
