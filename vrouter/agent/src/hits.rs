//! What rules matched, put together: counters of all workers, sessions that aged out, sessions
//! that still are.
//!
//! Rules are counted by number on the whole node, whichever endpoint they were asked for. A number
//! may come to stand for another rule, and an interface's for another workload; what was counted
//! until then is remembered and left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::compile::{Compiled, RuleId, RuleInfo};
use policy::flow::FlowTable;
use policy::model::Direction;
use rustc_hash::FxHashMap;
use vrouter_api::Key;
use vrouter_control::model::Hits as Sum;
use vrouter_dataplane::counters::Counters;
use vrouter_dataplane::hits::{Hit, Hits, allowed_by, carried};
use vrouter_dataplane::id::InterfaceId;

/// Sessions read at a time.
const PAGE: usize = 4096;

/// Everything counted before a number came to mean what it means now.
#[derive(Default)]
pub struct RetiredHits {
    compiled: Option<Arc<Compiled>>,
    rules: FxHashMap<u32, Sum>,
    unmatched: BTreeMap<InterfaceId, (Key, [Sum; 2])>,
}

/// Who counts.
pub struct Sources<'a> {
    /// The workers.
    pub workers: Vec<&'a Counters>,
    /// The collector, and the flow offload.
    pub others: Vec<&'a Hits>,
}

impl Sources<'_> {
    /// Makes counters for all rules of tables that are about to be published.
    pub fn reserve(&self, compiled: &Compiled) {
        let workers = self.workers.iter().map(|counters| &counters.rules);
        for hits in workers.chain(self.others.iter().copied()) {
            hits.reserve(compiled.rule_count());
        }
    }

    fn rule(&self, number: u32) -> Sum {
        let workers = self.workers.iter().map(|counters| &counters.rules);
        let hits = workers.chain(self.others.iter().copied());
        hits.filter_map(|hits| hits.of(number))
            .fold(Sum::default(), |sum, hit| plus(sum, read(hit)))
    }

    fn unmatched(&self, id: InterfaceId, direction: Direction) -> Sum {
        let hits = self.workers.iter().map(|c| c.unmatched(id, direction));
        hits.fold(Sum::default(), |sum, hit| plus(sum, read(hit)))
    }
}

impl RetiredHits {
    /// Takes notice of tables about to be published and of the workloads behind interfaces.
    pub fn notice<'a>(
        &mut self,
        compiled: &Arc<Compiled>,
        workloads: impl Iterator<Item = (InterfaceId, &'a Key)>,
        sources: &Sources<'_>,
    ) {
        if let Some(old) = self.compiled.replace(Arc::clone(compiled)) {
            for number in renumbered(&old, compiled) {
                self.rules.insert(number, sources.rule(number));
            }
        }
        for (id, key) in workloads {
            if self.unmatched.get(&id).is_none_or(|(of, _)| of != key) {
                let sides = [Direction::Ingress, Direction::Egress];
                let sums = sides.map(|direction| sources.unmatched(id, direction));
                self.unmatched.insert(id, (key.clone(), sums));
            }
        }
    }
}

/// Numbers that stand for other rules than before.
fn renumbered(old: &Compiled, new: &Compiled) -> Vec<u32> {
    let count = old.rule_count().min(new.rule_count()) as u32;
    let other = |number: &u32| {
        let id = RuleId::from_index(*number);
        match (old.rule(id), new.rule(id)) {
            (Some(old), Some(new)) => !std::ptr::eq(old, new) && !same_rule(old, new),
            (Some(_), None) | (None, Some(_)) | (None, None) => false,
        }
    };
    (0..count).filter(other).collect()
}

/// Whether it is the same place in the same resource; what the rule says there may change.
fn same_rule(a: &RuleInfo, b: &RuleInfo) -> bool {
    let place = |info: &RuleInfo| {
        (
            info.kind,
            info.tier.clone().filter(|_| info.policy.is_none()),
            info.policy.clone(),
            info.profile.clone(),
            info.index,
            info.direction,
        )
    };
    place(a) == place(b)
}

/// The sums at one moment.
pub struct HitTotals<'a> {
    sources: &'a Sources<'a>,
    before: &'a RetiredHits,
    live: FxHashMap<u32, Sum>,
}

impl<'a> HitTotals<'a> {
    /// Reads all sessions once.
    pub fn new(
        sources: &'a Sources<'a>,
        before: &'a RetiredHits,
        flows: &FlowTable,
        now_ms: u64,
    ) -> Self {
        let mut live: FxHashMap<u32, Sum> = FxHashMap::default();
        let mut from = Some(0);
        while let Some(at) = from {
            let page = flows.flows(at, PAGE, now_ms);
            for flow in &page.flows {
                let (packets, bytes) = carried(flow);
                for rule in allowed_by(flow.rules) {
                    let sum = live.entry(rule).or_default();
                    sum.packets += packets;
                    sum.bytes += bytes;
                }
            }
            from = page.next;
        }
        Self {
            sources,
            before,
            live,
        }
    }

    /// What a rule matched.
    pub fn rule(&self, id: RuleId) -> Sum {
        let number = id.index() as u32;
        let live = self.live.get(&number).copied().unwrap_or_default();
        let before = self.before.rules.get(&number).copied();
        let sum = plus(self.sources.rule(number), live);
        minus(sum, before.unwrap_or_default())
    }

