//! Echo requests to the gateway are answered in place (RFC 792, RFC 4443 section 4.2).

use encap::Family;
use encap::checksum;

use super::ethernet::ethertype;
use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::Next;
use crate::tables::Tables;
use crate::worker::{Core, Packet};

/// Time to live of packets the router makes.
const TTL: u8 = 64;

pub(super) fn answer(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let Some(workload) = tables.workload(packet.rx) else {
        return Next::Drop(DropReason::InterfaceDown);
    };
    let at = packet.headers.transport_at;
    let family = packet.headers.family;
    let request = packet.buffer.bytes();
    if request.len() > usize::from(u16::MAX) {
        return Next::Drop(DropReason::IpBadHeader);
    }
    let sent = core.generate(packet.rx, GenerateReason::EchoReply, |bytes| {
        bytes[..request.len()].copy_from_slice(request);
        let (header, message) = bytes[..request.len()].split_at_mut(at);
        let (addresses, reply) = match family {
            Family::V4 => (12..20, 0),
            Family::V6 => (8..40, 129),
        };
        let (source, destination) = header[addresses.clone()].split_at_mut(addresses.len() / 2);
        source.swap_with_slice(destination);
        match family {
            Family::V4 => {
                header[8] = TTL;
                header[10..12].fill(0);
                let sum = checksum::sum(header).checksum();
                header[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            Family::V6 => header[7] = TTL,
        }
        // Addresses change places, which no sum sees; only the type changes.
        let old = u16::from_be_bytes([message[2], message[3]]);
        let was = u16::from_be_bytes([message[0], message[1]]);
        message[0] = reply;
        let is = u16::from_be_bytes([message[0], message[1]]);
        message[2..4].copy_from_slice(&checksum::update_u16(old, was, is).to_be_bytes());
        request.len()
    });
    let kind = match family {
        Family::V4 => ethertype::IPV4,
        Family::V6 => ethertype::IPV6,
    };
    core.on_link(sent, workload, kind);
    Next::Consume(ConsumeReason::Echo)
}
