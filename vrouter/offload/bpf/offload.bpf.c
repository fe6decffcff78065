/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * The programs. They look up, count and send; what is not known goes to user space. */
#include "tunnel.h"

/* What the longest headers of an ordinary packet take. */
#define HEADERS (sizeof(struct ipv6hdr) + sizeof(struct tcphdr))
#define FRAME_HEADERS (ETH_HLEN + HEADERS)
#define TUNNEL_HEADERS (ETH_HLEN + sizeof(struct vxlan) + HEADERS)

/* Brings the first bytes to where programs can read them, as far as there are any. */
static __always_inline void pull(struct __sk_buff *skb, __u32 len)
{
	if (skb->data_end - skb->data < len)
		bpf_skb_pull_data(skb, skb->len < len ? skb->len : len);
}

/* Leaves a packet to the kernel, by which it reaches user space's sockets or TUN. */
static __always_inline int to_user_space(__u32 why)
{
	count(why);
	return TC_ACT_UNSPEC;
}

/* Ingress of a workload's host end. */
SEC("classifier")
int from_workload(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct from from = { .by_mac = 1 };
	__u32 why;

	count(FROM_WORKLOAD);
	pull(skb, FRAME_HEADERS);
	struct ethhdr *frame = (void *)(long)skb->data;
	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return drop(DROP_TRUNCATED);
	if (!is_for_gateway(frame))
		return drop(DROP_NOT_OURS);
	__be16 type = frame->h_proto;
	packet.key.ifindex = skb->ifindex;
	if (frame->h_dest[0] & 1 || skb->vlan_present || parse(skb, ETH_HLEN, type, &packet))
		return to_router(skb, ROUTER_UNUSUAL);
	__builtin_memcpy(from.mac, frame->h_source, ETH_ALEN);
	struct flow *flow = find(skb, &packet, &from, &why);
	if (!flow)
		return to_router(skb, why);
	note(skb, &packet, flow);
	if (flow->way == TO_HOST)
		return to_host(flow);
	if (take_hop(skb, ETH_HLEN, packet.key.family))
		return drop(DROP_TRUNCATED);
	if (flow->way == VXLAN || flow->way == IPIP)
		return to_node(skb, &packet, flow, type);
	__builtin_memcpy(frame->h_dest, flow->to, ETH_ALEN);
	__builtin_memset(frame->h_source, 0xee, ETH_ALEN);
	return to_workload(flow);
}

/* Ingress of the underlay's interface: all but what known flows bring is the host's, whose sockets may
 * be user space's. */
SEC("classifier")
int from_underlay(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct arrival arrival = {};
	struct from from = {};
	__u32 why, zero = 0;
	struct underlay *here = bpf_map_lookup_elem(&underlay, &zero);

	if (!here || skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	pull(skb, ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr));
	if (!is_ours(skb, here))
		return TC_ACT_UNSPEC;
	count(FROM_TUNNEL);
	pull(skb, TUNNEL_HEADERS);
	if (read_outer(skb, here, &packet, &arrival) || parse(skb, ETH_HLEN + arrival.skip, arrival.type, &packet) ||
	    is_marked(&arrival, &packet))
		return to_user_space(ROUTER_UNUSUAL);
	from.node = arrival.sender;
	struct flow *flow = find(skb, &packet, &from, &why);
	if (!flow)
		return to_user_space(why);
	note(skb, &packet, flow);
	if (take_hop(skb, ETH_HLEN + arrival.skip, packet.key.family) || decapsulate(skb, &arrival, flow))
		return drop(DROP_NO_ROOM);
	return to_workload(flow);
}

/* Egress of the TUN that the host's stack reaches workloads by: packets without a link's header. */
SEC("classifier")
int from_host(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct from from = {};
	__u32 why;

	count(FROM_HOST);
	pull(skb, HEADERS);
	packet.key.ifindex = BY_HOST;
	if (parse(skb, 0, skb->protocol, &packet))
		return to_user_space(ROUTER_UNUSUAL);
	struct flow *flow = find(skb, &packet, &from, &why);
	if (!flow)
		return to_user_space(why);
	note(skb, &packet, flow);
	if (add_frame(skb, flow))
		return drop(DROP_NO_ROOM);
	count(REPEATED);
	return bpf_redirect(flow->ifindex, 0);
}

/* Ingress of vrouter0: what user space wrote. */
SEC("classifier")
int from_router(struct __sk_buff *skb)
{
	count(FROM_ROUTER);
	return to_named(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
