//! The session: what a worker reads, counts and renews while its packets pass.

use super::activity::Activity;
use super::new_session::{Seen, Verdict};
use super::slot::{
    ALIAS, BYTES, DENY, LifeState, OWNERS, PACKETS, REWRITTEN, RULES, STATE, SessionId,
};
use super::statistics::Counter;
use super::sync::{Ordering, relax};
use super::table::{FlowTable, Hit};

/// The part of a session that forwards its packets, read as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Generation of the tables that decided: believe the rest only while it is the current one.
    pub generation: u32,
    pub verdict: Verdict,
    /// The caller's words, one a direction.
    pub paths: [u64; 2],
}

/// Result of a [`refresh`](FlowTable::refresh).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// The session now says what was asked.
    Done,
    /// Another worker is at it or was first; it came from the same tables.
    Raced,
    /// The session has ended.
    Gone,
}

/// Result of a [`touch`](FlowTable::touch).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Counted.
    Counted,
    /// The packet opens a new connection over an ended one: remove the session and insert again.
    Reopened,
    /// The session has ended.
    Gone,
}

/// Looks at a record being rewritten before a reader calls it gone.
const LOOKS: usize = if cfg!(loom) { 2 } else { 256 };

impl FlowTable {
    /// The session's verdict and paths. `None` when it has ended, or in the rare case that a
    /// worker was put to sleep while renewing it: then the packet is decided without a session.
    #[inline]
    pub fn session(&self, id: SessionId) -> Option<Session> {
        for _ in 0..LOOKS {
            if id.slot >= self.slots.capacity() {
                return None;
            }
            let life = self.slots.life(id.slot);
            if !life.visible() || life.incarnation() != id.incarnation {
                return None;
            }
            if life.state() == LifeState::Live {
                let marks = self.slots.hot(id.slot)[super::slot::PORTS].load(Ordering::Acquire);
                let mut paths = [self.slots.path(id.slot, 0), self.slots.path(id.slot, 1)];
                if marks & REWRITTEN != 0 && paths[1] < u64::from(self.slots.capacity()) {
                    // The word of the reply stands in the record of the reply's key. It can only
                    // be given back after this record, which is looked at once more below.
                    paths[1] = self.slots.path(paths[1] as u32, 1);
                }
                if self.slots.still(id.slot, life) {
                    let verdict = if marks & DENY != 0 {
                        Verdict::Deny
                    } else {
                        Verdict::Allow
                    };
                    return Some(Session {
                        generation: life.generation(),
                        verdict,
                        paths,
                    });
                }
            }
            relax();
        }
        None
    }

    /// Replaces verdict, paths and rules after the tables have changed. `new.generation` is the
    /// generation they were made from; a session already of that generation is left alone.
    pub fn refresh(&self, id: SessionId, new: &Session, rules: [u32; 2]) -> Refresh {
        if id.slot >= self.slots.capacity() {
            return Refresh::Gone;
        }
        let life = self.slots.life(id.slot);
        if !life.visible() || life.incarnation() != id.incarnation {
            return Refresh::Gone;
        }
        let busy = life.with(LifeState::Refreshing);
        if life.state() == LifeState::Refreshing
            || life.generation() == new.generation
            || !self.slots.swap_life(id.slot, life, busy)
        {
            return Refresh::Raced;
        }
        let reply = self.slots.path(id.slot, 1);
        let marks = self.slots.hot(id.slot)[super::slot::PORTS].load(Ordering::Acquire);
        self.slots.write_path(id.slot, 0, new.paths[0]);
        let reply_slot = if marks & REWRITTEN != 0 {
            reply as u32
        } else {
            id.slot
        };
        self.slots.write_path(reply_slot, 1, new.paths[1]);
        self.slots
            .write_verdict(id.slot, new.verdict == Verdict::Deny);
        let rules = u64::from(rules[1]) << 32 | u64::from(rules[0]);
        self.slots.cold(id.slot)[RULES].store(rules, Ordering::Release);
        let done = super::slot::Life::new(life.incarnation(), LifeState::Live, new.generation);
        if self.slots.swap_life(id.slot, busy, done) {
            return Refresh::Done;
        }
        // Only a removal touches a record being refreshed, and leaves the rest to us.
        self.reclaim(id.slot);
        Refresh::Gone
    }