    /// What nothing allowed of a workload's.
    pub fn unmatched(&self, id: InterfaceId, direction: Direction) -> Sum {
        let side = match direction {
            Direction::Ingress => 0,
            Direction::Egress => 1,
        };
        let before = self.before.unmatched.get(&id).map(|(_, sums)| sums[side]);
        minus(
            self.sources.unmatched(id, direction),
            before.unwrap_or_default(),
        )
    }
}

fn read(hit: &Hit) -> Sum {
    Sum {
        packets: hit.packets.value(),
        bytes: hit.bytes.value(),
        flows: hit.flows.value(),
    }
}

/// Counters wrap: one of the summands may be what another one was lent.
fn plus(a: Sum, b: Sum) -> Sum {
    Sum {
        packets: a.packets.wrapping_add(b.packets),
        bytes: a.bytes.wrapping_add(b.bytes),
        flows: a.flows.wrapping_add(b.flows),
    }
}

/// Counters are read one by one while packets pass, so that a sum may seem to fall below zero.
fn minus(a: Sum, b: Sum) -> Sum {
    let less = |a: u64, b: u64| a.wrapping_sub(b).cast_signed().max(0).cast_unsigned();
    Sum {
        packets: less(a.packets, b.packets),
        bytes: less(a.bytes, b.bytes),
        flows: less(a.flows, b.flows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::compile::Graph;
    use policy::flow::{Config, FlowKey, NewSession, Seen};
    use policy::model::{Action, Name, PolicyKey, PolicyKind};
    use vrouter_api::Kind;

    fn counted(counters: &Counters, rule: u32, flows: u64, packets: u64, bytes: u64) {
        let hit = counters.rules.of(rule).unwrap();
        hit.flows.add(flows);
        hit.add(packets, bytes);
    }

    #[test]
    fn a_rule_has_what_workers_collector_and_sessions_have() {
        let (one, two, expired) = (Counters::default(), Counters::default(), Hits::default());
        let compiled = Graph::new(Name::new("n").unwrap()).snapshot();
        let sources = Sources {
            workers: vec![&one, &two],
            others: vec![&expired],
        };
        sources.reserve(&compiled);
        counted(&one, 9, 2, 3, 300);
        // A rule that lent what its session had carried before.
        counted(&two, 9, 1, 4u64.wrapping_neg(), 400u64.wrapping_neg());
        expired.of(9).unwrap().add(10, 1000);
        let flows = FlowTable::new(Config {
            capacity: 64,
            ..Config::default()
        });
        let seen = Seen {
            tcp_flags: 0,
            packets: 5,
            bytes: 500,
        };
        let mut session = NewSession::of(FlowKey::v4(1, 2, 17, 3, 4), 1, seen);
        session.rules = [9, 0];
        flows.insert(&session, 0).unwrap();
        let before = RetiredHits::default();
        let now = HitTotals::new(&sources, &before, &flows, 0);
        let sum = Sum {
            packets: 14,
            bytes: 1400,
            flows: 3,
        };
        assert_eq!(now.rule(RuleId::from_index(9)), sum);
        assert_eq!(now.rule(RuleId::from_index(0)), Sum::default());
        assert_eq!(now.rule(RuleId::from_index(100_000)), Sum::default());
    }

    #[test]
    fn a_new_workload_behind_an_interface_begins_at_zero() {
        let (worker, expired) = (Counters::default(), Hits::default());
        let sources = Sources {
            workers: vec![&worker],
            others: vec![&expired],
        };
        let compiled = Graph::new(Name::new("n").unwrap()).snapshot();
        let id = InterfaceId(5);
        let (old, new) = (
            Key::namespaced(Kind::WorkloadEndpoint, "ns", "old"),
            Key::namespaced(Kind::WorkloadEndpoint, "ns", "new"),
        );
        let flows = FlowTable::new(Config {
            capacity: 64,
            ..Config::default()
        });
        let mut before = RetiredHits::default();
        before.notice(&compiled, [(id, &old)].into_iter(), &sources);
        worker.unmatched(id, Direction::Egress).add(7, 70);
        before.notice(&compiled, [(id, &old)].into_iter(), &sources);
        let packets = |before: &RetiredHits, direction| {
            let now = HitTotals::new(&sources, before, &flows, 0);
            now.unmatched(id, direction).packets
        };
        assert_eq!(packets(&before, Direction::Egress), 7);
        assert_eq!(packets(&before, Direction::Ingress), 0);
        before.notice(&compiled, [(id, &new)].into_iter(), &sources);
        assert_eq!(packets(&before, Direction::Egress), 0);
    }

    #[test]
    fn a_changed_rule_is_the_same_rule() {
        let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, "p").unwrap();
        let info = |action, index| RuleInfo {
            kind: policy::compile::RuleKind::Policy,
            tier: None,
            policy: Some(key.clone()),
            profile: None,
            index: Some(index),
            direction: Direction::Ingress,
            action,
            staged: false,
        };
        assert!(same_rule(&info(Action::Allow, 0), &info(Action::Deny, 0)));
        assert!(!same_rule(&info(Action::Allow, 0), &info(Action::Allow, 1)));
    }
}
