//! The parts of the packet path, each by itself, and whole turns of a worker over devices in
//! memory: `cargo bench -p worker-bench [-- NAME]`. Figures are per packet where a throughput in
//! elements is printed: 1 s / (elem/s). Instructions are not counted: that takes a hardware counter
//! (perf_event_open(2)), which virtual machines such as ours lack.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../src/cases.rs"]
#[allow(dead_code, reason = "worker-bench also prints ways")]
mod cases;
#[path = "../src/repeating.rs"]
mod repeating;
#[path = "../../../vrouter/dataplane/tests/world/mod.rs"]
mod world;

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use encap::checksum::{copy_and_sum, ipv4_header, sum};
use encap::coalesce::{InPlace, Rules, Span};
use encap::ethernet::HEADER_LEN;
use encap::offload::Offload;
use encap::segment::Plan;
use encap::vxlan;
use ipnet::Ipv4Net;
use lpm::{Table4, Value};
use policy::compile::Graph;
use policy::flow::{Config, FlowKey, FlowTable, NewSession, Seen, flags, protocol};
use policy::model::spec::{EntitySpec, PolicySpec, RuleSpec};
use policy::model::{
    Action, Direction, Endpoint, EndpointKey, EndpointSpec, MAX_RULES, Name, PacketTuple, Policy,
    PolicyKey, PolicyKind, Protocol,
};

use world::packets::{ACK, offloaded_frame, tcp};
use world::{a4, mac};

const BATCH: usize = 256;

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

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    group.throughput(Throughput::Elements(BATCH as u64));
    for routes in [1_000_u32, 100_000] {
        let mut table = Table4::new();
        let mut random = Random(1);
        table.load((0..routes).map(|index| {
            let length = 16 + (random.next() % 13) as u8;
            let net = Ipv4Net::new(Ipv4Addr::from(random.next() as u32), length).unwrap();
            (net.trunc(), Value::new(index % 200).unwrap())
        }));
        let keys: Vec<Ipv4Addr> = (0..1 << 16)
            .map(|_| Ipv4Addr::from(random.next() as u32))
            .collect();
        let reader = table.reader();
        let mut values = vec![None; BATCH];
        let mut chunks = keys.chunks_exact(BATCH).cycle();
        group.bench_function(format!("random keys, {routes} routes"), |b| {
            b.iter(|| {
                let guard = reader.pin();
                guard.lookup_batch(chunks.next().unwrap(), &mut values);
                black_box(&values);
            });
        });
    }
    group.finish();
}

fn verdicts(c: &mut Criterion) {
    let mut group = c.benchmark_group("verdict");
    let key = EndpointKey::workload("ns", "pod").unwrap();
    for count in [100_u32, 10_000] {
        let mut random = Random(2);
        let mut graph = Graph::new(Name::new("node").unwrap());
        let pod = EndpointSpec {
            node: "node".into(),
            addresses: vec!["10.0.0.1".into()],
            ..EndpointSpec::default()
        };
        graph.apply(Endpoint::new(key.clone(), &pod).unwrap().into());
        let rules: Vec<(Ipv4Net, u16)> = (0..count)
            .map(|_| {
                let source = Ipv4Net::new((random.next() as u32).into(), 24).unwrap();
                (source.trunc(), random.next() as u16)
            })
            .collect();
        for (number, rules) in rules.chunks(MAX_RULES).enumerate() {
            let allow = |&(source, port): &(Ipv4Net, u16)| RuleSpec {
                protocol: Some(Protocol::TCP),
                source: EntitySpec {
                    nets: vec![source.into()],
                    ..EntitySpec::default()
                },
                destination: EntitySpec {
                    ports: vec![port.into()],
                    ..EntitySpec::default()
                },
                ..RuleSpec::new(Action::Allow)
            };
            let spec = PolicySpec {
                ingress: rules.iter().map(allow).collect(),
                ..PolicySpec::default()
            };
            let name = format!("policy-{number}");
            let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, &name).unwrap();
            graph.apply(Policy::new(key, &spec).unwrap().into());
        }
        graph.flush();
        let tables = graph.snapshot();
        let pod = tables.endpoint(&key).unwrap();
        let packets: Vec<PacketTuple> = (0..1 << 14)
            .map(|_| {
                let (source, port) = rules[random.next() as usize % rules.len()];
                let from = source.network().to_bits() | random.next() as u32 & 0xff;
                let to = Ipv4Addr::new(10, 0, 0, 1);
                PacketTuple::new(Ipv4Addr::from_bits(from).into(), to.into(), 6)
                    .with_ports(40_000, port)
            })
            .collect();
        let mut packets = packets.iter().cycle();
        group.bench_function(format!("{count} rules"), |b| {
            b.iter(|| tables.evaluate(pod, Direction::Ingress, packets.next().unwrap()));
        });
    }
    group.finish();
}

