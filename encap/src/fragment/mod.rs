//! Fragments: cutting an IPv4 packet to an MTU (RFC 791 section 3.2) and reading what a fragment
//! of either version says of itself (RFC 8200 section 4.5).
//!
//! Whether a packet may be fragmented at all (DF; never IPv6) is the caller's to decide.

mod v6;

use std::ops::Range;

use crate::Family;
use crate::bytes::{put_u16, u16_at, u32_at};
use crate::checksum::ipv4_header;
use crate::ip::extension::Extensions;
use crate::ip::{HeaderError, Layers};
use crate::protocol::{AUTHENTICATION, FRAGMENT};

pub use v6::PlanV6;

const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// Bytes of the IPv6 fragment header.
pub const IPV6_FRAGMENT_HEADER: usize = 8;

/// Why a packet cannot be cut, or a fragment not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FragmentError {
    /// No IP packet at `l3`.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Routers do not fragment IPv6.
    #[error("IPv6 packets are not fragmented on the way")]
    Ipv6,
    /// The MTU has no room for the header and eight bytes.
    #[error("the MTU has no room for a fragment")]
    Mtu,
    /// There is no such fragment.
    #[error("no such fragment")]
    Index,
    /// The output is shorter than the fragment.
    #[error("no room for the fragment")]
    NoRoom,
    /// The packet given for writing is shorter than the one the plan was made for.
    #[error("the packet is not the one planned for")]
    OtherPacket,
}

/// How to cut one IPv4 packet: offsets, no bytes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    l3: usize,
    l4: usize,
    end: usize,
    /// Payload bytes of each fragment but the last: a multiple of 8, or all of it.
    size: usize,
    count: usize,
    /// The packet's own fragment field: it may be a fragment already.
    field: u16,
}

impl Plan {
    /// Plans for the packet whose header starts at `l3` and packets of at most `mtu` bytes,
    /// counted from the IP header; the bytes before `l3` are repeated in front of each.
    ///
    /// Checksums must be filled in: nobody can do it for fragments.
    pub fn new(packet: &[u8], l3: usize, mtu: usize) -> Result<Self, FragmentError> {
        let layers = Layers::parse(packet, l3)?;
        match layers.family {
            Family::V4 => {}
            Family::V6 => return Err(FragmentError::Ipv6),
        }
        let Layers { l4, end, .. } = layers;
        let length = end - l4;
        let (size, count) = if end - l3 <= mtu {
            (length.max(1), 1)
        } else {
            let size = mtu.saturating_sub(l4 - l3) & !7;
            if size == 0 {
                return Err(FragmentError::Mtu);
            }
            (size, length.div_ceil(size))
        };
        Ok(Self {
            l3,
            l4,
            end,
            size,
            count,
            field: u16_at(packet, l3 + 6),
        })
    }

    /// How many fragments; one when the packet fits.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of fragment `i`, link header included; zero when there is no such fragment.
    pub fn fragment_len(&self, i: usize) -> usize {
        if i < self.count {
            self.l4 + self.payload_of(i).len()
        } else {
            0
        }
    }

    /// Writes fragment `i` of `packet` to the start of `out`; returns its bytes.
    pub fn write(&self, i: usize, packet: &[u8], out: &mut [u8]) -> Result<usize, FragmentError> {
        if i >= self.count {
            return Err(FragmentError::Index);
        }
        let source = packet.get(..self.end).ok_or(FragmentError::OtherPacket)?;
        let length = self.fragment_len(i);
        let out = out.get_mut(..length).ok_or(FragmentError::NoRoom)?;
        let (header, body) = out.split_at_mut(self.l4);
        header.copy_from_slice(&source[..self.l4]);
        body.copy_from_slice(&source[self.payload_of(i)]);
        if self.count == 1 {
            return Ok(length);
        }
        let header = &mut header[self.l3..];
        put_u16(header, 2, (length - self.l3) as u16);
        // A fragment of a fragment counts from the datagram's start and is last only if that was.
        // An offset past the field's end was there before: such a packet was never valid.
        let offset = (self.field & OFFSET).wrapping_add((i * self.size / 8) as u16) & OFFSET;
        let more = if i + 1 < self.count {
            MORE
        } else {
            self.field & MORE
        };
        put_u16(header, 6, self.field & !(OFFSET | MORE) | more | offset);
        if i > 0 {
            blank_options(&mut header[20..]);
        }
        let checksum = ipv4_header(header);
        put_u16(header, 10, checksum);
        Ok(length)
    }

