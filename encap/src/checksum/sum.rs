//! Summing: the loop over the bytes, alone and fused with a copy, and the pseudo-headers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Add;

/// A running ones'-complement sum over an even number of bytes so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds one 16-bit word.
    #[must_use]
    pub fn add_u16(self, word: u16) -> Self {
        self + Self(u64::from(word.to_be()))
    }

    /// Adds two 16-bit words.
    #[must_use]
    pub fn add_u32(self, words: u32) -> Self {
        self + Self(u64::from(words.to_be()))
    }

    /// The sum as it is when its bytes stand at an odd offset of a larger block
    /// (RFC 1071 section 2 (B)).
    #[must_use]
    pub fn at_odd_offset(self) -> Self {
        Self(u64::from(self.folded().swap_bytes()))
    }

    /// The sum in 16 bits, not complemented. Zero only when every word was zero.
    pub fn fold(self) -> u16 {
        u16::from_be(self.folded())
    }

    /// The checksum field for this sum: its complement.
    pub fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The checksum field for UDP, where zero means "none" and is sent as `0xffff` (RFC 768).
    pub fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    fn folded(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }
}

impl Add for Sum {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        // The carry goes back in at the bottom: 2^64 is 1 modulo 2^16 - 1, and the addition of a
        // carry cannot overflow again.
        let (sum, carry) = self.0.overflowing_add(other.0);
        Self(sum + u64::from(carry))
    }
}

/// Bytes a turn of the loop takes.
const STRIDE: usize = 32;

/// What the strides so far sum to: `low` plus a carry of 2^64, which is 1 here, for each of
/// `carries`.
///
/// A chain of additions with carry, each stride's starting anew so that the processor overlaps
/// them: two instructions less a word than adding the carry back each time, and, on machines
/// without wide vectors in their baseline, twice as fast as widening into vector lanes.
#[derive(Default)]
struct Strides {
    low: u64,
    carries: u64,
}

impl Strides {
    #[inline]
    fn add(&mut self, stride: &[u8; STRIDE]) {
        let (words, _) = stride.as_chunks::<8>();
        let mut sum = 0u64;
        let mut carry = false;
        for word in words {
            let (next, first) = sum.overflowing_add(u64::from_ne_bytes(*word));
            let (next, second) = next.overflowing_add(u64::from(carry));
            sum = next;
            carry = first | second;
        }
        let (sum, last) = sum.overflowing_add(u64::from(carry));
        let (low, carry) = self.low.overflowing_add(sum);
        self.low = low;
        self.carries += u64::from(carry) + u64::from(last);
    }

    /// The sum of the strides and of `rest`, which is shorter than a stride.
    fn finish(&self, rest: &[u8]) -> Sum {
        let mut sum = Sum(self.low) + Sum(self.carries);
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            sum = sum + Sum(u64::from(u32::from_ne_bytes(*word)));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum + Sum(u64::from(u32::from_ne_bytes(last)))
    }
}

/// The sum of `bytes`, an odd last byte padded with zero.
pub fn sum(bytes: &[u8]) -> Sum {
    let mut total = Strides::default();
    let (strides, rest) = bytes.as_chunks::<STRIDE>();
    for stride in strides {
        total.add(stride);
    }
    total.finish(rest)
}

/// Copies `source` to the start of `target` and sums it in the same pass.
///
/// Copies and sums as many bytes as the shorter of the two has.
pub fn copy_and_sum(target: &mut [u8], source: &[u8]) -> Sum {
    let length = target.len().min(source.len());
    let mut total = Strides::default();
    let (strides, rest) = source[..length].as_chunks::<STRIDE>();
    let (targets, target_rest) = target[..length].as_chunks_mut::<STRIDE>();
    for (target, stride) in targets.iter_mut().zip(strides) {
        *target = *stride;
        total.add(stride);
    }
    target_rest.copy_from_slice(rest);
    total.finish(rest)
}

/// The sum of the IPv4 pseudo-header: addresses, protocol, and length of the transport header and
/// payload in bytes (RFC 9293 section 3.1).
pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Sum {
    Sum::ZERO
        .add_u32(source.to_bits())
        .add_u32(destination.to_bits())
        .add_u16(u16::from(protocol))
        .add_u16(length)
}

/// The sum of the IPv6 pseudo-header (RFC 8200 section 8.1).
pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, length: u32) -> Sum {
    sum(&source.octets())
        + sum(&destination.octets())
        + Sum::ZERO.add_u16(u16::from(protocol)).add_u32(length)
}
