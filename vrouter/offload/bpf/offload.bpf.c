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

/* Ingress of a workload's host end. */
SEC("classifier")
int from_workload(struct __sk_buff *skb)
{
	struct packet packet = {};
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
	struct flow *flow = find(skb, &packet, &why);
	if (!flow)
		return to_router(skb, why);
	if (!same_mac(frame->h_source, flow->from))
		return to_router(skb, ROUTER_OTHER_SENDER);
	note(skb, &packet, flow);
	if (take_hop(skb, ETH_HLEN, packet.key.family))
		return drop(DROP_TRUNCATED);
	if (flow->way == VXLAN || flow->way == IPIP)
		return to_node(skb, &packet, flow, type);
	__builtin_memcpy(frame->h_dest, flow->to, ETH_ALEN);
	__builtin_memset(frame->h_source, 0xee, ETH_ALEN);
	return to_workload(flow);
}

/* Leaves a packet to the kernel, by which it reaches user space's sockets. */
static __always_inline int to_sockets(__u32 why)
{
	count(why);
	return TC_ACT_UNSPEC;
}

/* Ingress of the underlay's interface: all but what known flows bring is the host's, whose sockets may
 * be user space's. */
SEC("classifier")
int from_underlay(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct arrival arrival = {};
	__u32 why, zero = 0;
	struct underlay *here = bpf_map_lookup_elem(&underlay, &zero);

	if (!here || skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	pull(skb, ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr));
	if (!is_ours(skb, here))
		return TC_ACT_UNSPEC;
	count(FROM_TUNNEL);
	pull(skb, TUNNEL_HEADERS);
	if (read_outer(skb, here, &packet, &arrival) || parse(skb, ETH_HLEN + arrival.skip, arrival.type, &packet))
		return to_sockets(ROUTER_UNUSUAL);
	struct flow *flow = find(skb, &packet, &why);
	if (!flow)
		return to_sockets(why);
	if (arrival.sender != flow->sender)
		return to_sockets(ROUTER_OTHER_SENDER);
	note(skb, &packet, flow);
	if (take_hop(skb, ETH_HLEN + arrival.skip, packet.key.family) || decapsulate(skb, &arrival, flow))
		return drop(DROP_NO_ROOM);
	return to_workload(flow);
}

/* Ingress of vrouter0: what user space wrote. */
SEC("classifier")
int from_router(struct __sk_buff *skb)
{
	count(FROM_ROUTER);
	return to_named(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
