//! Header checks that hold for every packet, whatever its flow: martians, anti-spoofing, and
//! the few destinations the router answers for itself.

use std::net::IpAddr;

use crate::drop::DropReason;
use crate::graph::{Next, NodeId};
use crate::packet::{Headers, Transport, protocol};
use crate::tables::{GATEWAY_V4, GATEWAY_V6, InterfaceKind, Tables, Workload};
use crate::worker::Packet;

pub(super) fn input(tables: &Tables, packet: &mut Packet) -> Next {
    let headers = match Headers::parse(packet.buffer.bytes()) {
        Ok(headers) => headers,
        Err(reason) => return Next::Drop(reason),
    };
    packet.buffer.truncate(headers.length);
    if packet
        .buffer
        .meta
        .offload
        .partial()
        .is_some_and(|partial| partial.end() > headers.length)
    {
        return Next::Drop(DropReason::OffloadMalformed);
    }
    packet.headers = headers;
    let workload = match tables.interface(packet.rx).map(|interface| &interface.kind) {
        Some(InterfaceKind::Workload(workload)) => Some(workload),
        Some(InterfaceKind::Host | InterfaceKind::Vxlan(_) | InterfaceKind::Ipip) => None,
        None => return Next::Drop(DropReason::InterfaceDown),
    };
    if let Some(workload) = workload
        && let Some(next) = from_workload(tables, workload, &headers)
    {
        return next;
    }
    if headers.to_group() {
        return Next::Drop(DropReason::Multicast);
    }
    if is_martian(headers.source) || is_martian(headers.destination) {
        return Next::Drop(DropReason::Martian);
    }
    if headers.fragment {
        Next::To(NodeId::Reassemble)
    } else {
        Next::To(NodeId::Flow)
    }
}

/// Checks of a workload's packet; `None` when it goes on as any other.
fn from_workload(tables: &Tables, workload: &Workload, headers: &Headers) -> Option<Next> {
    if let Some((133..=137, _)) = headers.icmp()
        && headers.protocol == protocol::ICMPV6
    {
        return Some(Next::To(NodeId::NeighborDiscovery));
    }
    let to_gateway = headers.destination == IpAddr::V4(GATEWAY_V4)
        || headers.destination == IpAddr::V6(GATEWAY_V6);
    let link_local_source =
        matches!(headers.source, IpAddr::V6(source) if source.is_unicast_link_local());
    if !(workload.owns(headers.source) || (to_gateway && link_local_source)) {
        // A pod's own multicast chatter (MLD, mDNS) comes from its link-local address.
        let reason = if link_local_source && headers.to_group() {
            DropReason::Multicast
        } else {
            DropReason::SpoofedSource
        };
        return Some(Next::Drop(reason));
    }
    if to_gateway {
        return Some(match headers.transport {
            Transport::IcmpQuery { kind: 8 | 128, .. } if !headers.fragment => {
                Next::To(NodeId::Echo)
            }
            Transport::IcmpQuery { .. }
            | Transport::IcmpError { .. }
            | Transport::IcmpOther { .. }
            | Transport::Tcp { .. }
            | Transport::Ports => Next::Drop(DropReason::Martian),
        });
    }
    let vxlan = headers.protocol == protocol::UDP
        && headers.destination_port == tables.host.vxlan_port
        && !tables.host.workload_vxlan;
    let ipip = headers.protocol == protocol::IPIP && !tables.host.workload_ipip;
    (vxlan || ipip).then_some(Next::Drop(DropReason::TunnelFromWorkload))
}

/// Addresses that are never forwarded: unspecified, loopback, link-local, groups, class E.
fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => {
            let first = a.octets()[0];
            first == 0 || first == 127 || first >= 224 || a.is_link_local()
        }
        IpAddr::V6(a) => {
            a.is_unspecified()
                || a.is_loopback()
                || a.is_multicast()
                || a.is_unicast_link_local()
                || a.to_ipv4_mapped().is_some()
        }
    }
}
