//! Counters: workers, drops, and the conservation law.

use vrouter_control::model::{self, NamedCount};
use vrouter_dataplane::counters::{Balance, Counters};
use vrouter_dataplane::drop::{ConsumeReason, DropReason, GenerateReason};
use vrouter_dataplane::graph::NodeId;

use super::policy::refusing_rule;
use super::ports;
use crate::agent::Agent;
use crate::collector::{Denials, DeniedPair};

/// Sums a counter over all workers.
pub(super) fn sum(agent: &Agent, of: impl Fn(&Counters) -> u64) -> u64 {
    agent
        .node
        .workers
        .observers()
        .map(|(observer, _)| of(&observer.counters))
        .sum()
}

pub(super) fn workers(agent: &Agent) -> Vec<model::Worker> {
    let observers = agent.node.workers.observers().enumerate();
    observers
        .map(|(id, (observer, cpu))| {
            let counters = &observer.counters;
            let balance = counters.balance();
            model::Worker {
                id: id as u32,
                cpu: cpu.map(|cpu| cpu as u32),
                busy_turns: counters.busy_turns.value(),
                idle_turns: counters.idle_turns.value(),
                sleeps: counters.sleeps.value(),
                packets: balance.received,
                pool_size: agent.settings.buffers as u64,
                pool_used: counters.buffers_in_use.value(),
                generation: observer
                    .generation
                    .load(std::sync::atomic::Ordering::Acquire)
                    .into(),
            }
        })
        .collect()
}

fn named(name: &str, sentence: &str, packets: u64) -> NamedCount {
    NamedCount {
        reason: name.to_owned(),
        sentence: sentence.to_owned(),
        packets,
    }
}

fn dropped(agent: &Agent) -> Vec<NamedCount> {
    let count = |reason: DropReason| sum(agent, |counters| counters.dropped(reason).value());
    let all = DropReason::ALL.iter();
    all.map(|r| named(r.name(), r.sentence(), count(*r)))
        .collect()
}

fn pairs(denials: &Denials) -> Vec<model::DeniedPair> {
    let row = |(pair, packets): (DeniedPair, u64)| {
        let protocol = model::Protocol(pair.protocol);
        model::DeniedPair {
            source: pair.source,
            destination: pair.destination,
            protocol,
            port: protocol.has_ports().then_some(pair.port),
            reason: pair.reason.name().to_owned(),
            packets,
        }
    };
    denials.pairs().into_iter().map(row).collect()
}

pub(super) fn drops(agent: &Agent, denials: &Denials, recent: bool) -> model::DropReport {
    let mut samples = Vec::new();
    if recent {
        for (time, denial) in denials.recent() {
            let protocol = denial.tuple.map(|tuple| model::Protocol(tuple.protocol));
            let ends = denial.tuple.map(|tuple| {
                let numbers = [tuple.source_port, tuple.destination_port];
                let protocol = model::Protocol(tuple.protocol);
                let [source_port, destination_port] = ports(protocol, numbers, denial.identifier);
                model::Tuple {
                    source: tuple.source,
                    source_port,
                    destination: tuple.destination,
                    destination_port,
                }
            });
            samples.push(model::DropSample {
                time: time.into(),
                reason: denial.reason.name().to_owned(),
                interface: denial
                    .arrival
                    .map_or_else(|| "-".to_owned(), |id| agent.interface_name(id)),
                protocol,
                tuple: ends,
                length: denial.length,
                rule: denial.rule.map(|rule| refusing_rule(agent, rule)),
                cut: denial.cut,
            });
        }
    }
    model::DropReport {
        pairs: if recent { pairs(denials) } else { Vec::new() },
        reasons: dropped(agent),
        recent: samples,
        samples_lost: sum(agent, |counters| counters.events_lost.value()),
    }
}

pub(super) fn show(agent: &Agent) -> model::CounterReport {
    let balance = agent
        .node
        .workers
        .observers()
        .map(|(observer, _)| observer.counters.balance())
        .fold(Balance::default(), |sum, one| sum + one);
    let nodes = NodeId::ALL.iter().map(|node| model::NodeCount {
        node: node.name().to_owned(),
        packets: sum(agent, |counters| counters.node(*node).value()),
    });
    let generated = |r: GenerateReason| sum(agent, |counters| counters.generated(r).value());
    let consumed = |r: ConsumeReason| sum(agent, |counters| counters.consumed(r).value());
    let flows = agent.node.shared.flows.statistics();
    model::CounterReport {
        balance: model::Balance {
            received: balance.received,
            generated: balance.generated,
            transmitted: balance.transmitted,
            consumed: balance.consumed,
            dropped: balance.dropped,
        },
        nodes: nodes.collect(),
        generated: GenerateReason::ALL
            .iter()
            .map(|r| named(r.name(), r.sentence(), generated(*r)))
            .collect(),
        consumed: ConsumeReason::ALL
            .iter()
            .map(|r| named(r.name(), r.sentence(), consumed(*r)))
            .collect(),
        dropped: dropped(agent),
        flows: model::FlowTable {
            size: flows.capacity,
            used: flows.live,
            created: flows.inserts,
            expired: flows.expired,
            cut: sum(agent, |counters| counters.flows_cut.value()),
            evicted: flows.evicted,
            refused: flows.full + flows.mid_stream,
            limited: flows.endpoint_limited + flows.rate_limited,
            bytes: flows.bytes,
        },
        events_lost: sum(agent, |counters| counters.events_lost.value()),
    }
}
