//! The UDP header: RFC 768.

use std::fmt;

use crate::bytes::put_u16;

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// The header's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Bytes behind the header; what the length field cannot state is stated as 65535.
    pub payload_len: usize,
    /// The checksum field: of the datagram, of the pseudo-header where it is left open, or zero.
    pub checksum: u16,
}

impl Repr {
    /// Bytes [`emit`](Self::emit) writes.
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; HEADER_LEN]) {
        put_u16(out, 0, self.source);
        put_u16(out, 2, self.destination);
        let length = HEADER_LEN + self.payload_len;
        put_u16(out, 4, u16::try_from(length).unwrap_or(u16::MAX));
        put_u16(out, 6, self.checksum);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            destination,
            payload_len,
            ..
        } = self;
        write!(f, "udp {source} > {destination} length {payload_len}")
    }
}
