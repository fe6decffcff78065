//! Several threads on few keys: no torn reads, one session a flow, nothing lost at the end.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::*;

const THREADS: u32 = 4;
const KEYS: u32 = 96;
const STEPS: u32 = 60_000;
const CAPACITY: usize = 128;

fn key(n: u32) -> FlowKey {
    if n.is_multiple_of(3) {
        FlowKey::v6(u128::from(n) << 70 | 1, 2, protocol::TCP, 1000, 80)
    } else {
        FlowKey::v4(n, 0x0b00_0001, protocol::TCP, 1000, 80)
    }
}

fn reply(n: u32) -> FlowKey {
    if n.is_multiple_of(5) {
        FlowKey::v4(7, 8, protocol::TCP, 80, n as u16)
    } else {
        key(n).reverse()
    }
}

/// What the paths of flow `n` are in a generation: torn or mixed records do not fit.
fn paths(n: u32, generation: u32) -> [u64; 2] {
    let word = u64::from(n) << 32 | u64::from(generation);
    [word, !word]
}

fn worker(table: &FlowTable, generation: &AtomicU64, thread: u32) {
    let mut random = thread.wrapping_mul(0x9e37_79b9) | 1;
    for step in 0..STEPS {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let n = random % KEYS;
        let now = u64::from(step) * 4;
        let first = Seen {
            tcp_flags: flags::SYN,
            packets: 1,
            bytes: 60,
        };
        let hit = table.lookup(&if random & 0x100 == 0 {
            key(n)
        } else {
            reply(n)
        });
        let Some(hit) = hit else {
            let generation = generation.load(Ordering::Relaxed) as u32;
            let new = NewSession {
                reply_key: reply(n),
                paths: paths(n, generation),
                owners: [n % 4, 4 + n % 4],
                ..NewSession::of(key(n), generation, first)
            };
            match table.insert(&new, now) {
                Ok(_) | Err(InsertError::Exists(_) | InsertError::Full) => {}
                Err(error) => panic!("{error}"),
            }
            continue;
        };
        if let Some(session) = table.session(hit.session) {
            assert_eq!(session.paths, paths(n, session.generation), "flow {n}");
        }
        match random >> 20 & 15 {
            0 => drop(table.remove(hit.session)),
            1 => {
                let next = generation.fetch_add(1, Ordering::Relaxed) as u32 + 1;
                let new = Session {
                    generation: next,
                    verdict: Verdict::Allow,
                    paths: paths(n, next),
                };
                table.refresh(hit.session, &new, [0; 2]);
            }
            2 => {
                let mut hits = [None; 32];
                let keys: [FlowKey; 32] = std::array::from_fn(|i| key((n + i as u32) % KEYS));
                table.lookup_batch(&keys, &mut hits);
                for (key, hit) in keys.iter().zip(hits) {
                    let flow = hit.and_then(|hit| table.flow(hit.session, now));
                    assert!(flow.is_none_or(|flow| flow.key == *key));
                }
            }
            _ => drop(table.touch(
                hit,
                now,
                Seen {
                    tcp_flags: flags::ACK,
                    ..first
                },
            )),
        }
    }
}

#[test]
fn threads_share_the_table() {
    let table = FlowTable::new(Config {
        capacity: CAPACITY,
        endpoints: 8,
        ..Config::default()
    });
    let generation = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (table, generation) = (&table, &generation);
            scope.spawn(move || worker(table, generation, thread + 1));
        }
        scope.spawn(|| {
            for step in 0..STEPS / 8 {
                table.sweep(u64::from(step) * 8, 32, |_| {});
            }
        });
    });
    let flows = table.flows(0, usize::MAX, 0).flows;
    let statistics = table.statistics();
    assert_eq!(statistics.live, flows.len() as u64, "{statistics:?}");
    let mut keys: Vec<_> = flows.iter().map(|flow| format!("{:?}", flow.key)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), flows.len(), "one session a flow");
    for flow in &flows {
        assert!(table.remove(flow.id));
    }
    assert_eq!(table.statistics().live, 0);
    assert!((0..8).all(|endpoint| table.endpoint_sessions(endpoint) == Some(0)));
    let slots: std::collections::BTreeSet<_> = std::iter::from_fn(|| table.slots.pop()).collect();
    assert_eq!(slots.len(), CAPACITY, "every slot came back, once");
    for n in 0..KEYS {
        assert_eq!(table.lookup(&key(n)), None);
    }
}
