//! One worker: its devices, its buffers, and the turn.
//!
//! A turn reads from each device that is ready, takes every packet through the graph and sends what
//! came out of it. Devices with few packets share a vector, so that many quiet pods are looked up
//! and sent together, as the packets of one busy pod are. Between two turns a worker holds no borrow of the tables, so that
//! publication never waits for more than a turn. Counting and dropping happen in `core` and
//! nowhere else.

mod core;
mod join;
mod packet;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Cache};
use crossbeam::queue::ArrayQueue;
use encap::coalesce::Rules;
use encap::reassemble::{Limits, Reassembler};
use policy::flow::{FlowKey, FlowTable, Hit};

use crate::buffer::{Buffer, Pool};
use crate::counters::Counters;
use crate::device::{Capabilities, Device, VECTOR, Vector};
use crate::drop::DropReason;
use crate::events::Event;
use crate::graph::NodeId;
use crate::id::InterfaceId;
use crate::limiter::Limiter;
use crate::node;
use crate::origin::{Arrival, Side};
use crate::tables::Tables;
use crate::trace::Marker;

use self::core::Sampler;
use self::join::Join;
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
                join: Join::new(VECTOR_MAX),
                fates: Vec::with_capacity(VECTOR),
                marker: Marker::default(),
                sampler: Sampler::default(),
                carriers: Vec::new(),
                queues: Vec::new(),
                dirty: Vec::new(),
            },
            vector: Vec::with_capacity(VECTOR),
            keys: Vec::with_capacity(VECTOR_MAX),
            hits: Vec::with_capacity(VECTOR_MAX),
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
        self.make_room(id);
        let capabilities = device.capabilities();
        if capabilities.uso {
            self.core.merges = Rules::TCP_AND_UDP;
        }
        self.core.capabilities[id.index()] = capabilities;
        self.core.carriers[id.index()] = id;
        if self.core.queues[id.index()].capacity() == 0 {
            self.core.queues[id.index()].reserve(VECTOR_MAX);
        }
        self.devices[id.index()] = Some(device);
        self.mark_ready(id);
    }

    /// Has the packets of an interface come and go by the device that workloads share, which is there.
    pub fn share_device(&mut self, id: InterfaceId) {
        self.make_room(id.max(InterfaceId::ROUTER));
        self.core.carriers[id.index()] = InterfaceId::ROUTER;
        self.core.capabilities[id.index()] = self.core.capabilities(InterfaceId::ROUTER);
    }

    /// Room for an interface and all before it.
    fn make_room(&mut self, id: InterfaceId) {
        let needed = id.index() + 1;
        if self.devices.len() < needed {
            self.devices.resize_with(needed, || None);
            self.is_ready.resize(needed, false);
            let core = &mut self.core;
            core.capabilities.resize(needed, Capabilities::default());
            let before = core.carriers.len() as u16;
            core.carriers.extend((before..=id.0).map(InterfaceId));
            core.queues.resize_with(needed, Vec::new);
            core.dirty.reserve(needed);
        }
    }

    /// Takes an interface's device, or its part in the shared one, away.
    pub fn remove_device(&mut self, id: InterfaceId) -> Option<D> {
        self.clear_ready(id);
        *self.core.carriers.get_mut(id.index())? = id;
        self.devices[id.index()].take()
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

    /// When the worker has something to do even if no packet comes, in the turn's milliseconds:
    /// a sleep must end by then, with [`Self::tick`].
    pub fn next_timer(&self) -> Option<u64> {
        node::next_fragment_expiry(&self.core)
    }

    /// Does what is due, without packets.
    pub fn tick(&mut self, now: u64) {
        if self.core.now != now {
            self.core.now = now;
            node::expire_fragments(&mut self.core);
        }
    }

    /// Marks the next `packets` packets that come in by an interface, or by any: the agent gets an
    /// [`Event::Traced`] for each node on their way.
    pub fn trace(&mut self, interface: Option<InterfaceId>, packets: u32) {
        self.core.marker.arm(interface, packets);
    }

    /// One turn: no clock, no thread, no system call but the devices' own. `now` is in
    /// milliseconds since the process started. Returns how many packets were read.
    pub fn turn(&mut self, now: u64) -> usize {
        self.tick(now);
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
    fn enter(&mut self, tables: &Tables, device: InterfaceId) -> u64 {
        let mut vector = std::mem::take(&mut self.vector);
        let mut run = self.begin(tables, device, None);
        let mut bytes = 0;
        for buffer in vector.drain(..) {
            if buffer.meta.interface != run.named {
                bytes += run.bytes;
                // In this order: merging changes where the next run begins.
                self.end(&run);
                run = self.begin(tables, device, buffer.meta.interface);
            }
            run.packets += 1;
            run.bytes += buffer.len() as u64;
            let Some((arrival, (node, malformed))) = run.entry else {
                self.core.lose_unknown(run.interface, buffer);
                continue;
            };
            let is_malformed = buffer.meta.malformed;
            let mut packet = Packet::new(buffer, arrival);
            packet.mark = self.core.marker.mark(run.interface);
            if is_malformed {
                self.core.drop_packet(packet, malformed);
            } else {
                self.core.run_all(tables, packet, node);
            }
        }
        self.vector = vector;
        bytes += run.bytes;
        self.end(&run);
        bytes
    }

    /// The run of packets from `device` that name an interface, or none. What does not come and go
    /// by the device is not believed.
    fn begin(&self, tables: &Tables, device: InterfaceId, named: Option<InterfaceId>) -> Run {
        let carriers = &self.core.carriers;
        let known = named.filter(|named| carriers.get(named.index()) == Some(&device));
        let interface = known.unwrap_or(device);
        let arrival = Arrival::by(tables, interface);
        Run {
            named,
            interface,
            entry: arrival.map(|arrival| (arrival, entry(arrival.side))),
            first: self.core.join.len(),
            packets: 0,
            bytes: 0,
        }
    }

    fn end(&mut self, run: &Run) {
        let counters = self.core.counters.interface(run.interface);
        counters.rx_packets.add(run.packets);
        counters.rx_bytes.add(run.bytes);
        if let Some((arrival, _)) = run.entry {
            node::merge(&mut self.core, run.first, arrival.side);
        }
    }

    /// Takes the waiting vector through the rest of the graph and sends what comes out. What comes
    /// to wait meanwhile follows as a vector of its own.
    fn finish(&mut self, tables: &Tables) {
        while let Some(vector) = self.core.join.depart() {
            self.look_up(tables, vector);
        }
        self.flush();
    }

    /// Looks a vector up and takes it on from there.
    fn look_up(&mut self, tables: &Tables, mut vector: Vec<Packet>) {
        self.keys.clear();
        self.keys
            .extend(vector.iter().filter_map(|packet| packet.key));
        self.hits.clear();
        self.hits.resize(self.keys.len(), None);
        self.core.flows.lookup_batch(&self.keys, &mut self.hits);
        let mut hits = self.hits.iter();
        for mut packet in vector.drain(..) {
            if packet.key.is_some() {
                packet.hit = hits.next().copied().flatten();
            }
            self.core.run_all(tables, packet, NodeId::Flow);
        }
        self.core.join.reuse(vector);
    }

    /// Gives every queue to its device.
    fn flush(&mut self) {
        for at in 0..self.core.dirty.len() {
            let id = self.core.dirty[at];
            let mut queue = std::mem::take(&mut self.core.queues[id.index()]);
            for run in queue.chunk_by_mut(|a, b| a.meta.interface == b.meta.interface) {
                let out = run[0].meta.interface.unwrap_or(id);
                self.transmit(id, out, run);
            }
            for buffer in queue.drain(..) {
                self.core.pool.give(buffer);
            }
            self.core.queues[id.index()] = queue;
        }
        self.core.dirty.clear();
    }

    /// Gives packets of interface `out` to the device they leave by.
    fn transmit(&mut self, device: InterfaceId, out: InterfaceId, run: &mut [Buffer]) {
        let Some(device) = self.devices[device.index()].as_mut() else {
            let reason = DropReason::InterfaceDown;
            return self.core.not_sent(out, reason, run.len(), run);
        };
        let done = device.transmit(run);
        let counters = self.core.counters.interface(out);
        counters.tx_packets.add(done.sent as u64);
        counters.tx_bytes.add(done.bytes as u64);
        for (count, reason) in [
            (done.full, DropReason::TxFull),
            (done.refused, DropReason::TxError),
            (done.too_big, DropReason::TxTooBig),
        ] {
            if count > 0 {
                self.core.not_sent(out, reason, count, run);
            }
        }
    }
}

/// Packets that a device brought one after the other of one interface.
struct Run {
    /// The interface they name.
    named: Option<InterfaceId>,
    interface: InterfaceId,
    /// Where they enter, and why those go that their device could make no sense of.
    entry: Option<(Arrival, (NodeId, DropReason))>,
    /// The first of those that wait behind it.
    first: usize,
    packets: u64,
    bytes: u64,
}

/// The node packets of a side enter by, and why those go that their device could make no sense of.
fn entry(side: Side) -> (NodeId, DropReason) {
    match side {
        Side::Workload => (NodeId::EthernetInput, DropReason::OffloadMalformed),
        Side::Host => (NodeId::IpInput, DropReason::OffloadMalformed),
        Side::Tunnel(_) => (NodeId::TunnelInput, DropReason::TunnelMalformed),
    }
}

#[cfg(test)]
mod tests;
