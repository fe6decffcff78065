//! Measures the flow table: insert, lookup one by one and in batches, what a packet costs with
//! session and counters, churn, sweep, and all of it on several threads.

use std::hint::black_box;
use std::time::Instant;

use clap::Parser;
use policy::flow::{Config, Direction, FlowKey, FlowTable, Hit, NewSession, Seen, flags, protocol};

/// Measure the flow table.
#[derive(Parser)]
struct Options {
    /// Flows in the table.
    #[arg(long, default_value_t = 1_000_000)]
    flows: u32,
    /// Sessions the table has room for; as many as flows when not given.
    #[arg(long)]
    capacity: Option<usize>,
    /// Keys a batch.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Rounds; the best and the median are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Use IPv6 addresses.
    #[arg(long)]
    ipv6: bool,
    /// Threads for the shared figures.
    #[arg(long, default_value_t = 2)]
    threads: u32,
}

fn main() {
    let options = Options::parse();
    let capacity = options.capacity.unwrap_or(options.flows as usize);
    let keys = flow_keys(options.flows, options.ipv6, 1);
    let absent = flow_keys(options.flows, options.ipv6, 2);
    let table = || {
        FlowTable::new(Config {
            capacity,
            seed: 0x5eed,
            ..Config::default()
        })
    };

    let mut last = table();
    report("insert", options.rounds, keys.len(), || {
        last = table();
        let start = Instant::now();
        for key in &keys {
            let _ = black_box(last.insert(&NewSession::of(*key, 1, syn()), 0));
        }
        start.elapsed().as_nanos() as f64
    });
    let table = last;
    report(
        "insert, memory touched before",
        options.rounds,
        keys.len(),
        || {
            empty(&table);
            let start = Instant::now();
            for key in &keys {
                let _ = black_box(table.insert(&NewSession::of(*key, 1, syn()), 0));
            }
            start.elapsed().as_nanos() as f64
        },
    );
    report(
        "lookup, batch, absent + insert",
        options.rounds,
        keys.len(),
        || {
            empty(&table);
            let mut hits = vec![None; options.batch];
            let start = Instant::now();
            for keys in keys.chunks(options.batch) {
                table.lookup_batch(keys, &mut hits);
                for key in keys {
                    let _ = black_box(table.insert(&NewSession::of(*key, 1, syn()), 0));
                }
            }
            start.elapsed().as_nanos() as f64
        },
    );
    let statistics = table.statistics();
    println!(
        "flows {} of {}, refused {}, {:.1} bytes a flow",
        statistics.live,
        statistics.capacity,
        statistics.full,
        table.bytes() as f64 / statistics.live as f64
    );

    let mut packets = keys.clone();
    shuffle(&mut packets, 3);
    for (i, key) in packets.iter_mut().enumerate() {
        *key = if i % 2 == 0 { *key } else { key.reverse() };
    }
    let mut missing = absent;
    shuffle(&mut missing, 4);

    let found = packets
        .iter()
        .filter(|key| table.lookup(key).is_some())
        .count();
    println!("found {found} of {}", packets.len());
    report("lookup, one by one", options.rounds, packets.len(), || {
        let start = Instant::now();
        for key in &packets {
            black_box(table.lookup(key));
        }
        start.elapsed().as_nanos() as f64
    });
    for (name, keys) in [
        ("lookup, batch", &packets),
        ("lookup, batch, absent", &missing),
    ] {
        report(name, options.rounds, keys.len(), || {
            let start = Instant::now();
            black_box(batches(&table, keys, options.batch, |_| {}));
            start.elapsed().as_nanos() as f64
        });
    }
    let mut now = 0;
    report(
        "lookup, batch + session + touch",
        options.rounds,
        packets.len(),
        || {
            now += 1000;
            let start = Instant::now();
            batches(&table, &packets, options.batch, |hit| {
                forward(&table, hit, now);
            });
            start.elapsed().as_nanos() as f64
        },
    );
    let hits: Vec<Hit> = packets
        .iter()
        .take(256)
        .filter_map(|key| table.lookup(key))
        .collect();
    report("touch, cached", options.rounds, 1 << 20, || {
        let start = Instant::now();
        for i in 0..1 << 20 {
            black_box(table.touch(hits[i % hits.len()], now, seen(flags::ACK)));
        }
        start.elapsed().as_nanos() as f64
    });
    report("session, cached", options.rounds, 1 << 20, || {
        let start = Instant::now();
        for i in 0..1 << 20 {
            black_box(table.session(hits[i % hits.len()].session));
        }
        start.elapsed().as_nanos() as f64
    });
    report("sweep, a slot", options.rounds, keys.len(), || {
        let start = Instant::now();
        black_box(table.sweep(now, usize::MAX, |_| {}));
        start.elapsed().as_nanos() as f64
    });
    report("remove + insert", options.rounds, packets.len(), || {
        let start = Instant::now();
        for key in &packets {
            if let Some(hit) = table.lookup(key) {
                table.remove(hit.session);
                let _ = black_box(table.insert(&NewSession::of(*key, 1, syn()), now));
            }
        }
        start.elapsed().as_nanos() as f64
    });
    let threads = options.threads as usize;
    let each = packets.len() / threads;
    report(
        &format!("lookup, batch, {threads} threads"),
        options.rounds,
        packets.len(),
        || {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for part in packets.chunks(each.max(1)) {
                    let table = &table;
                    scope.spawn(move || batches(table, part, options.batch, |_| {}));
                }
            });
            start.elapsed().as_nanos() as f64
        },
    );
    flood(&table, &options);
    println!("{:?}", table.statistics());
}

