//! Cutting an IPv6 packet that came in fragments: RFC 8200 section 4.5.

use std::ops::Range;

use super::{FragmentError, IPV6_FRAGMENT_HEADER};
use crate::Family;
use crate::bytes::{put_u16, put_u32};
use crate::ip::extension::Extensions;
use crate::ip::{HeaderError, IPV6_HEADER, Layers};
use crate::protocol::{FRAGMENT, HOP_BY_HOP};

/// How to cut one IPv6 packet: offsets, no bytes.
#[derive(Clone, Copy, Debug)]
pub struct PlanV6 {
    /// Bytes each fragment begins with: the IPv6 header and its hop-by-hop options.
    head: usize,
    /// The byte that says what follows those.
    next_header_at: usize,
    end: usize,
    /// Payload bytes of each fragment but the last: a multiple of 8.
    size: usize,
    count: usize,
    identification: u32,
}

impl PlanV6 {
    /// Plans for the packet that starts at `packet[0]` and packets of at most `mtu` bytes.
    ///
    /// Checksums must be filled in: nobody can do it for fragments.
    pub fn new(packet: &[u8], mtu: usize, identification: u32) -> Result<Self, FragmentError> {
        let layers = Layers::parse(packet, 0)?;
        if layers.family != Family::V6 {
            return Err(HeaderError::Version.into());
        }
        let mut walk = Extensions::new(&packet[..layers.end]);
        if walk.protocol() == HOP_BY_HOP {
            walk.pass()?;
        }
        let head = walk.at();
        let size = mtu.saturating_sub(head + IPV6_FRAGMENT_HEADER) & !7;
        if size == 0 || layers.end <= head {
            return Err(FragmentError::Mtu);
        }
        Ok(Self {
            head,
            next_header_at: walk.next_header_at(),
            end: layers.end,
            size,
            count: (layers.end - head).div_ceil(size),
            identification,
        })
    }

    /// How many fragments.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Writes fragment `i` of `packet` to the start of `out`; returns its bytes.
    pub fn write(&self, i: usize, packet: &[u8], out: &mut [u8]) -> Result<usize, FragmentError> {
        if i >= self.count {
            return Err(FragmentError::Index);
        }
        let source = packet.get(..self.end).ok_or(FragmentError::OtherPacket)?;
        let payload = self.payload_of(i);
        let front = self.head + IPV6_FRAGMENT_HEADER;
        let length = front + payload.len();
        let out = out.get_mut(..length).ok_or(FragmentError::NoRoom)?;
        let (header, body) = out.split_at_mut(front);
        header[..self.head].copy_from_slice(&source[..self.head]);
        body.copy_from_slice(&source[payload.clone()]);
        put_u16(header, 4, (length - IPV6_HEADER) as u16);
        let follows = std::mem::replace(&mut header[self.next_header_at], FRAGMENT);
        // The offset is a multiple of 8: its lower bits are the field's flags.
        let offset = (payload.start - self.head) as u16;
        let more = u16::from(i + 1 < self.count);
        let fragment = &mut header[self.head..];
        fragment[..2].copy_from_slice(&[follows, 0]);
        put_u16(fragment, 2, offset | more);
        put_u32(fragment, 4, self.identification);
        Ok(length)
    }

    /// Where fragment `i`'s payload stands in the packet; `i` is below `count`.
    fn payload_of(&self, i: usize) -> Range<usize> {
        let from = self.head + i * self.size;
        from..(from + self.size).min(self.end)
    }
}
