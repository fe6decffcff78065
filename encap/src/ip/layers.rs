//! Where the headers of an IP packet are.

use super::extension::Extensions;
use super::{HeaderError, IPV4_HEADER, IPV6_HEADER, Part};
use crate::Family;
use crate::bytes::{u16_at, u32_at};
use crate::protocol::{FRAGMENT, TCP, UDP};
use crate::tcp;

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

/// Whether a packet may end before its length field says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    AsStated,
    Anywhere,
}

impl Layers {
    /// Finds the headers of the packet whose IP header starts at `l3`.
    ///
    /// After `Ok`, `l3 < l4 <= end <= packet.len()`. The header checksum is not looked at.
    #[inline]
    pub fn parse(packet: &[u8], l3: usize) -> Result<Self, HeaderError> {
        Self::find(packet, l3, Ends::AsStated)
    }

    /// The same for the beginning of a packet, as an ICMP error quotes it: `end` is where the bytes
    /// end, if that is before the packet does.
    pub fn parse_quoted(packet: &[u8]) -> Result<Self, HeaderError> {
        Self::find(packet, 0, Ends::Anywhere)
    }

    #[inline(always)]
    fn find(packet: &[u8], l3: usize, ends: Ends) -> Result<Self, HeaderError> {
        let ip = packet.get(l3..).ok_or(HeaderError::Truncated)?;
        match ip.first().ok_or(HeaderError::Truncated)? >> 4 {
            4 => Self::find_v4(ip, l3, ends),
            6 => Self::find_v6(ip, l3, ends),
            _ => Err(HeaderError::Version),
        }
    }

    #[inline(always)]
    fn find_v4(ip: &[u8], l3: usize, ends: Ends) -> Result<Self, HeaderError> {
        let fixed: &[u8; IPV4_HEADER] = ip.first_chunk().ok_or(HeaderError::Truncated)?;
        let header = usize::from(fixed[0] & 0x0f) * 4;
        if header < IPV4_HEADER {
            return Err(HeaderError::HeaderLength);
        }
        let mut total = usize::from(u16_at(fixed, 2));
        if total < header {
            return Err(HeaderError::TotalLength);
        }
        if total > ip.len() {
            if ends == Ends::AsStated || header > ip.len() {
                return Err(HeaderError::Truncated);
            }
            total = ip.len();
        }
        let fragment = u16_at(fixed, 6);
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
            protocol: fixed[9],
            part,
        })
    }

    #[inline]
    fn find_v6(ip: &[u8], l3: usize, ends: Ends) -> Result<Self, HeaderError> {
        let fixed: &[u8; IPV6_HEADER] = ip.first_chunk().ok_or(HeaderError::Truncated)?;
        let mut total = IPV6_HEADER + usize::from(u16_at(fixed, 4));
        if total > ip.len() {
            if ends == Ends::AsStated {
                return Err(HeaderError::Truncated);
            }
            total = ip.len();
        }
        let ip = &ip[..total];
        let mut walk = Extensions::new(ip);
        let mut part = Part::Whole;
        while let Some(extension) = walk.pass()? {
            if extension.number == FRAGMENT {
                let word = u16_at(ip, extension.at + 2);
                part = match (word >> 3, word & 1 != 0) {
                    (0, false) => part,
                    (0, true) => Part::First,
                    (_, _) => Part::Later,
                };
                // What follows in a later fragment is data, whatever it looks like.
                if part == Part::Later {
                    break;
                }
            }
        }
        Ok(Self {
            family: Family::V6,
            l3,
            l4: l3 + walk.at(),
            end: l3 + total,
            protocol: walk.protocol(),
            part,
        })
    }

    /// The TCP header length at `l4`, when the protocol is TCP and the header is whole.
    pub fn tcp_header_len(&self, packet: &[u8]) -> Option<usize> {
        if self.protocol != TCP || self.part == Part::Later {
            return None;
        }
        tcp::header_len(packet.get(self.l4..self.end)?)
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
