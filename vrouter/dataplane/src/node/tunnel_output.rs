//! Encapsulation: what leaves here is one datagram, or several of equal size in one buffer.

use encap::ecn::{self, Dscp};
use encap::ethernet;
use encap::offload::Offload;
use encap::segment::Plan;
use encap::vxlan;
use encap::{Family, Tunnel};

use crate::adjacency::{Adjacency, Encap, IPV6_MINIMUM_MTU};
use crate::buffer::Buffer;
use crate::drop::{DropReason, GenerateReason};
use crate::graph::node;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

node! {
    TunnelOutput to [Transmit]
    drops [StaleAdjacency OffloadMalformed SegmentFailed SegmentTooSmall NoBuffer]
    makes [Segment]
    ends []
}

/// VXLAN header and inner Ethernet header.
const VXLAN_PREFIX: usize = Tunnel::Vxlan(Family::V4).prefix_len();
/// Bytes of an inner super-packet that fits one outer IP packet, whatever the tunnel.
const MOST_WHOLE: usize = Tunnel::Vxlan(Family::V4).longest_inner();
/// Bytes in one buffer, within what a UDP message over IPv4 can hold (65,507).
const MOST_BYTES: usize = 65_000;

#[inline]
pub(super) fn encapsulate(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let Some(&Adjacency::Tunnel {
        out,
        encap,
        remote,
        mtu,
        ..
    }) = tables.adjacency(packet.adjacency)
    else {
        return Next::Drop(DropReason::StaleAdjacency);
    };
    packet.out = out;
    let mut prefix = [0; VXLAN_PREFIX];
    let prefix = write_prefix(&mut prefix, encap, packet.headers.family);
    let tos = ecn::encapsulate(Dscp::Fixed(0), packet.headers.tos);
    let flow_hash = packet.flow_hash() as u32;
    let offload = packet.buffer.meta.offload;
    // Left to do when the packet is handed to the device.
    let mut rest = Offload::None;
    // What the underlay has to fragment leaves one by one: no offload cuts outer packets.
    let fits = packet.headers.family == Family::V4 || mtu >= IPV6_MINIMUM_MTU;
    match offload {
        // The device cuts it and writes the outer header of each segment.
        Offload::Segmented(_, gso)
            if fits && core.takes(out, gso.kind) && packet.buffer.len() <= MOST_WHOLE =>
        {
            let Some(room) = packet.prepend(prefix.len()) else {
                return Next::Drop(DropReason::NoBuffer);
            };
            room.copy_from_slice(prefix);
            rest = packet.buffer.meta.offload;
        }
        Offload::None | Offload::Verified | Offload::Partial(_) => {
            if encap::checksum::complete(packet.buffer.bytes_mut(), offload).is_err() {
                return Next::Drop(DropReason::OffloadMalformed);
            }
            let Some(room) = packet.buffer.prepend(prefix.len()) else {
                return Next::Drop(DropReason::NoBuffer);
            };
            room.copy_from_slice(prefix);
            packet.buffer.meta.segment = 0;
        }
        Offload::Segmented(..) => {
            let most = if fits { Tunnel::MAX_SEGMENTS } else { 1 };
            if let Err(reason) = segment(core, packet, prefix, most, (remote, tos, flow_hash)) {
                return Next::Drop(reason);
            }
        }
    }
    let meta = &mut packet.buffer.meta;
    meta.offload = rest;
    meta.remote = Some(remote);
    meta.tos = tos;
    meta.flow_hash = flow_hash;
    Next::To(To::Transmit)
}

fn write_prefix(bytes: &mut [u8; VXLAN_PREFIX], encap: Encap, family: Family) -> &[u8] {
    match encap {
        Encap::Ipip => &[],
        Encap::Vxlan {
            vni,
            source,
            destination,
        } => {
            let (header, frame) = bytes.split_at_mut(vxlan::HEADER_LEN);
            if let Some(header) = header.first_chunk_mut() {
                vxlan::Repr { vni }.emit(header);
            }
            if let Some(frame) = frame.first_chunk_mut() {
                let kind = family.into();
                let inner = ethernet::Repr {
                    destination,
                    source,
                    kind,
                };
                inner.emit(frame);
            }
            bytes
        }
    }
}

/// Cuts a super-packet into datagrams, up to `most` in a buffer: the first buffer takes the packet's
/// place, further ones follow it.
fn segment(
    core: &mut Core,
    packet: &mut Packet,
    prefix: &[u8],
    most: usize,
    (remote, tos, flow_hash): (std::net::IpAddr, u8, u32),
) -> Result<(), DropReason> {
    let plan = Plan::new(packet.buffer.bytes(), 0, packet.buffer.meta.offload)
        .map_err(|_| DropReason::SegmentFailed)?;
    if plan.count() > super::segment::MOST_SEGMENTS {
        return Err(DropReason::SegmentTooSmall);
    }
    let mut first = 0;
    let mut replacement: Option<Buffer> = None;
    while first < plan.count() {
        let batch = plan.batch(first, prefix.len(), most, MOST_BYTES);
        first = batch.end;
        let several = batch.len() > 1;
        let taken = core.pool.take().ok_or(DropReason::NoBuffer);
        let filled = taken.and_then(|mut buffer| {
            match plan.write_all(batch, packet.buffer.bytes(), prefix, buffer.blank()) {
                Ok(written) => Ok((buffer, written)),
                Err(_) => {
                    core.pool.give(buffer);
                    Err(DropReason::SegmentFailed)
                }
            }
        });
        let (mut buffer, written) = match filled {
            Ok(filled) => filled,
            Err(reason) => {
                if let Some(buffer) = replacement {
                    core.pool.give(buffer);
                }
                return Err(reason);
            }
        };
        buffer.received(written.bytes);
        buffer.meta.segment = if several {
            written.segment_size as u16
        } else {
            0
        };
        if replacement.is_none() {
            replacement = Some(buffer);
            continue;
        }
        buffer.meta.remote = Some(remote);
        buffer.meta.tos = tos;
        buffer.meta.flow_hash = flow_hash;
        core.counters.generated(GenerateReason::Segment).add(1);
        let mut more = Packet::new(buffer, packet.arrival);
        more.out = packet.out;
        core.spawn(more, To::Transmit);
    }
    if let Some(buffer) = replacement {
        let old = std::mem::replace(&mut packet.buffer, buffer);
        core.pool.give(old);
    }
    Ok(())
}
