//! What the packet path reads of a packet: parsed once, on arrival.
//!
//! IPv4 is RFC 791, IPv6 RFC 8200; the transports are read as far as flows and policy need.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use encap::{Family, protocol};
use etherparse::{IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice};

use crate::drop::DropReason;

/// What a packet is to the flow table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP with its flag byte.
    Tcp {
        /// CWR ECE URG ACK PSH RST SYN FIN, from the high bit down.
        flags: u8,
    },
    /// A protocol whose ports (or zeroes) make the flow.
    Ports,
    /// ICMP or ICMPv6 query: the identifier makes the flow.
    IcmpQuery {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
    /// ICMP or ICMPv6 error about another packet, whose flow it belongs to.
    IcmpError {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
    /// Any other ICMP message: no flow, policy decides on each.
    IcmpOther {
        /// Message type.
        kind: u8,
        /// Message code.
        code: u8,
    },
}

/// The headers of an IP packet, checked: every offset lies inside the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// IP version.
    pub family: Family,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Upper-layer protocol, behind all extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Length of the whole packet as the header says, in bytes.
    pub length: usize,
    /// Offset of the transport header.
    pub transport_at: usize,
    /// Whether this is a fragment: ports are then unknown (zero).
    pub fragment: bool,
    /// IPv4 DF; always true for IPv6.
    pub dont_fragment: bool,
    /// Source port, or ICMP identifier, or 0.
    pub source_port: u16,
    /// Destination port, or ICMP identifier, or 0.
    pub destination_port: u16,
    /// What it is to the flow table.
    pub transport: Transport,
}

impl Headers {
    /// What stands here before a packet is parsed.
    pub(crate) const NONE: Self = Self {
        family: Family::V4,
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        protocol: 0,
        ttl: 0,
        tos: 0,
        length: 0,
        transport_at: 0,
        fragment: false,
        dont_fragment: false,
        source_port: 0,
        destination_port: 0,
        transport: Transport::Ports,
    };

    /// Reads the headers of the IP packet that starts at the first byte.
    ///
    /// Bytes behind the length in the header (Ethernet padding) are allowed.
    ///
    /// # Errors
    /// The reason to drop the packet.
    pub fn parse(bytes: &[u8]) -> Result<Self, DropReason> {
        match bytes.first().map(|b| b >> 4) {
            Some(4) => Self::parse_v4(bytes),
            Some(6) => Self::parse_v6(bytes),
            Some(_) => Err(DropReason::IpBadVersion),
            None => Err(DropReason::IpTruncated),
        }
    }

