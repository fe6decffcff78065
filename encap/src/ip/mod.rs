//! The IP header: RFC 791, RFC 8200.
//!
//! [`Layers`] is where the headers of a packet are, [`Headers`] what a router reads of them,
//! [`Quoted`] what it reads of a packet that an ICMP error quotes, and [`Repr`] the header of a
//! packet that is made here. All readers share one walk over options and extension headers.

pub(crate) mod extension;
mod headers;
mod layers;
mod quoted;
mod repr;

pub use headers::{Headers, Transport};
pub use layers::Layers;
pub use quoted::Quoted;
pub use repr::{Ends, Repr};

use crate::bytes::{put_u16, u16_at};
use crate::checksum::update_u16;

/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER: usize = 20;
/// Bytes of an IPv6 header without extensions.
pub const IPV6_HEADER: usize = 40;
/// The most an IP length field states.
pub const LONGEST: usize = 65_535;
/// The IPv4 flag against fragmentation, in the word it shares with the fragment offset.
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;

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

/// Why bytes are no packet that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeaderError {
    /// The bytes end inside the IP header, or before the packet does.
    #[error("the packet ends before its IP header says")]
    Truncated,
    /// The version nibble is neither 4 nor 6.
    #[error("the IP version is neither 4 nor 6")]
    Version,
    /// An IPv4 header length below 20 bytes.
    #[error("the IPv4 header length is below 20 bytes")]
    HeaderLength,
    /// The length field is shorter than the header.
    #[error("the IP length field is shorter than the header")]
    TotalLength,
    /// An IPv6 extension header leaves the packet or stands out of order, or an IPv4 option does
    /// not end.
    #[error("the options or extension headers contradict themselves")]
    Extension,
    /// The IPv4 header checksum is wrong.
    #[error("the IPv4 header checksum is wrong")]
    Checksum,
    /// Source routing: IPv4 options 131 and 137 (RFC 7126), IPv6 routing type 0 (RFC 5095).
    #[error("the sender chose the packet's route")]
    SourceRoute,
    /// The transport header is cut short or contradicts itself.
    #[error("the transport header is cut short or contradicts itself")]
    Transport,
    /// ICMP over IPv6 or ICMPv6 over IPv4.
    #[error("ICMP of the other IP version")]
    OtherIcmp,
}

/// Takes DF off an IPv4 packet, its checksum incrementally. Other packets stay as they are.
pub fn clear_dont_fragment(packet: &mut [u8]) {
    let Some(header) = packet.first_chunk_mut::<IPV4_HEADER>() else {
        return;
    };
    let old = u16_at(header, 6);
    if header[0] >> 4 == 4 && old & DONT_FRAGMENT != 0 {
        let new = old & !DONT_FRAGMENT;
        put_u16(header, 6, new);
        let checksum = update_u16(u16_at(header, 10), old, new);
        put_u16(header, 10, checksum);
    }
}
