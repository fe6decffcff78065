//! ARP for the gateway (RFC 826): every pod has its default route by 169.254.1.1.

use encap::ethernet::EtherType;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

use crate::adjacency::GATEWAY_MAC;
use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::node;
use crate::tables::{GATEWAY_V4, Tables};
use crate::worker::{Core, Packet};

node! {
    Arp to [Transmit]
    drops [ArpMalformed ArpUnanswered SpoofedMac SpoofedSource InterfaceDown NoBuffer]
    makes [ArpReply]
    ends [Arp]
}

#[inline]
pub(super) fn answer(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let parsed = ArpPacket::new_checked(packet.buffer.bytes()).and_then(|p| ArpRepr::parse(&p));
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    }) = parsed
    else {
        return Next::Drop(DropReason::ArpMalformed);
    };
    let Some(workload) = tables.workload(packet.arrival.interface) else {
        return Next::Drop(DropReason::InterfaceDown);
    };
    if source_hardware_addr.0 != workload.mac {
        return Next::Drop(DropReason::SpoofedMac);
    }
    // Duplicate address detection asks from 0.0.0.0 (RFC 5227).
    if !source_protocol_addr.is_unspecified() && !workload.owns(source_protocol_addr.into()) {
        return Next::Drop(DropReason::SpoofedSource);
    }
    if operation != ArpOperation::Request || target_protocol_addr != GATEWAY_V4 {
        return Next::Drop(DropReason::ArpUnanswered);
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(GATEWAY_MAC),
        source_protocol_addr: GATEWAY_V4,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let length = reply.buffer_len();
    let sent = core.generate(packet.arrival, GenerateReason::ArpReply, |bytes| {
        reply.emit(&mut ArpPacket::new_unchecked(&mut bytes[..length]));
        length
    });
    core.on_link(sent, workload, EtherType::Arp, To::Transmit);
    Next::Consume(ConsumeReason::Arp)
}
