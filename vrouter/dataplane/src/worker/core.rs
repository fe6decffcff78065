//! What nodes work with, and the one place where packets are counted, dropped and queued.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use encap::coalesce::{Fate, Rules};
use encap::ethernet::{self, EtherType};
use encap::reassemble::Reassembler;
use policy::flow::{FlowTable, Hit, Seen, Touch};
use policy::model::PacketTuple;

use super::Packet;
use super::join::Join;
use crate::adjacency::GATEWAY_MAC;
use crate::buffer::{Buffer, Pool};
use crate::counters::Counters;
use crate::device::{Capabilities, Vector};
use crate::drop::{DropReason, GenerateReason};
use crate::events::{Denial, Event};
use crate::graph::{Next, NodeId};
use crate::id::InterfaceId;
use crate::limiter::Limiter;
use crate::node;
use crate::origin::{Arrival, Side};
use crate::packet::{Headers, Transport};
use crate::reply::icmp_error;
use crate::session;
use crate::tables::{Tables, Workload};
use crate::trace::{Marker, Step};

/// What nodes work with: everything of a worker but its devices.
pub struct Core {
    pub(crate) pool: Pool,
    pub(crate) flows: Arc<FlowTable>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limiter: Limiter,
    pub(crate) reassembler: Reassembler,
    /// Identification of the last IPv6 packet cut here.
    pub(crate) fragment_id: u32,
    /// Milliseconds since the process started.
    pub(crate) now: u64,
    /// Scratch of the tunnel's input.
    pub(crate) spans: Vec<encap::coalesce::Span>,
    pub(super) events: Arc<ArrayQueue<Event>>,
    pub(super) capabilities: Vec<Capabilities>,
    /// Which packets are merged: UDP's once there is a device for its super-packets.
    pub(crate) merges: Rules,
    pub(super) spawned: Vec<(Packet, NodeId)>,
    pub(crate) join: Join,
    /// Scratch of merging.
    pub(crate) fates: Vec<Fate>,
    pub(super) marker: Marker,
    pub(super) sampler: Sampler,
    /// The device each interface's packets leave by: its own, or the shared one.
    pub(super) carriers: Vec<InterfaceId>,
    pub(super) queues: Vec<Vector>,
    pub(super) dirty: Vec<InterfaceId>,
}

impl Core {
    /// What the device of an interface takes as it is.
    pub(crate) fn capabilities(&self, id: InterfaceId) -> Capabilities {
        self.capabilities
            .get(id.index())
            .copied()
            .unwrap_or_default()
    }

    /// Sets a packet the node made on its way, right behind the one in hand.
    pub(crate) fn spawn(&mut self, packet: Packet, node: impl Into<NodeId>) {
        self.spawned.push((packet, node.into()));
    }

