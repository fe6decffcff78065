//! IPv4 in IPv4: RFC 2003 section 3.1, with the fields chosen as Linux' `ip_tunnel_xmit`
//! (`net/ipv4/ip_tunnel.c`) chooses them.
//!
//! Owns the outer header, for devices without a kernel; what a kernel's socket or tunnel does itself
//! needs only the TOS and TTL of [`crate::ecn`]. IPv6 in IPv4 is protocol 41 and another tunnel
//! (`sit`): an inner packet that is not IPv4 is refused, as Calico has no IPIP for IPv6 pools.

use std::net::Ipv4Addr;

use crate::Family;
use crate::bytes::{array_at, u16_at};
use crate::checksum::sum;
use crate::ip::{self, DONT_FRAGMENT, HeaderError, IPV4_HEADER, Layers, Part};
use crate::protocol::IPIP;

/// Bytes of the outer header.
pub const HEADER_LEN: usize = IPV4_HEADER;

/// Why bytes are no IPIP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IpipError {
    /// The outer header is no IPv4 header.
    #[error(transparent)]
    Outer(#[from] HeaderError),
    /// The outer header checksum is wrong.
    #[error("the outer header checksum is wrong")]
    Checksum,
    /// The outer protocol is not 4.
    #[error("the outer protocol is not IPIP")]
    Protocol,
    /// An outer fragment: to be reassembled first.
    #[error("the outer packet is a fragment")]
    Fragment,
    /// The inner packet is not IPv4.
    #[error("the inner packet is not IPv4")]
    Inner,
}

/// An IPIP packet over borrowed or owned bytes.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    bytes: T,
    header: usize,
    end: usize,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks the outer header and the inner version. After `Ok` no accessor panics.
    pub fn new_checked(bytes: T) -> Result<Self, IpipError> {
        let layers = Layers::parse(bytes.as_ref(), 0)?;
        match layers.family {
            Family::V4 => {}
            Family::V6 => return Err(HeaderError::Version.into()),
        }
        if sum(&bytes.as_ref()[..layers.l4]).fold() != 0xffff {
            return Err(IpipError::Checksum);
        }
        if layers.protocol != IPIP {
            return Err(IpipError::Protocol);
        }
        if layers.part != Part::Whole {
            return Err(IpipError::Fragment);
        }
        let inner = &bytes.as_ref()[layers.l4..layers.end];
        if inner.first().is_none_or(|first| first >> 4 != 4) {
            return Err(IpipError::Inner);
        }
        Ok(Self {
            header: layers.l4,
            end: layers.end,
            bytes,
        })
    }

    /// The outer source: the sending node.
    pub fn source(&self) -> Ipv4Addr {
        Ipv4Addr::from(array_at::<4>(self.bytes.as_ref(), 12))
    }

    /// The outer destination: this node.
    pub fn destination(&self) -> Ipv4Addr {
        Ipv4Addr::from(array_at::<4>(self.bytes.as_ref(), 16))
    }

    /// The outer TOS byte.
    pub fn tos(&self) -> u8 {
        self.bytes.as_ref()[1]
    }

    /// Bytes of the outer header with its options.
    pub fn header_len(&self) -> usize {
        self.header
    }

    /// The inner packet, without what follows it on the link.
    pub fn payload(&self) -> &[u8] {
        &self.bytes.as_ref()[self.header..self.end]
    }
}

/// The outer header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// The sending node.
    pub source: Ipv4Addr,
    /// The receiving node.
    pub destination: Ipv4Addr,
    /// TOS byte, from [`ecn::encapsulate`](crate::ecn::encapsulate).
    pub tos: u8,
    /// TTL, from [`Ttl::IPIP`](crate::ecn::Ttl::IPIP).
    pub ttl: u8,
    /// Tells the fragments of one outer packet from another's; means nothing with DF.
    pub identification: u16,
    /// DF: the inner packet's (RFC 2003 section 3.1), so that path MTU discovery goes through.
    pub dont_fragment: bool,
    /// Bytes of the inner packet.
    pub payload_len: u16,
}

impl Repr {
    /// The fields of a checked packet.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        let bytes = packet.bytes.as_ref();
        Self {
            source: packet.source(),
            destination: packet.destination(),
            tos: packet.tos(),
            ttl: bytes[8],
            identification: u16_at(bytes, 4),
            dont_fragment: u16_at(bytes, 6) & DONT_FRAGMENT != 0,
            // The end came from a 16-bit length.
            payload_len: packet.payload().len() as u16,
        }
    }

    /// Bytes [`emit`](Self::emit) writes.
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header with its checksum.
    ///
    /// A payload that leaves no room for the header in 65535 bytes cannot be stated: the length
    /// field then holds 65535.
    pub fn emit(&self, out: &mut [u8; HEADER_LEN]) {
        let header = ip::Repr {
            tos: self.tos,
            ttl: self.ttl,
            identification: self.identification,
            dont_fragment: self.dont_fragment,
            ..ip::Repr::new(
                ip::Ends::V4(self.source, self.destination),
                IPIP,
                self.payload_len.into(),
            )
        };
        header.emit(out);
    }
}
