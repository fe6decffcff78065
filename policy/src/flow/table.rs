//! The table: lookup and insert, what a packet needs.
//!
//! Two workers that insert the same flow end with one session: each first enters its finished
//! record as *Pending*, then looks for others with the same key, and only then makes it *Live*.
//! Of two that meet, the one in the lower slot goes on and the other takes its entry back; a
//! worker that was overtaken finds its record *Dead* when it wants to make it live. Nobody waits
//! for a thread that may be asleep.

use super::activity::Activity;
use super::config::{Config, MidStream, Timeouts};
use super::index::{Index, Place};
use super::key::{FlowKey, hash_canonical, protocol};
use super::limits::Limits;
use super::new_session::{NewSession, Verdict};
use super::slot::{
    ALIAS, BYTES, DENY, Life, LifeState, OWNERS, PACKETS, REWRITTEN, RULES, STATE, SWAPPED,
    SessionId, Slots,
};
use super::statistics::{Counters, Statistics};
use super::sync::{AtomicU32, Ordering, fence, relax};
use super::tcp::{Direction, Marks, flags};
use super::timeouts::Current;
use crate::cpu::prefetch;

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The session.
    pub session: SessionId,
    /// Which of its directions the packet has.
    pub direction: Direction,
}

/// Why a session was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// No slot is free and no half-open session is near.
    #[error("the flow table is full")]
    Full,
    /// The endpoint owns as many sessions as it may.
    #[error("endpoint {0} has as many sessions as it may")]
    EndpointLimit(u32),
    /// New sessions come faster than they are admitted.
    #[error("new sessions come faster than they are admitted")]
    RateLimited,
    /// A TCP packet without SYN, and the table is strict.
    #[error("a TCP session must begin with a SYN")]
    MidStream,
    /// One of the two keys belongs to this session already.
    #[error("the flow has session {:?}", .0.session)]
    Exists(Hit),
}

/// Sessions the smallest table has room for.
const SMALLEST: usize = if cfg!(loom) { 2 } else { 64 };

/// Keys between two stages of a batched lookup: enough to cover a cache miss.
const APART: usize = 16;

/// Keys under way in a batched lookup.
const RING: usize = 64;

/// How often an insert makes room for a competitor before it insists.
const PATIENCE: usize = 16;

/// The sessions of all flows. Shared by reference among workers; see the module's own page.
#[derive(Debug)]
pub struct FlowTable {
    pub(super) index: Index,
    pub(super) slots: Slots,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    pub(super) config: Config,
    pub(super) timeouts: Current,
    /// Where the next sweep begins.
    pub(super) sweep_from: AtomicU32,
    /// Where the next search for half-open sessions begins.
    pub(super) evict_from: AtomicU32,
}

/// A key made ready: canonical, with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought {
    pub(super) key: FlowKey,
    pub(super) swapped: bool,
    pub(super) place: Place,
}

/// How a record stands to another with the same key.
enum Rival {
    Live(Hit),
    Pending(u32, Life),
}

impl FlowTable {
    /// A table with all the memory it will ever have. The capacity is brought into 64..=2^28.
    pub fn new(config: Config) -> Self {
        let capacity = config.capacity.clamp(SMALLEST, 1 << 28) as u32;
        Self {
            index: Index::new(capacity),
            slots: Slots::new(capacity),
            limits: Limits::new(&config),
            counters: Counters::default(),
            timeouts: Current::new(&config.timeouts),
            config,
            sweep_from: AtomicU32::new(0),
            evict_from: AtomicU32::new(0),
        }
    }

    /// The session of a packet with this key.
    #[inline]
    pub fn lookup(&self, key: &FlowKey) -> Option<Hit> {
        self.find(&self.sought(key))
    }

