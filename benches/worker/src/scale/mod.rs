//! What a packet costs on a small node and on a large one: many pods, live flows, routes and rules,
//! each alone and all at once; and how many packets two workers move on two cores.
//!
//! Packets of live flows and first packets of new flows are measured apart. What the devices in
//! memory cost (a frame of 64 bytes copied in, its flow filled in) is measured by itself and taken
//! off. All sizes are measured in turns, in every round; a growth is the median of the rounds'
//! ratios.

mod node;
mod traffic;

use std::process::ExitCode;
use std::sync::Barrier;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use vrouter_dataplane::graph::NodeId;
use vrouter_dataplane::worker::Worker;

use crate::{Common, Output};
use node::{Node, Size, TUNNEL, tap};
use traffic::{Flow, Popularity, Schedule, Stream};

/// Packets of live flows that are measured in a round.
const PACKETS: usize = 1 << 20;
/// New flows that are measured in a round.
const NEW: usize = 1 << 16;

const MILLION: usize = 1 << 20;
/// Live flows and routes of a small node.
const FEW: usize = 32;

const SMALL: Size = Size {
    pods: 2,
    routes: 8,
    rules: 8,
};
const LARGE: Size = Size {
    pods: 256,
    routes: 1_000_000,
    rules: 10_000,
};

/// Measures small and large nodes.
#[derive(Args, Debug)]
pub(crate) struct Scale {
    /// Measures instead how many packets two workers move, on two cores.
    #[arg(long)]
    workers: bool,
}

/// A kind of node and of traffic.
struct Subject {
    name: &'static str,
    size: Size,
    flows: usize,
    popularity: Popularity,
    /// Packets that a pod has for one turn.
    burst: usize,
}

const fn subject(name: &'static str, size: Size, flows: usize) -> Subject {
    Subject {
        name,
        size,
        flows,
        popularity: Popularity::Zipf,
        burst: 64,
    }
}

fn subjects() -> Vec<Subject> {
    let uniform = |subject| Subject {
        popularity: Popularity::Uniform,
        ..subject
    };
    let pods = Size { pods: 256, ..SMALL };
    let routes = Size {
        routes: LARGE.routes,
        ..SMALL
    };
    let rules = Size {
        rules: LARGE.rules,
        ..SMALL
    };
    vec![
        uniform(subject("small", SMALL, FEW)),
        uniform(subject("256 pods", pods, 256 * 16)),
        Subject {
            burst: 1,
            ..uniform(subject("256 pods, one packet each", pods, 256 * 16))
        },
        subject("1 M flows, Zipf", SMALL, MILLION),
        uniform(subject("1 M flows, uniform", SMALL, MILLION)),
        uniform(subject("1 M routes", routes, FEW)),
        uniform(subject("10,000 rules", rules, FEW)),
        subject("all, Zipf", LARGE, MILLION),
        uniform(subject("all, uniform", LARGE, MILLION)),
    ]
}

/// See the module.
pub(crate) fn run(arguments: &Scale, common: &Common) -> ExitCode {
    let wanted = subjects()
        .into_iter()
        .filter(|subject| subject.name == "small" || subject.name.contains(&common.only));
    if arguments.workers {
        return two_workers(wanted, common);
    }
    let mut running: Vec<_> = wanted.map(Running::new).collect();
    for _ in 0..common.rounds.max(1) {
        running.iter_mut().for_each(Running::round);
    }
    let small: Vec<_> = running
        .iter()
        .take(1)
        .flat_map(|small| small.rounds.clone())
        .collect();
    let rows: Vec<_> = running.iter().map(|subject| subject.row(&small)).collect();
    match common.output {
        Output::Table => {
            println!(
                "{:<28} {:>9} {:>9} {:>9} {:>9} {:>9}",
                "node", "hit ns", "growth", "new ns", "growth", "device ns"
            );
            for row in &rows {
                println!(
                    "{:<28} {:>9.1} {:>8.0}% {:>9.1} {:>8.0}% {:>9.1}",
                    row.name,
                    row.hit,
                    row.hit_growth * 100.0 - 100.0,
                    row.new,
                    row.new_growth * 100.0 - 100.0,
                    row.device
                );
            }
        }
        Output::Json => {
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({
                        "node": row.name,
                        "hitNanoseconds": row.hit,
                        "hitGrowth": row.hit_growth,
                        "newFlowNanoseconds": row.new,
                        "newFlowGrowth": row.new_growth,
                        "deviceNanoseconds": row.device,
                    })
                })
                .collect();
            println!("{}", json!({ "nodes": rows }));
        }
    }
    ExitCode::SUCCESS
}