fn flows(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow table");
    group.throughput(Throughput::Elements(BATCH as u64));
    let syn = Seen {
        tcp_flags: flags::SYN,
        ..Seen::default()
    };
    for count in [2_000_u32, 200_000] {
        let mut random = Random(3);
        let keys: Vec<FlowKey> = (0..count.next_multiple_of(BATCH as u32))
            .map(|_| {
                let (from, to) = (random.next() as u32, random.next() as u32);
                FlowKey::v4(from, to, protocol::TCP, random.next() as u16, 80)
            })
            .collect();
        let table = FlowTable::new(Config {
            capacity: keys.len() * 2,
            ..Config::default()
        });
        for key in &keys {
            let _full_never = table.insert(&NewSession::of(*key, 1, syn), 0);
        }
        let mut hits = vec![None; BATCH];
        let mut chunks = keys.chunks_exact(BATCH).cycle();
        group.bench_function(format!("hits, {count} flows"), |b| {
            b.iter(|| {
                table.lookup_batch(chunks.next().unwrap(), &mut hits);
                black_box(&hits);
            });
        });
    }
    group.finish();
}

fn headers(c: &mut Criterion) {
    let mut group = c.benchmark_group("encapsulation and checksums");
    let repr = vxlan::Repr::parse(
        &vxlan::Packet::new_checked([8, 0, 0, 0, 0, 16, 0, 0].as_slice()).unwrap(),
    );
    let mut header = [0; vxlan::HEADER_LEN];
    group.bench_function("VXLAN header", |b| {
        b.iter(|| {
            repr.emit(black_box(&mut header));
        });
    });
    let packet = tcp(a4(1, 1), a4(2, 1), (4000, 80), 1, ACK, &[7; 1400]);
    group.bench_function("IPv4 header's checksum", |b| {
        b.iter(|| ipv4_header(black_box(&packet[..20])));
    });
    for length in [64, 1400, 60_000] {
        let source = vec![7; length];
        let mut target = vec![0; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(format!("sum of {length} bytes"), |b| {
            b.iter(|| sum(black_box(&source)));
        });
        group.bench_function(format!("copy and sum of {length} bytes"), |b| {
            b.iter(|| copy_and_sum(black_box(&mut target), black_box(&source)));
        });
    }
    group.finish();
}

fn segments(c: &mut Criterion) {
    const COUNT: usize = 42;
    let mut group = c.benchmark_group("segments");
    group.throughput(Throughput::Elements(COUNT as u64));
    let whole = tcp(a4(1, 1), a4(2, 1), (4000, 80), 1, ACK, &[7; COUNT * 1400]);
    let frame = offloaded_frame(mac(1, 1), whole, Some(1400));
    let mut out = vec![0; 1 << 17];
    group.bench_function("cut, 42 of 1400 bytes", |b| {
        b.iter(|| {
            let plan = Plan::new(&frame.bytes, HEADER_LEN, frame.meta.offload).unwrap();
            let all = 0..plan.count();
            assert_eq!(all.len(), COUNT);
            black_box(plan.write_all(all, &frame.bytes, &[], &mut out).unwrap());
        });
    });
    let mut buffer = Vec::new();
    let mut ranges = Vec::new();
    for index in 0..COUNT as u32 {
        let at = 1 + index * 1400;
        let packet = tcp(a4(2, 1), a4(1, 1), (80, 4000), at, ACK, &[7; 1400]);
        ranges.push(buffer.len()..buffer.len() + packet.len());
        buffer.extend(packet);
    }
    group.bench_function("join, 42 of 1400 bytes", |b| {
        b.iter_batched_ref(
            || buffer.clone(),
            |buffer| {
                let mut merging = InPlace::new(Rules::TCP);
                let mut complete = 0;
                for range in &ranges {
                    let span = Span {
                        range: range.clone(),
                        offload: Offload::None,
                    };
                    complete += usize::from(merging.push(buffer, span).is_some());
                }
                complete += usize::from(merging.finish(buffer).is_some());
                assert_eq!(complete, 1, "all of them make one super-packet");
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn turns(c: &mut Criterion) {
    /// As many as take a case past its share.
    const TURNS: u64 = 20;
    let mut group = c.benchmark_group("worker");
    for mut case in cases::all() {
        group.throughput(Throughput::Elements(case.packets(TURNS)));
        group.bench_function(case.name, |b| b.iter(|| case.run(TURNS)));
        case.check();
    }
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = lookup, verdicts, flows, headers, segments, turns
}
criterion_main!(all);
