//! The sessions that the kernel repeats: begun when they are worth it, counted back into the flow table,
//! ended with them.

use std::collections::VecDeque;
use std::time::Duration;

use policy::flow::{Direction, Flow, FlowTable, Hit, Seen, SessionId, State, Verdict};
use rustc_hash::FxHashMap;
use vrouter_dataplane::hits::Hits;
use vrouter_dataplane::repeat::{self, End, Way};
use vrouter_dataplane::tables::Tables;
use vrouter_offload::{Counted, FlowEntry, FlowKey, Grant, Offload, OffloadError, Sender, Target};

use super::grants::Grants;
use super::{Ways, session_key};

/// Packets of a session after which it is worth the kernel's memory.
const WORTH: u32 = 4;
/// Places of the flow table looked at in one look.
const PLACES: u32 = 2_048;
/// Looks in which what the kernel counted of every session is merged once, and sessions merged in one.
const LOOKS_PER_MERGE: usize = 100;
const MERGED: usize = 500;
/// Sessions adopted in one look.
const ADOPTED: usize = 1_024;

/// The kernel's flows.
pub trait KernelFlows {
    /// Of the tables whose flows are believed.
    ///
    /// # Errors
    /// The kernel refuses.
    fn generation(&mut self) -> Result<u32, OffloadError>;
    /// Has the kernel send a flow's packets on, counted from zero.
    ///
    /// # Errors
    /// The flow stays in user space.
    fn insert(&mut self, key: &FlowKey, entry: &FlowEntry) -> Result<(), OffloadError>;
    /// Has the kernel begin connections by itself.
    ///
    /// # Errors
    /// User space decides on each.
    fn grant(&mut self, grant: &Grant) -> Result<(), OffloadError>;
    /// Says that this process is there to be told of what grants admit.
    ///
    /// # Errors
    /// The kernel refuses.
    fn say_alive(&mut self) -> Result<(), OffloadError>;
    /// The next flow that a grant admitted, and the generation of the tables that decided.
    ///
    /// # Errors
    /// The kernel refuses.
    fn admitted(&mut self) -> Result<Option<(FlowKey, u32)>, OffloadError>;
    /// Counts of a flow, if it is there.
    ///
    /// # Errors
    /// The kernel refuses.
    fn counted(&mut self, key: &FlowKey) -> Result<Option<Counted>, OffloadError>;
    /// Has a flow's packets go to user space; what was counted of it, if it was there.
    ///
    /// # Errors
    /// The kernel refuses.
    fn remove(&mut self, key: &FlowKey) -> Result<Option<Counted>, OffloadError>;
}

impl KernelFlows for Offload {
    fn generation(&mut self) -> Result<u32, OffloadError> {
        self.generation()
    }

    fn insert(&mut self, key: &FlowKey, entry: &FlowEntry) -> Result<(), OffloadError> {
        self.insert(key, entry)
    }

    fn grant(&mut self, grant: &Grant) -> Result<(), OffloadError> {
        self.grant(grant)
    }

    fn say_alive(&mut self) -> Result<(), OffloadError> {
        self.say_alive()
    }

    fn admitted(&mut self) -> Result<Option<(FlowKey, u32)>, OffloadError> {
        self.admitted()
    }

    fn counted(&mut self, key: &FlowKey) -> Result<Option<Counted>, OffloadError> {
        self.counted(key)
    }

    fn remove(&mut self, key: &FlowKey) -> Result<Option<Counted>, OffloadError> {
        self.remove(key)
    }
}

/// Now, by the workers' clock and by the kernel's.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub ms: u64,
    pub since_boot: Duration,
}

impl Moment {
    /// The workers' time of what the kernel saw.
    fn ms_of(self, seen: Duration) -> u64 {
        let ago = self.since_boot.saturating_sub(seen).as_millis() as u64;
        self.ms.saturating_sub(ago)
    }
}

/// A session as the kernel has it.
#[derive(Debug)]
struct Repeating {
    ways: [Way; 2],
    generation: u32,
    /// Counts that are merged already, by direction.
    merged: [Counted; 2],
}

