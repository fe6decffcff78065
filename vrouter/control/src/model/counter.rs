//! Counters of the packet path: drops, workers, the conservation law.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Protocol, RuleReference, Timestamp, Tuple};

/// A counter with a name and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedCount {
    /// Lower case with dashes, stable.
    pub reason: String,
    /// For people.
    pub sentence: String,
    pub packets: u64,
}

/// `show.drops`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropReport {
    /// All reasons, those without drops too.
    pub reasons: Vec<NamedCount>,
    /// Sampled packets, the latest first; only when asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<DropSample>,
    /// Samples that found no room.
    #[serde(default)]
    pub samples_lost: u64,
    /// Pairs of hosts whose packets were refused, the most often refused first; with the samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<DeniedPair>,
}

/// What was refused between two hosts, whatever the source port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeniedPair {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: Protocol,
    /// The destination port, for protocols that have ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The drop reason's name.
    pub reason: String,
    /// How often it was sampled.
    pub packets: u64,
}

/// One dropped packet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DropSample {
    pub time: Timestamp,
    pub reason: String,
    /// The interface it came in by; for what a device did not take, the device's; `-` where unknown.
    pub interface: String,
    /// Protocol, as far as it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Ends, as far as they could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuple: Option<Tuple>,
    pub length: u32,
    /// The rule that dropped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleReference>,
    /// Whether it belonged to a connection that was allowed until then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// One worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    /// Number, from 0; also its queue on every device.
    pub id: u32,
    /// The CPU it is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// Turns that found packets.
    pub busy_turns: u64,
    /// Turns that found nothing.
    pub idle_turns: u64,
    /// Times it went to sleep.
    pub sleeps: u64,
    /// Packets it received.
    pub packets: u64,
    /// Buffers in its pool.
    pub pool_size: u64,
    /// Buffers in use.
    pub pool_used: u64,
    /// The generation of the tables it used in its last turn.
    pub generation: u64,
}

/// Both sides of the conservation law, in packets, over all workers:
/// `received + generated = transmitted + consumed + dropped + in flight`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// Read from devices.
    pub received: u64,
    /// Made by the router.
    pub generated: u64,
    /// Taken by devices.
    pub transmitted: u64,
    /// Ended here without loss.
    pub consumed: u64,
    /// Lost, for all reasons.
    pub dropped: u64,
}

impl Balance {
    /// The left side less the right one: packets in flight in a running router, else 0. Counters
    /// of different workers are not read at one instant, so it may be off by some packets under
    /// load.
    pub fn difference(&self) -> i128 {
        let side = |a: u64, b: u64| i128::from(a) + i128::from(b);
        side(self.received, self.generated)
            - side(self.transmitted, self.consumed)
            - i128::from(self.dropped)
    }
}

/// Packets that entered a node of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeCount {
    /// The node.
    pub node: String,
    pub packets: u64,
}

/// The flow table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowTable {
    /// Sessions there is room for.
    pub size: u64,
    /// Sessions there are.
    pub used: u64,
    /// Sessions made.
    pub created: u64,
    /// Sessions ended by their timeout.
    pub expired: u64,
    /// Sessions ended because policy no longer allows them.
    pub cut: u64,
    /// Sessions ended to make room for newer ones.
    #[serde(default)]
    pub evicted: u64,
    /// Sessions not made for want of room.
    pub refused: u64,
    /// Sessions not made because an endpoint had too many, or new ones came too fast.
    #[serde(default)]
    pub limited: u64,
    /// Memory of the table, in bytes.
    #[serde(default)]
    pub bytes: u64,
}

/// `show.counters`: everything in one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CounterReport {
    /// The conservation law.
    pub balance: Balance,
    /// The graph's nodes.
    pub nodes: Vec<NodeCount>,
    pub generated: Vec<NamedCount>,
    /// Why packets ended here without loss.
    pub consumed: Vec<NamedCount>,
    pub dropped: Vec<NamedCount>,
    /// The flow table.
    pub flows: FlowTable,
    /// Events lost between workers and agent because the ring was full.
    pub events_lost: u64,
}
