//! A workload's frame: is it from the workload, for the gateway, and of a type we know?

use crate::adjacency::{ETHERNET, GATEWAY_MAC};
use crate::drop::DropReason;
use crate::graph::{Next, NodeId};
use crate::tables::Tables;
use crate::worker::Packet;

/// EtherTypes (IEEE 802 numbers).
pub(super) mod ethertype {
    pub(crate) const IPV4: u16 = 0x0800;
    pub(crate) const ARP: u16 = 0x0806;
    pub(crate) const IPV6: u16 = 0x86dd;
}

pub(super) fn input(tables: &Tables, packet: &mut Packet) -> Next {
    let Some(header) = packet.buffer.bytes().first_chunk::<ETHERNET>() else {
        return Next::Drop(DropReason::EthernetTruncated);
    };
    let Some(workload) = tables.workload(packet.rx) else {
        return Next::Drop(DropReason::InterfaceDown);
    };
    if header[6..12] != workload.mac {
        return Next::Drop(DropReason::SpoofedMac);
    }
    let group = header[0] & 1 == 1;
    if !group && header[..6] != GATEWAY_MAC {
        return Next::Drop(DropReason::EthernetNotForUs);
    }
    let kind = u16::from_be_bytes([header[12], header[13]]);
    if !packet.strip(ETHERNET) {
        return Next::Drop(DropReason::OffloadMalformed);
    }
    match kind {
        ethertype::ARP => Next::To(NodeId::Arp),
        // Neighbor solicitations are multicast; everything else that is has no business here.
        ethertype::IPV6 if group && !super::nd::is_discovery(packet.buffer.bytes()) => {
            Next::Drop(DropReason::Multicast)
        }
        ethertype::IPV4 if group => Next::Drop(DropReason::Multicast),
        ethertype::IPV4 | ethertype::IPV6 => {
            let version = packet.buffer.bytes().first().map(|byte| byte >> 4);
            let expected = if kind == ethertype::IPV4 { 4 } else { 6 };
            match version {
                Some(v) if v == expected => Next::To(NodeId::IpInput),
                Some(_) => Next::Drop(DropReason::IpBadVersion),
                None => Next::Drop(DropReason::IpTruncated),
            }
        }
        _ => Next::Drop(DropReason::EthernetUnknownType),
    }
}
