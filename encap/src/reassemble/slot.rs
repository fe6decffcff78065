//! One datagram in the making.

use super::ReassemblyError;
use super::units::Units;
use crate::Family;
use crate::bytes::{put_u16, u16_at};
use crate::checksum::ipv4_header;
use crate::ecn::{Ecn, set_tos, tos};
use crate::fragment::{Fragment, IPV6_FRAGMENT_HEADER};
use crate::ip::IPV6_HEADER;
use crate::ip::{DONT_FRAGMENT, LONGEST};

/// Room before the data for the first fragment's headers; longer ones are refused.
const HEADROOM: usize = 256;
const DATA: usize = 65_536;

/// Memory for a datagram, and what of it has come.
#[derive(Debug)]
pub(super) struct Slot {
    /// When the first fragment to come came, in the caller's milliseconds.
    born: u64,
    /// Fragments taken, zero after it was given up.
    fragments: u64,
    given_up: bool,
    /// Bytes of the largest fragment that has come, headers included.
    largest: usize,
    units: Units,
    /// Bytes of data that have come.
    bytes: usize,
    /// The end of the furthest data that has come.
    furthest: usize,
    /// Bytes of data in all, once the last fragment has come.
    total: Option<usize>,
    /// What the first fragment said, once it has come.
    first: Option<First>,
    /// The ECN codepoints seen, a bit each.
    ecn: u8,
    /// Every fragment had DF set.
    dont_fragment: bool,
    /// [`HEADROOM`], then data by its offset.
    memory: Box<[u8]>,
}

