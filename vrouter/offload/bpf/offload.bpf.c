/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * The programs. They look up, count and send; what is not known goes to user space. */
#include "flow.h"

/* What the longest headers of an ordinary packet take. */
#define HEADERS (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr))

/* Ingress of a workload's host end. */
SEC("classifier")
int from_workload(struct __sk_buff *skb)
{
	struct flow *flow = 0;

	count(FROM_WORKLOAD);
	if (skb->data_end - skb->data < HEADERS)
		bpf_skb_pull_data(skb, skb->len < HEADERS ? skb->len : HEADERS);
	struct ethhdr *frame = (void *)(long)skb->data;
	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return drop(DROP_TRUNCATED);
	if (!is_for_gateway(frame))
		return drop(DROP_NOT_OURS);
	__u32 what = repeat(skb, &flow);
	if (what != REPEATED || !flow)
		return to_router(skb, what);
	count(REPEATED);
	return flow->has_peer ? bpf_redirect_peer(flow->ifindex, 0) : bpf_redirect(flow->ifindex, 0);
}

/* Ingress of vrouter0: what user space wrote. */
SEC("classifier")
int from_router(struct __sk_buff *skb)
{
	count(FROM_ROUTER);
	return to_named(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
