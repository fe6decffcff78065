//! The UDP header: RFC 768.

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;
