//! What happens to every packet that may pass: TTL, MTU, and the header of the next link.

use std::num::NonZeroU16;

use encap::Family;
use encap::ecn;
use encap::ethernet::{self, EtherType};
use encap::offload::{Gso, GsoKind, Offload};
use encap::tcp;

use crate::adjacency::{Adjacency, ETHERNET};
use crate::drop::DropReason;
use crate::graph::{IcmpError, node};
use crate::mss;
use crate::origin::Side;
use crate::packet::Transport;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

node! {
    Forward to [Segment Fragment TunnelOutput Transmit]
    drops [NoRoute Blackhole Hairpin StaleAdjacency TtlExceeded TooBig PathTooBig NoBuffer]
    makes [IcmpError]
    ends []
}

#[inline]
pub(super) fn forward(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let Some(adjacency) = tables.adjacency(packet.adjacency) else {
        return Next::Drop(DropReason::StaleAdjacency);
    };
    let (Some(out), Some(mtu)) = (adjacency.out(), packet.mtu(adjacency)) else {
        return match adjacency {
            Adjacency::Drop(DropReason::NoRoute) => {
                Next::Reject(DropReason::NoRoute, IcmpError::NetUnreachable)
            }
            Adjacency::Drop(reason) => Next::Drop(*reason),
            Adjacency::Group(_)
            | Adjacency::Host { .. }
            | Adjacency::Neighbor { .. }
            | Adjacency::Tunnel { .. } => Next::Drop(DropReason::StaleAdjacency),
        };
    };
    if !packet.generated
        && let Some(next) = cross(adjacency, packet)
    {
        return next;
    }
    mss::clamp(tables, packet, mtu);
    let mut too_big = wire_length(packet) > usize::from(mtu);
    if too_big
        && let Side::Tunnel(_) = packet.arrival.side
        && let Some(offload) = nameless_super_packet(packet, mtu)
    {
        packet.buffer.meta.offload = offload;
        too_big = false;
    }
    let gso = packet.buffer.meta.offload.gso();
    let kept_whole = packet.headers.dont_fragment && !packet.refragment;
    if too_big && kept_whole && !packet.generated {
        let reason = match adjacency {
            Adjacency::Tunnel { by_path: true, .. } => DropReason::PathTooBig,
            Adjacency::Tunnel { .. }
            | Adjacency::Host { .. }
            | Adjacency::Neighbor { .. }
            | Adjacency::Drop(_)
            | Adjacency::Group(_) => DropReason::TooBig,
        };
        return Next::Reject(reason, IcmpError::TooBig { mtu });
    }
    if let Some(gso) = gso {
        let tunnel = matches!(adjacency, Adjacency::Tunnel { .. });
        if too_big || !(tunnel || core.takes(out, gso.kind)) {
            return Next::To(To::Segment);
        }
    }
    if too_big {
        return Next::To(To::Fragment);
    }
    packet.out = out;
    match adjacency {
        Adjacency::Neighbor { rewrite, .. } => {
            let kind = EtherType::from(packet.headers.family);
            let Some(header) = packet.prepend(ETHERNET) else {
                return Next::Drop(DropReason::NoBuffer);
            };
            header.copy_from_slice(rewrite);
            ethernet::set_kind(header, kind);
            Next::To(To::Transmit)
        }
        Adjacency::Host { .. } => Next::To(To::Transmit),
        Adjacency::Tunnel { .. } => Next::To(To::TunnelOutput),
        Adjacency::Drop(reason) => Next::Drop(*reason),
        Adjacency::Group(_) => Next::Drop(DropReason::StaleAdjacency),
    }
}

impl Packet {
    /// The size to which it is cut for a link.
    ///
    /// What the host routes on keeps the size its sender gave the fragments, as in Linux: the MTUs of
    /// further links are known to the sender alone.
    pub(super) fn mtu(&self, adjacency: &Adjacency) -> Option<u16> {
        let mtu = adjacency.mtu(self.headers.family)?;
        match adjacency {
            Adjacency::Host { local: false, .. } if self.refragment => {
                Some(mtu.min(self.largest_fragment))
            }
            Adjacency::Host { .. }
            | Adjacency::Neighbor { .. }
            | Adjacency::Tunnel { .. }
            | Adjacency::Drop(_)
            | Adjacency::Group(_) => Some(mtu),
        }
    }
}

/// From one link to another: no hairpins, and one hop less to live.
///
/// Host and node are one router: what goes to or comes from the host's stack loses no hop here,
/// because the kernel takes one where it forwards and none where the packet is its own.
fn cross(adjacency: &Adjacency, packet: &mut Packet) -> Option<Next> {
    let (from_host, from_tunnel) = match packet.arrival.side {
        Side::Host => (true, false),
        Side::Tunnel(_) => (false, true),
        Side::Workload => (false, false),
    };
    let to_host = matches!(adjacency, Adjacency::Host { .. });
    let to_tunnel = matches!(adjacency, Adjacency::Tunnel { .. });
    if (from_host && to_host) || (from_tunnel && to_tunnel) {
        return Some(Next::Drop(DropReason::Hairpin));
    }
    if from_host || to_host {
        return None;
    }
    match ecn::decrement_ttl(packet.buffer.bytes_mut()) {
        Some(_) => None,
        None => Some(Next::Reject(
            DropReason::TtlExceeded,
            IcmpError::TimeExceeded,
        )),
    }
}

/// A kernel peer on this machine sends TCP super-packets through a tunnel whole, with an open
/// checksum and no word of their segment size; any size that fits the next link will do.
#[cold]
fn nameless_super_packet(packet: &Packet, mtu: u16) -> Option<Offload> {
    let Offload::Partial(partial) = packet.buffer.meta.offload else {
        return None;
    };
    let Transport::Tcp { flags } = packet.headers.transport else {
        return None;
    };
    let header_len = packet.headers.payload_at;
    let size = usize::from(mtu).checked_sub(header_len)?;
    let gso = Gso {
        kind: match packet.headers.family {
            Family::V4 => GsoKind::Tcp4,
            Family::V6 => GsoKind::Tcp6,
        },
        ecn: flags & tcp::CWR != 0,
        header_len: header_len as u16,
        size: NonZeroU16::new(size as u16)?,
    };
    Some(Offload::Segmented(partial, gso))
}

/// Bytes of the largest packet this one becomes on a link without super-packets.
fn wire_length(packet: &Packet) -> usize {
    let Some(gso) = packet.buffer.meta.offload.gso() else {
        return packet.buffer.len();
    };
    packet.headers.payload_at + usize::from(gso.size.get())
}

impl Core {
    /// Whether an interface takes super-packets of a kind.
    pub(super) fn takes(&self, out: crate::id::InterfaceId, kind: GsoKind) -> bool {
        let capabilities = self.capabilities(out);
        match kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => capabilities.tso,
            GsoKind::UdpL4 => capabilities.uso,
        }
    }
}
