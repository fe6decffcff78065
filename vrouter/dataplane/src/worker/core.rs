//! What nodes work with, and the one place where packets are counted, dropped and queued.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use encap::coalesce::Rules;
use encap::ethernet::{self, EtherType};
use encap::reassemble::Reassembler;
use policy::flow::{FlowTable, Hit, Seen, Touch};

use super::Packet;
use crate::adjacency::GATEWAY_MAC;
use crate::buffer::Pool;
use crate::counters::Counters;
use crate::device::{Capabilities, Vector};
use crate::drop::{DropReason, GenerateReason};
use crate::events::Event;
use crate::graph::{Next, NodeId};
use crate::id::InterfaceId;
use crate::limiter::Limiter;
use crate::node;
use crate::packet::Transport;
use crate::tables::{Tables, Workload};

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
    pub(super) waiting: Vec<Packet>,
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
    pub(crate) fn spawn(&mut self, packet: Packet, node: NodeId) {
        self.spawned.push((packet, node));
    }

    /// Makes a packet: `write` fills memory and returns how much. `None`, counted, when no buffer
    /// is free.
    pub(crate) fn generate(
        &mut self,
        rx: InterfaceId,
        reason: GenerateReason,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Packet> {
        self.counters.generated(reason).add(1);
        let Some(mut buffer) = self.pool.take() else {
            self.counters.dropped(DropReason::NoBuffer).add(1);
            return None;
        };
        let length = write(buffer.blank());
        buffer.received(length);
        let mut packet = Packet::new(buffer, rx);
        packet.generated = true;
        Some(packet)
    }

    /// Sends a packet back on a workload's own link, from the gateway.
    pub(crate) fn on_link(&mut self, packet: Option<Packet>, to: &Workload, kind: EtherType) {
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
        packet.out = packet.rx;
        self.spawn(packet, NodeId::Transmit);
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
    pub(crate) fn drop_packet(&mut self, packet: Packet, reason: DropReason) {
        self.counters.lost(packet.rx, reason);
        self.pool.give(packet.buffer);
    }

    /// Takes a packet as far as it goes: out, away, or to where its vector waits.
    fn run(&mut self, tables: &Tables, mut packet: Packet, mut node: NodeId) {
        loop {
            self.counters.node(node).add(1);
            match node::run(node, self, tables, &mut packet) {
                Next::To(NodeId::Flow) if packet.hit.is_none() && packet.key.is_none() => {
                    packet.key = node::flow_key(&packet.headers);
                    self.waiting.push(packet);
                    return;
                }
                Next::To(next) => node = next,
                Next::Tx(out) => return self.enqueue(packet, out),
                Next::Drop(reason) => return self.drop_packet(packet, reason),
                Next::Reject(reason, error) => {
                    node::reject(self, tables, &packet, error);
                    return self.drop_packet(packet, reason);
                }
                Next::Consume(reason) => {
                    self.counters.consumed(reason).add(1);
                    return self.pool.give(packet.buffer);
                }
            }
        }
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

    fn enqueue(&mut self, packet: Packet, out: InterfaceId) {
        let Some(queue) = self.queues.get_mut(out.index()) else {
            return self.drop_packet(packet, DropReason::InterfaceDown);
        };
        if queue.is_empty() {
            self.dirty.push(out);
        }
        queue.push(packet.buffer);
    }
}
