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

/* An interface of the router, by its number. */
struct interface {
	__u32 ifindex;
	__u32 has_peer;		/* a veth, whose other end is the workload's */
};

/* What the programs did with packets. */
enum outcome {
	FROM_WORKLOAD,		/* received from workloads */
	FROM_ROUTER,		/* received from user space */
	TO_ROUTER,		/* handed to user space */
	TO_WORKLOAD,		/* handed to a workload as user space said */
	DROP_UNKNOWN_SOURCE,	/* came in by an interface that has no number */
	DROP_UNKNOWN_TARGET,	/* user space named an interface that is not there */
	DROP_NOT_OURS,		/* unicast to another than the gateway */
	DROP_TRUNCATED,		/* no whole Ethernet header */
	OUTCOMES,
};