/// The sessions that the kernel repeats.
#[derive(Debug, Default)]
pub struct Repeated {
    sessions: FxHashMap<SessionId, Repeating>,
    /// Those to merge, the next first.
    order: VecDeque<SessionId>,
    /// The place of the flow table where the next look begins.
    from: u32,
    /// Connections that the kernel may begin by itself.
    grants: Option<Grants>,
}

impl Repeated {
    /// `with_grants`: the kernel may begin connections by itself, as nothing has to see each.
    pub fn new(with_grants: bool) -> Self {
        Self {
            grants: with_grants.then(Grants::default),
            ..Self::default()
        }
    }

    /// The end of a session that the kernel repeats which is no workload of this node, or one of two that
    /// are.
    pub fn repeats(&self, flow: &Flow) -> Option<End> {
        let known = self.sessions.get(&flow.id)?;
        if known.generation != flow.generation {
            return None;
        }
        let [to, from] = known.ways.map(|way| way.to);
        Some(match to {
            End::Workload { .. } => from,
            End::Host | End::Node { .. } => to,
        })
    }

    /// Looks at a part of the flow table for sessions to begin with, adopts those that the kernel began, and
    /// merges a part of what it counted. Rules that allowed what is adopted are counted in `rules`.
    ///
    /// # Errors
    /// The kernel refuses; sessions concerned stay in user space.
    pub fn look(
        &mut self,
        kernel: &mut impl KernelFlows,
        tables: &Tables,
        flows: &FlowTable,
        (open, rules): (&Ways, &Hits),
        now: Moment,
    ) -> Result<(), OffloadError> {
        if self.grants.is_some() {
            kernel.say_alive()?;
            self.adopt(kernel, tables, flows, rules, now)?;
        }
        let merges = self.order.len().div_ceil(LOOKS_PER_MERGE).min(MERGED);
        for _ in 0..merges {
            let Some(id) = self.order.pop_front() else {
                break;
            };
            let merged = self.merge(kernel, flows, id, now);
            if !matches!(merged, Ok(false)) {
                self.order.push_back(id);
            }
            merged?;
        }
        // A flow of other tables than the kernel believes would only be in the way.
        if kernel.generation()? != tables.generation {
            return Ok(());
        }
        let page = flows.flows_within(self.from, PLACES, now.ms);
        self.from = page.next.unwrap_or(0);
        for flow in &page.flows {
            let packets = flow.packets[0].saturating_add(flow.packets[1]);
            if packets >= WORTH
                && self.repeats(flow).is_none()
                && let Some(ways) = repeat::ways(tables, flow)
                && let Some(entries) = entries(&ways, open, flow.generation)
            {
                self.begin(kernel, flows, flow, (ways, entries), now)?;
            }
            if let Some(grants) = &mut self.grants {
                grants.consider(kernel, tables, flow, open)?;
            }
        }
        Ok(())
    }

    /// Takes in the sessions that grants admitted.
    fn adopt(
        &mut self,
        kernel: &mut impl KernelFlows,
        tables: &Tables,
        flows: &FlowTable,
        rules: &Hits,
        now: Moment,
    ) -> Result<(), OffloadError> {
        for _ in 0..ADOPTED {
            let Some((key, generation)) = kernel.admitted()? else {
                break;
            };
            let Some(session) = session_key(&key) else {
                continue;
            };
            let admitted = repeat::admit(tables, flows, session, key.interface, rules, now.ms);
            let Some((id, ways)) = admitted else {
                // Policy changed meanwhile, or there is no room: user space says so to its next packet.
                kernel.remove(&key)?;
                if let Some(reply) = self.grants.as_ref().and_then(|it| it.reply_of(&key)) {
                    kernel.remove(&reply)?;
                }
                continue;
            };
            let repeating = Repeating {
                ways,
                generation,
                merged: [Counted::default(); 2],
            };
            if self.sessions.insert(id, repeating).is_none() {
                self.order.push_back(id);
            }
        }
        Ok(())
    }