#[derive(Clone, Copy, Debug)]
struct First {
    family: Family,
    /// Bytes before its data, the IPv6 fragment header included.
    header: usize,
    /// Bytes of its data.
    data: usize,
    protocol: u8,
    next_header_at: usize,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            born: 0,
            fragments: 0,
            given_up: false,
            largest: 0,
            units: Units::EMPTY,
            bytes: 0,
            furthest: 0,
            total: None,
            first: None,
            ecn: 0,
            dont_fragment: true,
            memory: vec![0; HEADROOM + DATA].into_boxed_slice(),
        }
    }

    /// Forgets everything; the next fragment is of a new datagram.
    pub(super) fn start(&mut self, now: u64) {
        self.born = now;
        self.fragments = 0;
        self.given_up = false;
        self.largest = 0;
        self.units.clear();
        self.bytes = 0;
        self.furthest = 0;
        self.total = None;
        self.first = None;
        self.ecn = 0;
        self.dont_fragment = true;
    }

    pub(super) fn born(&self) -> u64 {
        self.born
    }

    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    pub(super) fn fragments(&self) -> u64 {
        self.fragments
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Takes no more fragments; returns how many are lost.
    pub(super) fn give_up(&mut self) -> u64 {
        self.given_up = true;
        std::mem::take(&mut self.fragments)
    }

    /// Whether every byte has come.
    pub(super) fn is_complete(&self) -> bool {
        self.first.is_some() && self.total == Some(self.bytes)
    }

    /// Takes a fragment of `packet`. An error leaves everything as it was.
    pub(super) fn add(
        &mut self,
        packet: &[u8],
        fragment: &Fragment,
    ) -> Result<(), ReassemblyError> {
        if self.given_up {
            return Err(ReassemblyError::GivenUp);
        }
        let data = &packet[fragment.data.clone()];
        let from = fragment.offset;
        let to = from + data.len();
        let header = fragment.data.start;
        // The first fragment's headers will be the packet's; the others' should be as long.
        let longest = self.first.map_or(header, |first| first.header.max(header));
        let furthest = self.furthest.max(to);
        if header > HEADROOM || whole_len(fragment.family, longest, furthest) > LONGEST {
            return Err(ReassemblyError::TooLong);
        }
        // `to` is at most 65535 plus the 40 bytes IPv6 does not count, less headers: it fits.
        let (first, last) = (from / 8, to.div_ceil(8));
        match self.units.count(first, last) {
            0 => {}
            // `data` ends on a unit, or is the datagram's end; then what it repeats did too.
            all if all == last - first
                && self.memory[HEADROOM + from..HEADROOM + to] == *data
                && (fragment.more || self.total == Some(to)) =>
            {
                return Err(ReassemblyError::Duplicate);
            }
            _ => return Err(ReassemblyError::Overlap),
        }
        let end_is_known_otherwise = match self.total {
            Some(total) => !fragment.more || to > total,
            // The end comes now: nothing may have come from beyond it.
            None => !fragment.more && self.units.count(last, DATA / 8) > 0,
        };
        if end_is_known_otherwise {
            return Err(ReassemblyError::Overlap);
        }
        let ecn = self.ecn | ecn_bit(tos(packet).unwrap_or_default());
        if ecn & NOT_ECT != 0 && ecn != NOT_ECT {
            return Err(ReassemblyError::Ecn);
        }

        self.ecn = ecn;
        self.largest = self.largest.max(fragment.data.end);
        self.dont_fragment &= match fragment.family {
            Family::V4 => u16_at(packet, 6) & DONT_FRAGMENT != 0,
            Family::V6 => false,
        };
        if from == 0 {
            self.memory[HEADROOM - header..HEADROOM].copy_from_slice(&packet[..header]);
            self.first = Some(First {
                family: fragment.family,
                header,
                data: data.len(),
                protocol: fragment.protocol,
                next_header_at: fragment.next_header_at,
            });
        }
        if !fragment.more {
            self.total = Some(to);
        }
        self.memory[HEADROOM + from..HEADROOM + to].copy_from_slice(data);
        self.units.insert(first, last);
        self.bytes += data.len();
        self.furthest = furthest;
        self.fragments += 1;
        Ok(())
    }

    /// The first fragment as it came, if it did.
    pub(super) fn first(&self) -> Option<&[u8]> {
        let first = self.first?;
        self.memory
            .get(HEADROOM - first.header..HEADROOM + first.data)
    }

    /// The whole packet, of a slot that is [complete](Self::is_complete).
    pub(super) fn finish(&mut self) -> Option<&mut [u8]> {
        let (first, total) = (self.first?, self.total?);
        let length = whole_len(first.family, first.header, total);
        let mut start = HEADROOM - first.header;
        if first.family == Family::V6 {
            // The fragment header goes; what stands before it moves up to the data.
            self.memory
                .copy_within(start..HEADROOM - IPV6_FRAGMENT_HEADER, start + 8);
            start += IPV6_FRAGMENT_HEADER;
        }
        let (header, _) = self.memory[start..].split_at_mut(HEADROOM - start);
        match first.family {
            Family::V4 => {
                put_u16(header, 2, length as u16);
                put_u16(
                    header,
                    6,
                    if self.dont_fragment { DONT_FRAGMENT } else { 0 },
                );
            }
            Family::V6 => {
                put_u16(header, 4, length as u16);
                header[first.next_header_at] = first.protocol;
            }
        }
        // One fragment that met congestion is enough (RFC 3168 section 5.3).
        if self.ecn & CE != 0
            && let Some(old) = tos(header)
        {
            set_tos(header, Ecn::Ce.on(old));
        }
        if first.family == Family::V4 {
            let checksum = ipv4_header(header);
            put_u16(header, 10, checksum);
        }
        Some(&mut self.memory[start..HEADROOM + total])
    }
}

const NOT_ECT: u8 = 1;
const CE: u8 = 8;

fn ecn_bit(tos: u8) -> u8 {
    match Ecn::of(tos) {
        Ecn::NotEct => NOT_ECT,
        Ecn::Ect1 => 2,
        Ecn::Ect0 => 4,
        Ecn::Ce => CE,
    }
}

/// What the length field of the whole packet would say: for `header` bytes before the data,
/// fragment header included, and `data` bytes of it.
fn whole_len(family: Family, header: usize, data: usize) -> usize {
    match family {
        Family::V4 => header + data,
        Family::V6 => header - IPV6_HEADER - IPV6_FRAGMENT_HEADER + data,
    }
}
