//! What a router reads of a packet: parsed once, on arrival.
//!
//! IPv4 is RFC 791, IPv6 RFC 8200; the transports are read as far as flows and policy need.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use super::extension::is_source_routed;
use super::{DONT_FRAGMENT, Ends, HeaderError, IPV4_HEADER, IPV6_HEADER, Layers, Part};
use crate::bytes::u16_at;
use crate::checksum::sum;
use crate::{Family, ecn, icmp, protocol, tcp, udp};

/// What a packet is to a flow table.
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
    /// Offset of what follows a TCP or UDP header, else of the transport header.
    pub payload_at: usize,
    /// Which part of a datagram this is: of a fragment the ports are unknown (zero).
    pub part: Part,
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
    /// What stands where no packet was parsed yet.
    pub const NONE: Self = Self {
        family: Family::V4,
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        protocol: 0,
        ttl: 0,
        tos: 0,
        length: 0,
        transport_at: 0,
        payload_at: 0,
        part: Part::Whole,
        dont_fragment: false,
        source_port: 0,
        destination_port: 0,
        transport: Transport::Ports,
    };

    /// Reads the headers of the IP packet that starts at the first byte, and checks what IPv4 sums.
    ///
    /// Bytes behind the length in the header (Ethernet padding) are allowed. Source routes are
    /// refused.
    ///
    /// # Errors
    /// What is wrong with the headers.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let layers = Layers::parse(bytes, 0)?;
        let packet = &bytes[..layers.end];
        let (ttl, dont_fragment) = match layers.family {
            Family::V4 => {
                let header = &packet[..layers.l4];
                if sum(header).fold() != 0xffff {
                    return Err(HeaderError::Checksum);
                }
                if layers.l4 > IPV4_HEADER {
                    refuse_source_route(&header[IPV4_HEADER..])?;
                }
                (header[8], u16_at(header, 6) & DONT_FRAGMENT != 0)
            }
            Family::V6 => {
                if layers.l4 > IPV6_HEADER && is_source_routed(packet) {
                    return Err(HeaderError::SourceRoute);
                }
                (packet[7], true)
            }
        };
        let upper = match layers.part {
            Part::Whole => Upper::parse(&packet[layers.l4..], layers.protocol, layers.family)?,
            Part::First | Part::Later => Upper::NONE,
        };
        let ends = Ends::of_header(packet, layers.family).ok_or(HeaderError::Truncated)?;
        let (source, destination) = ends.addresses();
        // Built in one go at the end, where the caller wants it: filling it in bit by bit costs a copy.
        Ok(Self {
            family: layers.family,
            source,
            destination,
            protocol: layers.protocol,
            ttl,
            tos: ecn::tos_of(packet, layers.family),
            length: layers.end,
            transport_at: layers.l4,
            payload_at: layers.l4 + upper.header_len,
            part: layers.part,
            dont_fragment,
            source_port: upper.source_port,
            destination_port: upper.destination_port,
            transport: upper.transport,
        })
    }

    /// Where the headers are.
    #[inline]
    pub fn layers(&self) -> Layers {
        Layers {
            family: self.family,
            l3: 0,
            l4: self.transport_at,
            end: self.length,
            protocol: self.protocol,
            part: self.part,
        }
    }

    /// Both addresses, which are of one family: they were read from one header.
    #[inline]
    pub fn ends(&self) -> Option<Ends> {
        Ends::new(self.source, self.destination)
    }

    /// Whether this is a fragment.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.part != Part::Whole
    }

    /// Whether the destination is a group: multicast, or IPv4 limited broadcast.
    #[inline]
    pub fn is_to_group(&self) -> bool {
        match self.destination {
            IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
            IpAddr::V6(address) => address.is_multicast(),
        }
    }

    /// ICMP type and code, when it is ICMP.
    #[inline]
    pub fn icmp(&self) -> Option<(u8, u8)> {
        match self.transport {
            Transport::IcmpQuery { kind, code }
            | Transport::IcmpError { kind, code }
            | Transport::IcmpOther { kind, code } => Some((kind, code)),
            Transport::Tcp { .. } | Transport::Ports => None,
        }
    }
}

