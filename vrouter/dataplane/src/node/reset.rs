//! TCP resets to both ends of a connection that policy cut (RFC 9293 section 3.5.2).
//!
//! Their numbers come from the packet that met the cut. Its acknowledgment is what its sender
//! expects next, and its own first byte, which is not delivered any more, is what the receiver
//! does; so both resets are exact, as RFC 5961 section 3.2 wants them. Where the packet was a
//! retransmission the receiver answers with a challenge, and the sender's stack, which has no such
//! connection any more, resets it.

use std::net::IpAddr;

use encap::checksum;
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader};
use policy::flow::flags;

use crate::drop::GenerateReason;
use crate::graph::NodeId;
use crate::packet::{Headers, Transport};
use crate::tables::Tables;
use crate::worker::{Core, Packet};
use encap::protocol;

/// What a reset says.
struct Reset {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    sequence: u32,
    acknowledgment: Option<u32>,
}

/// Sends both, as far as there are routes.
pub(super) fn send(core: &mut Core, tables: &Tables, packet: &Packet) {
    let headers = &packet.headers;
    let Transport::Tcp { flags: seen } = headers.transport else {
        return;
    };
    let bytes = packet.buffer.bytes();
    let Some(tcp) = bytes
        .get(headers.transport_at..)
        .and_then(|b| b.first_chunk::<20>())
    else {
        return;
    };
    let word = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let sequence = word(4);
    let acknowledged = (seen & flags::ACK != 0).then(|| word(8));
    let source = (headers.source, headers.source_port);
    let destination = (headers.destination, headers.destination_port);
    if seen & flags::RST == 0 {
        let header = headers.transport_at + usize::from(tcp[12] >> 4) * 4;
        let payload = bytes.len().saturating_sub(header) as u32;
        let controls = u32::from(seen & flags::SYN != 0) + u32::from(seen & flags::FIN != 0);
        let back = Reset {
            from: destination,
            to: source,
            sequence: acknowledged.unwrap_or(0),
            acknowledgment: Some(sequence.wrapping_add(payload).wrapping_add(controls)),
        };
        one(core, tables, packet, &back);
    }
    let on = Reset {
        from: source,
        to: destination,
        sequence,
        acknowledgment: acknowledged,
    };
    one(core, tables, packet, &on);
}

fn one(core: &mut Core, tables: &Tables, packet: &Packet, reset: &Reset) {
    let Some(adjacency) = tables.route(reset.to.0, packet.flow_hash()) else {
        return;
    };
    let mut tcp = TcpHeader::new(reset.from.1, reset.to.1, reset.sequence, 0);
    tcp.rst = true;
    if let Some(acknowledgment) = reset.acknowledgment {
        tcp.ack = true;
        tcp.acknowledgment_number = acknowledgment;
    }
    let made = core.generate(packet.rx, GenerateReason::PolicyReset, |bytes| {
        write(bytes, reset, &tcp)
    });
    let Some(mut made) = made else { return };
    match Headers::parse(made.buffer.bytes()) {
        Ok(headers) => made.headers = headers,
        Err(reason) => return core.drop_packet(made, reason),
    }
    made.key = packet.key;
    made.adjacency = adjacency;
    core.spawn(made, NodeId::Forward);
}

/// Writes the packet, checksums included; its length.
fn write(bytes: &mut [u8], reset: &Reset, tcp: &TcpHeader) -> usize {
    let tcp = tcp.to_bytes();
    let length = tcp.len();
    let (at, pseudo) = match (reset.from.0, reset.to.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = Ipv4Header {
                total_len: (Ipv4Header::MIN_LEN + length) as u16,
                dont_fragment: true,
                time_to_live: 64,
                protocol: IpNumber::TCP,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv4Header::default()
            };
            header.header_checksum = header.calc_header_checksum();
            bytes[..Ipv4Header::MIN_LEN].copy_from_slice(&header.to_bytes());
            let pseudo = checksum::pseudo_v4(from, to, protocol::TCP, length as u16);
            (Ipv4Header::MIN_LEN, pseudo)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: length as u16,
                next_header: IpNumber::TCP,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
            };
            bytes[..Ipv6Header::LEN].copy_from_slice(&header.to_bytes());
            let pseudo = checksum::pseudo_v6(from, to, protocol::TCP, length as u32);
            (Ipv6Header::LEN, pseudo)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            unreachable!("both ends are of one packet")
        }
    };
    let segment = &mut bytes[at..at + length];
    segment.copy_from_slice(&tcp);
    let sum = (pseudo + checksum::sum(segment)).checksum();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    at + length
}
