//! Reassembly of IPv4 and IPv6 fragments: RFC 815, RFC 8200 section 4.5, RFC 5722.
//!
//! A [`Reassembler`] takes all its memory when it is made: a slot of 64 KiB for each datagram it
//! can work on (pages never written to cost no memory). When all are taken the oldest gives way,
//! so that fragments that never complete cannot stop those that do. Fragments that overlap end
//! their datagram, whatever comes after (RFC 5722); a fragment that came twice is ignored the
//! second time (RFC 8200 errata, and Linux). The clock is the caller's.

mod slot;
mod units;

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::Family;
use crate::bytes::array_at;
use crate::fragment::Fragment;
use crate::ip::HeaderError;
use slot::Slot;

/// How long a datagram may wait for its fragments, in milliseconds: `net.ipv4.ipfrag_time`.
pub const TIMEOUT_MS: u64 = 30_000;

/// What a reassembler may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Datagrams worked on at a time; the memory is at most this many times 67 kB.
    pub datagrams: usize,
    /// Milliseconds from a datagram's first fragment to come until it is given up.
    pub timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            datagrams: 64,
            timeout_ms: TIMEOUT_MS,
        }
    }
}

/// Why a fragment was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ReassemblyError {
    /// No IP packet.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A whole packet.
    #[error("the packet is not a fragment")]
    NotFragment,
    /// Data that is empty, or no multiple of eight bytes though more follows.
    #[error("the fragment's length is impossible")]
    Length,
    /// The datagram would be longer than 65535 bytes; it is given up.
    #[error("the datagram would be too long")]
    TooLong,
    /// The fragment overlaps another or contradicts the datagram's end; it is given up.
    #[error("the fragment contradicts another")]
    Overlap,
    /// The fragments' ECN marks exclude each other (RFC 3168 section 5.3); it is given up.
    #[error("the fragments' ECN marks exclude each other")]
    Ecn,
    /// The same fragment came before.
    #[error("the fragment came before")]
    Duplicate,
    /// The datagram was given up before.
    #[error("the fragment's datagram was given up")]
    GivenUp,
    /// A reassembler for no datagrams.
    #[error("no datagram may be reassembled")]
    NoRoom,
}

/// What happened so far, in fragments but for `datagrams`.
///
/// Those refused with an error are not among them: each fragment taken is in one of the other
/// counts or still [held](Reassembler::held).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Fragments taken.
    pub taken: u64,
    /// Datagrams completed.
    pub datagrams: u64,
    /// Fragments that became part of one.
    pub joined: u64,
    /// Fragments lost because the rest did not come in time.
    pub timed_out: u64,
    /// Fragments lost because a newer datagram needed the slot.
    pub evicted: u64,
    /// Fragments lost because their datagram was given up for an error.
    pub given_up: u64,
}

/// What makes fragments parts of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    V4 {
        scope: u32,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        id: u32,
    },
    V6 {
        scope: u32,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        id: u32,
    },
}

impl Key {
    fn new(packet: &[u8], fragment: &Fragment, scope: u32) -> Self {
        let id = fragment.identification;
        match fragment.family {
            Family::V4 => Self::V4 {
                scope,
                source: array_at::<4>(packet, 12).into(),
                destination: array_at::<4>(packet, 16).into(),
                protocol: fragment.protocol,
                id,
            },
            Family::V6 => Self::V6 {
                scope,
                source: array_at::<16>(packet, 8).into(),
                destination: array_at::<16>(packet, 24).into(),
                id,
            },
        }
    }
}

/// Puts fragments together.
#[derive(Debug)]
pub struct Reassembler {
    timeout_ms: u64,
    /// Each slot's datagram; `None` when it is free. Apart from the slots, to be searched fast.
    keys: Box<[Option<Key>]>,
    slots: Box<[Slot]>,
    counters: Counters,
    largest: usize,
}

impl Reassembler {
    /// Takes the memory for `limits`.
    pub fn new(limits: Limits) -> Self {
        Self {
            timeout_ms: limits.timeout_ms,
            keys: vec![None; limits.datagrams].into_boxed_slice(),
            slots: (0..limits.datagrams).map(|_| Slot::new()).collect(),
            counters: Counters::default(),
            largest: 0,
        }
    }