    /// Looks up `keys[i]` into `hits[i]`, as far as the shorter of the two goes. Faster than one
    /// by one because the cache misses of several keys overlap.
    pub fn lookup_batch(&self, keys: &[FlowKey], hits: &mut [Option<Hit>]) {
        let count = keys.len().min(hits.len());
        let nowhere = Sought {
            key: FlowKey::v4(0, 0, 0, 0, 0),
            swapped: false,
            place: Place {
                buckets: [0; 2],
                tag: 0,
            },
        };
        // Three stages, each a few keys behind the one before: ask for the bucket; read it and
        // ask for the record; compare.
        let mut sought = [nowhere; RING];
        let mut slots = [None; RING];
        for step in 0..count + 2 * APART {
            if let Some(key) = keys[..count].get(step) {
                let ready = self.sought(key);
                prefetch(self.index.bucket(ready.place.buckets[0]));
                sought[step % RING] = ready;
            }
            if let Some(i) = step.checked_sub(APART).filter(|&i| i < count) {
                let place = &sought[i % RING].place;
                let slot = self.index.any(place.buckets[0], place.tag);
                match slot {
                    // The cold part, too: what is found is counted next.
                    Some(slot) => self.slots.expect(slot),
                    None => prefetch(self.index.bucket(place.buckets[1])),
                }
                slots[i % RING] = slot;
            }
            if let Some(i) = step.checked_sub(2 * APART) {
                let sought = &sought[i % RING];
                hits[i] = match slots[i % RING] {
                    Some(slot) => self.check(slot, sought).or_else(|| self.find(sought)),
                    None => self.find_in(1, sought),
                };
            }
        }
    }

    /// Enters a session whose first packet is `new`. `Exists` also answers when the reply key
    /// belongs to another session.
    pub fn insert(&self, new: &NewSession, now_ms: u64) -> Result<SessionId, InsertError> {
        let strict = self.config.mid_stream == MidStream::Strict;
        let first = new.first;
        if strict && new.key.protocol() == protocol::TCP && first.tcp_flags & flags::SYN == 0 {
            self.counters.mid_stream.bump();
            return Err(InsertError::MidStream);
        }
        let rewritten = new.reply_key != new.key.reverse();
        let keys = [self.sought(&new.key), self.sought(&new.reply_key)];
        if let Some(hit) = keys.iter().find_map(|key| self.find(key)) {
            return Err(InsertError::Exists(hit));
        }
        // One entry serves both directions of a session without rewriting.
        let keys = if rewritten { &keys[..] } else { &keys[..1] };
        if !self.limits.admit(now_ms) {
            self.counters.rate_limited.bump();
            return Err(InsertError::RateLimited);
        }
        if let Err(endpoint) = self.limits.claim(new.owners) {
            self.counters.endpoint_limited.bump();
            return Err(InsertError::EndpointLimit(endpoint));
        }
        let placed = self.place(new, keys, now_ms);
        match placed {
            Ok(_) => self.counters.inserts.bump(),
            Err(error) => {
                self.limits.release(new.owners);
                if error == InsertError::Full {
                    self.counters.full.bump();
                }
            }
        }
        placed
    }

    /// The counters.
    pub fn statistics(&self) -> Statistics {
        self.counters
            .read(u64::from(self.slots.capacity()), self.bytes() as u64)
    }

    /// Bytes of memory reserved for sessions and index (without the endpoint counters).
    pub fn bytes(&self) -> usize {
        self.index.bytes() + self.slots.bytes()
    }

    /// The idle times in force.
    pub fn timeouts(&self) -> Timeouts {
        self.timeouts.read()
    }

    /// Replaces the idle times, for the sessions that are there too, from the next sweep on.
    pub fn set_timeouts(&self, timeouts: &Timeouts) {
        self.timeouts.set(timeouts);
    }

    /// Sets the number of sessions one endpoint may own, `None` for the table's default; `false`
    /// for an id at or beyond [`Config::endpoints`].
    pub fn set_endpoint_limit(&self, endpoint: u32, limit: Option<u32>) -> bool {
        self.limits.set(endpoint, limit)
    }

    /// Sessions an endpoint owns.
    pub fn endpoint_sessions(&self, endpoint: u32) -> Option<u32> {
        self.limits.sessions(endpoint)
    }

    #[inline(always)]
    pub(super) fn sought(&self, key: &FlowKey) -> Sought {
        let (key, swapped) = key.canonical();
        let place = self.index.place(hash_canonical(&key, self.config.seed));
        Sought {
            key,
            swapped,
            place,
        }
    }

    #[inline(always)]
    pub(super) fn find(&self, sought: &Sought) -> Option<Hit> {
        self.find_in(0, sought).or_else(|| self.find_in(1, sought))
    }

    #[inline(always)]
    fn find_in(&self, bucket: usize, sought: &Sought) -> Option<Hit> {
        let place = &sought.place;
        self.index.find(place.buckets[bucket], place.tag, |slot| {
            self.check(slot, sought)
        })
    }

