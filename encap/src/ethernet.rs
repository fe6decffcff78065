//! The Ethernet II header that VXLAN carries inside: IEEE 802.3 section 3.

use std::fmt;

use crate::Family;
use crate::bytes::{array_at, put_u16, u16_at};

/// Bytes of the header.
pub const HEADER_LEN: usize = 14;

/// What an Ethernet frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EtherType {
    /// IPv4, `0x0800`.
    Ipv4,
    /// ARP, `0x0806`.
    Arp,
    /// IPv6, `0x86dd`.
    Ipv6,
    /// Anything else, by its number.
    Other(u16),
}

impl From<u16> for EtherType {
    fn from(number: u16) -> Self {
        match number {
            0x0800 => Self::Ipv4,
            0x0806 => Self::Arp,
            0x86dd => Self::Ipv6,
            number => Self::Other(number),
        }
    }
}

impl From<EtherType> for u16 {
    fn from(kind: EtherType) -> Self {
        match kind {
            EtherType::Ipv4 => 0x0800,
            EtherType::Arp => 0x0806,
            EtherType::Ipv6 => 0x86dd,
            EtherType::Other(number) => number,
        }
    }
}

impl From<Family> for EtherType {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4,
            Family::V6 => Self::Ipv6,
        }
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4 => f.pad("IPv4"),
            Self::Arp => f.pad("ARP"),
            Self::Ipv6 => f.pad("IPv6"),
            Self::Other(number) => write!(f, "{number:#06x}"),
        }
    }
}

/// Whether an address is of a group: multicast or broadcast.
#[inline]
pub const fn is_group(address: [u8; 6]) -> bool {
    address[0] & 1 == 1
}

/// Says in a header that was written what follows it. Fewer than 14 bytes stay as they are.
#[inline]
pub fn set_kind(header: &mut [u8], kind: EtherType) {
    if let Some(header) = header.first_chunk_mut::<HEADER_LEN>() {
        put_u16(header, 12, kind.into());
    }
}

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    pub kind: EtherType,
}

impl Repr {
    /// Reads the header; `None` when there are fewer than 14 bytes.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LEN] = frame.first_chunk()?;
        Some(Self {
            destination: array_at(header, 0),
            source: array_at(header, 6),
            kind: u16_at(header, 12).into(),
        })
    }

    /// Bytes [`emit`](Self::emit) writes.
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header.
    #[inline]
    pub fn emit(&self, out: &mut [u8; HEADER_LEN]) {
        out[..6].copy_from_slice(&self.destination);
        out[6..12].copy_from_slice(&self.source);
        put_u16(out, 12, self.kind.into());
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [source, destination] = [self.source, self.destination].map(|address| {
            let [a, b, c, d, e, g] = address;
            format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
        });
        write!(f, "{source} > {destination} {}", self.kind)
    }
}
