//! Where the headers of an IP packet are: RFC 791, RFC 8200 section 4.
//!
//! Owns the one walk over IPv4 options and IPv6 extension headers that everything else here
//! builds on.

use crate::Family;
use crate::bytes::{u16_at, u32_at};
use crate::protocol::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING, TCP, UDP};

/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub const IPV6_HEADER: usize = 40;
/// The most an IP length field states.
pub const LONGEST: usize = 65_535;

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment: the transport header is here, its payload is not complete.
    First,
    /// A later fragment: no transport header.
    Later,
}

/// Why bytes are no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeaderError {
    /// The bytes end inside a header.
    #[error("the packet ends inside its headers")]
    Truncated,
    /// The version nibble is neither 4 nor 6.
    #[error("the IP version is neither 4 nor 6")]
    Version,
    /// An IPv4 header length below 20 bytes.
    #[error("the IPv4 header length is below 20 bytes")]
    HeaderLength,
    /// The length field is shorter than the headers or longer than the bytes.
    #[error("the IP length field disagrees with the packet")]
    TotalLength,
}

/// The offsets of a packet's headers, in bytes from the start of the slice it was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// The IP version.
    pub family: Family,
    /// Start of the IP header.
    pub l3: usize,
    /// Start of what follows the IP header, its options and extension headers.
    pub l4: usize,
    /// End of the packet by its length field; bytes past it are link padding.
    pub end: usize,
    /// The protocol at `l4`.
    pub protocol: u8,
    /// Whether this is a fragment.
    pub part: Part,
}

impl Layers {
    /// Finds the headers of the packet whose IP header starts at `l3`.
    ///
    /// After `Ok`, `l3 < l4 <= end <= packet.len()`. The header checksum is not looked at.
    pub fn parse(packet: &[u8], l3: usize) -> Result<Self, HeaderError> {
        let ip = packet.get(l3..).ok_or(HeaderError::Truncated)?;
        match ip.first().ok_or(HeaderError::Truncated)? >> 4 {
            4 => Self::parse_v4(ip, l3),
            6 => Self::parse_v6(ip, l3),
            _ => Err(HeaderError::Version),
        }
    }

    fn parse_v4(ip: &[u8], l3: usize) -> Result<Self, HeaderError> {
        if ip.len() < IPV4_HEADER {
            return Err(HeaderError::Truncated);
        }
        let header = usize::from(ip[0] & 0x0f) * 4;
        if header < IPV4_HEADER {
            return Err(HeaderError::HeaderLength);
        }
        if header > ip.len() {
            return Err(HeaderError::Truncated);
        }
        let total = usize::from(u16_at(ip, 2));
        if total < header || total > ip.len() {
            return Err(HeaderError::TotalLength);
        }
        let fragment = u16_at(ip, 6);
        let part = match (fragment & 0x1fff, fragment & 0x2000 != 0) {
            (0, false) => Part::Whole,
            (0, true) => Part::First,
            (_, _) => Part::Later,
        };
        Ok(Self {
            family: Family::V4,
            l3,
            l4: l3 + header,
            end: l3 + total,
            protocol: ip[9],
            part,
        })
    }

    fn parse_v6(ip: &[u8], l3: usize) -> Result<Self, HeaderError> {
        if ip.len() < IPV6_HEADER {
            return Err(HeaderError::Truncated);
        }
        let total = IPV6_HEADER + usize::from(u16_at(ip, 4));
        if total > ip.len() {
            return Err(HeaderError::TotalLength);
        }
        let ip = &ip[..total];
        let mut protocol = ip[6];
        let mut at = IPV6_HEADER;
        let mut part = Part::Whole;
        // Every extension header is at least 8 bytes, so the walk ends.
        while let HOP_BY_HOP | ROUTING | DESTINATION | AUTHENTICATION | FRAGMENT = protocol {
            let head = ip.get(at..at + 8).ok_or(HeaderError::Truncated)?;
            let length = match protocol {
                FRAGMENT => 8,
                AUTHENTICATION => ((usize::from(head[1]) + 2) * 4).max(8),
                _ => (usize::from(head[1]) + 1) * 8,
            };
            if at + length > total {
                return Err(HeaderError::Truncated);
            }
            let fragment = protocol == FRAGMENT;
            protocol = ip[at];
            if fragment {
                let word = u16_at(ip, at + 2);
                at += length;
                part = match (word >> 3, word & 1 != 0) {
                    (0, false) => part,
                    (0, true) => Part::First,
                    (_, _) => Part::Later,
                };
                // What follows in a later fragment is data, whatever it looks like.
                if part == Part::Later {
                    break;
                }
            } else {
                at += length;
            }
        }
        Ok(Self {
            family: Family::V6,
            l3,
            l4: l3 + at,
            end: l3 + total,
            protocol,
            part,
        })
    }

    /// The TCP header length at `l4`, when the protocol is TCP and the header is whole.
    pub fn tcp_header_len(&self, packet: &[u8]) -> Option<usize> {
        if self.protocol != TCP || self.part == Part::Later || self.end < self.l4 + 20 {
            return None;
        }
        let length = usize::from(packet.get(self.l4 + 12)? >> 4) * 4;
        (length >= 20 && self.l4 + length <= self.end).then_some(length)
    }

    /// A number that says which flow the packet belongs to: addresses, protocol and ports.
    ///
    /// For source-port entropy (RFC 7348 section 5); every fragment of a datagram gives the same
    /// number because fragments leave the ports out. Not keyed: no defence against chosen
    /// collisions.
    pub fn flow_hash(&self, packet: &[u8]) -> u32 {
        let addresses = match self.family {
            Family::V4 => packet.get(self.l3 + 12..self.l3 + 20),
            Family::V6 => packet.get(self.l3 + 8..self.l3 + 40),
        };
        let mut hash = mix(0, u32::from(self.protocol));
        if let Some(addresses) = addresses {
            hash = addresses
                .chunks_exact(4)
                .fold(hash, |hash, word| mix(hash, u32_at(word, 0)));
        }
        if self.part == Part::Whole
            && matches!(self.protocol, TCP | UDP)
            && let Some(ports) = packet.get(self.l4..self.l4 + 4)
        {
            hash = mix(hash, u32_at(ports, 0));
        }
        hash ^= hash >> 33;
        hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
        // The upper half: the low bits of a product depend on fewer bits of its factors.
        (hash >> 32) as u32
    }
}

fn mix(hash: u64, word: u32) -> u64 {
    (hash.rotate_left(5) ^ u64::from(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
