//! Rules and packets of the 5-tuple table, and what it means that one matches the other.

use std::fmt::Debug;
use std::hash::Hash;
use std::ops::{BitAnd, BitXor};

use super::chunk::{Chunks, Search, Tree};
use crate::cpu::{LANES, Lanes, bits};

/// An address the table can hold: `u32` for IPv4, `u128` for IPv6, in host byte order.
pub trait Address:
    Copy + Ord + Hash + Debug + Default + BitAnd<Output = Self> + BitXor<Output = Self> + sealed::Sealed
{
    /// Bits of an address.
    const BITS: u8;
    #[doc(hidden)]
    type Chunks: Chunks<Self>;
    /// The mask of a prefix length up to [`BITS`](Self::BITS).
    fn mask(length: u8) -> Self;
    /// All ones below the prefix length: what [`mask`](Self::mask) leaves out.
    fn host_mask(length: u8) -> Self {
        Self::mask(length) ^ Self::mask(Self::BITS)
    }
    /// The first 16 bits.
    fn top(self) -> u16;
    /// An address from its first 16 bits.
    fn from_top(top: u16) -> Self;
    /// The last 16 bits.
    fn low(self) -> u16;
    #[doc(hidden)]
    fn agree(lanes: impl Lanes, value: Self, with: &[Self; LANES], mask: &[Self; LANES]) -> u32;
    /// The next address; wraps.
    fn next(self) -> Self;
    /// The address before; wraps.
    fn before(self) -> Self;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u128 {}
}

impl Address for u32 {
    const BITS: u8 = 32;
    type Chunks = Tree;
    #[inline]
    fn mask(length: u8) -> Self {
        u32::MAX
            .checked_shl(32 - u32::from(length.min(32)))
            .unwrap_or(0)
    }
    #[inline(always)]
    fn top(self) -> u16 {
        (self >> 16) as u16
    }
    fn from_top(top: u16) -> Self {
        u32::from(top) << 16
    }
    #[inline(always)]
    fn low(self) -> u16 {
        self as u16
    }
    #[inline(always)]
    fn agree(lanes: impl Lanes, value: Self, with: &[Self; LANES], mask: &[Self; LANES]) -> u32 {
        lanes.agree32(value, with, mask)
    }
    fn next(self) -> Self {
        self.wrapping_add(1)
    }
    fn before(self) -> Self {
        self.wrapping_sub(1)
    }
}

impl Address for u128 {
    const BITS: u8 = 128;
    type Chunks = Search;
    #[inline]
    fn mask(length: u8) -> Self {
        u128::MAX
            .checked_shl(128 - u32::from(length.min(128)))
            .unwrap_or(0)
    }
    #[inline(always)]
    fn top(self) -> u16 {
        (self >> 112) as u16
    }
    fn from_top(top: u16) -> Self {
        u128::from(top) << 112
    }
    #[inline(always)]
    fn low(self) -> u16 {
        self as u16
    }
    #[inline(always)]
    fn agree(_: impl Lanes, value: Self, with: &[Self; LANES], mask: &[Self; LANES]) -> u32 {
        bits(|i| (value ^ with[i]) & mask[i] == 0)
    }
    fn next(self) -> Self {
        self.wrapping_add(1)
    }
    fn before(self) -> Self {
        self.wrapping_sub(1)
    }
}

/// A prefix; bits beyond its length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<A> {
    address: A,
    length: u8,
}

impl<A: Address> Prefix<A> {
    /// The prefix every address is in.
    pub fn any() -> Self {
        Self {
            address: A::default(),
            length: 0,
        }
    }

    /// A prefix of at most [`Address::BITS`]; bits of the address beyond it are cleared.
    pub fn new(address: A, length: u8) -> Option<Self> {
        (length <= A::BITS).then(|| Self {
            address: address & A::mask(length),
            length,
        })
    }

    /// The first address.
    pub fn first(self) -> A {
        self.address
    }

    /// The last address.
    pub fn last(self) -> A {
        self.address ^ A::host_mask(self.length)
    }

    /// Bits that count.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether the address is in it.
    #[inline]
    pub fn contains(self, address: A) -> bool {
        address & A::mask(self.length) == self.address
    }
}

/// Ports from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    /// All ports.
    pub const ANY: Self = Self {
        low: 0,
        high: u16::MAX,
    };

    /// A range, unless it ends before it begins.
    pub const fn new(low: u16, high: u16) -> Option<Self> {
        if low <= high {
            Some(Self { low, high })
        } else {
            None
        }
    }

    /// First port.
    pub const fn low(self) -> u16 {
        self.low
    }

    /// Last port.
    pub const fn high(self) -> u16 {
        self.high
    }

    /// Whether the port is in it.
    #[inline]
    pub const fn contains(self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }
}

/// A rule: all five must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rule<A> {
    /// Source addresses.
    pub src: Prefix<A>,
    /// Destination addresses.
    pub dst: Prefix<A>,
    /// Protocol, or any.
    pub protocol: Option<u8>,
    /// Source ports.
    pub src_ports: PortRange,
    /// Destination ports.
    pub dst_ports: PortRange,
}

impl<A: Address> Rule<A> {
    /// The rule that matches everything.
    pub fn any() -> Self {
        Self {
            src: Prefix::any(),
            dst: Prefix::any(),
            protocol: None,
            src_ports: PortRange::ANY,
            dst_ports: PortRange::ANY,
        }
    }

    /// Whether it matches a packet.
    #[inline]
    pub fn matches(&self, packet: &Tuple<A>) -> bool {
        self.src.contains(packet.src)
            && self.dst.contains(packet.dst)
            && self
                .protocol
                .is_none_or(|protocol| protocol == packet.protocol)
            && self.src_ports.contains(packet.src_port)
            && self.dst_ports.contains(packet.dst_port)
    }
}

/// The five fields of a packet. Protocols without ports have zeros there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tuple<A> {
    /// Source address.
    pub src: A,
    /// Destination address.
    pub dst: A,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Protocol.
    pub protocol: u8,
}
