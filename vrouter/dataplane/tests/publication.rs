//! New tables under load: what they do not concern loses no packet.

#![allow(clippy::unwrap_used, reason = "only tests call these")]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vrouter_dataplane::adjacency::Adjacency;
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::id::AdjacencyId;
use vrouter_dataplane::memory::Frame;
use vrouter_dataplane::tables::Tables;
use world::packets::{ethernet, udp};
use world::{BLACKHOLE, Mode, Plan, a4, mac, pod};

const ROUNDS: u32 = 700;

#[test]
fn tables_are_swapped_while_packets_pass() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let shared = Arc::clone(&node.shared);
    let observer = node.worker.observer();
    let done = AtomicBool::new(false);
    let mut v4 = std::mem::take(&mut node.v4);
    // Of two flows: packets of one would be merged.
    let steady =
        [1, 3].map(|port| ethernet(mac(1, 1), &udp(a4(1, 1), a4(1, 2), (port, 2), b"steady")));
    // An address whose route comes and goes, each time by a new adjacency.
    let moving_to = std::net::IpAddr::from([10, 65, 1, 200]);
    let prefix = "10.65.1.200/32".parse().unwrap();
    let moving = ethernet(mac(1, 1), &udp(a4(1, 1), moving_to, (1, 2), b"moving"));
    let mut sent = 0;
    let (mut steadies, mut movings) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let publish = |change: &dyn Fn(&mut Tables)| {
                let mut tables = Tables::clone(&shared.load());
                tables.generation += 1;
                change(&mut tables);
                let generation = tables.generation;
                shared.store(Arc::new(tables));
                // The worker has taken up the new tables before a prefix points into them.
                while observer.generation.load(Ordering::Acquire) != generation {
                    std::thread::yield_now();
                }
            };
            let first = shared.load().adjacencies.len() as u32;
            for round in 0..ROUNDS {
                // Adjacency before prefix, and gone only after nobody can see the prefix.
                let id = AdjacencyId(first + round % 2);
                publish(&|tables| {
                    let target = tables.adjacencies[world::neighbor(2).index()].clone();
                    let adjacencies = Arc::make_mut(&mut tables.adjacencies);
                    let end = id.index() + 1;
                    if adjacencies.len() < end {
                        adjacencies.resize(end, Adjacency::Drop(DropReason::StaleAdjacency));
                    }
                    adjacencies[id.index()] = target;
                });
                v4.insert(prefix, lpm::Value::new(id.0).unwrap());
                publish(&|_| {});
                publish(&|tables| {
                    let other = AdjacencyId(first + (round + 1) % 2);
                    let adjacencies = Arc::make_mut(&mut tables.adjacencies);
                    if let Some(old) = adjacencies.get_mut(other.index()) {
                        *old = Adjacency::Drop(DropReason::StaleAdjacency);
                    }
                });
            }
            v4.insert(prefix, lpm::Value::new(BLACKHOLE.0).unwrap());
            publish(&|_| {});
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            for frame in [&steady[0], &moving, &steady[1]] {
                node.send(pod(1), Frame::new(frame.clone()));
            }
            sent += 1;
            node.settle();
            for (id, frame) in node.drain() {
                assert_eq!(id, pod(2));
                if frame.bytes.ends_with(b"steady") {
                    steadies += 1;
                } else {
                    movings += 1;
                }
            }
        }
    });
    node.settle();
    assert_eq!(steadies, 2 * sent);
    // Before its first and after its last route it was dropped, and only so.
    assert_eq!(node.dropped(DropReason::Blackhole), sent - movings);
    assert_eq!(node.dropped(DropReason::StaleAdjacency), 0);
    assert!(movings > u64::from(ROUNDS), "{movings} of {sent}");
    assert!(node.shared.load().generation > 3 * ROUNDS);
}

#[test]
fn old_tables_are_let_go() {
    let mut node = Plan::new(1, Mode::Vxlan4).build();
    let old = Arc::downgrade(&node.shared.load_full());
    node.worker.turn(1);
    assert!(old.upgrade().is_some());
    node.publish(|_| {});
    node.worker.observe();
    assert!(old.upgrade().is_none());
    let seen = node.worker.observer().generation;
    assert_eq!(seen.load(Ordering::Acquire), 2);
}
