/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * What the maps hold. src/layout.rs has the same for user space; a change of either changes the name of
 * the directory the maps are pinned in, so that no program reads what another layout wrote. */
#pragma once
#include <linux/types.h>

/* The router's frames on vrouter0 name an interface in a MAC: 02:76:72:00 and its number. */
#define INTERFACE_MAC_0 0x02
#define INTERFACE_MAC_1 0x76
#define INTERFACE_MAC_2 0x72

struct settings {
	__u32 generation;	/* entries of another one are no longer believed */
	__u32 router;		/* index of vrouter0 */
};

/* What is ours on the underlay; an address of zero is none. IPv4 alone. */
struct underlay {
	__u32 vxlan, ipip;	/* our addresses as tunnels' end */
	__u32 vni;		/* as the header has it: shifted by 8 */
	__u16 port;		/* UDP */
	__u8 vtep[6];		/* our MAC inside VXLAN */
};

/* An interface of the router, by its number. */
struct interface {
	__u32 ifindex;
	__u32 has_peer;		/* a veth, whose other end is the workload's */
};

/* Arrival by the host's stack or a tunnel has no index of its own: here is FIXED_INTERFACE plus the router's number. */
#define FIXED_INTERFACE 0xffff0000
#define BY_HOST FIXED_INTERFACE
#define BY_VXLAN_V4 (FIXED_INTERFACE + 1)
#define BY_IPIP (FIXED_INTERFACE + 3)

/* One direction of a session, as its packets come in. IPv4 addresses are the first word, the others zero. */
struct flow_key {
	__u32 source[4], destination[4];
	__u32 ifindex;
	__u16 source_port, destination_port;	/* of ICMP both the identifier */
	__u8 protocol, family;			/* 4 or 6 */
	__u8 pad[2];
};

/* How packets leave. */
enum way {
	TO_DEVICE,		/* a workload behind a device */
	TO_PEER,		/* a workload behind a veth's other end */
	VXLAN,			/* another node */
	IPIP,
	TO_HOST,		/* the host's stack, by its TUN */
};

/* How its packets are sent on, and what they added up to. */
struct flow {
	__u32 generation;
	__u32 ifindex;		/* where they leave: a workload's end, or the underlay's interface */
	__u16 mtu;		/* the largest IP packet */
	__u8 way;
	__u8 original;		/* the direction of the session's first packet; user space reads it */
	__u8 from[6], to[6];	/* MACs: the sender's, and the next link's destination */
	__u64 packets, bytes;	/* IP packets, each segment of a super-packet one */
	__u64 last_seen;	/* CLOCK_MONOTONIC_COARSE, ns */
	__u32 tcp_flags;	/* seen */
	__u32 sender;		/* by a tunnel: the node they must come from */
	__u32 local, remote;	/* outer addresses */
	__u32 vni;		/* as the header has it */
	__u16 source_port, port;/* outer UDP */
	__u8 vtep[6], pad[2];	/* our MAC inside VXLAN */
};

/* All flows of a pair of addresses to one TCP port, as they come in. */
struct grant_key {
	__u32 source[4], destination[4];
	__u32 ifindex;		/* as of a flow's key */
	__u16 destination_port;
	__u8 family, pad;
};

/* The entries that a connection's first packet is given without user space. */
struct grant {
	struct flow forward, reply;
	__u32 reply_ifindex;	/* of the replies' key */
	__u32 pad;
};

/* A flow that a grant admitted. */
struct admitted {
	struct flow_key key;
	__u32 generation;
};

/* What the programs did with packets. */
enum outcome {
	FROM_WORKLOAD,		/* received from workloads */
	FROM_ROUTER,		/* received from user space */
	FROM_TUNNEL,		/* received by a tunnel that is ours */
	FROM_HOST,		/* received from the host's stack */
	REPEATED,		/* sent on as their flow says */
	TO_WORKLOAD,		/* handed to a workload as user space said */
	ROUTER_UNUSUAL,		/* to user space: anything but an ordinary packet of a flow */
	ROUTER_UNKNOWN,		/* to user space: no flow is known */
	ROUTER_STALE,		/* to user space: the flow was decided under other tables */
	ROUTER_OTHER_SENDER,	/* to user space: not from the flow's sender */
	ROUTER_TOO_BIG,		/* to user space: larger than the flow's way carries */
	ROUTER_TTL,		/* to user space: no hop is left */
	DROP_UNKNOWN_SOURCE,	/* came in by an interface that has no number */
	DROP_UNKNOWN_TARGET,	/* user space named an interface that is not there */
	DROP_NOT_OURS,		/* unicast to another than the gateway */
	DROP_TRUNCATED,		/* no whole Ethernet header */
	DROP_NO_ROOM,		/* an outer header can be neither added nor taken off */
	OUTCOMES,
};
