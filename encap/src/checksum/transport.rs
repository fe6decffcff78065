//! Whole packets: filling in a checksum that was left open, and verifying one that came.

use super::sum::{Sum, sum};
use crate::Family;
use crate::bytes::{put_u16, u16_at};
use crate::ip::{Ends, HeaderError, Headers, Layers, Part};
use crate::offload::{Offload, Partial};
use crate::protocol::{ICMP, ICMPV6, TCP, UDP, checksum_offset};

/// Where in its header a UDP checksum stands; tells UDP in an [`Offload`].
const UDP_OFFSET: u16 = 6;

/// Why a packet's checksums are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChecksumError {
    /// No IP packet at all.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The IPv4 header's checksum.
    #[error("the IPv4 header checksum is wrong")]
    Ipv4Header,
    /// The checksum of TCP, UDP, ICMP or ICMPv6.
    #[error("the transport checksum is wrong")]
    Transport,
    /// The transport header is cut off, or its length field leaves the packet.
    #[error("the transport header does not fit its packet")]
    TransportLength,
    /// The field to fill in is outside the frame.
    #[error("the checksum field is outside the frame")]
    Outside,
}

/// Fills in the checksum `offload` left open, summing to the end of `frame` as
/// `skb_checksum_help` does, and returns what is left to do: nothing.
///
/// For a super-packet this fills in the one checksum of the whole, which no wire should see.
pub fn complete(frame: &mut [u8], offload: Offload) -> Result<Offload, ChecksumError> {
    let Some(partial) = offload.partial() else {
        return Ok(offload);
    };
    if partial.end() > frame.len() {
        return Err(ChecksumError::Outside);
    }
    let total = sum(&frame[usize::from(partial.start)..]);
    // An odd offset is nonsense for every transport, but still has its defined place.
    let checksum = if partial.offset == UDP_OFFSET {
        total.udp_checksum()
    } else {
        total.checksum()
    };
    put_u16(frame, partial.field(), checksum);
    Ok(match offload.gso() {
        None => Offload::Verified,
        Some(_) => offload,
    })
}

/// The checksum of an IPv4 header with its checksum field taken as zero.
///
/// `header` is the header with its options; fewer than 12 bytes sum as they are.
pub fn ipv4_header(header: &[u8]) -> u16 {
    let total = sum(header);
    let total = match header.get(10..12) {
        Some(field) => total.add_u16(!u16_at(field, 0)),
        None => total,
    };
    total.checksum()
}

/// Verifies the IPv4 header checksum and, unless the packet is a fragment, the transport's.
///
/// What has no checksum (another protocol, UDP over IPv4 without one) passes.
pub fn verify(packet: &[u8], l3: usize) -> Result<Layers, ChecksumError> {
    let layers = Layers::parse(packet, l3)?;
    verify_header(packet, &layers)?;
    verify_transport(packet, &layers)?;
    Ok(layers)
}

/// Verifies the IPv4 header checksum of the packet `layers` was parsed from; IPv6 has none.
pub fn verify_header(packet: &[u8], layers: &Layers) -> Result<(), ChecksumError> {
    match layers.family {
        Family::V4 => match packet.get(layers.l3..layers.l4) {
            Some(header) if sum(header).fold() == 0xffff => Ok(()),
            Some(_) | None => Err(ChecksumError::Ipv4Header),
        },
        Family::V6 => Ok(()),
    }
}

/// Verifies the checksum of TCP, UDP, ICMP or ICMPv6 in the packet `layers` was parsed from.
pub fn verify_transport(packet: &[u8], layers: &Layers) -> Result<(), ChecksumError> {
    if layers.part != Part::Whole {
        return Ok(());
    }
    let segment = packet
        .get(layers.l4..layers.end)
        .ok_or(ChecksumError::TransportLength)?;
    let (header, segment) = match (layers.protocol, layers.family) {
        (TCP, _) => (20, segment),
        (UDP, family) => {
            if segment.len() < 8 {
                return Err(ChecksumError::TransportLength);
            }
            let datagram = segment
                .get(..usize::from(u16_at(segment, 4)))
                .ok_or(ChecksumError::TransportLength)?;
            match (u16_at(segment, 6), family) {
                (0, Family::V4) => return Ok(()),
                // RFC 8200 section 8.1: not optional over IPv6.
                (0, Family::V6) => return Err(ChecksumError::Transport),
                (_, _) => (8, datagram),
            }
        }
        (ICMP, Family::V4) | (ICMPV6, Family::V6) => (4, segment),
        (_, _) => return Ok(()),
    };
    if segment.len() < header {
        return Err(ChecksumError::TransportLength);
    }
    let pseudo = match layers.protocol {
        ICMP => Sum::ZERO,
        _ => pseudo_header(packet, layers, segment.len()),
    };
    if (pseudo + sum(segment)).fold() == 0xffff {
        Ok(())
    } else {
        Err(ChecksumError::Transport)
    }
}

/// Whether the checksum of a TCP or UDP packet may never have been filled in: its field holds the
/// sum of the pseudo-header alone. That tells nearly all other packets apart at little cost; only
/// what is left is worth [assessing](assess). `packet` is what `headers` was parsed from.
#[inline]
pub fn may_be_open(packet: &[u8], headers: &Headers) -> bool {
    let (Some(offset), Some(ends)) = (checksum_offset(headers.protocol), headers.ends()) else {
        return false;
    };
    let length = headers.length - headers.transport_at;
    let at = headers.transport_at + usize::from(offset);
    let field = packet.get(at..at + 2).map(|field| u16_at(field, 0));
    field == Some(ends.pseudo_header(headers.protocol, length).fold())
}

/// What is known of the checksum of a TCP or UDP packet that came without an offload word.
///
/// [`Offload::Verified`] when it is right, [`Offload::Partial`] when it was never filled in, else
/// [`Offload::None`]. Never filled in: the field holds the sum of the pseudo-header alone. A
/// tunnel's inner packet arrives so when sender and receiver are on one machine, as the kernel
/// leaves checksums open between virtual devices, and a UDP or raw socket hands the bytes over
/// without a word about it. A packet damaged on a real wire looks so once in 65536 times, which is
/// as often as damage escapes the checksum anyway.
pub fn assess(packet: &[u8], layers: &Layers) -> Offload {
    let Some(offset) = checksum_offset(layers.protocol) else {
        return Offload::None;
    };
    let l4 = layers.l4;
    let at = l4 + usize::from(offset);
    let (Part::Whole, Some(field)) = (layers.part, packet.get(at..at + 2)) else {
        return Offload::None;
    };
    let field = u16_at(field, 0);
    match verify_transport(packet, layers) {
        Ok(()) if offset == UDP_OFFSET && field == 0 => Offload::None,
        Ok(()) => Offload::Verified,
        Err(ChecksumError::Transport)
            if field == pseudo_header(packet, layers, layers.end - l4).fold() =>
        {
            // Within an IP packet's 65575 bytes only headers of absurd length leave 16 bits.
            match u16::try_from(l4) {
                Ok(start) => Offload::Partial(Partial { start, offset }),
                Err(_) => Offload::None,
            }
        }
        Err(_) => Offload::None,
    }
}

/// The pseudo-header of the packet `layers` was parsed from, for `length` bytes of transport.
pub(crate) fn pseudo_header(packet: &[u8], layers: &Layers, length: usize) -> Sum {
    let header = packet.get(layers.l3..).unwrap_or_default();
    let ends = Ends::of_header(header, layers.family);
    ends.map_or(Sum::ZERO, |ends| {
        ends.pseudo_header(layers.protocol, length)
    })
}
