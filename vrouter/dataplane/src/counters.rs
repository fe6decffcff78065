//! Counters: written by one worker with plain stores, read by anybody.
//!
//! The law they obey, summed over all workers, with nothing in flight:
//! `received + generated = transmitted + consumed + dropped`.

use std::sync::atomic::{AtomicU64, Ordering};

use policy::model::Direction;

use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::graph::NodeId;
use crate::hits::{Hit, Hits};
use crate::id::InterfaceId;

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker calls this: load and store need not be one operation.
    pub fn add(&self, n: u64) {
        // Relaxed: a counter orders nothing; only its own value matters.
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Replaces the value; for what goes up and down.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one worker counts of one interface.
#[derive(Debug, Default)]
pub struct InterfaceCounters {
    /// Packets received.
    pub rx_packets: Counter,
    /// Bytes received, from the link header on.
    pub rx_bytes: Counter,
    /// Packets transmitted; a super-packet is one.
    pub tx_packets: Counter,
    /// Bytes transmitted.
    pub tx_bytes: Counter,
    /// Packets that came in here and were dropped.
    pub rx_dropped: Counter,
}

/// All counters of one worker.
#[derive(Debug)]
pub struct Counters {
    interfaces: Box<[InterfaceCounters]>,
    nodes: Box<[Counter]>,
    dropped: Box<[Counter]>,
    generated: Box<[Counter]>,
    consumed: Box<[Counter]>,
    unmatched: Box<[Hit]>,
    /// What rules matched, by `RuleId`.
    pub rules: Hits,
    /// Sessions that policy ended.
    pub flows_cut: Counter,
    /// Turns in which at least one packet was received.
    pub busy_turns: Counter,
    /// Turns that found nothing.
    pub idle_turns: Counter,
    /// Times the worker went to sleep.
    pub sleeps: Counter,
    /// Buffers that are not in the pool, after the last turn.
    pub buffers_in_use: Counter,
    /// Events lost because the ring to the agent was full.
    pub events_lost: Counter,
}

fn array<T: Default>(n: usize) -> Box<[T]> {
    (0..n).map(|_| T::default()).collect()
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            interfaces: array(InterfaceId::LIMIT),
            nodes: array(NodeId::ALL.len()),
            dropped: array(DropReason::ALL.len()),
            generated: array(GenerateReason::ALL.len()),
            consumed: array(ConsumeReason::ALL.len()),
            unmatched: array(2 * InterfaceId::LIMIT),
            rules: Hits::default(),
            flows_cut: Counter::default(),
            busy_turns: Counter::default(),
            idle_turns: Counter::default(),
            sleeps: Counter::default(),
            buffers_in_use: Counter::default(),
            events_lost: Counter::default(),
        }
    }
}

impl Counters {
    /// Counters of one interface.
    pub fn interface(&self, id: InterfaceId) -> &InterfaceCounters {
        &self.interfaces[id.index()]
    }

    /// What no policy and no profile of an interface's workload allowed.
    pub fn unmatched(&self, id: InterfaceId, direction: Direction) -> &Hit {
        let side = match direction {
            Direction::Ingress => 0,
            Direction::Egress => 1,
        };
        &self.unmatched[2 * id.index() + side]
    }

    /// Packets that entered a node of the graph.
    pub fn node(&self, node: NodeId) -> &Counter {
        &self.nodes[node.index()]
    }

    /// Packets dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.dropped[reason.index()]
    }

    /// Counts a packet that came in by `rx` and is lost.
    pub(crate) fn lost(&self, rx: InterfaceId, reason: DropReason) {
        self.dropped(reason).add(1);
        self.interface(rx).rx_dropped.add(1);
    }

    /// Packets made for a reason.
    pub fn generated(&self, reason: GenerateReason) -> &Counter {
        &self.generated[reason.index()]
    }

    /// Packets that ended here for a reason that is no loss.
    pub fn consumed(&self, reason: ConsumeReason) -> &Counter {
        &self.consumed[reason.index()]
    }

    /// The sums of the conservation law.
    pub fn balance(&self) -> Balance {
        let total = |counters: &[Counter]| counters.iter().map(Counter::value).sum();
        Balance {
            received: self.interfaces.iter().map(|i| i.rx_packets.value()).sum(),
            transmitted: self.interfaces.iter().map(|i| i.tx_packets.value()).sum(),
            generated: total(&self.generated),
            consumed: total(&self.consumed),
            dropped: total(&self.dropped),
        }
    }
}

/// Both sides of the conservation law, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    /// Packets read from devices.
    pub received: u64,
    /// Packets the router made.
    pub generated: u64,
    /// Packets devices took.
    pub transmitted: u64,
    /// Packets that ended here without loss.
    pub consumed: u64,
    /// Packets lost, by all reasons.
    pub dropped: u64,
}

impl Balance {
    /// Whether nothing was lost without a name.
    pub fn holds(&self) -> bool {
        self.received + self.generated == self.transmitted + self.consumed + self.dropped
    }
}

impl std::ops::Add for Balance {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            generated: self.generated + other.generated,
            transmitted: self.transmitted + other.transmitted,
            consumed: self.consumed + other.consumed,
            dropped: self.dropped + other.dropped,
        }
    }
}