    /// The hit, if the slot holds the key and is visible.
    #[inline(always)]
    fn check(&self, slot: u32, sought: &Sought) -> Option<Hit> {
        let life = self.slots.life(slot);
        if !life.visible() {
            return None;
        }
        let marks = self.slots.matches(slot, &sought.key)?;
        let session = SessionId {
            slot,
            incarnation: life.incarnation(),
        };
        let same = (marks & SWAPPED != 0) == sought.swapped;
        if marks & REWRITTEN == 0 {
            let direction = if same {
                Direction::Original
            } else {
                Direction::Reply
            };
            // A refresh may begin or end in between; the key stays.
            return self.alive(session).then_some(Hit { session, direction });
        }
        let primary = self.slots.path(slot, 0);
        if !same || !self.alive(session) {
            return None;
        }
        if marks & ALIAS == 0 {
            return Some(Hit {
                session,
                direction: Direction::Original,
            });
        }
        let session = SessionId::from_bits(primary);
        self.alive(session).then_some(Hit {
            session,
            direction: Direction::Reply,
        })
    }

    /// Whether the session is still there.
    #[inline(always)]
    pub(super) fn alive(&self, id: SessionId) -> bool {
        let life = self.slots.life(id.slot);
        life.visible() && life.incarnation() == id.incarnation
    }

    /// Finds slots, writes the records and makes them visible.
    fn place(
        &self,
        new: &NewSession,
        keys: &[Sought],
        now_ms: u64,
    ) -> Result<SessionId, InsertError> {
        let slot = self
            .obtain(&keys[0].place, now_ms)
            .ok_or(InsertError::Full)?;
        let Some(reply) = keys.get(1) else {
            return self.compete(new, keys, [slot; 2], now_ms);
        };
        let Some(alias) = self.obtain(&reply.place, now_ms) else {
            self.slots.push(slot);
            return Err(InsertError::Full);
        };
        self.compete(new, keys, [slot, alias], now_ms)
    }

    fn compete(
        &self,
        new: &NewSession,
        keys: &[Sought],
        slots: [u32; 2],
        now_ms: u64,
    ) -> Result<SessionId, InsertError> {
        let slot = slots[0];
        for attempt in 0.. {
            let pending = self.write(new, keys, slots, now_ms);
            let published = keys
                .iter()
                .zip(slots)
                .all(|(key, slot)| self.publish(key, slot, now_ms));
            let outcome = if published {
                self.confront(keys, slots, pending, attempt >= PATIENCE)
            } else {
                Err(Some(InsertError::Full))
            };
            if outcome.is_ok()
                && self
                    .slots
                    .swap_life(slot, pending, pending.with(LifeState::Live))
            {
                return Ok(SessionId {
                    slot,
                    incarnation: pending.incarnation(),
                });
            }
            self.counters.races.bump();
            for (key, slot) in keys.iter().zip(slots) {
                self.index.withdraw(&key.place, slot);
                self.slots.set_life(slot, self.slots.life(slot).next());
            }
            let lost = outcome.err().flatten();
            let exists = || {
                keys.iter()
                    .find_map(|key| self.find(key))
                    .map(InsertError::Exists)
            };
            if let Some(error) = lost.or_else(exists) {
                slots[..keys.len()]
                    .iter()
                    .for_each(|&slot| self.slots.push(slot));
                return Err(error);
            }
            relax();
        }
        unreachable!("the loop ends by returning")
    }

    /// Writes the records of a session into slots this thread owns; the life word it now has.
    fn write(&self, new: &NewSession, keys: &[Sought], slots: [u32; 2], now_ms: u64) -> Life {
        let [slot, alias] = slots;
        let incarnation = self.slots.life(slot).incarnation();
        let pending = Life::new(incarnation, LifeState::Pending, new.generation);
        let mark = |on: bool, bit: u64| if on { bit } else { 0 };
        let common = mark(keys.len() > 1, REWRITTEN);
        let marks =
            common | mark(keys[0].swapped, SWAPPED) | mark(new.verdict == Verdict::Deny, DENY);
        let second = if keys.len() > 1 {
            u64::from(alias)
        } else {
            new.paths[1]
        };
        self.slots
            .write_hot(slot, &keys[0].key, marks, [new.paths[0], second]);
        let cold = self.slots.cold(slot);
        let seen = Marks::first(new.key.protocol(), new.first.tcp_flags);
        let halves = |[low, high]: [u32; 2]| u64::from(high) << 32 | u64::from(low);
        // Release: pairs with the Acquire loads of `flow` and `sweep`, like all data words.
        cold[STATE].store(
            Activity::new(now_ms, seen, incarnation).0,
            Ordering::Release,
        );
        cold[PACKETS].store(u64::from(new.first.packets), Ordering::Release);
        cold[BYTES].store(u64::from(new.first.bytes), Ordering::Release);
        cold[BYTES + 1].store(0, Ordering::Release);
        cold[OWNERS].store(halves(new.owners), Ordering::Release);
        cold[RULES].store(halves(new.rules), Ordering::Release);
        if let Some(reply) = keys.get(1) {
            let id = SessionId { slot, incarnation };
            let marks = common | ALIAS | mark(reply.swapped, SWAPPED);
            self.slots
                .write_hot(alias, &reply.key, marks, [id.to_bits(), new.paths[1]]);
            let life = Life::new(self.slots.life(alias).incarnation(), LifeState::Live, 0);
            self.slots.set_life(alias, life);
        }
        self.slots.set_life(slot, pending);
        pending
    }

