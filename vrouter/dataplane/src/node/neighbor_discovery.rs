//! Neighbor discovery for the gateway (RFC 4861): solicitations for its link-local address are
//! answered; router solicitations and the rest are not, a pod's routes being configured.

use std::net::IpAddr;

use encap::ethernet::EtherType;
use encap::icmp;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr, RawHardwareAddress,
};

use crate::adjacency::GATEWAY_MAC;
use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::node;
use crate::tables::{GATEWAY_V6, Tables};
use crate::worker::{Core, Packet};

node! {
    NeighborDiscovery to [Transmit]
    drops [NdMalformed NdUnanswered SpoofedSource InterfaceDown NoBuffer]
    makes [NdAdvertisement]
    ends [NdSolicitation]
}

/// Whether an IPv6 packet is ICMPv6 of the neighbor discovery types 133–137.
pub(super) fn is_discovery(packet: &[u8]) -> bool {
    let Ok(ip) = Ipv6Packet::new_checked(packet) else {
        return false;
    };
    let kind = ip.payload().first();
    ip.next_header() == IpProtocol::Icmpv6 && kind.is_some_and(|kind| icmp::is_discovery(*kind))
}

#[inline]
pub(super) fn answer(core: &mut Core, tables: &Tables, packet: &mut Packet) -> Next {
    let (IpAddr::V6(source), IpAddr::V6(destination)) =
        (packet.headers.source, packet.headers.destination)
    else {
        return Next::Drop(DropReason::NdMalformed);
    };
    let Some(workload) = tables.workload(packet.arrival.interface) else {
        return Next::Drop(DropReason::InterfaceDown);
    };
    // Hop limit 255 proves that the message was not forwarded (RFC 4861 section 7.1.1).
    if packet.headers.ttl != 255 {
        return Next::Drop(DropReason::NdMalformed);
    }
    let payload = &packet.buffer.bytes()[packet.headers.transport_at..];
    let caps = ChecksumCapabilities::default();
    let parsed = Icmpv6Packet::new_checked(payload)
        .and_then(|message| Icmpv6Repr::parse(&source, &destination, &message, &caps));
    let target = match parsed {
        Ok(Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. })) => target_addr,
        Ok(_) => return Next::Drop(DropReason::NdUnanswered),
        Err(_) => return Next::Drop(DropReason::NdMalformed),
    };
    if !(source.is_unspecified() || source.is_unicast_link_local() || workload.owns(source.into()))
    {
        return Next::Drop(DropReason::SpoofedSource);
    }
    // From the unspecified address a pod only checks that an address is free.
    if target != GATEWAY_V6 || source.is_unspecified() {
        return Next::Drop(DropReason::NdUnanswered);
    }
    let advert = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::ROUTER
            | NdiscNeighborFlags::SOLICITED
            | NdiscNeighborFlags::OVERRIDE,
        target_addr: GATEWAY_V6,
        lladdr: Some(RawHardwareAddress::from(EthernetAddress(GATEWAY_MAC))),
    });
    let ip = Ipv6Repr {
        src_addr: GATEWAY_V6,
        dst_addr: source,
        next_header: IpProtocol::Icmpv6,
        payload_len: advert.buffer_len(),
        hop_limit: 255,
    };
    let sent = core.generate(packet.arrival, GenerateReason::NdAdvertisement, |bytes| {
        let length = ip.buffer_len() + ip.payload_len;
        let (header, body) = bytes[..length].split_at_mut(ip.buffer_len());
        ip.emit(&mut Ipv6Packet::new_unchecked(header));
        advert.emit(
            &ip.src_addr,
            &ip.dst_addr,
            &mut Icmpv6Packet::new_unchecked(body),
            &caps,
        );
        length
    });
    core.on_link(sent, workload, EtherType::Ipv6, To::Transmit);
    Next::Consume(ConsumeReason::NdSolicitation)
}