/// Fills the table half with established sessions, then sends it nothing but SYNs.
fn flood(table: &FlowTable, options: &Options) {
    empty(table);
    let keys = flow_keys(options.flows / 2, options.ipv6, 5);
    let mut kept = Vec::new();
    for key in &keys {
        if let Ok(session) = table.insert(&NewSession::of(*key, 1, syn()), 0) {
            for direction in [Direction::Reply, Direction::Original] {
                table.touch(Hit { session, direction }, 0, seen(flags::SYN | flags::ACK));
            }
            kept.push(session);
        }
    }
    let mut seed = 6;
    let mut admitted = 0;
    report(
        "SYN flood, an insert",
        options.rounds,
        options.flows as usize,
        || {
            seed += 1;
            let keys = flow_keys(options.flows, options.ipv6, seed);
            let start = Instant::now();
            for key in &keys {
                let inserted = table.insert(&NewSession::of(*key, 1, syn()), 1000 * seed);
                admitted += usize::from(inserted.is_ok());
            }
            start.elapsed().as_nanos() as f64
        },
    );
    let alive = kept
        .iter()
        .filter(|session| table.session(**session).is_some())
        .count();
    let sent = options.rounds.max(1) * options.flows as usize;
    println!(
        "flood: {admitted} of {sent} admitted, {alive} of {} established live",
        kept.len()
    );
}

fn empty(table: &FlowTable) {
    let mut from = Some(0);
    while let Some(start) = from {
        let page = table.flows(start, 4096, 0);
        for flow in &page.flows {
            table.remove(flow.id);
        }
        from = page.next;
    }
}

fn batches(table: &FlowTable, keys: &[FlowKey], batch: usize, mut with: impl FnMut(Hit)) -> usize {
    let mut hits = vec![None; batch];
    let mut found = 0;
    for keys in keys.chunks(batch) {
        table.lookup_batch(keys, &mut hits);
        for hit in hits[..keys.len()].iter().flatten() {
            found += 1;
            with(*hit);
        }
    }
    found
}

fn forward(table: &FlowTable, hit: Hit, now: u64) {
    black_box(table.session(hit.session));
    black_box(table.touch(hit, now, seen(flags::ACK)));
}

fn syn() -> Seen {
    seen(flags::SYN)
}

fn seen(tcp_flags: u8) -> Seen {
    Seen {
        tcp_flags,
        packets: 1,
        bytes: 1500,
    }
}

/// Runs a measurement and prints its best and median nanoseconds an item.
fn report(name: &str, rounds: usize, items: usize, mut run: impl FnMut() -> f64) {
    let mut times: Vec<f64> = (0..rounds.max(1)).map(|_| run() / items as f64).collect();
    times.sort_by(f64::total_cmp);
    let (best, median) = (times[0], times[times.len() / 2]);
    println!(
        "{name:34} best {best:6.1} ns  median {median:6.1} ns  {:6.2} M/s",
        1e3 / best
    );
}

/// Distinct keys in the manner of pods: few servers, many clients.
fn flow_keys(count: u32, ipv6: bool, seed: u64) -> Vec<FlowKey> {
    let mut random = Random(seed);
    (0..count)
        .map(|i| {
            let (client, server) = (random.next() as u32, random.next() as u32 % 4096);
            let (sport, dport) = (1024 + (i % 60_000) as u16, [80, 443, 5432][i as usize % 3]);
            if ipv6 {
                let net = 0xfd00_0000_0000_0000_0000_0000_0000_0000_u128;
                let src = net | u128::from(seed) << 64 | u128::from(client);
                FlowKey::v6(src, net | u128::from(server), protocol::TCP, sport, dport)
            } else {
                FlowKey::v4(client, 0x0a00_0000 | server, protocol::TCP, sport, dport)
            }
        })
        .collect()
}

fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut random = Random(seed);
    for i in (1..items.len()).rev() {
        items.swap(i, random.next() as usize % (i + 1));
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
