//! VXLAN: RFC 7348 section 5, and the choices of Linux' `drivers/net/vxlan/vxlan_core.c` where
//! the RFC leaves one.
//!
//! Owns the 8-byte header, the VNI, and the outer UDP source port. The outer IP and UDP headers
//! belong to whoever sends (a UDP socket); the inner Ethernet header is [`crate::ethernet`].

use crate::bytes::array_at;

/// Bytes of the VXLAN header.
pub const HEADER_LEN: usize = 8;
/// The UDP destination port IANA assigned, and Calico's default.
pub const PORT: u16 = 4789;
const FLAG_VNI: u8 = 0x08;

/// A VXLAN network identifier, 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vni(u32);

impl Vni {
    /// Calico's default.
    pub const CALICO: Self = Self(4096);

    /// The identifier, unless it needs more than 24 bits.
    pub const fn new(number: u32) -> Option<Self> {
        if number < 1 << 24 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number, below 2^24.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniError;

    fn try_from(number: u32) -> Result<Self, VniError> {
        Self::new(number).ok_or(VniError(number))
    }
}

impl std::fmt::Display for Vni {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A number that is no VNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no VNI: it needs more than 24 bits")]
pub struct VniError(pub u32);

/// Why a UDP payload is no VXLAN packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum VxlanError {
    /// Fewer than 8 bytes.
    #[error("the VXLAN header is cut off")]
    Truncated,
    /// The I flag is not set: there is no VNI.
    #[error("the VXLAN header carries no VNI")]
    NoVni,
    /// A reserved bit is set. RFC 7348 says to ignore it; Linux drops, because the bit may stand
    /// for an extension (VXLAN-GBP, VXLAN-GPE) that changes what follows. So do we.
    #[error("the VXLAN header has reserved bits set")]
    Reserved,
}

/// A VXLAN packet: the header and the inner Ethernet frame, over borrowed or owned bytes.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T: AsRef<[u8]>>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// Checks length and flags. After `Ok` no accessor panics.
    pub fn new_checked(bytes: T) -> Result<Self, VxlanError> {
        let header: &[u8; HEADER_LEN] =
            bytes.as_ref().first_chunk().ok_or(VxlanError::Truncated)?;
        if header[0] & FLAG_VNI == 0 {
            return Err(VxlanError::NoVni);
        }
        if header[0] != FLAG_VNI || header[1..4] != [0; 3] || header[7] != 0 {
            return Err(VxlanError::Reserved);
        }
        Ok(Self(bytes))
    }

    /// The network identifier.
    pub fn vni(&self) -> Vni {
        let [high, middle, low] = array_at::<3>(self.0.as_ref(), 4);
        Vni(u32::from_be_bytes([0, high, middle, low]))
    }

    /// The inner frame.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }
}

/// The header's one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Repr {
    /// The network identifier.
    pub vni: Vni,
}

impl Repr {
    /// The fields of a checked packet.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { vni: packet.vni() }
    }

    /// Bytes [`emit`](Self::emit) writes.
    pub const fn buffer_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header.
    pub fn emit(&self, out: &mut [u8; HEADER_LEN]) {
        let [_, high, middle, low] = self.vni.0.to_be_bytes();
        *out = [FLAG_VNI, 0, 0, 0, high, middle, low, 0];
    }
}

/// UDP ports from `low` up to and without `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    /// `net.ipv4.ip_local_port_range` as Linux sets it, which its VXLAN devices use.
    pub const LINUX: Self = Self {
        low: 32768,
        high: 60999,
    };
    /// The dynamic ports, which RFC 7348 recommends.
    pub const DYNAMIC: Self = Self {
        low: 49152,
        high: 65535,
    };

    /// The range, unless it is empty.
    pub const fn new(low: u16, high: u16) -> Option<Self> {
        if low < high {
            Some(Self { low, high })
        } else {
            None
        }
    }
}

/// The outer source port for an inner flow, as the kernel's `udp_flow_src_port`.
///
/// One flow always gets one port, so the underlay never reorders it.
pub fn source_port(flow_hash: u32, range: PortRange) -> u16 {
    // The kernel does this so that the wire does not show the hash itself.
    let hash = flow_hash ^ (flow_hash << 16);
    let width = u64::from(range.high - range.low);
    // The product's upper half is below `width`, so the sum is below `high`.
    range.low + ((u64::from(hash) * width) >> 32) as u16
}
