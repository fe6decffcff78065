//! Decapsulation: checks of source and header, then every inner packet on its own way.

use encap::Family;
use encap::Tunnel;
use encap::coalesce::{InPlace, Rules, Span};
use encap::ecn;
use encap::ethernet::{self, EtherType};
use encap::offload::Offload;
use encap::vxlan;

use crate::adjacency::Mac;
use crate::buffer::Meta;
use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::node;
use crate::origin::Side;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

node! {
    TunnelInput to [IpInput]
    drops [
        TunnelUnknownSource TunnelMalformed TunnelUnknownVni TunnelEcn TunnelInnerLink IpBadVersion
        InterfaceDown NoBuffer
    ]
    makes [Unbatched]
    ends [Coalesced]
}

#[inline]
pub(super) fn decapsulate(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let vtep = match packet.arrival.side {
        Side::Tunnel(Tunnel::Vxlan(Family::V4)) => Some(tables.host.vtep_v4),
        Side::Tunnel(Tunnel::Vxlan(Family::V6)) => Some(tables.host.vtep_v6),
        Side::Tunnel(Tunnel::Ipip) => None,
        Side::Workload | Side::Host => return Next::Drop(DropReason::InterfaceDown),
    };
    let meta = packet.buffer.meta;
    let interface = packet.arrival.interface;
    if !meta
        .remote
        .is_some_and(|remote| tables.nodes.contains(&remote))
    {
        return Next::Drop(DropReason::TunnelUnknownSource);
    }
    let mut inner = std::mem::take(&mut core.spans);
    inner.clear();
    let (each, offload) = if meta.segment == 0 {
        (usize::MAX, meta.offload)
    } else {
        (usize::from(meta.segment), Offload::None)
    };
    let mut refused = None;
    let mut at = 0;
    for (i, datagram) in packet.buffer.bytes_mut().chunks_mut(each).enumerate() {
        if i > 0 {
            core.counters.generated(GenerateReason::Unbatched).add(1);
        }
        let end = at + datagram.len();
        let opened = open(tables, vtep, meta.tos, datagram).and_then(|skip| {
            let offload = offload.shift(-(skip as isize));
            let offload = offload.map_err(|_| DropReason::TunnelMalformed)?;
            let range = at + skip..end;
            Ok(Span { range, offload })
        });
        match opened {
            Ok(span) => inner.push(span),
            // One refusal is held back: it may be what becomes of the packet in hand.
            Err(reason) => {
                if let Some(before) = refused.replace(reason) {
                    core.lost_unseen(Some(interface), before, 1);
                }
            }
        }
        at = end;
    }
    if inner.len() > 1 {
        let before = inner.len();
        coalesce(packet.buffer.bytes_mut(), &mut inner, core.merges);
        let merged = (before - inner.len()) as u64;
        core.counters.consumed(ConsumeReason::Coalesced).add(merged);
    }
    let next = match inner.split_first() {
        None => Next::Drop(refused.unwrap_or(DropReason::TunnelMalformed)),
        Some((first, others)) => {
            if let Some(reason) = refused {
                core.lost_unseen(Some(interface), reason, 1);
            }
            unbatch(core, packet, first, others)
        }
    };
    core.spans = inner;
    next
}

/// Checks one datagram; how many bytes stand before its inner packet.
fn open(
    tables: &Tables,
    vtep: Option<Mac>,
    tos: u8,
    datagram: &mut [u8],
) -> Result<usize, DropReason> {
    let (skip, family) = match vtep {
        // Protocol 4 carries IPv4 only (RFC 2003).
        None => (0, Family::V4),
        Some(mac) => {
            let header =
                vxlan::Packet::new_checked(&*datagram).map_err(|_| DropReason::TunnelMalformed)?;
            if header.vni() != tables.host.vni {
                return Err(DropReason::TunnelUnknownVni);
            }
            let frame =
                ethernet::Repr::parse(header.payload()).ok_or(DropReason::TunnelMalformed)?;
            let family = match frame.kind {
                EtherType::Ipv4 => Family::V4,
                EtherType::Ipv6 => Family::V6,
                EtherType::Arp | EtherType::Other(_) => return Err(DropReason::TunnelInnerLink),
            };
            if frame.destination != mac {
                return Err(DropReason::TunnelInnerLink);
            }
            (vxlan::HEADER_LEN + ethernet::HEADER_LEN, family)
        }
    };
    let inner = &mut datagram[skip..];
    if !inner.is_empty() && Family::of_packet(inner) != Some(family) {
        return Err(DropReason::IpBadVersion);
    }
    ecn::decapsulate_into(tos, inner).map_err(|_| DropReason::TunnelEcn)?;
    Ok(skip)
}

/// Merges neighbours of one flow where they lie; what is left stays in order.
fn coalesce(bytes: &mut [u8], spans: &mut Vec<Span>, rules: Rules) {
    let mut merge = InPlace::new(rules);
    let mut kept = 0;
    for i in 0..spans.len() {
        if let Some(done) = merge.push(bytes, spans[i].clone()) {
            spans[kept] = done;
            kept += 1;
        }
    }
    if let Some(done) = merge.finish(bytes) {
        spans[kept] = done;
        kept += 1;
    }
    spans.truncate(kept);
}

/// The first inner packet stays in its buffer, the others are copied out behind it.
fn unbatch(core: &mut Core, packet: &mut Packet, first: &Span, others: &[Span]) -> Next {
    for span in others {
        let Some(mut buffer) = core.pool.take() else {
            core.lost_unseen(Some(packet.arrival.interface), DropReason::NoBuffer, 1);
            continue;
        };
        let whole = buffer.set(&packet.buffer.bytes()[span.range.clone()]);
        buffer.meta.offload = span.offload;
        let other = Packet::new(buffer, packet.arrival);
        if whole {
            core.spawn(other, To::IpInput);
        } else {
            core.drop_packet(other, DropReason::TunnelMalformed);
        }
    }
    packet.buffer.meta = Meta {
        offload: first.offload,
        ..Meta::default()
    };
    if !packet.buffer.narrow(first.range.clone()) {
        return Next::Drop(DropReason::TunnelMalformed);
    }
    Next::To(To::IpInput)
}