    /// Bytes of the largest fragment of the packet completed last.
    pub fn largest_fragment(&self) -> usize {
        self.largest
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Fragments that wait for others.
    pub fn held(&self) -> u64 {
        let taken = self
            .keys
            .iter()
            .zip(&self.slots)
            .filter(|(key, _)| key.is_some());
        taken.map(|(_, slot)| slot.fragments()).sum()
    }

    /// Takes a fragment, an IP packet from its header; returns the whole packet when it was the
    /// last that was missing. The packet stays where it is until the next call.
    ///
    /// `scope` keeps apart networks whose addresses may be the same: an endpoint's number, or 0.
    /// `now` is in milliseconds and never goes back.
    pub fn push(
        &mut self,
        packet: &[u8],
        scope: u32,
        now: u64,
    ) -> Result<Option<&mut [u8]>, ReassemblyError> {
        let fragment = Fragment::parse(packet)?.ok_or(ReassemblyError::NotFragment)?;
        let length = fragment.data.len();
        if length == 0 || (fragment.more && !length.is_multiple_of(8)) {
            return Err(ReassemblyError::Length);
        }
        let key = Key::new(packet, &fragment, scope);
        // RFC 6946: a fragment that is all of its datagram has nothing to do with others.
        let alone = fragment.offset == 0 && !fragment.more;
        let known = self
            .keys
            .iter()
            .position(|other| !alone && *other == Some(key));
        let at = match known {
            Some(at) if !self.has_expired(at, now) => at,
            Some(at) => {
                self.release(at, |counters| &mut counters.timed_out);
                self.take(at, key, now);
                at
            }
            None => {
                let at = self.free_slot(now).ok_or(ReassemblyError::NoRoom)?;
                self.take(at, key, now);
                at
            }
        };
        if let Err(error) = self.slots[at].add(packet, &fragment) {
            match error {
                ReassemblyError::TooLong | ReassemblyError::Overlap | ReassemblyError::Ecn => {
                    // The key stays, so that what is still to come is given up too.
                    self.counters.given_up += self.slots[at].give_up();
                }
                ReassemblyError::Header(_)
                | ReassemblyError::NotFragment
                | ReassemblyError::Length
                | ReassemblyError::Duplicate
                | ReassemblyError::GivenUp
                | ReassemblyError::NoRoom => {}
            }
            if alone {
                self.keys[at] = None;
            }
            return Err(error);
        }
        self.counters.taken += 1;
        if !self.slots[at].is_complete() {
            return Ok(None);
        }
        self.counters.datagrams += 1;
        self.largest = self.slots[at].largest();
        self.release(at, |counters| &mut counters.joined);
        Ok(self.slots[at].finish())
    }

    /// Gives up the datagrams whose time is over, and shows of each the first fragment as it
    /// came, if it did: what an ICMP Time Exceeded (code 1) quotes.
    ///
    /// To be called now and then; not calling it costs nothing but the messages.
    pub fn expire(&mut self, now: u64, mut expired: impl FnMut(Option<&[u8]>)) {
        for at in 0..self.keys.len() {
            if self.keys[at].is_some() && self.has_expired(at, now) {
                if !self.slots[at].is_given_up() {
                    expired(self.slots[at].first());
                }
                self.release(at, |counters| &mut counters.timed_out);
            }
        }
    }

    /// When the datagram held longest is to be given up; `None` while none is held.
    pub fn next_expiry(&self) -> Option<u64> {
        let taken = self.keys.iter().zip(&self.slots);
        let born = taken.filter_map(|(key, slot)| key.map(|_| slot.born()));
        born.min().map(|born| born.saturating_add(self.timeout_ms))
    }

    fn has_expired(&self, at: usize, now: u64) -> bool {
        now.saturating_sub(self.slots[at].born()) >= self.timeout_ms
    }

    /// A free slot, if need be one that was taken: an expired, a given-up, or the oldest one.
    fn free_slot(&mut self, now: u64) -> Option<usize> {
        if let Some(at) = self.keys.iter().position(Option::is_none) {
            return Some(at);
        }
        let at = (0..self.slots.len())
            .min_by_key(|at| (!self.slots[*at].is_given_up(), self.slots[*at].born()))?;
        if self.has_expired(at, now) {
            self.release(at, |counters| &mut counters.timed_out);
        } else {
            self.release(at, |counters| &mut counters.evicted);
        }
        Some(at)
    }

    fn take(&mut self, at: usize, key: Key, now: u64) {
        self.keys[at] = Some(key);
        self.slots[at].start(now);
    }

    fn release(&mut self, at: usize, count: impl Fn(&mut Counters) -> &mut u64) {
        self.keys[at] = None;
        *count(&mut self.counters) += self.slots[at].fragments();
    }
}
