//! What happens to every packet that may pass: TTL, MTU, and the header of the next link.

use std::num::NonZeroU16;

use encap::Family;
use encap::ecn;
use encap::ethernet::{self, EtherType};
use encap::offload::{Gso, GsoKind, Offload};
use encap::segment::Plan;
use encap::tcp;

use crate::adjacency::{Adjacency, ETHERNET};
use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::{IcmpError, Next, NodeId};
use crate::packet::Transport;
use crate::tables::{InterfaceKind, Tables};
use crate::worker::{Core, Packet};

/// Most packets one super-packet is cut into: half of the buffers a worker has by default. Segments
/// of 128 bytes are the smallest that a full one may ask for.
pub(super) const MOST_SEGMENTS: usize = 512;

pub(super) fn forward(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let Some(adjacency) = tables.adjacency(packet.adjacency) else {
        return Next::Drop(DropReason::StaleAdjacency);
    };
    let (out, mtu) = match adjacency {
        Adjacency::Drop(DropReason::NoRoute) => {
            return Next::Reject(DropReason::NoRoute, IcmpError::NetUnreachable);
        }
        Adjacency::Drop(reason) => return Next::Drop(*reason),
        Adjacency::Group(_) => return Next::Drop(DropReason::StaleAdjacency),
        Adjacency::Host { out, mtu, .. }
        | Adjacency::Neighbor { out, mtu, .. }
        | Adjacency::Tunnel { out, mtu, .. } => (*out, *mtu),
    };
    let arrival = tables.interface(packet.rx).map(|interface| &interface.kind);
    if !packet.generated
        && let Some(next) = cross(arrival, adjacency, packet)
    {
        return next;
    }
    super::mss::clamp(tables, packet, mtu);
    let mut too_big = wire_length(packet) > usize::from(mtu);
    if too_big
        && let Some(InterfaceKind::Tunnel(_)) = arrival
        && let Some(offload) = nameless_super_packet(packet, mtu)
    {
        packet.buffer.meta.offload = offload;
        too_big = false;
    }
    let gso = packet.buffer.meta.offload.gso();
    let kept_whole = packet.headers.dont_fragment && !packet.refragment;
    if too_big && kept_whole && !packet.generated {
        return Next::Reject(DropReason::TooBig, IcmpError::TooBig { mtu });
    }
    if let Some(gso) = gso {
        let tunnel = matches!(adjacency, Adjacency::Tunnel { .. });
        if too_big || !(tunnel || core.takes(out, gso.kind)) {
            return Next::To(NodeId::Segment);
        }
    }
    if too_big {
        return Next::To(NodeId::Fragment);
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
            Next::To(NodeId::Transmit)
        }
        Adjacency::Host { .. } => Next::To(NodeId::Transmit),
        Adjacency::Tunnel { .. } => Next::To(NodeId::TunnelOutput),
        Adjacency::Drop(reason) => Next::Drop(*reason),
        Adjacency::Group(_) => Next::Drop(DropReason::StaleAdjacency),
    }
}

/// From one link to another: no hairpins, and one hop less to live.
///
/// Host and node are one router: what goes to or comes from the host's stack loses no hop here,
/// because the kernel takes one where it forwards and none where the packet is its own.
fn cross(
    arrival: Option<&InterfaceKind>,
    adjacency: &Adjacency,
    packet: &mut Packet,
) -> Option<Next> {
    let (from_host, from_tunnel) = match arrival {
        Some(InterfaceKind::Host) => (true, false),
        Some(InterfaceKind::Tunnel(_)) => (false, true),
        Some(InterfaceKind::Workload(_)) => (false, false),
        None => return Some(Next::Drop(DropReason::InterfaceDown)),
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

/// Cuts a super-packet; the segments take the way on from here.
pub(super) fn segment(core: &mut Core, _tables: &Tables, packet: &mut Packet) -> Next {
    let Ok(plan) = Plan::new(packet.buffer.bytes(), 0, packet.buffer.meta.offload) else {
        return Next::Drop(DropReason::SegmentFailed);
    };
    if plan.count() > MOST_SEGMENTS {
        return Next::Drop(DropReason::SegmentTooSmall);
    }
    for i in 0..plan.count() {
        let mut failed = false;
        let made = core.generate(packet.rx, GenerateReason::Segment, |bytes| {
            plan.write(i, packet.buffer.bytes(), bytes)
                .unwrap_or_else(|_| {
                    failed = true;
                    0
                })
        });
        let Some(mut made) = made else { continue };
        if failed {
            core.drop_packet(made, DropReason::SegmentFailed);
            continue;
        }
        made.inherit(packet);
        core.spawn(made, NodeId::Forward);
    }
    Next::Consume(ConsumeReason::Segmented)
}

/// Last node: what the device does not take as it is, is done here.
pub(super) fn adapt(core: &mut Core, _tables: &Tables, packet: &mut Packet) -> Next {
    let offload = packet.buffer.meta.offload;
    match offload {
        Offload::None | Offload::Segmented(..) => {}
        Offload::Verified => {
            if !core.capabilities(packet.out).checksum {
                packet.buffer.meta.offload = Offload::None;
            }
        }
        Offload::Partial(_) => {
            if !core.capabilities(packet.out).checksum {
                match encap::checksum::complete(packet.buffer.bytes_mut(), offload) {
                    Ok(done) => packet.buffer.meta.offload = done,
                    Err(_) => return Next::Drop(DropReason::OffloadMalformed),
                }
            }
        }
    }
    Next::Tx(packet.out)
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
