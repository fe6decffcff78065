//! The shape of each family's FIB: the bits that each level tells apart, and the way from a link to
//! the value of an address.

use crate::cells::{GREATEST_LIST, Link, SLOT_BITS, SLOTS, Target, Word, find_in_list};
use crate::prefix::Bits;
use crate::tables::Tables;

/// The shape of a family's FIB.
///
/// Below the root, a link leads to a list or to words. A list tells apart the bits up to the next
/// multiple of 16, so 16 or 8; words tell apart 8, a *group*, or 16, a *window*.
pub trait Fib: 'static {
    /// Addresses as numbers.
    type Bits: Bits;
    /// Address bits the root tells apart.
    const ROOT: u8;
    /// Whether the root is an array of words; else of links.
    const WORDS: bool;
    /// Whether words right below the root are windows.
    const WINDOWS: bool;

    /// Address bits that words tell apart, `depth` bits into the address.
    #[inline(always)]
    fn words_width(depth: u8) -> u8 {
        if Self::WINDOWS && depth == Self::ROOT {
            16
        } else {
            8
        }
    }

    /// Address bits that a list tells apart, `depth` bits into the address.
    #[inline(always)]
    fn list_width(depth: u8) -> u8 {
        16 - depth % 16
    }

    /// The greatest list, `depth` bits into the address.
    fn greatest_list(depth: u8) -> usize {
        if Self::words_width(depth) == 16 {
            15
        } else {
            GREATEST_LIST
        }
    }
}

/// IPv4: words for the first 24 bits; lists or groups for the last 8.
#[derive(Debug)]
pub struct Fib4;

impl Fib for Fib4 {
    type Bits = u32;
    const ROOT: u8 = 24;
    const WORDS: bool = true;
    const WINDOWS: bool = false;
}

/// IPv6: links for the first 16 bits, windows for the next 16; lists or groups for all others.
#[derive(Debug)]
pub struct Fib6;

impl Fib for Fib6 {
    type Bits = u128;
    const ROOT: u8 = 16;
    const WORDS: bool = false;
    const WINDOWS: bool = true;
}

/// Words of an array that tells `width` bits apart.
pub(crate) fn words_of(width: u8) -> usize {
    1 << (width - SLOT_BITS)
}

/// What `link` holds for the address of which `depth` bits were consumed.
#[inline]
pub(crate) fn follow<F: Fib>(tables: &Tables, mut link: Link, bits: F::Bits, mut depth: u8) -> u16 {
    loop {
        match link.target() {
            Target::Value(raw) => return raw,
            Target::List(at) => {
                let width = F::list_width(depth);
                link = find_in_list(tables, at, bits.slice(depth, width));
                depth += width;
            }
            Target::Words(at) => {
                let width = F::words_width(depth);
                let slot = bits.slice(depth, width);
                link = Word(tables.word(at + slot as usize / SLOTS)).slot(tables, slot);
                depth += width;
            }
        }
    }
}
