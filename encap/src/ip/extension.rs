//! The extension headers of an IPv6 packet: RFC 8200 section 4, RFC 4302 section 2.2.
//!
//! The one walk over them, which everything that passes them builds on.

use super::{HeaderError, IPV6_HEADER};
use crate::protocol::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};

/// Where the IPv6 header states what follows it.
const NEXT_HEADER: usize = 6;

/// One extension header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension {
    pub(crate) number: u8,
    /// First byte, from the IPv6 header.
    pub(crate) at: usize,
}

/// The walk, at some place between two headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extensions<'a> {
    packet: &'a [u8],
    at: usize,
    next_header_at: usize,
}

impl<'a> Extensions<'a> {
    /// Starts behind the IPv6 header of `packet`, which has all of that header and ends where its
    /// length field says.
    pub(crate) fn new(packet: &'a [u8]) -> Self {
        Self {
            packet,
            at: IPV6_HEADER,
            next_header_at: NEXT_HEADER,
        }
    }

    /// What the last header passed says follows it.
    #[inline]
    pub(crate) fn protocol(&self) -> u8 {
        self.packet[self.next_header_at]
    }

    /// Where that begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The byte that says what follows, from the IPv6 header.
    pub(crate) fn next_header_at(&self) -> usize {
        self.next_header_at
    }

    /// Passes the next extension header; `None` where something else follows.
    #[inline]
    pub(crate) fn pass(&mut self) -> Result<Option<Extension>, HeaderError> {
        let number = self.protocol();
        match number {
            HOP_BY_HOP | ROUTING | DESTINATION | AUTHENTICATION | FRAGMENT => self.skip(number),
            _ => Ok(None),
        }
    }

    #[cold]
    fn skip(&mut self, number: u8) -> Result<Option<Extension>, HeaderError> {
        let at = self.at;
        let head = self.packet.get(at..at + 8).ok_or(HeaderError::Extension)?;
        let stated = usize::from(head[1]);
        // Each is at least 8 bytes, so that the walk ends.
        let length = match number {
            FRAGMENT => 8,
            AUTHENTICATION if stated == 0 => return Err(HeaderError::Extension),
            AUTHENTICATION => (stated + 2) * 4,
            HOP_BY_HOP if at != IPV6_HEADER => return Err(HeaderError::Extension),
            _ => (stated + 1) * 8,
        };
        if at + length > self.packet.len() {
            return Err(HeaderError::Extension);
        }
        self.next_header_at = at;
        self.at = at + length;
        Ok(Some(Extension { number, at }))
    }
}

/// Whether a packet has a routing header of type 0, which RFC 5095 forbids. `packet` is as for
/// [`Extensions::new`], and the walk over it succeeded before.
#[cold]
pub(super) fn is_source_routed(packet: &[u8]) -> bool {
    let mut walk = Extensions::new(packet);
    while let Ok(Some(extension)) = walk.pass() {
        // Byte 2 of a routing header is its type.
        if extension.number == ROUTING && packet[extension.at + 2] == 0 {
            return true;
        }
    }
    false
}
