//! The slots: one record a session, fourteen words, and the protocol by which workers share them.
//!
//! Eight *hot* words, one cache line, are all that forwarding a packet reads: the key, two path
//! words and the **life** word. Six *cold* words hold the counters and the names of owners and
//! rules. The life word carries an incarnation (29 bits), a state (3) and the generation of the
//! tables the record was made from (32). It is the slot's sequence lock:
//!
//! ```text
//! Free ─pop, write─▶ Pending ─confirm─▶ Live ◀─▶ Refreshing
//!   ▲                   │ killed          │ removed   │ removed meanwhile
//!   └──── incarnation + 1 ──────────── Dead ◀────── Doomed
//! ```
//!
//! Whoever wins the compare-and-swap into `Dead` (or finds `Doomed` at the end of its refresh)
//! owns the record and gives it back. A reader takes the life word, then data, then the life
//! word again, and believes the data only when nothing changed in between.
//!
//! Orderings: every data word is stored with Release and loaded with Acquire. A reader that
//! sees a word of a later writer therefore also sees the change of the life word that came
//! before it, and its second look at the life word fails.

use super::key::FlowKey;
use super::sync::{AtomicU32, AtomicU64, LINE, Lines, Ordering, zeroed};
use crate::cpu::prefetch;

/// Words of the hot line.
pub(super) const PORTS: usize = 0;
pub(super) const ADDRESS: usize = 1;
pub(super) const PATH: usize = 5;
pub(super) const LIFE: usize = 7;

/// Words of the cold part.
pub(super) const STATE: usize = 0;
pub(super) const PACKETS: usize = 1;
pub(super) const BYTES: usize = 2;
pub(super) const OWNERS: usize = 4;
pub(super) const RULES: usize = 5;
pub(super) const COLD: usize = 6;

/// Marks in the spare bits of [`PORTS`].
pub(super) const SWAPPED: u64 = 1 << 16;
/// The session has rewritten addresses: each key counts in its own direction only.
pub(super) const REWRITTEN: u64 = 1 << 17;
/// This record only holds the reply key of another slot's session.
pub(super) const ALIAS: u64 = 1 << 18;
/// The session's verdict is deny.
pub(super) const DENY: u64 = 1 << 19;
const KEY_BITS: u64 = 0xffff_ffff_0000_ffff;

/// State of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LifeState {
    Free,
    Pending,
    Live,
    Dead,
    Refreshing,
    Doomed,
}

/// The life word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

impl Life {
    pub(super) fn new(incarnation: u32, state: LifeState, generation: u32) -> Self {
        Self(u64::from(incarnation) << 35 | (state as u64) << 32 | u64::from(generation))
    }

    pub(super) fn incarnation(self) -> u32 {
        (self.0 >> 35) as u32
    }

    pub(super) fn state(self) -> LifeState {
        match self.0 >> 32 & 7 {
            0 => LifeState::Free,
            1 => LifeState::Pending,
            2 => LifeState::Live,
            3 => LifeState::Dead,
            4 => LifeState::Refreshing,
            _ => LifeState::Doomed,
        }
    }

    pub(super) fn generation(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn with(self, state: LifeState) -> Self {
        Self::new(self.incarnation(), state, self.generation())
    }

    /// Whether packets may use the session: live, or live and being rewritten.
    #[inline(always)]
    pub(super) fn visible(self) -> bool {
        matches!(self.state(), LifeState::Live | LifeState::Refreshing)
    }

    /// The slot's next incarnation, free.
    pub(super) fn next(self) -> Self {
        Self::new((self.incarnation() + 1) & 0x1fff_ffff, LifeState::Free, 0)
    }
}

/// A session: a slot in one of its incarnations. A session that ended never comes back under
/// the same id (but for 2^29 reuses of one slot while somebody kept the id).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    pub(super) slot: u32,
    pub(super) incarnation: u32,
}

impl SessionId {
    /// As one word, for tables of others.
    pub const fn to_bits(self) -> u64 {
        (self.slot as u64) << 32 | self.incarnation as u64
    }

    /// The id from its word. An id never given out finds no session.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            slot: (bits >> 32) as u32,
            incarnation: bits as u32,
        }
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.slot, self.incarnation)
    }
}

