//! ICMP errors about packets that are not forwarded (RFC 792, RFC 1812 section 4.3, RFC 4443).

use std::net::IpAddr;

use encap::checksum;
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header};

use super::classify::may_be_told;
use crate::drop::GenerateReason;
use crate::graph::{IcmpError, NodeId};
use crate::packet::{Headers, Transport};
use crate::tables::Tables;
use crate::worker::{Core, Packet};
use encap::protocol;

/// An IPv4 error is at most this long (RFC 1812 section 4.3.2.3).
const LONGEST_V4: usize = 576;
/// An IPv6 error is at most the minimum MTU (RFC 4443 section 2.4).
const LONGEST_V6: usize = 1280;
/// Internetwork control precedence, as Linux marks its errors.
const DSCP: u8 = 0xc0;

pub(super) fn send(core: &mut Core, tables: &Tables, packet: &Packet, error: IcmpError) {
    let headers = &packet.headers;
    if matches!(headers.transport, Transport::IcmpError { .. })
        || !may_be_told(headers.source)
        || headers.to_group()
        || !core.limiter.admit(core.now)
    {
        return;
    }
    // An error goes where a reply would go; what has no way back is not told.
    let Some(adjacency) = tables.route(headers.source, packet.flow_hash()) else {
        return;
    };
    let offending = packet.buffer.bytes();
    let built = match (headers.source, headers.destination) {
        (IpAddr::V4(to), IpAddr::V4(_)) => {
            let quote = &offending[..offending.len().min(LONGEST_V4 - 28)];
            core.generate(packet.rx, GenerateReason::IcmpError, |bytes| {
                let (kind, code, word) = match error {
                    IcmpError::TimeExceeded => (11, 0, 0),
                    IcmpError::NetUnreachable => (3, 0, 0),
                    IcmpError::TooBig { mtu } => (3, 4, u32::from(mtu)),
                };
                let header = Ipv4Header {
                    dscp: etherparse::IpDscp::try_new(DSCP >> 2).unwrap_or_default(),
                    total_len: (28 + quote.len()) as u16,
                    fragment_offset: IpFragOffset::default(),
                    time_to_live: 64,
                    protocol: IpNumber::ICMP,
                    source: tables.host.router_v4.octets(),
                    destination: to.octets(),
                    ..Ipv4Header::default()
                };
                let mut header = header;
                header.header_checksum = header.calc_header_checksum();
                bytes[..20].copy_from_slice(&header.to_bytes());
                message(&mut bytes[20..], kind, code, word, quote);
                let sum = checksum::sum(&bytes[20..28 + quote.len()]).checksum();
                bytes[22..24].copy_from_slice(&sum.to_be_bytes());
                28 + quote.len()
            })
        }
        (IpAddr::V6(to), IpAddr::V6(_)) => {
            let quote = &offending[..offending.len().min(LONGEST_V6 - 48)];
            core.generate(packet.rx, GenerateReason::IcmpError, |bytes| {
                let (kind, code, word) = match error {
                    IcmpError::TimeExceeded => (3, 0, 0),
                    IcmpError::NetUnreachable => (1, 0, 0),
                    IcmpError::TooBig { mtu } => (2, 0, u32::from(mtu)),
                };
                let length = 8 + quote.len();
                let source = tables.host.router_v6;
                let header = Ipv6Header {
                    traffic_class: DSCP,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: length as u16,
                    next_header: IpNumber::IPV6_ICMP,
                    hop_limit: 64,
                    source: source.octets(),
                    destination: to.octets(),
                };
                bytes[..40].copy_from_slice(&header.to_bytes());
                message(&mut bytes[40..], kind, code, word, quote);
                let pseudo = checksum::pseudo_v6(source, to, protocol::ICMPV6, length as u32);
                let sum = (pseudo + checksum::sum(&bytes[40..40 + length])).checksum();
                bytes[42..44].copy_from_slice(&sum.to_be_bytes());
                40 + length
            })
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return,
    };
    if let Some(mut error) = built {
        // The rewrite depends on the version; and no error may follow an error.
        match Headers::parse(error.buffer.bytes()) {
            Ok(parsed) => error.headers = parsed,
            Err(reason) => return core.drop_packet(error, reason),
        }
        error.adjacency = adjacency;
        core.spawn(error, NodeId::Forward);
    }
}

/// Writes an ICMP header with a zero checksum, and the quoted packet.
fn message(bytes: &mut [u8], kind: u8, code: u8, word: u32, quote: &[u8]) {
    bytes[..4].copy_from_slice(&[kind, code, 0, 0]);
    bytes[4..8].copy_from_slice(&word.to_be_bytes());
    bytes[8..8 + quote.len()].copy_from_slice(quote);
}
