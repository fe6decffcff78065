//! The TCP header, as far as it is read in place: RFC 9293 section 3.1.
//!
//! Segments that are made here are written by `smoltcp::wire`.

use std::fmt;

/// Bytes of the header without options.
pub const HEADER_LEN: usize = 20;

/// The last segment of its sender.
pub const FIN: u8 = 0x01;
/// The first segment of its sender.
pub const SYN: u8 = 0x02;
/// The connection is reset.
pub const RST: u8 = 0x04;
/// The receiver is not to wait for more.
pub const PSH: u8 = 0x08;
/// The acknowledgment number counts.
pub const ACK: u8 = 0x10;
/// The urgent pointer counts.
pub const URG: u8 = 0x20;
/// Congestion was met (RFC 3168).
pub const ECE: u8 = 0x40;
/// The sender slowed down (RFC 3168).
pub const CWR: u8 = 0x80;

/// A flag byte, to be printed: `SYN|ACK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
        let mut before = "";
        for (bit, name) in names.into_iter().enumerate() {
            if self.0 & 1 << bit != 0 {
                write!(f, "{before}{name}")?;
                before = "|";
            }
        }
        if before.is_empty() {
            f.write_str("-")
        } else {
            Ok(())
        }
    }
}

/// The length of the header `segment` begins with, options included; `None` when it is impossible
/// or leaves the segment.
#[inline]
pub fn header_len(segment: &[u8]) -> Option<usize> {
    let header: &[u8; HEADER_LEN] = segment.first_chunk()?;
    let length = usize::from(header[12] >> 4) * 4;
    (length >= HEADER_LEN && length <= segment.len()).then_some(length)
}