/// What is read of the transport header.
#[derive(Clone, Copy)]
struct Upper {
    /// Bytes of a TCP or UDP header, else 0.
    header_len: usize,
    source_port: u16,
    destination_port: u16,
    transport: Transport,
}

impl Upper {
    /// Of a protocol that is not read, and of a fragment.
    const NONE: Self = Self {
        header_len: 0,
        source_port: 0,
        destination_port: 0,
        transport: Transport::Ports,
    };

    #[inline(always)]
    fn parse(payload: &[u8], protocol: u8, family: Family) -> Result<Self, HeaderError> {
        let (header_len, transport) = match protocol {
            protocol::TCP => {
                let length = tcp::header_len(payload).ok_or(HeaderError::Transport)?;
                let flags = payload[13];
                (length, Transport::Tcp { flags })
            }
            protocol::UDP => {
                let header: &[u8; udp::HEADER_LEN] =
                    payload.first_chunk().ok_or(HeaderError::Transport)?;
                let length = usize::from(u16_at(header, 4));
                if length < udp::HEADER_LEN || length > payload.len() {
                    return Err(HeaderError::Transport);
                }
                (udp::HEADER_LEN, Transport::Ports)
            }
            protocol::SCTP | protocol::UDPLITE => (0, Transport::Ports),
            protocol::ICMP | protocol::ICMPV6 => {
                return Self::parse_icmp(payload, protocol, family);
            }
            _ => return Ok(Self::NONE),
        };
        let ports: &[u8; 8] = payload.first_chunk().ok_or(HeaderError::Transport)?;
        Ok(Self {
            header_len,
            source_port: u16_at(ports, 0),
            destination_port: u16_at(ports, 2),
            transport,
        })
    }

    fn parse_icmp(payload: &[u8], protocol: u8, family: Family) -> Result<Self, HeaderError> {
        let message: &[u8; icmp::HEADER_LEN] =
            payload.first_chunk().ok_or(HeaderError::Transport)?;
        let transport = icmp::transport(protocol, family, message[0], message[1])
            .ok_or(HeaderError::OtherIcmp)?;
        let identifier = match transport {
            Transport::IcmpQuery { .. } => u16_at(message, 4),
            Transport::IcmpError { .. }
            | Transport::IcmpOther { .. }
            | Transport::Tcp { .. }
            | Transport::Ports => 0,
        };
        Ok(Self {
            header_len: 0,
            source_port: identifier,
            destination_port: identifier,
            transport,
        })
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = protocol::Name(self.protocol);
        match self.transport {
            Transport::Tcp { .. } | Transport::Ports if protocol::has_ports(self.protocol) => {
                let end = |address, port| std::net::SocketAddr::new(address, port);
                let source = end(self.source, self.source_port);
                write!(
                    f,
                    "{source} > {} {name}",
                    end(self.destination, self.destination_port)
                )?;
            }
            Transport::Tcp { .. } | Transport::Ports => {
                write!(f, "{} > {} {name}", self.source, self.destination)?;
            }
            Transport::IcmpQuery { kind, code }
            | Transport::IcmpError { kind, code }
            | Transport::IcmpOther { kind, code } => {
                let (source, destination) = (self.source, self.destination);
                write!(f, "{source} > {destination} {name} type {kind} code {code}")?;
            }
        }
        if let Transport::Tcp { flags } = self.transport {
            write!(f, " {}", tcp::Flags(flags))?;
        }
        write!(f, " ttl {} length {}", self.ttl, self.length)?;
        if self.is_fragment() {
            f.write_str(" fragment")?;
        }
        Ok(())
    }
}

/// Refuses loose and strict source routing (options 131 and 137, RFC 7126), and a broken list.
#[cold]
fn refuse_source_route(mut options: &[u8]) -> Result<(), HeaderError> {
    while let Some((&kind, rest)) = options.split_first() {
        match kind {
            0 => return Ok(()),
            1 => options = rest,
            131 | 137 => return Err(HeaderError::SourceRoute),
            _ => {
                let length = usize::from(*rest.first().ok_or(HeaderError::Extension)?);
                if length < 2 {
                    return Err(HeaderError::Extension);
                }
                options = options.get(length..).ok_or(HeaderError::Extension)?;
            }
        }
    }
    Ok(())
}
