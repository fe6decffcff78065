/* SPDX-License-Identifier: GPL-2.0 OR MIT
 * The programs. They look up, count and send; what is not known goes to user space. */
#include "router.h"

/* Ingress of a workload's host end. */
SEC("classifier")
int from_workload(struct __sk_buff *skb)
{
	struct ethhdr *frame = (void *)(long)skb->data;

	count(FROM_WORKLOAD);
	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return drop(DROP_TRUNCATED);
	if (!is_for_gateway(frame))
		return drop(DROP_NOT_OURS);
	return to_router(skb);
}

/* Ingress of vrouter0: what user space wrote. */
SEC("classifier")
int from_router(struct __sk_buff *skb)
{
	count(FROM_ROUTER);
	return to_named(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