    /// Makes a packet: `write` fills memory and returns how much. `None`, counted, when no buffer
    /// is free.
    pub(crate) fn generate(
        &mut self,
        arrival: Arrival,
        reason: GenerateReason,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Packet> {
        self.counters.generated(reason).add(1);
        let Some(mut buffer) = self.pool.take() else {
            self.lost_unseen(Some(arrival.interface), DropReason::NoBuffer, 1);
            return None;
        };
        let length = write(buffer.blank());
        buffer.received(length);
        let mut packet = Packet::new(buffer, arrival);
        packet.generated = true;
        Some(packet)
    }

    /// Sends a packet back on a workload's own link, from the gateway.
    pub(crate) fn on_link(
        &mut self,
        packet: Option<Packet>,
        to: &Workload,
        kind: EtherType,
        node: impl Into<NodeId>,
    ) {
        let Some(mut packet) = packet else { return };
        let room = packet.buffer.prepend(ethernet::HEADER_LEN);
        let Some(room) = room.and_then(|room| room.first_chunk_mut()) else {
            return self.drop_packet(packet, DropReason::NoBuffer);
        };
        let header = ethernet::Repr {
            destination: to.mac,
            source: GATEWAY_MAC,
            kind,
        };
        header.emit(room);
        packet.out = packet.arrival.interface;
        self.spawn(packet, node);
    }

    /// What a packet adds to its session.
    pub(crate) fn seen(&self, packet: &Packet) -> Seen {
        let tcp_flags = match packet.headers.transport {
            Transport::Tcp { flags } => flags,
            Transport::Ports
            | Transport::IcmpQuery { .. }
            | Transport::IcmpError { .. }
            | Transport::IcmpOther { .. } => 0,
        };
        let bytes = packet.buffer.len() as u32;
        let packets = packet
            .buffer
            .meta
            .offload
            .gso()
            .map_or(1, |gso| bytes.div_ceil(u32::from(gso.size.get())).max(1));
        Seen {
            tcp_flags,
            packets,
            bytes,
        }
    }

    /// Notes a packet in its session.
    pub(crate) fn touch(&self, packet: &Packet, hit: Hit) -> Touch {
        self.flows.touch(hit, self.now, self.seen(packet))
    }

    /// Tells the agent, if there is room.
    pub(crate) fn report(&self, event: Event) {
        if self.events.push(event).is_err() {
            self.counters.events_lost.add(1);
        }
    }

    /// The end of a packet that is lost.
    #[cold]
    pub(crate) fn drop_packet(&mut self, packet: Packet, reason: DropReason) {
        self.counters.lost(packet.arrival.interface, reason);
        if !packet.reported && self.sampler.admit(reason, self.now) {
            self.report(Event::Dropped(sample(&packet, reason, self.now)));
        }
        self.pool.give(packet.buffer);
    }

    /// The end of a packet whose interface is not in the tables.
    #[cold]
    pub(super) fn lose_unknown(&mut self, interface: InterfaceId, buffer: Buffer) {
        let reason = if interface == InterfaceId::ROUTER {
            DropReason::InterfaceUnnamed
        } else {
            DropReason::InterfaceUnknown
        };
        self.counters.lost(interface, reason);
        if self.sampler.admit(reason, self.now) {
            let sample = lost(Some(interface), None, buffer.len(), reason, self.now);
            self.report(Event::Dropped(sample));
        }
        self.pool.give(buffer);
    }

    /// Counts packets that are lost and of which nothing is at hand any more.
    #[cold]
    pub(crate) fn lost_unseen(
        &mut self,
        arrival: Option<InterfaceId>,
        reason: DropReason,
        count: u64,
    ) {
        self.counters.dropped(reason).add(count);
        if self.sampler.admit(reason, self.now) {
            let sample = lost(arrival, None, 0, reason, self.now);
            self.report(Event::Dropped(sample));
        }
    }

    /// Counts packets that the device of an interface did not take, of which the last of `queue` is shown.
    #[cold]
    pub(super) fn not_sent(
        &mut self,
        out: InterfaceId,
        reason: DropReason,
        count: usize,
        queue: &[Buffer],
    ) {
        self.counters.dropped(reason).add(count as u64);
        if self.sampler.admit(reason, self.now) {
            let last = queue.last().map_or(&[][..], Buffer::bytes);
            let behind_link = last.get(ethernet::HEADER_LEN..).unwrap_or_default();
            let headers = Headers::parse(last).or_else(|_| Headers::parse(behind_link));
            let tuple = headers.ok().as_ref().map(session::tuple);
            let sample = lost(Some(out), tuple, last.len(), reason, self.now);
            self.report(Event::Dropped(sample));
        }
    }

    /// Takes a packet as far as it goes: out, away, or to where its vector waits.
    ///
    /// Not inlined: its two callers would each copy the packet once more.
    #[inline(never)]
    fn run(&mut self, tables: &Tables, mut packet: Packet, mut node: NodeId) {
        loop {
            self.counters.node(node).add(1);
            let made = self.spawned.len();
            let next = node::run(node, self, tables, &mut packet);
            debug_assert!(
                is_declared(node, next),
                "{node:?} does not declare {next:?}"
            );
            if packet.mark.is_some() {
                self.trace(node, &packet, next, made);
            }
            match next {
                Next::To(NodeId::Merge) => {
                    packet.hit = None;
                    packet.key = node::flow_key(&packet.headers);
                    return self.join.push(packet);
                }
                Next::To(next) => node = next,
                Next::Tx(out) => return self.enqueue(packet, out),
                Next::Drop(reason) => return self.drop_packet(packet, reason),
                Next::Reject(reason, error) => {
                    icmp_error::send(self, tables, &packet, error);
                    return self.drop_packet(packet, reason);
                }
                Next::Consume(reason) => {
                    self.counters.consumed(reason).add(1);
                    return self.pool.give(packet.buffer);
                }
            }
        }
    }

    /// Tells of a node on a marked packet's way, and marks what was made there.
    #[cold]
    fn trace(&mut self, node: NodeId, packet: &Packet, next: Next<NodeId>, made: usize) {
        let Some(mark) = packet.mark else { return };
        for (packet, _) in &mut self.spawned[made..] {
            packet.mark = Some(mark);
        }
        self.report(Event::Traced(Step {
            mark,
            at_ms: self.now,
            arrival: packet.arrival.interface,
            node,
            length: packet.buffer.len(),
            headers: (packet.headers.length > 0).then_some(packet.headers),
            next,
        }));
    }

    /// Runs a packet and all that its nodes made, in order.
    pub(super) fn run_all(&mut self, tables: &Tables, packet: Packet, node: NodeId) {
        self.run(tables, packet, node);
        while !self.spawned.is_empty() {
            let mut made = std::mem::take(&mut self.spawned);
            for (packet, node) in made.drain(..) {
                self.run(tables, packet, node);
            }
            if self.spawned.is_empty() {
                self.spawned = made;
            }
        }
    }

    #[inline]
    fn enqueue(&mut self, mut packet: Packet, out: InterfaceId) {
        let Some(carrier) = self.carriers.get(out.index()).copied() else {
            return self.drop_packet(packet, DropReason::InterfaceDown);
        };
        packet.buffer.meta.interface = Some(out);
        let queue = &mut self.queues[carrier.index()];
        if queue.is_empty() {
            self.dirty.push(carrier);
        }
        queue.push(packet.buffer);
    }
}

/// Whether a node declares that a packet may leave it so.
fn is_declared(node: NodeId, next: Next<NodeId>) -> bool {
    let declared = &crate::graph::nodes()[node.index()];
    match next {
        Next::To(next) => declared.next.contains(&next),
        Next::Tx(_) => node == NodeId::Transmit,
        Next::Drop(reason) | Next::Reject(reason, _) => declared.drops.contains(&reason),
        Next::Consume(reason) => declared.ends.contains(&reason),
    }
}

/// A lost packet, as far as its headers were or can be read.
fn sample(packet: &Packet, reason: DropReason, now: u64) -> Denial {
    let bytes = packet.buffer.bytes();
    let headers = if packet.headers.length > 0 {
        Some(packet.headers)
    } else {
        let behind_link = bytes.get(ethernet::HEADER_LEN..).unwrap_or_default();
        let behind = |bytes| Headers::parse(bytes).ok();
        match packet.arrival.side {
            Side::Workload => behind(behind_link).or_else(|| behind(bytes)),
            Side::Host | Side::Tunnel(_) => behind(bytes),
        }
    };
    let tuple = headers.as_ref().map(session::tuple);
    lost(
        Some(packet.arrival.interface),
        tuple,
        bytes.len(),
        reason,
        now,
    )
}

fn lost(
    arrival: Option<InterfaceId>,
    tuple: Option<PacketTuple>,
    length: usize,
    reason: DropReason,
    now: u64,
) -> Denial {
    Denial {
        at_ms: now,
        arrival,
        tuple,
        length: length as u32,
        reason,
        rule: None,
        identifier: None,
        cut: false,
    }
}

/// Which lost packets the agent is told of: of each reason a few a second.
#[derive(Debug)]
pub(super) struct Sampler {
    /// When a packet was last told of, by [`DropReason::index`]; `None` before the first.
    last: Box<[Option<u64>]>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            last: vec![None; DropReason::ALL.len()].into(),
        }
    }
}

impl Sampler {
    /// Milliseconds between two samples of one reason.
    const PERIOD: u64 = 100;

    fn admit(&mut self, reason: DropReason, now: u64) -> bool {
        let last = &mut self.last[reason.index()];
        if last.is_some_and(|last| now < last + Self::PERIOD) {
            return false;
        }
        *last = Some(now);
        true
    }
}
