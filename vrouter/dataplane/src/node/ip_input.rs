//! Header checks that hold for every packet, whatever its flow: martians, anti-spoofing, and
//! the few destinations the router answers for itself.

use std::net::IpAddr;

use encap::Family;
use encap::offload::{GsoKind, Offload, Partial};
use encap::{checksum, icmp};

use crate::drop::DropReason;
use crate::graph::node;
use crate::id::InterfaceId;
use crate::origin::Side;
use crate::packet::{Headers, Transport};
use crate::tables::{Tables, Workload, is_gateway};
use crate::worker::Packet;
use encap::protocol;

/// The port of DNS (RFC 1035).
const DNS: u16 = 53;

node! {
    IpInput to [Merge Reassemble Echo NeighborDiscovery]
    drops [
        IpTruncated IpBadVersion IpBadHeader IpBadChecksum IpSourceRoute TransportTruncated
        OffloadMalformed Multicast Martian SpoofedSource TunnelFromWorkload InterfaceDown
    ]
    makes []
    ends []
}

#[inline]
pub(super) fn input(tables: &Tables, packet: &mut Packet) -> Next {
    if let Err(reason) = parse(packet) {
        return Next::Drop(reason);
    }
    match packet.arrival.side {
        Side::Workload => {
            let Some(workload) = tables.workload(packet.arrival.interface) else {
                return Next::Drop(DropReason::InterfaceDown);
            };
            if let Some(next) = from_workload(tables, workload, &packet.headers) {
                return next;
            }
        }
        Side::Host => {}
        Side::Tunnel(_) => {
            if packet.buffer.meta.offload == Offload::None {
                assess(packet);
            }
        }
    }
    let headers = &packet.headers;
    if headers.is_to_group() {
        return Next::Drop(DropReason::Multicast);
    }
    let is_answer = packet.arrival.interface == InterfaceId::RESOLVER && is_gateway(headers.source);
    if (is_martian(headers.source) && !is_answer) || is_martian(headers.destination) {
        return Next::Drop(DropReason::Martian);
    }
    if headers.is_fragment() {
        Next::To(To::Reassemble)
    } else {
        Next::To(To::Merge)
    }
}

/// Reads the headers and makes the offload word agree with them.
fn parse(packet: &mut Packet) -> Result<(), DropReason> {
    packet.headers = Headers::parse(packet.buffer.bytes())?;
    let headers = &packet.headers;
    packet.buffer.truncate(headers.length);
    match packet.buffer.meta.offload {
        Offload::None | Offload::Verified => Ok(()),
        Offload::Partial(partial) if is_at_transport(partial, headers) => Ok(()),
        Offload::Partial(_) => complete_first(packet),
        Offload::Segmented(partial, gso) => {
            let kind = match (headers.protocol, headers.family) {
                (protocol::TCP, Family::V4) => gso.kind == GsoKind::Tcp4,
                (protocol::TCP, Family::V6) => gso.kind == GsoKind::Tcp6,
                (_, Family::V4 | Family::V6) => gso.kind == GsoKind::UdpL4,
            };
            if kind && is_at_transport(partial, headers) {
                Ok(())
            } else {
                Err(DropReason::OffloadMalformed)
            }
        }
    }
}

/// Whether a checksum stands where the packet's transport has it.
fn is_at_transport(partial: Partial, headers: &Headers) -> bool {
    !headers.is_fragment()
        && usize::from(partial.start) == headers.transport_at
        && protocol::checksum_offset(headers.protocol) == Some(partial.offset)
}

/// A checksum anywhere else is a tunnel's inside a workload, or meant to change the headers after
/// they were judged: filled in before anything is read of the packet.
#[cold]
fn complete_first(packet: &mut Packet) -> Result<(), DropReason> {
    let offload = packet.buffer.meta.offload;
    checksum::complete(packet.buffer.bytes_mut(), offload)
        .map_err(|_| DropReason::OffloadMalformed)?;
    packet.buffer.meta.offload = Offload::None;
    packet.headers = Headers::parse(packet.buffer.bytes())?;
    packet.buffer.truncate(packet.headers.length);
    Ok(())
}

/// Kernel peers leave checksums open between virtual devices of one machine, and a tunnel's
/// socket does not say so. The sum over the addresses tells nearly all other packets apart; only
/// a match is worth summing the packet.
fn assess(packet: &mut Packet) {
    let headers = &packet.headers;
    let bytes = packet.buffer.bytes();
    if !headers.is_fragment() && checksum::may_be_open(bytes, headers) {
        packet.buffer.meta.offload = checksum::assess(bytes, &headers.layers());
    }
}

/// Checks of a workload's packet; `None` when it goes on as any other.
fn from_workload(tables: &Tables, workload: &Workload, headers: &Headers) -> Option<Next> {
    if let Some((kind, _)) = headers.icmp()
        && icmp::is_discovery(kind)
        && headers.protocol == protocol::ICMPV6
    {
        return Some(Next::To(To::NeighborDiscovery));
    }
    let to_gateway = is_gateway(headers.destination);
    let link_local_source =
        matches!(headers.source, IpAddr::V6(source) if source.is_unicast_link_local());
    if !(workload.owns(headers.source) || (to_gateway && link_local_source)) {
        // A pod's own multicast chatter (MLD, mDNS) comes from its link-local address.
        let reason = if link_local_source && headers.is_to_group() {
            DropReason::Multicast
        } else {
            DropReason::SpoofedSource
        };
        return Some(Next::Drop(reason));
    }
    if to_gateway && headers.is_fragment() {
        return Some(Next::To(To::Reassemble));
    }
    if to_gateway {
        return Some(match headers.transport {
            Transport::IcmpQuery { kind, .. } if icmp::is_echo_request(kind) => Next::To(To::Echo),
            // A name is asked for; the answer goes to an address that routes lead to.
            Transport::Tcp { .. } | Transport::Ports
                if headers.destination_port == DNS
                    && matches!(headers.protocol, protocol::TCP | protocol::UDP)
                    && workload.owns(headers.source)
                    && tables.interface(InterfaceId::RESOLVER).is_some() =>
            {
                Next::To(To::Merge)
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
