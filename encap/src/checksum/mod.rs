//! The Internet checksum: RFC 1071, its incremental update (RFC 1624), and the transports' rules
//! for it (RFC 9293, RFC 768, RFC 4443).
//!
//! [`Sum`] is a running ones'-complement sum. It is kept in the machine's byte order, so that
//! summing needs no swap per word (RFC 1071 section 2 (B)); only [`Sum::fold`] and what builds on
//! it speak host order.

mod incremental;
mod sum;
mod transport;

pub use incremental::{Delta, update_u16, update_u32};
pub use sum::{Sum, copy_and_sum, pseudo_v4, pseudo_v6, sum};
pub(crate) use transport::pseudo_header;
pub use transport::{
    ChecksumError, assess, complete, ipv4_header, may_be_open, verify, verify_header,
    verify_transport,
};