/// Nanoseconds a packet in one round, the devices' own taken off.
#[derive(Clone, Copy, Debug)]
struct Round {
    hit: f64,
    new: f64,
    device: f64,
}

struct Row {
    name: &'static str,
    hit: f64,
    hit_growth: f64,
    new: f64,
    new_growth: f64,
    device: f64,
}

/// A subject that is being measured.
struct Running {
    subject: Subject,
    node: Node,
    worker: Worker<Stream>,
    /// Knows no interface, so packets end right behind the device.
    bare: Worker<Stream>,
    live: Schedule,
    /// The number of the next new flow.
    next: usize,
    rounds: Vec<Round>,
}

impl Running {
    fn new(subject: Subject) -> Self {
        let node = Node::new(subject.size);
        let numbers: Vec<_> = (0..subject.flows).collect();
        let worker = begin(&node, &numbers);
        let live = Schedule::drawn(&node, &numbers, subject.popularity, PACKETS, 3);
        let mut bare = node.bare_worker();
        plug(&mut bare, &node, &live, subject.burst);
        Self {
            next: subject.flows,
            rounds: Vec::new(),
            subject,
            node,
            worker,
            bare,
            live,
        }
    }

    fn round(&mut self) {
        let Self { node, subject, .. } = self;
        let classified = |worker: &Worker<Stream>| {
            let counters = worker.observer().counters;
            counters.node(NodeId::Classify).value()
        };
        plug(&mut self.worker, node, &self.live, subject.burst);
        // Once to bring back what other subjects pushed out of the caches.
        send(&mut self.worker, node, PACKETS / 4);
        drive(&mut self.worker, node);
        let before = classified(&self.worker);
        send(&mut self.worker, node, PACKETS);
        let hit = drive(&mut self.worker, node);
        let missed = classified(&self.worker) - before;
        assert!(missed < PACKETS as u64 / 10_000, "{missed} flows not live");

        let numbers = self.next..self.next + NEW;
        self.next = numbers.end;
        let flows: Vec<_> = numbers.map(|number| Flow::new(node, number)).collect();
        let new = Schedule::of(node.pods, flows.iter().copied());
        plug(&mut self.worker, node, &new, subject.burst);
        send_all(&mut self.worker, node);
        let new = drive(&mut self.worker, node);
        check(&self.worker);
        let begun = classified(&self.worker) - before - missed;
        assert_eq!(begun, NEW as u64, "all flows are new");
        for flow in flows {
            // One of a million finds its place in the table full and takes another's.
            if let Some(hit) = node.flows.lookup(&flow.key()) {
                node.flows.remove(hit.session);
            }
        }

        send(&mut self.bare, node, PACKETS);
        let device = drive(&mut self.bare, node);
        self.rounds.push(Round {
            hit: hit - device,
            new: new - device,
            device,
        });
    }

    fn row(&self, small: &[Round]) -> Row {
        let of = |what: fn(&Round) -> f64| {
            let own = self.rounds.iter().map(what);
            let ratios = own.clone().zip(small).map(|(own, small)| own / what(small));
            (median(own.collect()), median(ratios.collect()))
        };
        let (hit, hit_growth) = of(|round| round.hit);
        let (new, new_growth) = of(|round| round.new);
        Row {
            name: self.subject.name,
            hit,
            hit_growth,
            new,
            new_growth,
            device: of(|round| round.device).0,
        }
    }
}

