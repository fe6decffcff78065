//! The measurements of one family.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lpm::{Family, Table, Value};
use nix::time::ClockId;
use serde::Serialize;

use crate::input::Random;

/// Keys a batch has.
pub(crate) const BATCH: usize = 256;
/// Times each lookup measurement is repeated.
const ROUNDS: usize = 9;
/// How long the readers and the writer run beside each other, once.
const SLICE: Duration = Duration::from_millis(250);

/// How time is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Clock {
    /// As it passes.
    Wall,
    /// What the measuring thread ran: other programs on a busy machine count less.
    Cpu,
}

impl Clock {
    /// The time since some moment in the past.
    pub(crate) fn now(self) -> Duration {
        let clock = match self {
            Self::Wall => ClockId::CLOCK_MONOTONIC,
            Self::Cpu => ClockId::CLOCK_THREAD_CPUTIME_ID,
        };
        clock.now().expect("Linux has both clocks").into()
    }
}

/// Figures of lookups with one set of keys.
#[derive(Debug, Serialize)]
pub(crate) struct Lookups {
    /// `random`, `inside` or a file.
    pub(crate) keys: String,
    /// How many keys there are.
    pub(crate) count: usize,
    /// Nanoseconds a key, the median of the rounds.
    pub(crate) batch_ns: f64,
    /// The same of the fastest round.
    pub(crate) batch_ns_least: f64,
    /// One key at a time, under one guard.
    pub(crate) single_ns: f64,
    /// The same of the fastest round.
    pub(crate) single_ns_least: f64,
    /// Of all values found, in the order of the keys; the same whichever way they are looked up.
    pub(crate) checksum: String,
    /// Keys for which there is a route.
    pub(crate) found: usize,
}

/// Figures of updates.
#[derive(Debug, Serialize)]
pub(crate) struct Updates {
    /// Updates a second without a reader.
    pub(crate) per_second_alone: f64,
    /// Updates a second while one reader looks up batches.
    pub(crate) per_second_beside_reader: f64,
    /// The reader's nanoseconds of processor time a key without updates.
    pub(crate) reader_ns_alone: f64,
    /// The reader's nanoseconds a key under as many updates as the writer can make.
    pub(crate) reader_ns_beside_writer: f64,
    /// The share of its speed the reader loses.
    pub(crate) reader_loses: f64,
    /// The same under 1,000,000 updates a second, or as many as can be made.
    pub(crate) reader_loses_at_a_million: f64,
    /// Bytes the readers' arrays have after all updates, when all readers have left.
    pub(crate) bytes_after: usize,
    /// Of those, bytes that still wait for readers.
    pub(crate) retired_after: usize,
}

/// Looks up all keys, in batches and one by one. As in the peer's program, the values of a batch are
/// written over those of the last, as a router's vectors are.
pub(crate) fn lookups<F: Family>(
    clock: Clock,
    table: &Table<F>,
    name: &str,
    keys: &[F::Address],
) -> Lookups {
    let reader = table.reader();
    let guard = reader.pin();
    let mut values = [None; BATCH];
    let mut all = Vec::with_capacity(keys.len());
    for keys in keys.chunks(BATCH) {
        let values = &mut values[..keys.len()];
        guard.lookup_batch(keys, values);
        all.extend_from_slice(values);
    }
    let batch_sum = checksum(&all);
    let found = all.iter().flatten().count();
    all.clear();
    all.extend(keys.iter().map(|key| guard.lookup(*key)));
    let single_sum = checksum(&all);
    let (mut batch, mut single) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = clock.now();
        for keys in keys.chunks(BATCH) {
            let values = &mut values[..keys.len()];
            guard.lookup_batch(keys, values);
            black_box(values);
        }
        batch.push(clock.now() - start);
        let start = clock.now();
        for keys in keys.chunks(BATCH) {
            for (key, value) in keys.iter().zip(&mut values) {
                *value = guard.lookup(*key);
            }
            black_box(&mut values);
        }
        single.push(clock.now() - start);
    }
    assert_eq!(
        batch_sum, single_sum,
        "batches and single lookups find the same"
    );
    let (batch, single) = (
        Spread::new(batch, keys.len()),
        Spread::new(single, keys.len()),
    );
    Lookups {
        keys: name.to_owned(),
        count: keys.len(),
        batch_ns: batch.median,
        batch_ns_least: batch.least,
        single_ns: single.median,
        single_ns_least: single.least,
        checksum: format!("{batch_sum:016x}"),
        found,
    }
}

/// FNV-1a over the values; no route counts as 0, an index as its successor.
fn checksum(values: &[Option<Value>]) -> u64 {
    values.iter().fold(0xcbf2_9ce4_8422_2325, |sum, value| {
        let number = value.map_or(0, |value| value.index() as u64 + 1);
        (sum ^ number).wrapping_mul(0x0100_0000_01b3)
    })
}