    /// Counts a packet and what it shows. Writes shared memory only as far as needed: the two
    /// counters of its direction, and the activity word when tick or TCP state changed.
    #[inline]
    pub fn touch(&self, hit: Hit, now_ms: u64, seen: Seen) -> Touch {
        let id = hit.session;
        if id.slot >= self.slots.capacity() || !self.alive(id) {
            return Touch::Gone;
        }
        // Relaxed: the protocol stays the same while the session is there; if it is not, the
        // incarnation in the activity word saves a later session from this packet.
        let protocol =
            (self.slots.hot(id.slot)[super::slot::PORTS].load(Ordering::Relaxed) >> 8) as u8;
        let cold = self.slots.cold(id.slot);
        // Relaxed: the word stands for itself.
        let mut was = cold[STATE].load(Ordering::Relaxed);
        loop {
            let activity = Activity(was);
            if !activity.of_incarnation(id.incarnation) {
                return Touch::Gone;
            }
            let marks = activity.marks();
            if marks.reopened_by(protocol, seen.tcp_flags) {
                return Touch::Reopened;
            }
            let is = activity
                .seen(now_ms, marks.after(protocol, seen.tcp_flags, hit.direction))
                .0;
            if is == was {
                break;
            }
            match cold[STATE].compare_exchange_weak(was, is, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => was = now,
            }
        }
        // Relaxed: sums. Should the slot change hands right here, its next session starts with
        // one packet too many in its counters, which is all the harm.
        let side = hit.direction.index();
        cold[PACKETS].fetch_add(u64::from(seen.packets) << (32 * side), Ordering::Relaxed);
        cold[BYTES + side].fetch_add(u64::from(seen.bytes), Ordering::Relaxed);
        Touch::Counted
    }

    /// Ends a session; `false` when it has ended already.
    pub fn remove(&self, id: SessionId) -> bool {
        self.end(id, &self.counters.removed)
    }

    /// Ends a session and counts it there.
    pub(super) fn end(&self, id: SessionId, counter: &Counter) -> bool {
        if id.slot >= self.slots.capacity() {
            return false;
        }
        loop {
            let life = self.slots.life(id.slot);
            if life.incarnation() != id.incarnation {
                return false;
            }
            let to = match life.state() {
                LifeState::Live => LifeState::Dead,
                LifeState::Refreshing => LifeState::Doomed,
                LifeState::Free | LifeState::Pending | LifeState::Dead | LifeState::Doomed => {
                    return false;
                }
            };
            if self.slots.swap_life(id.slot, life, life.with(to)) {
                counter.bump();
                if to == LifeState::Dead {
                    self.reclaim(id.slot);
                }
                return true;
            }
        }
    }

    /// Gives back the records of a session whose end this thread has won.
    fn reclaim(&self, slot: u32) {
        let owners = self.slots.cold(slot)[OWNERS].load(Ordering::Acquire);
        self.limits.release([owners as u32, (owners >> 32) as u32]);
        let stored = self.slots.read_hot(slot);
        debug_assert_eq!(stored.marks & ALIAS, 0, "an alias does not end by itself");
        if stored.marks & REWRITTEN != 0 {
            self.give_back(stored.paths[1] as u32);
        }
        self.give_back(slot);
    }

    fn give_back(&self, slot: u32) {
        let key = self.slots.read_hot(slot).key;
        self.index.withdraw(&self.sought(&key).place, slot);
        self.slots.set_life(slot, self.slots.life(slot).next());
        self.slots.push(slot);
    }
}
