//! One worker: its devices, its buffers, and the turn.
//!
//! A turn reads from each device that is ready, takes every packet through the graph and sends what
//! came out of it. Devices with few packets share a vector, so that many quiet pods are looked up
//! and sent together, as the packets of one busy pod are. Between two turns a worker holds no borrow of the tables, so that
//! publication never waits for more than a turn. Counting and dropping happen in `core` and
//! nowhere else.

mod core;
mod packet;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Cache};
use crossbeam::queue::ArrayQueue;
use encap::coalesce::{self, Fate, Rules};
use encap::reassemble::{Limits, Reassembler};
use policy::flow::{FlowKey, FlowTable, Hit};

use crate::buffer::Pool;
use crate::counters::Counters;
use crate::device::{Capabilities, Device, VECTOR, Vector};
use crate::drop::{ConsumeReason, DropReason};
use crate::events::Event;
use crate::graph::NodeId;
use crate::id::InterfaceId;
use crate::limiter::Limiter;
use crate::node;
use crate::tables::{InterfaceKind, Tables};

pub use core::Core;
pub use packet::Packet;

/// Packets, and bytes, with which a vector is on its way without waiting for the next device's:
/// more would save little, and keep what was read waiting and out of the cache.
const ENOUGH_PACKETS: usize = VECTOR / 2;
const ENOUGH_BYTES: u64 = 32 << 10;
/// The most a vector can hold: nearly enough, and then one device's full share.
const VECTOR_MAX: usize = ENOUGH_PACKETS - 1 + VECTOR;

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
                merges: Rules::TCP,
                spawned: Vec::with_capacity(VECTOR),
                waiting: Vec::with_capacity(VECTOR_MAX),
                queues: Vec::new(),
                dirty: Vec::new(),
            },
            vector: Vec::with_capacity(VECTOR),
            keys: Vec::with_capacity(VECTOR_MAX),
            hits: Vec::with_capacity(VECTOR_MAX),
            fates: Vec::with_capacity(VECTOR),
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
                .resize_with(needed, || Vec::with_capacity(VECTOR_MAX));
            self.core.dirty.reserve(needed);
        }
        let capabilities = device.capabilities();
        if capabilities.uso {
            self.core.merges = Rules::TCP_AND_UDP;
        }
        self.core.capabilities[id.index()] = capabilities;
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
        let (mut packets, mut bytes) = (0, 0);
        // Those that stay ready move to the front; taking each of many out by itself would cost
        // more than a packet.
        let mut kept = 0;
        for at in 0..self.ready.len() {
            let id = self.ready[at];
            let Some(device) = self.devices[id.index()].as_mut() else {
                self.is_ready[id.index()] = false;
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
            packets += self.vector.len();
            bytes += self.enter(&tables, id);
            if packets >= ENOUGH_PACKETS || bytes >= ENOUGH_BYTES {
                self.finish(&tables);
                (packets, bytes) = (0, 0);
            }
            if drained {
                self.is_ready[id.index()] = false;
            } else {
                self.ready[kept] = id;
                kept += 1;
            }
        }
        self.ready.truncate(kept);
        self.finish(&tables);
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

    /// Takes what was just read from a device to where the vector waits. Returns its bytes.
    fn enter(&mut self, tables: &Tables, id: InterfaceId) -> u64 {
        let entry = match tables.interface(id).map(|interface| &interface.kind) {
            Some(InterfaceKind::Workload(_)) => Some(NodeId::EthernetInput),
            Some(InterfaceKind::Host) => Some(NodeId::IpInput),
            Some(InterfaceKind::Tunnel(_)) => Some(NodeId::TunnelInput),
            None => None,
        };
        let first = self.core.waiting.len();
        let (mut packets, mut bytes) = (0, 0);
        let mut vector = std::mem::take(&mut self.vector);
        for buffer in vector.drain(..) {
            packets += 1;
            bytes += buffer.len() as u64;
            let packet = Packet::new(buffer, id);
            match entry {
                None => self.core.drop_packet(packet, DropReason::InterfaceUnknown),
                Some(node) if packet.buffer.meta.malformed => {
                    self.core.drop_packet(packet, malformed_at(node));
                }
                Some(node) => self.core.run_all(tables, packet, node),
            }
        }
        self.vector = vector;
        let counters = self.core.counters.interface(id);
        counters.rx_packets.add(packets);
        counters.rx_bytes.add(bytes);
        // What came out of a tunnel is summed even if alone: its checksum may never have been filled
        // in, which a UDP socket does not tell.
        let wanted =
            entry == Some(NodeId::TunnelInput) || find_company(&mut self.core.waiting[first..]);
        if wanted {
            self.coalesce(first);
        }
        bytes
    }

    /// Takes the waiting vector through the rest of the graph and sends what comes out.
    fn finish(&mut self, tables: &Tables) {
        self.look_up(tables);
        self.flush();
    }

    /// Merges what a device brought, `waiting` from `first` on: one look-up, one rewrite and one
    /// frame for many packets of a flow, be they of a tunnel (where a train of one buffer was merged
    /// where it lay), or a pod's datagrams, which a sender hands over one by one.
    fn coalesce(&mut self, first: usize) {
        let came = &mut self.core.waiting[first..];
        if came.len() < 2 {
            return;
        }
        self.fates.clear();
        self.fates.resize(came.len(), Fate::Absorbed);
        coalesce::vector(came, self.core.merges, &mut self.fates);
        if !self.fates.contains(&Fate::Absorbed) {
            for (packet, fate) in came.iter_mut().zip(&self.fates) {
                if let Fate::Kept(offload) = fate {
                    packet.buffer.meta.offload = *offload;
                }
            }
            return;
        }
        let (mut fates, failed) = (self.fates.iter(), Cell::new(None));
        let leaves = |packet: &mut Packet| {
            let Some(Fate::Kept(offload)) = fates.next() else {
                return true;
            };
            packet.buffer.meta.offload = *offload;
            failed.set(packet.parse_again().err());
            failed.get().is_some()
        };
        for packet in self.core.waiting.extract_if(first.., leaves) {
            match failed.take() {
                None => self.core.counters.consumed(ConsumeReason::Coalesced).add(1),
                Some(reason) => self.core.counters.lost(packet.rx, reason),
            }
            self.core.pool.give(packet.buffer);
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

/// Why a packet goes that its device could make no sense of, at the node it would have entered by.
fn malformed_at(entry: NodeId) -> DropReason {
    match entry {
        NodeId::TunnelInput => DropReason::TunnelMalformed,
        _ => DropReason::OffloadMalformed,
    }
}

/// Marks the packets that are alone of their flow in this part of a vector. Whether others are left.
fn find_company(packets: &mut [Packet]) -> bool {
    const SLOTS: usize = 128;
    let mut latest = [usize::MAX; SLOTS];
    let mut any = false;
    for at in 0..packets.len() {
        let (before, rest) = packets.split_at_mut(at);
        let packet = &mut rest[0];
        packet.alone = true;
        // What came in fragments may have to go in fragments, each datagram by itself.
        let Some(key) = packet.key.as_ref().filter(|_| !packet.refragment) else {
            continue;
        };
        // The last of another flow that has the same slot is forgotten; merging is no duty.
        let slot = &mut latest[key.hash(0) as usize % SLOTS];
        if let Some(other) = before.get_mut(*slot)
            && other.key == packet.key
        {
            other.alone = false;
            packet.alone = false;
            any = true;
        }
        *slot = at;
    }
    any
}
