/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * Reads an ordinary packet. Whatever is not ordinary is for user space to judge. */
#pragma once
#include "maps.h"
#include <bpf/bpf_endian.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define DONT_FRAGMENT 0x4000
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

/* Echo request and reply of ICMP and ICMPv6. */
struct echo {
	__u8 type, code;
	__u16 checksum, identifier, sequence;
};

struct packet {
	struct flow_key key;
	__u32 len;		/* bytes from the IP header on */
	__u32 header_len;	/* bytes of IP and transport headers */
	__u8 hops, tcp_flags, tcp_len, tos;
};

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* The transport header in `len` bytes. */
static __always_inline int parse_transport(void *at, void *end, __u32 len, struct packet *packet)
{
	struct flow_key *key = &packet->key;

	if (key->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at;

		if ((void *)(tcp + 1) > end || tcp->doff < 5 || tcp->doff * 4 > len)
			return -1;
		packet->tcp_flags = ((__u8 *)tcp)[13];
		/* Nobody opens and ends a connection at once. */
		if (packet->tcp_flags & SYN && packet->tcp_flags & (FIN | RST))
			return -1;
		key->source_port = tcp->source;
		key->destination_port = tcp->dest;
		packet->tcp_len = tcp->doff * 4;
		packet->header_len += packet->tcp_len;
		return 0;
	}
	if (key->protocol == IPPROTO_UDP) {
		struct udphdr *udp = at;

		if ((void *)(udp + 1) > end)
			return -1;
		__u16 stated = bpf_ntohs(udp->len);
		if (stated < sizeof(*udp) || stated > len)
			return -1;
		key->source_port = udp->source;
		key->destination_port = udp->dest;
		packet->header_len += sizeof(*udp);
		return 0;
	}
	if (key->protocol == (key->family == 4 ? IPPROTO_ICMP : 58)) {
		struct echo *echo = at;

		if ((void *)(echo + 1) > end)
			return -1;
		if (echo->type != (key->family == 4 ? 8 : 128) && echo->type != (key->family == 4 ? 0 : 129))
			return -1;
		key->source_port = key->destination_port = echo->identifier;
		return 0;
	}
	return -1;
}

static __always_inline int parse_v4(struct iphdr *ip, void *end, __u32 len, struct packet *packet)
{
	__u32 sum = 0;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5)
		return -1;
	if (ip->frag_off & bpf_htons((__u16)~DONT_FRAGMENT) || bpf_ntohs(ip->tot_len) != len)
		return -1;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += ((__u16 *)ip)[i];
	if (fold(sum) != 0xffff)
		return -1;
	packet->key.source[0] = ip->saddr;
	packet->key.destination[0] = ip->daddr;
	packet->key.protocol = ip->protocol;
	packet->key.family = 4;
	packet->hops = ip->ttl;
	packet->tos = ip->tos;
	packet->header_len = sizeof(*ip);
	return parse_transport(ip + 1, end, len - sizeof(*ip), packet);
}

static __always_inline int parse_v6(struct ipv6hdr *ip, void *end, __u32 len, struct packet *packet)
{
	if ((void *)(ip + 1) > end || ip->version != 6 || bpf_ntohs(ip->payload_len) + sizeof(*ip) != len)
		return -1;
	__builtin_memcpy(packet->key.source, &ip->saddr, 16);
	__builtin_memcpy(packet->key.destination, &ip->daddr, 16);
	packet->key.protocol = ip->nexthdr;
	packet->key.family = 6;
	packet->hops = ip->hop_limit;
	packet->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	packet->header_len = sizeof(*ip);
	return parse_transport(ip + 1, end, len - sizeof(*ip), packet);
}

/* The packet at `at`, where a header of this EtherType is said to be; -1 if it is not ordinary. */
static __always_inline int parse(struct __sk_buff *skb, __u32 at, __be16 type, struct packet *packet)
{
	void *ip = (void *)(long)skb->data + at, *end = (void *)(long)skb->data_end;

	packet->len = skb->len - at;
	if (type == bpf_htons(ETH_P_IP))
		return parse_v4(ip, end, packet->len, packet);
	if (type == bpf_htons(ETH_P_IPV6))
		return parse_v6(ip, end, packet->len, packet);
	return -1;
}
