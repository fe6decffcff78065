//! The IP header of a packet that is made here: no options, no extension headers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{Ipv4Packet, Ipv6Packet};

use super::{IPV4_HEADER, IPV6_HEADER};
use crate::Family;
use crate::bytes::array_at;
use crate::checksum::{Sum, ipv4_header, pseudo_v4, pseudo_v6};

/// Both addresses of a packet, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ends {
    /// IPv4: source and destination.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6: source and destination.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Ends {
    /// From `source` to `destination`, when they are of one family.
    pub fn new(source: IpAddr, destination: IpAddr) -> Option<Self> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Self::V4(source, destination)),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Self::V6(source, destination)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// Those in the header of a packet of `family`; `None` when it is cut short.
    #[inline]
    pub fn of_header(packet: &[u8], family: Family) -> Option<Self> {
        match family {
            Family::V4 => {
                let header: &[u8; IPV4_HEADER] = packet.first_chunk()?;
                Some(Self::V4(
                    Ipv4Addr::from(array_at::<4>(header, 12)),
                    Ipv4Addr::from(array_at::<4>(header, 16)),
                ))
            }
            Family::V6 => {
                let header: &[u8; IPV6_HEADER] = packet.first_chunk()?;
                Some(Self::V6(
                    Ipv6Addr::from(array_at::<16>(header, 8)),
                    Ipv6Addr::from(array_at::<16>(header, 24)),
                ))
            }
        }
    }

    /// Source and destination.
    #[inline]
    pub fn addresses(self) -> (IpAddr, IpAddr) {
        match self {
            Self::V4(source, destination) => (source.into(), destination.into()),
            Self::V6(source, destination) => (source.into(), destination.into()),
        }
    }

    /// Their family.
    pub fn family(self) -> Family {
        match self {
            Self::V4(..) => Family::V4,
            Self::V6(..) => Family::V6,
        }
    }

    /// The sum of the pseudo-header for `length` bytes of transport header and payload, which fit
    /// one packet.
    #[inline]
    pub fn pseudo_header(self, protocol: u8, length: usize) -> Sum {
        match self {
            Self::V4(source, destination) => {
                pseudo_v4(source, destination, protocol, length as u16)
            }
            Self::V6(source, destination) => {
                pseudo_v6(source, destination, protocol, length as u32)
            }
        }
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, destination) = self.addresses();
        write!(f, "{source} > {destination}")
    }
}

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source and destination.
    pub ends: Ends,
    /// The protocol behind the header.
    pub protocol: u8,
    /// TOS byte or traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4: tells the fragments of one packet from another's; means nothing with DF.
    pub identification: u16,
    /// IPv4: DF.
    pub dont_fragment: bool,
    /// Bytes behind the header.
    pub payload_len: usize,
}

impl Repr {
    /// The time to live of packets that are made here.
    pub const TTL: u8 = 64;

    /// A header with TOS 0, [`Self::TTL`], identification 0 and without DF.
    pub const fn new(ends: Ends, protocol: u8, payload_len: usize) -> Self {
        Self {
            ends,
            protocol,
            tos: 0,
            ttl: Self::TTL,
            identification: 0,
            dont_fragment: false,
            payload_len,
        }
    }

    /// Bytes [`emit`](Self::emit) writes.
    pub const fn buffer_len(&self) -> usize {
        match self.ends {
            Ends::V4(..) => IPV4_HEADER,
            Ends::V6(..) => IPV6_HEADER,
        }
    }

    /// Writes the header, its checksum included, to the start of `out`.
    ///
    /// A payload that leaves no room for the header in 65535 bytes cannot be stated: the length
    /// field then holds 65535.
    ///
    /// # Panics
    /// When `out` is shorter than [`buffer_len`](Self::buffer_len).
    pub fn emit(&self, out: &mut [u8]) {
        let out = &mut out[..self.buffer_len()];
        out.fill(0);
        let stated = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        match self.ends {
            Ends::V4(source, destination) => {
                let mut header = Ipv4Packet::new_unchecked(&mut *out);
                header.set_version(4);
                header.set_header_len(IPV4_HEADER as u8);
                header.set_dscp(self.tos >> 2);
                header.set_ecn(self.tos & 0b11);
                header.set_total_len(stated(IPV4_HEADER + self.payload_len));
                header.set_ident(self.identification);
                header.set_dont_frag(self.dont_fragment);
                header.set_hop_limit(self.ttl);
                header.set_next_header(self.protocol.into());
                header.set_src_addr(source);
                header.set_dst_addr(destination);
                let checksum = ipv4_header(out);
                Ipv4Packet::new_unchecked(out).set_checksum(checksum);
            }
            Ends::V6(source, destination) => {
                let mut header = Ipv6Packet::new_unchecked(out);
                header.set_version(6);
                header.set_traffic_class(self.tos);
                header.set_payload_len(stated(self.payload_len));
                header.set_next_header(self.protocol.into());
                header.set_hop_limit(self.ttl);
                header.set_src_addr(source);
                header.set_dst_addr(destination);
            }
        }
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ends,
            protocol,
            ttl,
            payload_len,
            ..
        } = self;
        write!(
            f,
            "{ends} {} ttl {ttl} length {payload_len}",
            crate::protocol::Name(*protocol)
        )
    }
}