    /// Where fragment `i`'s payload stands in the packet; `i` is below `count`.
    fn payload_of(&self, i: usize) -> Range<usize> {
        let from = self.l4 + i * self.size;
        from..(from + self.size).min(self.end)
    }
}

/// Overwrites the options that belong to the first fragment only, those without the copied flag,
/// with no-operations, as Linux' `ip_options_fragment`: the header keeps its length.
fn blank_options(options: &mut [u8]) {
    const END: u8 = 0;
    const NOP: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = 0;
    while at < options.len() {
        let length = match (options[at], options.get(at + 1)) {
            (END, _) => return,
            (NOP, _) => 1,
            (_, Some(length @ 2..)) => usize::from(*length),
            // Malformed: leave what cannot be read.
            (_, _) => return,
        };
        let next = (at + length).min(options.len());
        if options[at] & COPIED == 0 {
            options[at..next].fill(NOP);
        }
        at = next;
    }
}

/// What a fragment says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The IP version.
    pub family: Family,
    /// Which datagram it is part of, among those of its addresses (and, for IPv4, protocol).
    pub identification: u32,
    /// Where its data stands in the datagram, in bytes: a multiple of 8.
    pub offset: usize,
    /// Whether data follows it.
    pub more: bool,
    /// The protocol of the datagram's data; for IPv6 that of its first header after the fragment
    /// header, which only the first fragment is sure to state rightly.
    pub protocol: u8,
    /// Data's place in the packet; what stands before is repeated in every fragment.
    pub data: Range<usize>,
    /// IPv6: the byte that says a fragment header follows, counted from the packet's start.
    pub(crate) next_header_at: usize,
}

impl Fragment {
    /// Reads the packet that starts at `packet[0]`; `None` when it is not a fragment.
    ///
    /// An IPv6 packet with a fragment header but nothing missing (an atomic fragment, RFC 6946) is
    /// a fragment: of one piece.
    pub fn parse(packet: &[u8]) -> Result<Option<Self>, HeaderError> {
        let layers = Layers::parse(packet, 0)?;
        match layers.family {
            Family::V4 => Ok(Self::parse_v4(packet, &layers)),
            Family::V6 => Self::parse_v6(packet, layers.end),
        }
    }

    fn parse_v4(packet: &[u8], layers: &Layers) -> Option<Self> {
        let field = u16_at(packet, 6);
        if field & (OFFSET | MORE) == 0 {
            return None;
        }
        Some(Self {
            family: Family::V4,
            identification: u32::from(u16_at(packet, 4)),
            offset: usize::from(field & OFFSET) * 8,
            more: field & MORE != 0,
            protocol: layers.protocol,
            data: layers.l4..layers.end,
            next_header_at: 9,
        })
    }

    fn parse_v6(packet: &[u8], end: usize) -> Result<Option<Self>, HeaderError> {
        let mut walk = Extensions::new(&packet[..end]);
        // The headers before the fragment header (RFC 8200 section 4.1).
        let (next_header_at, at) = loop {
            let next_header_at = walk.next_header_at();
            match walk.pass()? {
                Some(header) if header.number == FRAGMENT => break (next_header_at, header.at),
                Some(header) if header.number != AUTHENTICATION => {}
                Some(_) | None => return Ok(None),
            }
        };
        let word = u16_at(packet, at + 2);
        Ok(Some(Self {
            family: Family::V6,
            identification: u32_at(packet, at + 4),
            // The lower three bits are not part of it: the field is the offset times 8 already.
            offset: usize::from(word & !7),
            more: word & 1 != 0,
            protocol: packet[at],
            data: at + IPV6_FRAGMENT_HEADER..end,
            next_header_at,
        }))
    }
}