struct Spread {
    median: f64,
    least: f64,
}

impl Spread {
    fn new(mut times: Vec<Duration>, keys: usize) -> Self {
        times.sort_unstable();
        let each = |time: Duration| time.as_secs_f64() * 1e9 / keys.max(1) as f64;
        Self {
            median: each(times[times.len() / 2]),
            least: each(times[0]),
        }
    }
}

/// Changes the table at random: a present prefix gets another value or is withdrawn, an absent one
/// is announced again.
struct Churn<'a, F: Family> {
    table: &'a mut Table<F>,
    nets: &'a [F::Net],
    random: Random,
    hops: u32,
}

impl<F: Family> Churn<'_, F> {
    fn step(&mut self) {
        let net = self.nets[self.random.below(self.nets.len())];
        let draw = self.random.bits() as u32;
        let value = Value::new(draw % self.hops).expect("less than 65,535 next hops");
        if draw >> 31 == 0 || self.table.remove(net).is_none() {
            self.table.insert(net, value);
        }
    }

    /// Runs until `stop`, at no more than `rate` a second; returns how many a second.
    fn run(&mut self, clock: Clock, stop: &AtomicBool, rate: Option<f64>) -> f64 {
        let (start, begun) = (Instant::now(), clock.now());
        let mut count = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..64 {
                self.step();
            }
            count += 64;
            while rate.is_some_and(|rate| count as f64 > rate * start.elapsed().as_secs_f64())
                && !stop.load(Ordering::Relaxed)
            {
                std::hint::spin_loop();
            }
        }
        count as f64 / (clock.now() - begun).as_secs_f64()
    }
}

/// Updates without and beside a reader; the three take turns, so that a busy machine is fair.
pub(crate) fn updates<F: Family>(
    clock: Clock,
    table: &mut Table<F>,
    nets: &[F::Net],
    keys: &[F::Address],
    hops: u32,
    seed: u64,
) -> Updates {
    let reader = table.reader();
    let mut churn = Churn {
        table,
        nets,
        random: Random::new(seed),
        hops,
    };
    let mut alone = Vec::new();
    let (mut reader_alone, mut beside, mut beside_million) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..7 {
        let stop = AtomicBool::new(false);
        alone.push(thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(SLICE);
                stop.store(true, Ordering::Relaxed);
            });
            churn.run(clock, &stop, None)
        }));
        reader_alone.push(read::<F>(&reader, keys, |stop| {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            0.0
        }));
        beside.push(read::<F>(&reader, keys, |stop| {
            churn.run(clock, stop, None)
        }));
        beside_million.push(read::<F>(&reader, keys, |stop| {
            churn.run(Clock::Wall, stop, Some(1e6))
        }));
    }
    churn.table.reclaim();
    let memory = churn.table.memory();
    let reader_ns_alone = middle(reader_alone.iter().map(|both| both.0));
    let reader_ns_beside_writer = middle(beside.iter().map(|both| both.0));
    let loses = |pairs: &[(f64, f64)]| {
        middle(
            reader_alone
                .iter()
                .zip(pairs)
                .map(|(alone, beside)| 1.0 - alone.0 / beside.0),
        )
    };
    Updates {
        per_second_alone: middle(alone),
        per_second_beside_reader: middle(beside.iter().map(|both| both.1)),
        reader_ns_alone,
        reader_ns_beside_writer,
        reader_loses: loses(&beside),
        reader_loses_at_a_million: loses(&beside_million),
        bytes_after: memory.fib,
        retired_after: memory.retired,
    }
}

/// Reads batches on another thread for a slice of time, while `write` runs on this one; returns the
/// reader's nanoseconds of processor time a key, and what `write` did.
fn read<F: Family>(
    reader: &lpm::Reader<F>,
    keys: &[F::Address],
    write: impl FnOnce(&AtomicBool) -> f64,
) -> (f64, f64) {
    let (stop, sink) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let lookups = scope.spawn(|| {
            let mut values = vec![None; BATCH];
            let (mut count, mut found) = (0, 0);
            let (start, processor) = (Instant::now(), Clock::Cpu.now());
            for keys in keys.chunks_exact(BATCH).cycle() {
                reader.pin().lookup_batch(keys, &mut values);
                count += BATCH;
                found += values.iter().flatten().count() as u64;
                if count % (BATCH * 64) == 0 && start.elapsed() > SLICE {
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
            sink.fetch_add(found, Ordering::Relaxed);
            // Other programs on the machine are not the writer's doing.
            let time = Clock::Cpu.now() - processor;
            time.as_secs_f64() * 1e9 / count as f64
        });
        let written = write(&stop);
        (lookups.join().expect("the reader does not panic"), written)
    })
}

fn middle(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
