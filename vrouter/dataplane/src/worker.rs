//! One worker: its devices, its buffers, and the turn.
//!
//! A turn reads a vector from each device that is ready, takes every packet through the graph and
//! sends what came out of it. Between two turns a worker holds no borrow of the tables, so that
//! publication never waits for more than a turn. Counting and dropping happen here and nowhere
//! else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Cache};
use crossbeam::queue::ArrayQueue;
use encap::coalesce::{self, Fate, Growing, Rules};
use encap::offload::Offload;
use encap::reassemble::{Limits, Reassembler};
use policy::flow::{FlowKey, FlowTable, Hit, Seen, Touch};

use crate::adjacency::GATEWAY_MAC;
use crate::buffer::{Buffer, Pool};
use crate::counters::Counters;
use crate::device::{Capabilities, Device, VECTOR, Vector};
use crate::drop::{ConsumeReason, DropReason, GenerateReason};
use crate::events::Event;
use crate::graph::{Next, NodeId};
use crate::id::{AdjacencyId, InterfaceId};
use crate::limiter::Limiter;
use crate::node;
use crate::packet::{Headers, Transport};
use crate::tables::{InterfaceKind, Tables, Workload};

/// A packet on its way through the graph.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes; after the link's input node they start with the IP header.
    pub buffer: Buffer,
    /// Where it came in.
    pub rx: InterfaceId,
    /// Where it goes out, once known.
    pub out: InterfaceId,
    /// Its headers, once parsed.
    pub headers: Headers,
    /// Its flow, if it has one.
    pub key: Option<FlowKey>,
    /// Its session, if it has one.
    pub hit: Option<Hit>,
    /// Its route, once known.
    pub adjacency: AdjacencyId,
    /// Whether it came in fragments and may therefore be cut again.
    pub refragment: bool,
    /// Whether the router made it, or has charged it a hop already.
    pub generated: bool,
}

impl Packet {
    /// A packet that just came in.
    pub fn new(buffer: Buffer, rx: InterfaceId) -> Self {
        Self {
            buffer,
            rx,
            out: rx,
            headers: Headers::NONE,
            key: None,
            hit: None,
            adjacency: AdjacencyId(0),
            refragment: false,
            generated: false,
        }
    }

    /// Hash of its flow, the same in both directions; 0 for what has none.
    pub(crate) fn flow_hash(&self) -> u64 {
        self.key.map_or(0, |key| key.hash(0))
    }

    /// Removes a link header; offsets in the metadata move along. `false` when the metadata
    /// points into the header.
    #[must_use]
    pub(crate) fn strip(&mut self, n: usize) -> bool {
        let Ok(offload) = self.buffer.meta.offload.shift(-(n as isize)) else {
            return false;
        };
        self.buffer.meta.offload = offload;
        self.buffer.strip(n)
    }

    /// Makes room for a link header; offsets in the metadata move along.
    pub(crate) fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.buffer.meta.offload = self.buffer.meta.offload.shift(n as isize).ok()?;
        self.buffer.prepend(n)
    }

    /// Takes over what was decided for the packet this one was cut from.
    pub(crate) fn inherit(&mut self, parent: &Self) {
        self.headers = parent.headers;
        self.key = parent.key;
        self.hit = parent.hit;
        self.adjacency = parent.adjacency;
        self.generated = true;
    }
}

impl Growing for Packet {
    fn bytes(&self) -> &[u8] {
        self.buffer.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }

    fn offload(&self) -> Offload {
        self.buffer.meta.offload
    }

    fn append(&mut self, payload: &[u8]) -> bool {
        self.buffer.append(payload)
    }
}

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
    events: Arc<ArrayQueue<Event>>,
    capabilities: Vec<Capabilities>,
    spawned: Vec<(Packet, NodeId)>,
    waiting: Vec<Packet>,
    queues: Vec<Vector>,
    dirty: Vec<InterfaceId>,
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
    pub(crate) fn on_link(&mut self, packet: Option<Packet>, to: &Workload, ethertype: u16) {
        let Some(mut packet) = packet else { return };
        let Some(header) = packet.buffer.prepend(14) else {
            return self.drop_packet(packet, DropReason::NoBuffer);
        };
        header[..6].copy_from_slice(&to.mac);
        header[6..12].copy_from_slice(&GATEWAY_MAC);
        header[12..].copy_from_slice(&ethertype.to_be_bytes());
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
        self.counters.dropped(reason).add(1);
        self.counters.interface(packet.rx).rx_dropped.add(1);
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
    fn run_all(&mut self, tables: &Tables, packet: Packet, node: NodeId) {
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

/// How a worker is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// Most buffers the worker may own.
    pub buffers: usize,
    /// Incomplete packets held for reassembly.
    pub reassemblies: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            buffers: 1024,
            reassemblies: 64,
        }
    }
}

/// What others see of a worker.
#[derive(Debug, Clone)]
pub struct Observer {
    /// Its counters.
    pub counters: Arc<Counters>,
    /// The generation of the tables it used last.
    pub generation: Arc<AtomicU32>,
}

