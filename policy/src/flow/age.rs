//! Ageing, outside the packet path, and eviction when the table is full.

use super::activity::Activity;
use super::index::Place;
use super::list::Flow;
use super::slot::{ALIAS, LifeState, STATE, SessionId};
use super::sync::{LINE, Ordering};
use super::table::FlowTable;
use super::tcp::State;

/// What a [`sweep`](FlowTable::sweep) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Slots looked at.
    pub visited: usize,
    /// Sessions that were too long idle.
    pub expired: usize,
    /// Whether the end of the table was reached; the next sweep begins at its start.
    pub complete: bool,
}

/// Buckets around a key's own that are searched for half-open sessions.
const NEIGHBOURS: u32 = 2;

/// Slots searched at a time after the neighbourhood had none, and how many times.
const ELSEWHERE: u32 = 64;
const ROUNDS: u32 = 4;

impl FlowTable {
    /// Ends idle sessions among the next `budget` slots, telling of each before it goes. For one
    /// caller, a thread that forwards no packets: workers never age anything themselves.
    pub fn sweep(&self, now_ms: u64, budget: usize, mut on_expired: impl FnMut(&Flow)) -> Swept {
        // Relaxed: one caller, the word is only its memory.
        let from = self.sweep_from.load(Ordering::Relaxed);
        let used = self.slots.used();
        let to = used.min(from.saturating_add(budget.min(u32::MAX as usize) as u32));
        let mut expired = 0;
        let timeouts = self.timeouts.read();
        for slot in from..to {
            let Some((id, activity, protocol)) = self.glance(slot) else {
                continue;
            };
            if !activity.expired(now_ms, protocol, &timeouts) {
                continue;
            }
            let flow = self.flow(id, now_ms);
            if self.end(id, &self.counters.expired) {
                expired += 1;
                flow.iter().for_each(&mut on_expired);
            }
        }
        let complete = to >= used;
        self.sweep_from
            .store(if complete { 0 } else { to }, Ordering::Relaxed);
        Swept {
            visited: to.saturating_sub(from) as usize,
            expired,
            complete,
        }
    }

    /// Ends the oldest half-open session (or any that is too long idle) in the neighbourhood of
    /// a place, or failing that one elsewhere. Established sessions stay.
    pub(super) fn evict(&self, place: &Place, now_ms: u64) -> bool {
        let [first, second] = place.buckets;
        let buckets = (0..NEIGHBOURS)
            .map(|n| (first + n) % self.index.buckets())
            .chain([second]);
        let mut near = [0; (NEIGHBOURS as usize + 1) * LINE];
        let mut count = 0;
        for entry in buckets.flat_map(|bucket| self.index.bucket(bucket)) {
            // Acquire: pairs with the Release of `publish`.
            if let Some(slot) = (entry.load(Ordering::Acquire) as u32).checked_sub(1) {
                self.slots.expect(slot);
                near[count] = slot;
                count += 1;
            }
        }
        let near = near[..count].iter().copied();
        let elsewhere = || {
            let used = self.slots.used().max(1);
            // Relaxed: a hand that goes around, no matter who moves it.
            let from = self.evict_from.fetch_add(ELSEWHERE, Ordering::Relaxed);
            let slots = (0..ELSEWHERE).map(|n| from.wrapping_add(n) % used);
            self.oldest_half_open(slots, now_ms)
        };
        let oldest = self
            .oldest_half_open(near, now_ms)
            .or_else(|| (0..ROUNDS).find_map(|_| elsewhere()));
        oldest.is_some_and(|id| self.end(id, &self.counters.evicted))
    }

    fn oldest_half_open(&self, slots: impl Iterator<Item = u32>, now_ms: u64) -> Option<SessionId> {
        let timeouts = self.timeouts.read();
        let candidate = |slot| {
            let (id, activity, protocol) = self.glance(slot)?;
            let expired = activity.expired(now_ms, protocol, &timeouts);
            let half_open = activity.marks().state(protocol) == State::HalfOpen;
            (expired || half_open).then(|| (expired, activity.age_ms(now_ms), id))
        };
        let oldest = slots
            .filter_map(candidate)
            .max_by_key(|&(expired, age, _)| (expired, age));
        oldest.map(|(_, _, id)| id)
    }

    /// What ageing needs of a slot, if a live session begins there.
    fn glance(&self, slot: u32) -> Option<(SessionId, Activity, u8)> {
        let life = self.slots.life(slot);
        if life.state() != LifeState::Live {
            return None;
        }
        let id = SessionId {
            slot,
            incarnation: life.incarnation(),
        };
        // Acquire: pairs with the Release in `write`; the check of the incarnation inside the
        // word and `end`, which compares the id again, make a second look unnecessary.
        let ports = self.slots.hot(slot)[super::slot::PORTS].load(Ordering::Acquire);
        let activity = Activity(self.slots.cold(slot)[STATE].load(Ordering::Acquire));
        let whole = ports & ALIAS == 0 && activity.of_incarnation(id.incarnation);
        whole.then_some((id, activity, (ports >> 8) as u8))
    }
}
