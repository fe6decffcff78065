//! A workload's frame: is it from the workload, for the gateway, and of a type we know?

use encap::Family;
use encap::ethernet::{self, EtherType, is_group};

use crate::adjacency::GATEWAY_MAC;
use crate::drop::DropReason;
use crate::graph::node;
use crate::tables::Tables;
use crate::worker::Packet;

node! {
    EthernetInput to [IpInput Arp]
    drops [
        EthernetTruncated EthernetUnknownType EthernetNotForUs SpoofedMac Multicast IpTruncated
        IpBadVersion OffloadMalformed InterfaceDown
    ]
    makes []
    ends []
}

#[inline]
pub(super) fn input(tables: &Tables, packet: &mut Packet) -> Next {
    let Some(header) = ethernet::Repr::parse(packet.buffer.bytes()) else {
        return Next::Drop(DropReason::EthernetTruncated);
    };
    let Some(workload) = tables.workload(packet.arrival.interface) else {
        return Next::Drop(DropReason::InterfaceDown);
    };
    if header.source != workload.mac {
        return Next::Drop(DropReason::SpoofedMac);
    }
    let group = is_group(header.destination);
    if !group && header.destination != GATEWAY_MAC {
        return Next::Drop(DropReason::EthernetNotForUs);
    }
    if !packet.strip(ethernet::HEADER_LEN) {
        return Next::Drop(DropReason::OffloadMalformed);
    }
    let announced = match header.kind {
        EtherType::Arp => return Next::To(To::Arp),
        EtherType::Ipv4 => Family::V4,
        EtherType::Ipv6 => Family::V6,
        EtherType::Other(_) => return Next::Drop(DropReason::EthernetUnknownType),
    };
    let bytes = packet.buffer.bytes();
    // Neighbor solicitations are multicast; everything else that is has no business here.
    if group && !(announced.is_v6() && super::neighbor_discovery::is_discovery(bytes)) {
        return Next::Drop(DropReason::Multicast);
    }
    match Family::of_packet(bytes) {
        Some(family) if family == announced => Next::To(To::IpInput),
        None if bytes.is_empty() => Next::Drop(DropReason::IpTruncated),
        Some(_) | None => Next::Drop(DropReason::IpBadVersion),
    }
}