/// Packets a second of one worker and of two, each with half of the flows, as the kernel deals
/// flows out to the queues of a device; then with all flows at both.
fn two_workers(subjects: impl Iterator<Item = Subject>, common: &Common) -> ExitCode {
    let mut rows = Vec::new();
    for subject in subjects {
        let node = Node::new(subject.size);
        let numbers: Vec<_> = (0..subject.flows).collect();
        drop(begin(&node, &numbers));
        let (first, second) = numbers.split_at(subject.flows / 2);
        for (how, dealt) in [
            ("own flows", [first, second]),
            ("same flows", [first, first]),
        ] {
            let mut workers = [0, 1].map(|i| {
                let mut worker = node.worker();
                let draws = Schedule::drawn(&node, dealt[i], subject.popularity, PACKETS, i as u64);
                plug(&mut worker, &node, &draws, subject.burst);
                worker
            });
            let rounds: Vec<[f64; 2]> = (0..common.rounds.max(1))
                .map(|_| {
                    let [one, other] = &mut workers;
                    let alone = together(&mut [&mut *one], &node);
                    [alone, together(&mut [one, other], &node)]
                })
                .collect();
            workers.iter().for_each(check);
            let alone = median(rounds.iter().map(|[alone, _]| *alone).collect());
            let both = median(rounds.iter().map(|[_, both]| *both).collect());
            let ratio = median(rounds.iter().map(|[alone, both]| both / alone).collect());
            rows.push((subject.name, how, alone, both, ratio));
        }
    }
    match common.output {
        Output::Table => {
            println!(
                "{:<28} {:<11} {:>10} {:>10} {:>6}",
                "node", "", "one, M/s", "two, M/s", "ratio"
            );
            for (name, how, alone, both, ratio) in rows {
                println!(
                    "{name:<28} {how:<11} {:>10.2} {:>10.2} {ratio:>6.2}",
                    alone / 1e6,
                    both / 1e6
                );
            }
        }
        Output::Json => {
            let rows: Vec<_> = rows
                .iter()
                .map(|(name, how, alone, both, ratio)| {
                    json!({
                        "node": name,
                        "flows": how,
                        "onePerSecond": alone,
                        "twoPerSecond": both,
                        "ratio": ratio,
                    })
                })
                .collect();
            println!("{}", json!({ "nodes": rows }));
        }
    }
    ExitCode::SUCCESS
}

/// Packets a second of these workers, each on a thread of its own.
fn together(workers: &mut [&mut Worker<Stream>], node: &Node) -> f64 {
    let barrier = Barrier::new(workers.len());
    let seconds = std::thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|worker| {
                send(worker, node, PACKETS);
                scope.spawn(|| {
                    barrier.wait();
                    drive(worker, node) * PACKETS as f64 / 1e9
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no worker panics"))
            .fold(0.0, f64::max)
    });
    (PACKETS * workers.len()) as f64 / seconds
}

/// A worker that has seen one packet of each flow.
fn begin(node: &Node, numbers: &[usize]) -> Worker<Stream> {
    let flows = numbers.iter().map(|number| Flow::new(node, *number));
    let mut worker = node.worker();
    plug(&mut worker, node, &Schedule::of(node.pods, flows), 64);
    send_all(&mut worker, node);
    drive(&mut worker, node);
    check(&worker);
    assert_eq!(node.flows.statistics().inserts, numbers.len() as u64);
    worker
}

/// Gives a worker devices with these packets.
fn plug(worker: &mut Worker<Stream>, node: &Node, schedule: &Schedule, burst: usize) {
    worker.add_device(TUNNEL, Stream::tunnel());
    for pod in 0..node.pods {
        worker.add_device(tap(pod), schedule.device(pod, burst));
    }
}

/// Has all pods together send this many packets, equally many each.
fn send(worker: &mut Worker<Stream>, node: &Node, packets: usize) {
    for pod in 0..node.pods {
        if let Some(device) = worker.device_mut(tap(pod)) {
            device.left = packets / usize::from(node.pods);
        }
    }
}

/// Has all pods send their whole schedules.
fn send_all(worker: &mut Worker<Stream>, node: &Node) {
    for pod in 0..node.pods {
        if let Some(device) = worker.device_mut(tap(pod)) {
            device.left = device.scheduled();
        }
    }
}

/// Turns until no pod has anything left to send: nanoseconds a packet.
fn drive(worker: &mut Worker<Stream>, node: &Node) -> f64 {
    let start = Instant::now();
    let mut packets = 0;
    loop {
        for pod in 0..node.pods {
            worker.mark_ready(tap(pod));
        }
        match worker.turn(1) {
            0 => break,
            received => packets += received,
        }
    }
    start.elapsed().as_nanos() as f64 / packets.max(1) as f64
}

/// Nothing is lost.
fn check(worker: &Worker<Stream>) {
    let balance = worker.observer().counters.balance();
    assert!(balance.holds() && balance.dropped == 0, "{balance:?}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