    fn begin(
        &mut self,
        kernel: &mut impl KernelFlows,
        flows: &FlowTable,
        flow: &Flow,
        (ways, entries): ([Way; 2], [FlowEntry; 2]),
        now: Moment,
    ) -> Result<(), OffloadError> {
        // An entry of other tables no longer counts.
        let known = self.sessions.contains_key(&flow.id);
        if known && !self.merge(kernel, flows, flow.id, now)? {
            self.order.retain(|id| *id != flow.id);
            return Ok(());
        }
        for (way, entry) in ways.iter().zip(&entries) {
            if let Err(error) = kernel.insert(&key(way), entry) {
                kernel.remove(&key(&ways[0]))?;
                self.sessions.remove(&flow.id);
                return match error {
                    // Full, or a workload that just went: the session stays in user space.
                    OffloadError::Map { .. } | OffloadError::NotAttached(_) => Ok(()),
                    other => Err(other),
                };
            }
        }
        let repeating = Repeating {
            ways,
            generation: flow.generation,
            merged: [Counted::default(); 2],
        };
        if self.sessions.insert(flow.id, repeating).is_none() {
            self.order.push_back(flow.id);
        }
        Ok(())
    }

    /// Adds what the kernel counted of a session to the flow table; false when it has none any more.
    fn merge(
        &mut self,
        kernel: &mut impl KernelFlows,
        flows: &FlowTable,
        id: SessionId,
        now: Moment,
    ) -> Result<bool, OffloadError> {
        let Some(repeating) = self.sessions.get_mut(&id) else {
            return Ok(false);
        };
        let mut goes_on = true;
        // A flow's packets may have ended it; those that came meanwhile are counted, too.
        for last in [false, true] {
            if last {
                let flow = flows.flow(id, now.ms);
                goes_on = flow.is_some_and(|flow| {
                    flow.verdict == Verdict::Allow
                        && !matches!(flow.state, State::FinsSeen | State::Reset)
                });
                if goes_on {
                    break;
                }
            }
            let directions = [Direction::Original, Direction::Reply];
            for (way, direction) in repeating.ways.iter().zip(directions) {
                let counted = if last {
                    kernel.remove(&key(way))?
                } else {
                    kernel.counted(&key(way))?
                };
                let Some(counted) = counted else { continue };
                let hit = Hit {
                    session: id,
                    direction,
                };
                let merged = &mut repeating.merged[direction.index()];
                add(flows, hit, merged, &counted, now);
                *merged = counted;
            }
        }
        if !goes_on {
            self.sessions.remove(&id);
        }
        Ok(goes_on)
    }
}

/// Adds what was counted since `before` to a session.
pub(super) fn add(flows: &FlowTable, hit: Hit, before: &Counted, counted: &Counted, now: Moment) {
    let Some(seen) = counted.last_seen else {
        return;
    };
    let mut packets = counted.packets.saturating_sub(before.packets);
    let mut bytes = counted.bytes.saturating_sub(before.bytes);
    while packets > 0 || bytes > 0 {
        let part = Seen {
            tcp_flags: counted.tcp_flags,
            packets: u32::try_from(packets).unwrap_or(u32::MAX),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        };
        flows.touch(hit, now.ms_of(seen), part);
        packets -= u64::from(part.packets);
        bytes -= u64::from(part.bytes);
    }
}

pub(super) fn key(way: &Way) -> FlowKey {
    FlowKey {
        interface: way.from.interface(),
        source: way.key.src(),
        destination: way.key.dst(),
        protocol: way.key.protocol(),
        source_port: way.key.src_port(),
        destination_port: way.key.dst_port(),
    }
}

/// The entries of both directions; `None` if one goes by a tunnel that is not open.
pub(super) fn entries(ways: &[Way; 2], open: &Ways, generation: u32) -> Option<[FlowEntry; 2]> {
    let entry = |way: &Way, original| {
        Some(FlowEntry {
            generation,
            sender: match way.from {
                End::Workload { mac, .. } => Sender::Workload(mac),
                End::Node { remote, .. } => Sender::Node(remote),
                End::Host => Sender::Host,
            },
            target: match way.to {
                End::Workload { interface, mac } => Target::Workload {
                    out: interface,
                    mac,
                },
                End::Host => Target::Host { tun: open.tun() },
                End::Node { encap, remote, .. } => open.target(&way.key, encap, remote)?,
            },
            mtu: way.mtu,
            original,
        })
    };
    Some([entry(&ways[0], true)?, entry(&ways[1], false)?])
}
