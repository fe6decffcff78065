//! Sessions as people see them: one whole, or the table page by page.

use super::activity::Activity;
use super::key::FlowKey;
use super::new_session::Verdict;
use super::slot::{ALIAS, BYTES, DENY, OWNERS, PACKETS, REWRITTEN, RULES, STATE, SessionId};
use super::sync::Ordering;
use super::table::FlowTable;
use super::tcp::State;

/// A session, copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub id: SessionId,
    /// Key of its first packet.
    pub key: FlowKey,
    /// Key of the packets in reply.
    pub reply_key: FlowKey,
    /// What its packets have shown.
    pub state: State,
    pub verdict: Verdict,
    /// Milliseconds since its first packet (wrapping after 49 days, steps of a second).
    pub age_ms: u64,
    /// Milliseconds since its last packet (steps of 256).
    pub idle_ms: u64,
    /// Packets by direction, modulo 2^32.
    pub packets: [u32; 2],
    /// Bytes by direction.
    pub bytes: [u64; 2],
    /// Generation of the tables that decided.
    pub generation: u32,
    /// Endpoints that own it.
    pub owners: [u32; 2],
    /// Rules that decided it.
    pub rules: [u32; 2],
    /// The caller's words.
    pub paths: [u64; 2],
}

/// A part of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Sessions, in no order anybody should rely on.
    pub flows: Vec<Flow>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<u32>,
}

impl FlowTable {
    /// A session, if it is there. Counters are read while packets pass.
    pub fn flow(&self, id: SessionId, now_ms: u64) -> Option<Flow> {
        let session = self.session(id)?;
        let stored = self.slots.read_hot(id.slot);
        if stored.marks & ALIAS != 0 {
            return None;
        }
        let key = stored.directed();
        let reply_key = if stored.marks & REWRITTEN == 0 {
            key.reverse()
        } else {
            self.slots
                .read_hot((stored.paths[1] as u32).min(self.slots.capacity() - 1))
                .directed()
        };
        // Acquire: pairs with the Release in `write` and `refresh`.
        let cold = self
            .slots
            .cold(id.slot)
            .each_ref()
            .map(|word| word.load(Ordering::Acquire));
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        let activity = Activity(cold[STATE]);
        let flow = Flow {
            id,
            key,
            reply_key,
            state: activity.marks().state(key.protocol()),
            verdict: if stored.marks & DENY != 0 {
                Verdict::Deny
            } else {
                Verdict::Allow
            },
            age_ms: activity.age_ms(now_ms),
            idle_ms: activity.idle_ms(now_ms),
            packets: halves(cold[PACKETS]),
            bytes: [cold[BYTES], cold[BYTES + 1]],
            generation: session.generation,
            owners: halves(cold[OWNERS]),
            rules: halves(cold[RULES]),
            paths: session.paths,
        };
        self.alive(id).then_some(flow)
    }

    /// Up to `limit` sessions from a place on: zero at first, then [`Page::next`]. What is there
    /// all the while is listed once; what comes or goes meanwhile may be missing.
    pub fn flows(&self, from: u32, limit: usize, now_ms: u64) -> Page {
        self.page(from, self.slots.used(), limit, now_ms)
    }

    /// The sessions in the next `slots` places, few or many; a look costs as much as there are places.
    pub fn flows_within(&self, from: u32, slots: u32, now_ms: u64) -> Page {
        let used = self.slots.used();
        let to = from.saturating_add(slots).min(used);
        let mut page = self.page(from, to, usize::MAX, now_ms);
        page.next = (to < used).then_some(to);
        page
    }

    fn page(&self, from: u32, to: u32, limit: usize, now_ms: u64) -> Page {
        let mut page = Page::default();
        for slot in from..to {
            if page.flows.len() == limit {
                page.next = Some(slot);
                break;
            }
            let life = self.slots.life(slot);
            if !life.visible() {
                continue;
            }
            let id = SessionId {
                slot,
                incarnation: life.incarnation(),
            };
            page.flows.extend(self.flow(id, now_ms));
        }
        page
    }
}
