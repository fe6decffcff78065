/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * VXLAN (RFC 7348) and IPIP (RFC 2003) over IPv4: outer headers put in front and taken off. Outer
 * sums of UDP are zero, as Linux' VXLAN has it. Super-packets stay whole. */
#pragma once
#include "flow.h"

#define VXLAN_FLAGS bpf_htonl(0x08000000)
#define ECN 3
#define CE 3
#define ECT0 2
#define ECT1 1
/* Linux 6.3; older headers do not name it. */
#define DECAP_L3_IPV6 (1ULL << 8)

struct vxlan {
	struct iphdr ip;
	struct udphdr udp;
	__be32 flags, vni;
	struct ethhdr frame;
} __attribute__((packed));

/* The inner packet's congestion bits (RFC 6040): CE does not come back by the tunnel, it is inside. */
static __always_inline __u8 outer_tos(__u8 tos)
{
	return (tos & ECN) == CE ? ECT0 : tos & ECN;
}

static __always_inline void outer_ip(struct iphdr *ip, struct flow *flow, __u8 protocol, __u32 len, __u8 ttl, __u8 tos)
{
	__u32 sum = 0;

	ip->version = 4;
	ip->ihl = 5;
	ip->tos = tos;
	ip->tot_len = bpf_htons(len);
	ip->frag_off = bpf_htons(DONT_FRAGMENT);
	ip->ttl = ttl;
	ip->protocol = protocol;
	ip->saddr = flow->local;
	ip->daddr = flow->remote;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += ((__u16 *)ip)[i];
	ip->check = ~fold(sum);
}

static __always_inline int by_vxlan(struct __sk_buff *skb, struct packet *packet, struct flow *flow, __be16 type)
{
	struct vxlan outer = {};
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |
		      BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH;

	outer_ip(&outer.ip, flow, IPPROTO_UDP, packet->len + sizeof(outer), 64, outer_tos(packet->tos));
	outer.udp.source = flow->source_port;
	outer.udp.dest = flow->port;
	outer.udp.len = bpf_htons(packet->len + sizeof(outer) - sizeof(outer.ip));
	outer.flags = VXLAN_FLAGS;
	outer.vni = flow->vni;
	__builtin_memcpy(outer.frame.h_dest, flow->to, ETH_ALEN);
	__builtin_memcpy(outer.frame.h_source, flow->vtep, ETH_ALEN);
	outer.frame.h_proto = type;
	if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, flags))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0);
}

static __always_inline int by_ipip(struct __sk_buff *skb, struct packet *packet, struct flow *flow)
{
	struct iphdr outer = {};
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;

	/* Hops are counted through (as Linux' tunl0). */
	outer_ip(&outer, flow, IPPROTO_IPIP, packet->len + sizeof(outer), packet->hops - 1, outer_tos(packet->tos));
	if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, flags))
		return -1;
	return bpf_skb_store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0);
}

/* To another node, by the host's own route to it. */
static __always_inline int to_node(struct __sk_buff *skb, struct packet *packet, struct flow *flow, __be16 type)
{
	__be16 v4 = bpf_htons(ETH_P_IP);

	if (flow->way == VXLAN ? by_vxlan(skb, packet, flow, type) : by_ipip(skb, packet, flow))
		return drop(DROP_NO_ROOM);
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_proto), &v4, sizeof(v4), 0))
		return drop(DROP_NO_ROOM);
	count(REPEATED);
	return bpf_redirect_neigh(flow->ifindex, 0, 0, 0);
}

/* What the outer header of a packet says that came by a tunnel of ours. */
struct arrival {
	__u32 sender;
	__u32 skip;		/* bytes of outer headers behind the frame's */
	__be16 type;		/* of the inner packet */
	__u8 tos;		/* outer */
};

/* Whether the outer congestion bits go into the inner packet (RFC 6040 section 4.2), or speak against it. */
static __always_inline int is_marked(struct arrival *arrival, struct packet *packet)
{
	__u8 outer = arrival->tos & ECN;

	return outer == CE || (outer == ECT1 && (packet->tos & ECN) != ECT1);
}

/* Whether a frame came by a tunnel of ours. Of a fragment's rest it is not known. */
static __always_inline int is_ours(struct __sk_buff *skb, struct underlay *here)
{
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *frame = (void *)(long)skb->data;
	struct vxlan *outer = (void *)(frame + 1);
	struct iphdr *ip = &outer->ip;

	if ((void *)(ip + 1) > end || ip->version != 4)
		return 0;
	if (ip->protocol == IPPROTO_IPIP)
		return here->ipip && ip->daddr == here->ipip;
	return ip->protocol == IPPROTO_UDP && here->vxlan && ip->daddr == here->vxlan && ip->ihl == 5 &&
	       (void *)(&outer->udp + 1) <= end && outer->udp.dest == here->port;
}

/* Reads the outer header of a tunnel of ours; -1 if it is not ordinary. A sum of UDP is not looked at, as
 * RFC 7348 section 5 allows: the inner packet has its own. */
static __always_inline int read_outer(struct __sk_buff *skb, struct underlay *here, struct packet *packet, struct arrival *arrival)
{
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *frame = (void *)(long)skb->data;
	struct vxlan *outer = (void *)(frame + 1);
	struct iphdr *ip = &outer->ip;

	if ((void *)(ip + 1) > end || ip->ihl != 5 || ip->frag_off & bpf_htons((__u16)~DONT_FRAGMENT) ||
	    bpf_ntohs(ip->tot_len) != skb->len - ETH_HLEN || skb->vlan_present)
		return -1;
	arrival->sender = ip->saddr;
	arrival->tos = ip->tos;
	if (ip->protocol == IPPROTO_IPIP) {
		arrival->skip = sizeof(*ip);
		arrival->type = bpf_htons(ETH_P_IP);
		packet->key.ifindex = BY_IPIP;
		return 0;
	}
	if ((void *)(outer + 1) > end || bpf_ntohs(outer->udp.len) != skb->len - ETH_HLEN - sizeof(*ip) ||
	    outer->flags != VXLAN_FLAGS || outer->vni != here->vni || !same_mac(outer->frame.h_dest, here->vtep))
		return -1;
	arrival->skip = sizeof(*outer);
	arrival->type = outer->frame.h_proto;
	packet->key.ifindex = BY_VXLAN_V4;
	return 0;
}

/* Takes the outer header off, and writes the workload's link's. */
static __always_inline int decapsulate(struct __sk_buff *skb, struct arrival *arrival, struct flow *flow)
{
	struct ethhdr frame = {};
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	if (arrival->type == bpf_htons(ETH_P_IPV6))
		flags |= DECAP_L3_IPV6;
	if (bpf_skb_adjust_room(skb, -(__s32)arrival->skip, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	__builtin_memcpy(frame.h_dest, flow->to, ETH_ALEN);
	__builtin_memset(frame.h_source, 0xee, ETH_ALEN);
	frame.h_proto = arrival->type;
	return bpf_skb_store_bytes(skb, 0, &frame, sizeof(frame), 0);
}
