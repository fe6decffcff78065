//! What policy is asked of a packet, and of a session's first packet.

use encap::{icmp, protocol};
use policy::flow::Flow;
use policy::model::PacketTuple;

use crate::packet::{Headers, Transport};

/// What policy is asked of a packet.
pub(crate) fn tuple(headers: &Headers) -> PacketTuple {
    let (icmp_type, icmp_code) = headers.icmp().unwrap_or_default();
    PacketTuple {
        source: headers.source,
        destination: headers.destination,
        protocol: headers.protocol,
        source_port: ports_of(headers, headers.source_port),
        destination_port: ports_of(headers, headers.destination_port),
        icmp_type,
        icmp_code,
    }
}

/// What policy sees of a port field: nothing where it is an ICMP identifier.
fn ports_of(headers: &Headers, field: u16) -> u16 {
    match headers.transport {
        Transport::Tcp { .. } | Transport::Ports => field,
        Transport::IcmpQuery { .. } | Transport::IcmpError { .. } | Transport::IcmpOther { .. } => {
            0
        }
    }
}

/// The tuple of a session's first packet.
pub(crate) fn first_tuple(flow: &Flow, icmp: Option<(u8, u8)>) -> PacketTuple {
    let key = &flow.key;
    let tuple = PacketTuple::new(key.src(), key.dst(), key.protocol());
    match key.protocol() {
        // Their keys carry an identifier, which is no port to policy.
        protocol::ICMP | protocol::ICMPV6 => {
            let (kind, code) = icmp.unwrap_or_default();
            tuple.with_icmp(kind, code)
        }
        _ => tuple.with_ports(key.src_port(), key.dst_port()),
    }
}

/// Type and code of the message that started the flow a packet belongs to.
pub(crate) fn first_icmp(headers: &Headers) -> Option<(u8, u8)> {
    match headers.transport {
        Transport::IcmpQuery { kind, code } => Some(icmp::query(headers.protocol, kind, code)),
        Transport::IcmpError { .. }
        | Transport::IcmpOther { .. }
        | Transport::Tcp { .. }
        | Transport::Ports => None,
    }
}