/// A packet loop's state; the loop itself, with its clock and its sleep, is the daemon's.
pub struct Worker<D> {
    devices: Vec<Option<D>>,
    ready: Vec<InterfaceId>,
    is_ready: Vec<bool>,
    tables: Cache<Arc<ArcSwap<Tables>>, Arc<Tables>>,
    generation: Arc<AtomicU32>,
    core: Core,
    vector: Vector,
    keys: Vec<FlowKey>,
    hits: Vec<Option<Hit>>,
    fates: Vec<Fate>,
    /// What `Core::waiting` is swapped with while it is gone through.
    spare: Vec<Packet>,
}

impl<D: Device> Worker<D> {
    /// A worker without devices.
    pub fn new(
        config: &Config,
        tables: Arc<ArcSwap<Tables>>,
        flows: Arc<FlowTable>,
        events: Arc<ArrayQueue<Event>>,
    ) -> Self {
        Self {
            devices: Vec::new(),
            ready: Vec::new(),
            is_ready: Vec::new(),
            tables: Cache::new(tables),
            generation: Arc::default(),
            core: Core {
                pool: Pool::new(config.buffers),
                flows,
                counters: Arc::default(),
                limiter: Limiter::new(1000, 50),
                reassembler: Reassembler::new(Limits {
                    datagrams: config.reassemblies,
                    ..Limits::default()
                }),
                fragment_id: 0,
                now: 0,
                spans: Vec::with_capacity(128),
                events,
                capabilities: Vec::new(),
                spawned: Vec::with_capacity(VECTOR),
                waiting: Vec::with_capacity(VECTOR),
                queues: Vec::new(),
                dirty: Vec::new(),
            },
            vector: Vec::with_capacity(VECTOR),
            keys: Vec::with_capacity(VECTOR),
            hits: Vec::with_capacity(VECTOR),
            fates: Vec::with_capacity(VECTOR),
            spare: Vec::with_capacity(VECTOR),
        }
    }

    /// What others may see of it.
    pub fn observer(&self) -> Observer {
        Observer {
            counters: Arc::clone(&self.core.counters),
            generation: Arc::clone(&self.generation),
        }
    }

    /// Gives it a device for an interface. The interface must be in the tables before packets
    /// can pass.
    pub fn add_device(&mut self, id: InterfaceId, device: D) {
        let needed = id.index() + 1;
        if self.devices.len() < needed {
            self.devices.resize_with(needed, || None);
            self.is_ready.resize(needed, false);
            self.core
                .capabilities
                .resize(needed, Capabilities::default());
            self.core
                .queues
                .resize_with(needed, || Vec::with_capacity(VECTOR));
            self.core.dirty.reserve(needed);
        }
        self.core.capabilities[id.index()] = device.capabilities();
        self.devices[id.index()] = Some(device);
        self.mark_ready(id);
    }

    /// Takes a device away.
    pub fn remove_device(&mut self, id: InterfaceId) -> Option<D> {
        self.clear_ready(id);
        self.devices.get_mut(id.index())?.take()
    }

    /// The device of an interface.
    pub fn device(&self, id: InterfaceId) -> Option<&D> {
        self.devices.get(id.index())?.as_ref()
    }

    /// The same, writable.
    pub fn device_mut(&mut self, id: InterfaceId) -> Option<&mut D> {
        self.devices.get_mut(id.index())?.as_mut()
    }

    /// Says that a device has packets, or may have.
    pub fn mark_ready(&mut self, id: InterfaceId) {
        if let Some(flag) = self.is_ready.get_mut(id.index())
            && !*flag
        {
            *flag = true;
            self.ready.push(id);
        }
    }

    fn clear_ready(&mut self, id: InterfaceId) {
        if let Some(flag) = self.is_ready.get_mut(id.index()) {
            *flag = false;
        }
        self.ready.retain(|ready| *ready != id);
    }

    /// Whether a device may have packets that were not read yet.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes notice of new tables without packets, so that who waits for them can go on.
    pub fn observe(&mut self) {
        let generation = self.tables.load().generation;
        // Release pairs with the agent's Acquire: it frees adjacencies only after this store.
        self.generation.store(generation, Ordering::Release);
    }

