//! Addresses and prefixes as numbers.

use std::fmt::Debug;
use std::hash::Hash;

/// An address as a number, most significant bit first.
pub trait Bits: Copy + Ord + Hash + Debug + Default + Send + Sync + 'static {
    /// The address width, in bits.
    const WIDTH: u8;

    /// The `count` (1 to 24) bits after the first `from`, in the low end; bits past the end of
    /// the address are 0. `from` is less than [`Self::WIDTH`].
    fn slice(self, from: u8, count: u8) -> u32;

    /// The address with all but the first `len` bits cleared.
    fn truncate(self, len: u8) -> Self;

    /// The address with all but the first `len` bits set.
    fn fill(self, len: u8) -> Self;

    /// The address before; `self` is not 0.
    fn previous(self) -> Self;

    /// The next address, or `None` at the end of the address space.
    fn next(self) -> Option<Self>;

    /// This address with the `count` bits after the first `from` replaced by `chunk`; bits past
    /// the end of the address are dropped.
    fn with_slice(self, from: u8, count: u8, chunk: u32) -> Self;
}

macro_rules! bits {
    ($number:ty, $width:literal) => {
        impl Bits for $number {
            const WIDTH: u8 = $width;

            #[inline]
            fn slice(self, from: u8, count: u8) -> u32 {
                ((self << from) >> ($width - count)) as u32
            }

            #[inline]
            fn truncate(self, len: u8) -> Self {
                if len == 0 {
                    0
                } else {
                    self & (<$number>::MAX << ($width - len))
                }
            }

            #[inline]
            fn fill(self, len: u8) -> Self {
                self | <$number>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn previous(self) -> Self {
                self - 1
            }

            #[inline]
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            #[inline]
            fn with_slice(self, from: u8, count: u8, chunk: u32) -> Self {
                let mask = ((1 << count) - 1) << ($width - count) >> from;
                (self & !mask) | (<$number>::from(chunk) << ($width - count) >> from)
            }
        }
    };
}

bits!(u32, 32);
bits!(u128, 128);

/// A prefix: an address whose bits after the first `len` are 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Prefix<B> {
    /// The first address.
    pub bits: B,
    /// The length, at most the address width.
    pub len: u8,
}

impl<B: Bits> Prefix<B> {
    /// The prefix of `len` bits that holds the address `bits`.
    #[inline]
    pub fn new(bits: B, len: u8) -> Self {
        Self {
            bits: bits.truncate(len),
            len,
        }
    }

    /// The last address.
    #[inline]
    pub fn last(self) -> B {
        self.bits.fill(self.len)
    }

    /// Whether `other` is this prefix or more specific.
    #[inline]
    pub fn covers(self, other: Self) -> bool {
        self.len <= other.len && other.bits.truncate(self.len) == self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices() {
        let a = 0xc0a8_0102_u32;
        assert_eq!(a.slice(0, 8), 0xc0);
        assert_eq!(a.slice(8, 16), 0xa801);
        assert_eq!(a.slice(31, 6), 0);
        assert_eq!(0xffff_ffff_u32.slice(31, 6), 0b10_0000);
        assert_eq!(a.with_slice(8, 8, 0xff), 0xc0ff_0102);
        assert_eq!(0_u32.with_slice(31, 6, 0b10_0000), 1);
        assert_eq!(a.truncate(0), 0);
        assert_eq!(a.truncate(32), a);
        assert_eq!(a.fill(0), u32::MAX);
        assert_eq!(a.fill(32), a);
        assert_eq!(Prefix::new(a, 16).last(), 0xc0a8_ffff);
        assert!(Prefix::new(a, 16).covers(Prefix::new(a, 16)));
        assert!(!Prefix::new(a, 16).covers(Prefix::new(a, 15)));
    }
}