/// The key part of a record, read whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    /// Canonical.
    pub(super) key: FlowKey,
    pub(super) marks: u64,
    pub(super) paths: [u64; 2],
}

impl Stored {
    /// The key in its own direction.
    pub(super) fn directed(&self) -> FlowKey {
        if self.marks & SWAPPED != 0 {
            self.key.reverse()
        } else {
            self.key
        }
    }
}

/// All records, and the list of those not in use.
#[derive(Debug)]
pub(super) struct Slots {
    hot: Lines,
    cold: Box<[AtomicU64]>,
    capacity: u32,
    /// Slots from here on were never used. They are not on the free list, so that an idle table
    /// need not be written at its start.
    fresh: AtomicU32,
    /// Head of the free list: how often it was popped << 32 | slot + 1.
    free: AtomicU64,
}

impl Slots {
    pub(super) fn new(capacity: u32) -> Self {
        Self {
            hot: Lines::new(capacity as usize),
            cold: zeroed(capacity as usize * COLD),
            capacity,
            fresh: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.hot.bytes() + self.cold.len() * 8
    }

    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Slots used at least once; sweeps and listings need not go further.
    pub(super) fn used(&self) -> u32 {
        // Relaxed: only a bound; a slot above it holds nothing anybody was told of.
        self.fresh.load(Ordering::Relaxed)
    }

    #[inline(always)]
    pub(super) fn hot(&self, slot: u32) -> &[AtomicU64; LINE] {
        self.hot.line(slot as usize)
    }

    #[inline(always)]
    pub(super) fn cold(&self, slot: u32) -> &[AtomicU64; COLD] {
        let from = slot as usize * COLD;
        self.cold[from..from + COLD]
            .first_chunk()
            .expect("a slice of COLD words has COLD words")
    }

    #[inline(always)]
    pub(super) fn life(&self, slot: u32) -> Life {
        // Acquire: pairs with the Release of `set_life` and `swap_life`: who sees a record
        // Pending or Live sees all of it.
        Life(self.hot(slot)[LIFE].load(Ordering::Acquire))
    }

    /// Sets the life word of a record this thread owns.
    pub(super) fn set_life(&self, slot: u32, life: Life) {
        // Release: pairs with the Acquire in `life`.
        self.hot(slot)[LIFE].store(life.0, Ordering::Release);
    }

    /// Moves a record on, unless somebody else did.
    pub(super) fn swap_life(&self, slot: u32, from: Life, to: Life) -> bool {
        // AcqRel: Release pairs with the Acquire in `life`; Acquire, because the winner of a
        // swap into Dead or Refreshing goes on to read and write the record.
        self.hot(slot)[LIFE]
            .compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The second look of a reader: whether the slot is still in the incarnation and visible.
    #[inline(always)]
    pub(super) fn still(&self, slot: u32, life: Life) -> bool {
        // Relaxed: the data loads before it are Acquire and cannot move behind it.
        Life(self.hot(slot)[LIFE].load(Ordering::Relaxed)) == life
    }

    /// Takes a slot out of the free list.
    pub(super) fn pop(&self) -> Option<u32> {
        // Acquire: pairs with the Release in `push`, for the link below and the free record.
        let mut head = self.free.load(Ordering::Acquire);
        while head as u32 != 0 {
            let slot = head as u32 - 1;
            // Relaxed: if another thread has popped the slot and written over the link, the
            // count in the head has changed and the swap fails.
            let next = self.hot(slot)[PORTS].load(Ordering::Relaxed) & 0xffff_ffff;
            let popped = ((head >> 32) + 1) << 32 | next;
            // Acquire on both: as above. No Release: the link is passed on as it was.
            let swapped =
                self.free
                    .compare_exchange_weak(head, popped, Ordering::AcqRel, Ordering::Acquire);
            match swapped {
                Ok(_) => {
                    if let Some(next) = (next as u32).checked_sub(1) {
                        self.expect(next);
                    }
                    return Some(slot);
                }
                Err(now) => head = now,
            }
        }
        // Relaxed: a fresh slot holds zeros, nothing was written that must be seen.
        self.fresh
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| {
                (n < self.capacity).then_some(n + 1)
            })
            .ok()
    }

    /// Brings a record near.
    pub(super) fn expect(&self, slot: u32) {
        prefetch(self.hot(slot));
        let cold = self.cold(slot);
        prefetch(&cold[0]);
        prefetch(&cold[COLD - 1]);
    }

    /// Puts a slot back; its life word is already the next, free incarnation.
    pub(super) fn push(&self, slot: u32) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            // Relaxed: made visible by the Release of the swap.
            self.hot(slot)[PORTS].store(head & 0xffff_ffff, Ordering::Release);
            let pushed = head & !0xffff_ffff | u64::from(slot + 1);
            // Release: pairs with the Acquire in `pop`: the next owner sees the link and the
            // life word.
            match self.free.compare_exchange_weak(
                head,
                pushed,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Writes key and paths of a record this thread owns.
    pub(super) fn write_hot(&self, slot: u32, key: &FlowKey, marks: u64, paths: [u64; 2]) {
        let line = self.hot(slot);
        // Release: pairs with the Acquire of readers of an earlier incarnation (see the top).
        line[PORTS].store(key.ports | marks, Ordering::Release);
        let words = if key.is_v6() { 4 } else { 1 };
        for (word, &address) in line[ADDRESS..].iter().zip(&key.addresses[..words]) {
            word.store(address, Ordering::Release);
        }
        line[PATH].store(paths[0], Ordering::Release);
        line[PATH + 1].store(paths[1], Ordering::Release);
    }

    /// Reads key and paths without looking at the life word: for owners of the record, and for
    /// readers who look themselves.
    pub(super) fn read_hot(&self, slot: u32) -> Stored {
        let line = self.hot(slot);
        // Acquire: pairs with the Release in `write_hot` and `write_path` (see the top).
        let ports = line[PORTS].load(Ordering::Acquire);
        let mut key = FlowKey {
            addresses: [0; 4],
            ports: ports & KEY_BITS,
        };
        let words = if key.is_v6() { 4 } else { 1 };
        for (word, address) in line[ADDRESS..].iter().zip(&mut key.addresses[..words]) {
            *address = word.load(Ordering::Acquire);
        }
        let paths = [
            line[PATH].load(Ordering::Acquire),
            line[PATH + 1].load(Ordering::Acquire),
        ];
        Stored {
            key,
            marks: ports & !KEY_BITS,
            paths,
        }
    }

    /// Compares the record's key with a canonical one; the marks when they are the same.
    #[inline(always)]
    pub(super) fn matches(&self, slot: u32, key: &FlowKey) -> Option<u64> {
        let line = self.hot(slot);
        // Acquire: pairs with the Release in `write_hot` (see the top).
        let ports = line[PORTS].load(Ordering::Acquire);
        let address = line[ADDRESS].load(Ordering::Acquire);
        if ports & KEY_BITS != key.ports || address != key.addresses[0] {
            return None;
        }
        if key.is_v6() {
            let differ = line[ADDRESS + 1].load(Ordering::Acquire) ^ key.addresses[1]
                | line[ADDRESS + 2].load(Ordering::Acquire) ^ key.addresses[2]
                | line[ADDRESS + 3].load(Ordering::Acquire) ^ key.addresses[3];
            if differ != 0 {
                return None;
            }
        }
        Some(ports & !KEY_BITS)
    }

    /// One path word, behind a life word already looked at.
    #[inline(always)]
    pub(super) fn path(&self, slot: u32, side: usize) -> u64 {
        // Acquire: pairs with `write_path` (see the top).
        self.hot(slot)[PATH + side].load(Ordering::Acquire)
    }

    /// Sets one path word of a record this thread owns or is refreshing.
    pub(super) fn write_path(&self, slot: u32, side: usize, path: u64) {
        // Release: pairs with `path` and `read_hot` (see the top).
        self.hot(slot)[PATH + side].store(path, Ordering::Release);
    }

    /// Sets the verdict of a record this thread owns or is refreshing.
    pub(super) fn write_verdict(&self, slot: u32, deny: bool) {
        let word = &self.hot(slot)[PORTS];
        // No other thread writes the word while this one refreshes; Acquire and Release as in
        // `read_hot` and `write_hot`.
        let ports = word.load(Ordering::Acquire) & !DENY;
        word.store(if deny { ports | DENY } else { ports }, Ordering::Release);
    }
}