    /// One turn: no clock, no thread, no system call but the devices' own. `now` is in
    /// milliseconds since the process started. Returns how many packets were read.
    pub fn turn(&mut self, now: u64) -> usize {
        if self.core.now != now {
            self.core.now = now;
            node::expire_fragments(&mut self.core);
        }
        let tables = Arc::clone(self.tables.load());
        if self.generation.load(Ordering::Relaxed) != tables.generation {
            // Release: see `observe`.
            self.generation.store(tables.generation, Ordering::Release);
        }
        let mut received = 0;
        let mut at = 0;
        while at < self.ready.len() {
            let id = self.ready[at];
            let Some(device) = self.devices[id.index()].as_mut() else {
                self.clear_ready(id);
                continue;
            };
            let drained = match device.receive(&mut self.core.pool, &mut self.vector) {
                Ok(drained) => drained,
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    self.core.report(Event::DeviceFailed {
                        interface: id,
                        errno,
                    });
                    true
                }
            };
            received += self.vector.len();
            self.process(&tables, id);
            if drained {
                self.clear_ready(id);
            } else {
                at += 1;
            }
        }
        let counters = &self.core.counters;
        let pool = &self.core.pool;
        counters
            .buffers_in_use
            .set((pool.limit() - pool.available()) as u64);
        let turns = if received == 0 {
            &counters.idle_turns
        } else {
            &counters.busy_turns
        };
        turns.add(1);
        received
    }

    /// Takes the vector just read through the graph and sends what comes out.
    fn process(&mut self, tables: &Tables, id: InterfaceId) {
        let entry = match tables.interface(id).map(|interface| &interface.kind) {
            Some(InterfaceKind::Workload(_)) => Some(NodeId::EthernetInput),
            Some(InterfaceKind::Host) => Some(NodeId::IpInput),
            Some(InterfaceKind::Vxlan(_) | InterfaceKind::Ipip) => Some(NodeId::TunnelInput),
            None => None,
        };
        let (mut packets, mut bytes) = (0, 0);
        let mut vector = std::mem::take(&mut self.vector);
        for buffer in vector.drain(..) {
            packets += 1;
            bytes += buffer.len() as u64;
            let packet = Packet::new(buffer, id);
            match entry {
                None => self.core.drop_packet(packet, DropReason::InterfaceUnknown),
                Some(_) if packet.buffer.meta.malformed => {
                    self.core.drop_packet(packet, DropReason::OffloadMalformed);
                }
                Some(node) => self.core.run_all(tables, packet, node),
            }
        }
        self.vector = vector;
        let counters = self.core.counters.interface(id);
        counters.rx_packets.add(packets);
        counters.rx_bytes.add(bytes);
        if entry == Some(NodeId::TunnelInput) {
            self.coalesce();
        }
        self.look_up(tables);
        self.flush();
    }

    /// Merges what came out of a tunnel one datagram at a time (a train of one buffer was merged
    /// where it lay): one look-up, one rewrite and one frame for many packets of a flow.
    fn coalesce(&mut self) {
        let before = self.core.waiting.len();
        if before < 2 {
            return;
        }
        self.fates.clear();
        self.fates.resize(before, Fate::Absorbed);
        coalesce::vector(&mut self.core.waiting, Rules::TCP_AND_UDP, &mut self.fates);
        if !self.fates.contains(&Fate::Absorbed) {
            for (packet, fate) in self.core.waiting.iter_mut().zip(&self.fates) {
                if let Fate::Kept(offload) = fate {
                    packet.buffer.meta.offload = *offload;
                }
            }
            return;
        }
        std::mem::swap(&mut self.core.waiting, &mut self.spare);
        for (mut packet, fate) in self.spare.drain(..).zip(&self.fates) {
            let Fate::Kept(offload) = fate else {
                self.core.counters.consumed(ConsumeReason::Coalesced).add(1);
                self.core.pool.give(packet.buffer);
                continue;
            };
            packet.buffer.meta.offload = *offload;
            // It grew, and took over flags of its last segment.
            if packet.buffer.len() != packet.headers.length {
                match Headers::parse(packet.buffer.bytes()) {
                    Ok(headers) => packet.headers = headers,
                    Err(reason) => {
                        self.core.drop_packet(packet, reason);
                        continue;
                    }
                }
            }
            self.core.waiting.push(packet);
        }
    }

    /// Looks the waiting vector up and takes it on from there.
    fn look_up(&mut self, tables: &Tables) {
        let mut waiting = std::mem::take(&mut self.core.waiting);
        self.keys.clear();
        self.keys
            .extend(waiting.iter().filter_map(|packet| packet.key));
        self.hits.clear();
        self.hits.resize(self.keys.len(), None);
        self.core.flows.lookup_batch(&self.keys, &mut self.hits);
        let mut hits = self.hits.iter();
        for mut packet in waiting.drain(..) {
            if packet.key.is_some() {
                packet.hit = hits.next().copied().flatten();
            }
            self.core.run_all(tables, packet, NodeId::Flow);
        }
        self.core.waiting = waiting;
    }

    /// Gives every queue to its device.
    fn flush(&mut self) {
        for id in self.core.dirty.drain(..) {
            let queue = &mut self.core.queues[id.index()];
            let counters = self.core.counters.interface(id);
            match self.devices[id.index()].as_mut() {
                Some(device) => {
                    let done = device.transmit(queue);
                    counters.tx_packets.add(done.sent as u64);
                    counters.tx_bytes.add(done.bytes as u64);
                    if done.full > 0 {
                        self.core
                            .counters
                            .dropped(DropReason::TxFull)
                            .add(done.full as u64);
                    }
                    if done.refused > 0 {
                        self.core
                            .counters
                            .dropped(DropReason::TxError)
                            .add(done.refused as u64);
                    }
                }
                None => {
                    let lost = queue.len() as u64;
                    self.core
                        .counters
                        .dropped(DropReason::InterfaceDown)
                        .add(lost);
                }
            }
            for buffer in queue.drain(..) {
                self.core.pool.give(buffer);
            }
        }
    }
}
