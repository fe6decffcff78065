//! Where a vector meets. What one device brought of one TCP stream or UDP flow becomes a
//! super-packet: one look-up, one rewrite and one frame for many packets, be they of a tunnel
//! (where a train of one buffer was merged where it lay), or a pod's datagrams, which a sender
//! hands over one by one.

use std::cell::Cell;

use encap::coalesce::{self, Fate};

use crate::drop::ConsumeReason;
use crate::graph::{NodeId, node};
use crate::origin::Side;
use crate::worker::{Core, Packet};

node! {
    Merge to [Flow]
    drops [IpTruncated IpBadVersion IpBadHeader IpBadChecksum IpSourceRoute TransportTruncated]
    makes []
    ends [Coalesced]
}

/// Merges the packets that wait from `first` on, which came in by `side`.
pub(crate) fn merge(core: &mut Core, first: usize, side: Side) {
    let came = &mut core.join.waiting_mut()[first..];
    core.counters.node(NodeId::Merge).add(came.len() as u64);
    let wanted = match side {
        // What came out of a tunnel is summed even if alone: its checksum may never have been
        // filled in, which a UDP socket does not tell.
        Side::Tunnel(_) => true,
        Side::Workload | Side::Host => find_company(came),
    };
    if !wanted || came.len() < 2 {
        return;
    }
    core.fates.clear();
    core.fates.resize(came.len(), Fate::Absorbed);
    coalesce::vector(came, core.merges, &mut core.fates);
    if !core.fates.contains(&Fate::Absorbed) {
        for (packet, fate) in came.iter_mut().zip(&core.fates) {
            if let Fate::Kept(offload) = fate {
                packet.buffer.meta.offload = *offload;
            }
        }
        return;
    }
    let (mut fates, failed) = (core.fates.iter(), Cell::new(None));
    let leaves = |packet: &mut Packet| {
        let Some(Fate::Kept(offload)) = fates.next() else {
            return true;
        };
        packet.buffer.meta.offload = *offload;
        failed.set(packet.parse_again().err());
        failed.get().is_some()
    };
    for packet in core.join.waiting_mut().extract_if(first.., leaves) {
        match failed.take() {
            None => core.counters.consumed(ConsumeReason::Coalesced).add(1),
            Some(reason) => core.counters.lost(packet.arrival.interface, reason),
        }
        core.pool.give(packet.buffer);
    }
}

/// Marks the packets that are alone of their flow in this part of a vector. Whether others are left.
fn find_company(packets: &mut [Packet]) -> bool {
    const SLOTS: usize = 128;
    let mut latest = [usize::MAX; SLOTS];
    let mut any = false;
    for at in 0..packets.len() {
        let (before, rest) = packets.split_at_mut(at);
        let packet = &mut rest[0];
        packet.alone = true;
        // What came in fragments may have to go in fragments, each datagram by itself.
        let Some(key) = packet.key.as_ref().filter(|_| !packet.refragment) else {
            continue;
        };
        // The last of another flow that has the same slot is forgotten; merging is no duty.
        let slot = &mut latest[key.hash(0) as usize % SLOTS];
        if let Some(other) = before.get_mut(*slot)
            && other.key == packet.key
        {
            other.alone = false;
            packet.alone = false;
            any = true;
        }
        *slot = at;
    }
    any
}
