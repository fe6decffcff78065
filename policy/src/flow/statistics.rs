//! What the table has done since its start.

use super::sync::{AtomicU64, Ordering};

/// A reading of the counters. The fields are read one by one, so while workers run they may
/// differ by a few events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Sessions now.
    pub live: u64,
    /// Sessions at most.
    pub capacity: u64,
    /// Bytes of the table, reserved at its start.
    pub bytes: u64,
    /// Sessions inserted.
    pub inserts: u64,
    /// Sessions removed by their owner.
    pub removed: u64,
    /// Sessions that aged out.
    pub expired: u64,
    /// Half-open sessions that gave way to new ones.
    pub evicted: u64,
    /// Inserts refused: no slot and nothing to evict.
    pub full: u64,
    /// Inserts refused: an endpoint had enough.
    pub endpoint_limited: u64,
    /// Inserts refused: too many a second.
    pub rate_limited: u64,
    /// Inserts refused: TCP without SYN under the strict policy.
    pub mid_stream: u64,
    /// Inserts that met another worker inserting the same flow.
    pub races: u64,
}

/// The counters. Relaxed everywhere: each stands for itself.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) inserts: Counter,
    pub(super) removed: Counter,
    pub(super) expired: Counter,
    pub(super) evicted: Counter,
    pub(super) full: Counter,
    pub(super) endpoint_limited: Counter,
    pub(super) rate_limited: Counter,
    pub(super) mid_stream: Counter,
    pub(super) races: Counter,
}

#[derive(Debug)]
pub(super) struct Counter(AtomicU64);

impl Default for Counter {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Counter {
    pub(super) fn bump(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn read(&self, capacity: u64, bytes: u64) -> Statistics {
        let (removed, expired, evicted) = (
            self.removed.read(),
            self.expired.read(),
            self.evicted.read(),
        );
        // Read after the ways out, so that the difference is never below zero.
        let inserts = self.inserts.read();
        Statistics {
            live: inserts.saturating_sub(removed + expired + evicted),
            capacity,
            bytes,
            inserts,
            removed,
            expired,
            evicted,
            full: self.full.read(),
            endpoint_limited: self.endpoint_limited.read(),
            rate_limited: self.rate_limited.read(),
            mid_stream: self.mid_stream.read(),
            races: self.races.read(),
        }
    }
}