    fn publish(&self, key: &Sought, slot: u32, now_ms: u64) -> bool {
        self.index.publish(&key.place, slot)
            || (self.evict(&key.place, now_ms) && self.index.publish(&key.place, slot))
    }

    /// Looks for other sessions with one of the keys: none may be live, and of those pending
    /// only one may go on. `Err(None)`: give way and look again.
    fn confront(
        &self,
        keys: &[Sought],
        slots: [u32; 2],
        mine: Life,
        insist: bool,
    ) -> Result<(), Option<InsertError>> {
        // SeqCst: pairs with itself in the other worker. Between entering its own record and
        // looking for others' each passes here, so at least one of two sees the other.
        fence(Ordering::SeqCst);
        let mut outcome = Ok(());
        for (key, own) in keys.iter().zip(slots) {
            let mut meet = |slot| {
                if slot == own {
                    return None;
                }
                match self.rival(slot, key, keys.len() > 1)? {
                    Rival::Live(hit) => outcome = Err(Some(InsertError::Exists(hit))),
                    Rival::Pending(primary, _) if primary < slots[0] && !insist => {
                        outcome = Err(None);
                    }
                    Rival::Pending(primary, life) => {
                        let dead = life.with(LifeState::Dead);
                        if !self.slots.swap_life(primary, life, dead) {
                            // It went live, or away: look again.
                            outcome = Err(None);
                        }
                        return None;
                    }
                }
                Some(())
            };
            for bucket in key.place.buckets {
                self.index.find(bucket, key.place.tag, &mut meet);
            }
        }
        // Killed ourselves meanwhile: no need to try.
        if self.slots.life(slots[0]) != mine {
            Err(outcome.err().flatten())
        } else {
            outcome
        }
    }

    /// What else holds a key of the session being inserted.
    fn rival(&self, slot: u32, sought: &Sought, rewritten: bool) -> Option<Rival> {
        let life = self.slots.life(slot);
        if matches!(
            life.state(),
            LifeState::Free | LifeState::Dead | LifeState::Doomed
        ) {
            return None;
        }
        let marks = self.slots.matches(slot, &sought.key)?;
        let same = (marks & SWAPPED != 0) == sought.swapped;
        let alias_of = SessionId::from_bits(self.slots.path(slot, 0));
        let reused = self.slots.life(slot).incarnation() != life.incarnation();
        // Two rewritten sessions may have one key each way; any other pair meets in both.
        if reused || (rewritten && marks & REWRITTEN != 0 && !same) {
            return None;
        }
        let is_alias = marks & ALIAS != 0;
        let id = if is_alias {
            alias_of
        } else {
            SessionId {
                slot,
                incarnation: life.incarnation(),
            }
        };
        let life = self.slots.life(id.slot);
        if life.incarnation() != id.incarnation {
            return None;
        }
        let reply = is_alias || !same;
        let direction = if reply {
            Direction::Reply
        } else {
            Direction::Original
        };
        match life.state() {
            LifeState::Free | LifeState::Dead | LifeState::Doomed => None,
            LifeState::Pending => Some(Rival::Pending(id.slot, life)),
            LifeState::Live | LifeState::Refreshing => Some(Rival::Live(Hit {
                session: id,
                direction,
            })),
        }
    }

    /// A slot for a new record: a free one, or one whose half-open session gives way.
    fn obtain(&self, place: &Place, now_ms: u64) -> Option<u32> {
        self.slots.pop().or_else(|| {
            // Another worker may take the slot just freed; a few tries, then the table is full.
            (0..4).find_map(|_| {
                if self.evict(place, now_ms) {
                    self.slots.pop()
                } else {
                    None
                }
            })
        })
    }
}
