//! Changing a checksum with the fields it covers: RFC 1624 equation 3.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::sum::{Sum, sum};

/// What changed under a checksum: fields that went and fields that came.
///
/// ```
/// use encap::checksum::Delta;
/// let ttl = Delta::default().u16(0x4006, 0x3f06);
/// assert_eq!(ttl.apply(0x1234), 0x1334);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta(Sum);

impl Delta {
    /// A 16-bit field at an even offset changed from `old` to `new`.
    #[must_use]
    pub fn u16(self, old: u16, new: u16) -> Self {
        Self(self.0.add_u16(!old).add_u16(new))
    }

    /// A 32-bit field at an even offset changed.
    #[must_use]
    pub fn u32(self, old: u32, new: u32) -> Self {
        Self(self.0.add_u32(!old).add_u32(new))
    }

    /// An IPv4 address changed.
    #[must_use]
    pub fn ipv4(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        self.u32(old.to_bits(), new.to_bits())
    }

    /// An IPv6 address changed.
    #[must_use]
    pub fn ipv6(self, old: Ipv6Addr, new: Ipv6Addr) -> Self {
        Self(self.0 + sum(&(!old.to_bits()).to_be_bytes()) + sum(&new.octets()))
    }

    /// The complete checksum `checksum` after the change.
    ///
    /// Stays canonical: never `0xffff`, as a sum over a non-zero header never complements to it.
    pub fn apply(self, checksum: u16) -> u16 {
        self.0.add_u16(!checksum).checksum()
    }

    /// A UDP checksum after the change: none stays none, and never becomes none (RFC 768).
    pub fn apply_udp(self, checksum: u16) -> u16 {
        match checksum {
            0 => 0,
            checksum => self.0.add_u16(!checksum).udp_checksum(),
        }
    }

    /// A field that waits for completion ([`Offload::Partial`](crate::offload::Offload)) after a
    /// change in the pseudo-header: it holds the sum itself, not its complement.
    pub fn apply_partial(self, sum: u16) -> u16 {
        self.0.add_u16(sum).fold()
    }
}

/// `checksum` after a covered 16-bit field changed.
pub fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    Delta::default().u16(old, new).apply(checksum)
}

/// `checksum` after a covered 32-bit field changed.
pub fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    Delta::default().u32(old, new).apply(checksum)
}