    fn parse_v4(bytes: &[u8]) -> Result<Self, DropReason> {
        let fixed: &[u8; 20] = bytes.first_chunk().ok_or(DropReason::IpTruncated)?;
        let header_len = usize::from(fixed[0] & 0x0f) * 4;
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if header_len < 20 || length < header_len {
            return Err(DropReason::IpBadHeader);
        }
        let packet = bytes.get(..length).ok_or(DropReason::IpTruncated)?;
        let header = &packet[..header_len];
        if encap::checksum::sum(header).fold() != 0xffff {
            return Err(DropReason::IpBadChecksum);
        }
        if header_len > 20 {
            refuse_source_route(&header[20..])?;
        }
        let fragment_word = u16::from_be_bytes([fixed[6], fixed[7]]);
        let mut headers = Self {
            family: Family::V4,
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]).into(),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]).into(),
            protocol: fixed[9],
            ttl: fixed[8],
            tos: fixed[1],
            length,
            transport_at: header_len,
            fragment: fragment_word & 0x3fff != 0,
            dont_fragment: fragment_word & 0x4000 != 0,
            source_port: 0,
            destination_port: 0,
            transport: Transport::Ports,
        };
        headers.parse_transport(packet)?;
        Ok(headers)
    }

    fn parse_v6(bytes: &[u8]) -> Result<Self, DropReason> {
        let fixed: &[u8; 40] = bytes.first_chunk().ok_or(DropReason::IpTruncated)?;
        let length = 40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
        let packet = bytes.get(..length).ok_or(DropReason::IpTruncated)?;
        let octets = |at: usize| {
            let mut address = [0u8; 16];
            address.copy_from_slice(&fixed[at..at + 16]);
            IpAddr::from(Ipv6Addr::from(address))
        };
        let mut headers = Self {
            family: Family::V6,
            source: octets(8),
            destination: octets(24),
            protocol: fixed[6],
            ttl: fixed[7],
            tos: (fixed[0] << 4) | (fixed[1] >> 4),
            length,
            transport_at: 40,
            fragment: false,
            dont_fragment: true,
            source_port: 0,
            destination_port: 0,
            transport: Transport::Ports,
        };
        if !matches!(fixed[6], protocol::TCP | protocol::UDP | protocol::ICMPV6) {
            headers.skip_extensions(packet)?;
        }
        headers.parse_transport(packet)?;
        Ok(headers)
    }

    /// Walks the IPv6 extension headers (RFC 8200 section 4).
    #[cold]
    fn skip_extensions(&mut self, packet: &[u8]) -> Result<(), DropReason> {
        let (extensions, next, rest) =
            Ipv6ExtensionsSlice::from_slice(IpNumber(self.protocol), &packet[40..])
                .map_err(|_| DropReason::IpBadHeader)?;
        for extension in extensions {
            match extension {
                Ipv6ExtensionSlice::Fragment(fragment) => {
                    self.fragment |=
                        fragment.more_fragments() || fragment.fragment_offset().value() != 0;
                }
                // Byte 2 of a routing header is its type; type 0 is deprecated by RFC 5095.
                Ipv6ExtensionSlice::Routing(routing) => {
                    if routing.slice().get(2) == Some(&0) {
                        return Err(DropReason::IpSourceRoute);
                    }
                }
                Ipv6ExtensionSlice::HopByHop(_)
                | Ipv6ExtensionSlice::DestinationOptions(_)
                | Ipv6ExtensionSlice::Authentication(_) => {}
            }
        }
        self.protocol = next.0;
        self.transport_at = packet.len() - rest.len();
        Ok(())
    }

    fn parse_transport(&mut self, packet: &[u8]) -> Result<(), DropReason> {
        if self.fragment {
            return Ok(());
        }
        let payload = &packet[self.transport_at..];
        match self.protocol {
            protocol::TCP => {
                let tcp: &[u8; 20] = payload
                    .first_chunk()
                    .ok_or(DropReason::TransportTruncated)?;
                let header_len = usize::from(tcp[12] >> 4) * 4;
                if header_len < 20 || header_len > payload.len() {
                    return Err(DropReason::TransportTruncated);
                }
                self.transport = Transport::Tcp { flags: tcp[13] };
                self.ports(tcp[0], tcp[1], tcp[2], tcp[3]);
            }
            protocol::UDP => {
                let udp: &[u8; 8] = payload
                    .first_chunk()
                    .ok_or(DropReason::TransportTruncated)?;
                let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
                if length < 8 || length > payload.len() {
                    return Err(DropReason::TransportTruncated);
                }
                self.ports(udp[0], udp[1], udp[2], udp[3]);
            }
            protocol::SCTP | protocol::UDPLITE => {
                let ports: &[u8; 8] = payload
                    .first_chunk()
                    .ok_or(DropReason::TransportTruncated)?;
                self.ports(ports[0], ports[1], ports[2], ports[3]);
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let icmp: &[u8; 8] = payload
                    .first_chunk()
                    .ok_or(DropReason::TransportTruncated)?;
                self.transport = icmp_transport(self.protocol, self.family, icmp[0], icmp[1])
                    .ok_or(DropReason::IpBadHeader)?;
                if matches!(self.transport, Transport::IcmpQuery { .. }) {
                    self.ports(icmp[4], icmp[5], icmp[4], icmp[5]);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn ports(&mut self, s0: u8, s1: u8, d0: u8, d1: u8) {
        self.source_port = u16::from_be_bytes([s0, s1]);
        self.destination_port = u16::from_be_bytes([d0, d1]);
    }

    /// Whether the destination is a group: multicast, or IPv4 limited broadcast.
    pub fn to_group(&self) -> bool {
        match self.destination {
            IpAddr::V4(a) => a.is_multicast() || a.is_broadcast(),
            IpAddr::V6(a) => a.is_multicast(),
        }
    }

    /// What policy sees of a port field: nothing where it is an ICMP identifier.
    pub(crate) fn ports_of(&self, field: u16) -> u16 {
        match self.transport {
            Transport::Tcp { .. } | Transport::Ports => field,
            Transport::IcmpQuery { .. }
            | Transport::IcmpError { .. }
            | Transport::IcmpOther { .. } => 0,
        }
    }

    /// ICMP type and code, when it is ICMP.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        match self.transport {
            Transport::IcmpQuery { kind, code }
            | Transport::IcmpError { kind, code }
            | Transport::IcmpOther { kind, code } => Some((kind, code)),
            Transport::Tcp { .. } | Transport::Ports => None,
        }
    }
}

/// Classifies an ICMP message; `None` for ICMP of the other IP version.
fn icmp_transport(number: u8, family: Family, kind: u8, code: u8) -> Option<Transport> {
    Some(match (number, family) {
        (protocol::ICMP, Family::V4) => match kind {
            // Echo and timestamp, request and reply (RFC 792).
            0 | 8 | 13 | 14 => Transport::IcmpQuery { kind, code },
            // Unreachable, source quench, redirect, time exceeded, parameter problem.
            3 | 4 | 5 | 11 | 12 => Transport::IcmpError { kind, code },
            _ => Transport::IcmpOther { kind, code },
        },
        (protocol::ICMPV6, Family::V6) => match kind {
            // Echo request and reply (RFC 4443).
            128 | 129 => Transport::IcmpQuery { kind, code },
            0..=127 => Transport::IcmpError { kind, code },
            _ => Transport::IcmpOther { kind, code },
        },
        _ => return None,
    })
}

/// Refuses loose and strict source routing (options 131 and 137, RFC 7126), and a broken list.
#[cold]
fn refuse_source_route(mut options: &[u8]) -> Result<(), DropReason> {
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            0 => return Ok(()),
            1 => options = rest,
            131 | 137 => return Err(DropReason::IpSourceRoute),
            _ => {
                let len = usize::from(*rest.first().ok_or(DropReason::IpBadHeader)?);
                if len < 2 {
                    return Err(DropReason::IpBadHeader);
                }
                options = options.get(len..).ok_or(DropReason::IpBadHeader)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn udp4(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 7)
            .udp(1000, 2000)
            .write(&mut bytes, payload)
            .unwrap();
        bytes
    }

    #[test]
    fn reads_udp_over_ipv4_with_padding() {
        let mut bytes = udp4(&[1, 2, 3]);
        bytes.extend([0; 9]);
        let headers = Headers::parse(&bytes).unwrap();
        assert_eq!(
            (headers.source_port, headers.destination_port),
            (1000, 2000)
        );
        assert_eq!(
            (headers.length, headers.ttl, headers.transport_at),
            (31, 7, 20)
        );
    }

    #[test]
    fn reads_tcp_over_ipv6_behind_extensions() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 9)
            .tcp(5, 6, 7, 8)
            .syn()
            .write(&mut bytes, &[])
            .unwrap();
        let plain = Headers::parse(&bytes).unwrap();
        assert_eq!(plain.transport, Transport::Tcp { flags: 2 });
        // A destination options header of 8 bytes in front.
        let mut long = bytes[..40].to_vec();
        long[6] = 60;
        long[4..6].copy_from_slice(&28u16.to_be_bytes());
        long.extend([6, 0, 1, 4, 0, 0, 0, 0]);
        long.extend(&bytes[40..]);
        let headers = Headers::parse(&long).unwrap();
        assert_eq!(headers.transport_at, 48);
        assert_eq!(headers.transport, plain.transport);
        // The same as routing header of type 0 is refused.
        long[6] = 43;
        long[42] = 0;
        assert_eq!(Headers::parse(&long), Err(DropReason::IpSourceRoute));
    }

    #[test]
    fn names_what_is_wrong() {
        let good = udp4(&[0; 4]);
        let mut bad = good.clone();
        bad[8] = 8;
        assert_eq!(Headers::parse(&bad), Err(DropReason::IpBadChecksum));
        assert_eq!(Headers::parse(&good[..30]), Err(DropReason::IpTruncated));
        assert_eq!(Headers::parse(&[0x50; 40]), Err(DropReason::IpBadVersion));
        assert_eq!(Headers::parse(&[]), Err(DropReason::IpTruncated));
    }

    proptest! {
        #[test]
        fn agrees_with_etherparse(payload in prop::collection::vec(any::<u8>(), 0..64), ttl: u8,
                                  s: [u8; 4], d: [u8; 4], sp: u16, dp: u16) {
            let mut bytes = Vec::new();
            PacketBuilder::ipv4(s, d, ttl).udp(sp, dp).write(&mut bytes, &payload).unwrap();
            let headers = Headers::parse(&bytes).unwrap();
            prop_assert_eq!(headers.source, IpAddr::from(s));
            prop_assert_eq!(headers.destination, IpAddr::from(d));
            prop_assert_eq!((headers.source_port, headers.destination_port), (sp, dp));
            prop_assert_eq!(headers.length, bytes.len());
        }

        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..120), v in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60])) {
            if let Some(b) = bytes.first_mut() { *b = v; }
            if let Ok(headers) = Headers::parse(&bytes) {
                prop_assert!(headers.transport_at <= headers.length && headers.length <= bytes.len());
            }
        }
    }
}
