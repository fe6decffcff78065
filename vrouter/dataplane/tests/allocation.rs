//! No packet allocates once a worker is warm: a counting allocator watches whole turns.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    reason = "an allocator can be written no other way; only tests call these"
)]

mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;

use encap::Family;
use vrouter_dataplane::buffer::{Meta, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Transmitted, VECTOR, Vector};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::memory::Frame;
use vrouter_dataplane::worker::{Config, Worker};
use world::packets::{ACK, ethernet, fragmentable, offloaded_frame, tcp, udp};
use world::{HOST, IPIP, Mode, Plan, VXLAN4, VXLAN6, a4, a6, mac, mutate, pod, underlay, vtep};

thread_local! {
    /// Allocations of this thread.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches a constant-
// initialised thread local without a destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A device that receives the same frames again and again and forgets what it sends.
struct Repeating {
    frames: Vec<Frame>,
    /// How many frames it has for a turn.
    burst: usize,
    capabilities: Capabilities,
    sent: usize,
}

impl Device for Repeating {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        for frame in self.frames.iter().cycle().take(self.burst) {
            let Some(mut buffer) = pool.take() else { break };
            assert!(buffer.set(&frame.bytes));
            buffer.meta = frame.meta;
            into.push(buffer);
        }
        Ok(true)
    }

    fn transmit(&mut self, packets: &mut [vrouter_dataplane::buffer::Buffer]) -> Transmitted {
        self.sent += packets.len();
        Transmitted {
            sent: packets.len(),
            ..Transmitted::default()
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }
}

/// Turns before allocations count.
const WARM: u64 = 200;

/// How many frames left, and how many allocations were made in a thousand turns of a warm worker.
fn run(arrivals: &[(InterfaceId, &[Frame], usize)]) -> (usize, u64) {
    let node = Plan::new(1, Mode::Vxlan4).build();
    let mut worker = Worker::new(
        &Config::default(),
        node.shared.clone(),
        node.flows.clone(),
        node.events.clone(),
    );
    for id in [HOST, VXLAN4, VXLAN6, IPIP, pod(1), pod(2)] {
        let arrival = arrivals.iter().find(|(at, ..)| *at == id);
        let device = Repeating {
            frames: arrival.map_or_else(Vec::new, |(_, frames, _)| frames.to_vec()),
            burst: arrival.map_or(0, |(.., burst)| *burst),
            capabilities: match id {
                VXLAN4 | VXLAN6 | IPIP => Capabilities::DATAGRAMS,
                _ => Capabilities::OFFLOADS,
            },
            sent: 0,
        };
        worker.add_device(id, device);
    }
    let mut turns = |from: u64, to: u64| {
        for now in from..to {
            for (arrival, ..) in arrivals {
                worker.mark_ready(*arrival);
            }
            worker.turn(now);
        }
    };
    // Long enough for what set-up left behind to be collected, too.
    turns(1, WARM);
    let before = COUNT.with(Cell::get);
    turns(WARM, WARM + 1000);
    let allocations = COUNT.with(Cell::get) - before;
    let balance = worker.observer().counters.balance();
    assert!(balance.holds(), "{balance:?}");
    let all = [HOST, VXLAN4, VXLAN6, IPIP, pod(1), pod(2)];
    let sent = all.map(|id| worker.device(id).unwrap().sent);
    (sent.iter().sum(), allocations)
}

fn expect(what: &str, frames: &[Frame], arrival: InterfaceId, passes: bool) {
    let (sent, allocations) = run(&[(arrival, frames, VECTOR)]);
    assert_eq!(sent > 0, passes, "{what}");
    assert_eq!(allocations, 0, "{what}");
}

fn from_pod(packet: &[u8]) -> Frame {
    Frame::new(ethernet(mac(1, 1), packet))
}

/// A vector of frames no two of which can be merged: `make` is given ports.
fn apart(make: impl Fn((u16, u16)) -> Frame) -> Vec<Frame> {
    (1..=VECTOR as u16).map(|port| make((port, 2))).collect()
}

fn datagrams(inner: &[Vec<u8>]) -> Frame {
    mutate::vxlan(
        Family::V4,
        vtep(1, Family::V4),
        inner,
        Some(underlay(Family::V4, 2)),
    )
}

#[test]
fn no_packet_allocates() {
    let (a, b, far) = (a4(1, 1), a4(1, 2), a4(2, 1));
    let between = |ports| from_pod(&udp(a, b, ports, &[1; 64]));
    expect("hit", &apart(between), pod(1), true);
    expect("hit, merged", &[between((1, 2))], pod(1), true);
    let between = |ports| from_pod(&udp(a6(1, 1), a6(1, 2), ports, &[1; 64]));
    expect("hit, IPv6", &apart(between), pod(1), true);
    expect("hit, IPv6, merged", &[between((1, 2))], pod(1), true);
    let to_host = |ports| from_pod(&udp(a, a4(1, 0), ports, &[1; 64]));
    expect("to the host", &apart(to_host), pod(1), true);
    let from_host = |ports| Frame::new(udp(a4(1, 0), b, ports, &[1; 64]));
    expect("from the host", &apart(from_host), HOST, true);
    let out = |ports| from_pod(&udp(a, far, ports, &[1; 64]));
    expect("tunnel out", &apart(out), pod(1), true);
    expect("tunnel out, merged", &[out((1, 2))], pod(1), true);
    let big = tcp(a, far, (4000, 80), 1, ACK, &[1; 30_000]);
    let supers = offloaded_frame(mac(1, 1), big, Some(1400));
    expect("super-packet out", &[supers], pod(1), true);
    let back = |ports| datagrams(&[udp(far, a, ports, &[1; 64])]);
    expect("tunnel in", &apart(back), VXLAN4, true);
    expect("tunnel in, merged", &[back((1, 2))], VXLAN4, true);
    let train: Vec<_> = (0..20)
        .map(|i| tcp(far, a, (80, 4000), 1 + i * 1000, ACK, &[1; 1000]))
        .collect();
    expect("train in", &[datagrams(&train)], VXLAN4, true);
    let ipip: Vec<_> = train
        .iter()
        .map(|packet| Frame {
            bytes: packet.clone(),
            meta: Meta {
                remote: Some(underlay(Family::V4, 2)),
                ..Meta::default()
            },
        })
        .collect();
    expect("single datagrams in, merged", &ipip, IPIP, true);
    expect(
        "spoofed",
        &[from_pod(&udp(b, a, (1, 2), b"x"))],
        pod(1),
        false,
    );
    let nowhere = |ports| from_pod(&udp(a, a4(1, 77), ports, b"x"));
    expect("blackhole", &apart(nowhere), pod(1), false);
    expect(
        "ttl",
        &[from_pod(&world::packets::with_ttl(
            udp(a, b, (1, 2), b"x"),
            1,
        ))],
        pod(1),
        true,
    );
    expect("arp", &[Frame::new(mutate::arp())], pod(1), true);
    let whole = udp(a, b, (1, 2), &[1; 2000]);
    let pieces: Vec<_> = mutate::fragments(&whole, 1200)
        .iter()
        .map(|p| from_pod(p))
        .collect();
    expect("fragments", &pieces, pod(1), true);
    let large = offloaded_frame(mac(1, 1), fragmentable(udp(a, b, (1, 2), &[1; 1440])), None);
    expect("cut", &[large], pod(1), true);
}

/// The fullest vector there can be: a few packets of one device, then all that another may bring.
#[test]
fn no_shared_vector_allocates() {
    let far = a4(2, 1);
    let first = apart(|ports| from_pod(&udp(a4(1, 1), far, ports, &[1; 64])));
    let second = apart(|ports| {
        let packet = udp(a4(1, 2), far, ports, &[1; 64]);
        Frame::new(ethernet(mac(1, 2), &packet))
    });
    let (sent, allocations) = run(&[(pod(1), &first, 31), (pod(2), &second, VECTOR)]);
    // Of all turns, those that warm up too.
    assert_eq!(sent, (31 + VECTOR) * (WARM as usize + 999));
    assert_eq!(allocations, 0);
}
