//! TCP resets to both ends of a connection that policy cut (RFC 9293 section 3.5.2).
//!
//! Their numbers come from the packet that met the cut. Its acknowledgment is what its sender
//! expects next, and its own first byte, which is not delivered any more, is what the receiver
//! does; so both resets are exact, as RFC 5961 section 3.2 wants them. Where the packet was a
//! retransmission the receiver answers with a challenge, and the sender's stack, which has no such
//! connection any more, resets it.

use std::net::IpAddr;

use encap::ip::{self, Ends};
use encap::{protocol, tcp};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use crate::drop::GenerateReason;
use crate::graph::NodeId;
use crate::packet::{Headers, Transport};
use crate::tables::Tables;
use crate::worker::{Core, Packet};

/// What a reset says.
struct Reset {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    sequence: TcpSeqNumber,
    acknowledgment: Option<TcpSeqNumber>,
}

/// Sends both, as far as there are routes.
pub(crate) fn send(core: &mut Core, tables: &Tables, packet: &Packet) {
    let headers = &packet.headers;
    let Transport::Tcp { flags: seen } = headers.transport else {
        return;
    };
    let segment = packet.buffer.bytes().get(headers.transport_at..);
    let Some(Ok(segment)) = segment.map(TcpPacket::new_checked) else {
        return;
    };
    let sequence = segment.seq_number();
    let acknowledged = segment.ack().then(|| segment.ack_number());
    let source = (headers.source, headers.source_port);
    let destination = (headers.destination, headers.destination_port);
    if seen & tcp::RST == 0 {
        // Payload, SYN and FIN take sequence numbers.
        let taken = segment.segment_len();
        let back = Reset {
            from: destination,
            to: source,
            sequence: acknowledged.unwrap_or_default(),
            acknowledgment: Some(sequence + taken),
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
    let Some(ends) = Ends::new(reset.from.0, reset.to.0) else {
        return;
    };
    let made = core.generate(packet.arrival, GenerateReason::PolicyReset, |bytes| {
        write(bytes, ends, reset)
    });
    let Some(mut made) = made else { return };
    match Headers::parse(made.buffer.bytes()) {
        Ok(headers) => made.headers = headers,
        Err(reason) => return core.drop_packet(made, reason.into()),
    }
    made.key = packet.key;
    made.adjacency = adjacency;
    core.spawn(made, NodeId::Forward);
}

/// Writes the packet, checksums included; its length.
fn write(bytes: &mut [u8], ends: Ends, reset: &Reset) -> usize {
    let segment = TcpRepr {
        src_port: reset.from.1,
        dst_port: reset.to.1,
        control: TcpControl::Rst,
        seq_number: reset.sequence,
        ack_number: reset.acknowledgment,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let header = ip::Repr {
        dont_fragment: true,
        ..ip::Repr::new(ends, protocol::TCP, segment.buffer_len())
    };
    header.emit(bytes);
    let length = header.buffer_len() + segment.buffer_len();
    segment.emit(
        &mut TcpPacket::new_unchecked(&mut bytes[header.buffer_len()..length]),
        &reset.from.0.into(),
        &reset.to.0.into(),
        &ChecksumCapabilities::default(),
    );
    length
}
