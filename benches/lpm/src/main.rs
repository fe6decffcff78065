//! `lpm-bench`: measures the tables of `lpm` on prefixes from a file.
//!
//! Each family is loaded, looked up with one or several sets of keys, and updated, alone and beside
//! a reader. The values are those of the peers' programs: the n-th prefix has next hop n mod 200.

mod input;
mod measure;

use std::error::Error;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use input::{Keys, Prefixes, Source};
use lpm::{Family, Memory, Table, V4, V6, Value};
use measure::{Clock, Lookups, Updates};
use serde::Serialize;

/// Measures longest-prefix match on a table of prefixes.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Prefixes of both families, one a line, possibly compressed (.gz).
    #[arg(long, value_name = "FILE")]
    prefixes: PathBuf,
    /// `random`, `inside` (the prefixes), or a file of addresses; may be repeated.
    #[arg(long, value_name = "random|inside|FILE", default_values = ["random", "inside"])]
    keys: Vec<Source>,
    /// Keys of each family.
    #[arg(long, default_value_t = 1 << 22)]
    count: usize,
    /// Of the random numbers.
    #[arg(long, default_value_t = 88_172_645_463_325_252)]
    seed: u64,
    /// How many next hops the prefixes have, one after the other.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    next_hops: u32,
    /// How time is taken.
    #[arg(long, value_enum, default_value = "wall")]
    clock: Clock,
    /// Leave the updates out.
    #[arg(long)]
    no_updates: bool,
    /// What to print.
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// All figures.
#[derive(Debug, Serialize)]
struct Report {
    build_ms: f64,
    bytes: usize,
    bytes_fib: usize,
    v4: FamilyReport,
    v6: FamilyReport,
}

/// The figures of one family.
#[derive(Debug, Serialize)]
struct FamilyReport {
    prefixes: usize,
    /// Median of 7 loads.
    build_ms: f64,
    /// What readers look addresses up in.
    bytes_fib: usize,
    /// What only the writer needs.
    bytes_rib: usize,
    lookups: Vec<Lookups>,
    updates: Option<Updates>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let prefixes = input::prefixes(&arguments.prefixes)?;
    let mut keys = Vec::new();
    for source in &arguments.keys {
        let name = match source {
            Source::Random => "random".to_owned(),
            Source::Inside => "inside".to_owned(),
            Source::File(path) => path.display().to_string(),
        };
        keys.push((
            name,
            input::keys(source, &prefixes, arguments.count, arguments.seed)?,
        ));
    }
    let report = report(&arguments, &prefixes, &keys);
    match arguments.output {
        Output::Text => print(&report),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(())
}

fn report(arguments: &Arguments, prefixes: &Prefixes, keys: &[(String, Keys)]) -> Report {
    let v4: Vec<_> = keys
        .iter()
        .map(|(name, keys)| (name.as_str(), &keys.v4[..]))
        .collect();
    let v6: Vec<_> = keys
        .iter()
        .map(|(name, keys)| (name.as_str(), &keys.v6[..]))
        .collect();
    let v4 = family::<V4>(arguments, &prefixes.v4, &v4);
    let v6 = family::<V6>(arguments, &prefixes.v6, &v6);
    Report {
        build_ms: v4.build_ms + v6.build_ms,
        bytes: v4.bytes_fib + v4.bytes_rib + v6.bytes_fib + v6.bytes_rib,
        bytes_fib: v4.bytes_fib + v6.bytes_fib,
        v4,
        v6,
    }
}

fn family<F: Family>(
    arguments: &Arguments,
    nets: &[F::Net],
    keys: &[(&str, &[F::Address])],
) -> FamilyReport {
    let hop = |at: usize| {
        Value::new(at as u32 % arguments.next_hops).expect("less than 65,535 next hops")
    };
    let routes = || nets.iter().enumerate().map(|(at, net)| (*net, hop(at)));
    let mut builds = Vec::new();
    let mut table = Table::<F>::new();
    for _ in 0..7 {
        table = Table::new();
        let start = arguments.clock.now();
        table.load(routes());
        builds.push((arguments.clock.now() - start).as_secs_f64() * 1e3);
        table.reclaim();
    }
    builds.sort_by(f64::total_cmp);
    let Memory { fib, rib, .. } = table.memory();
    let prefixes = table.len();
    let lookups = keys
        .iter()
        .filter(|(_, keys)| !keys.is_empty())
        .map(|(name, keys)| measure::lookups(arguments.clock, &table, name, keys))
        .collect();
    let reader_keys = keys.last().map_or(&[][..], |(_, keys)| *keys);
    let updates = (!arguments.no_updates
        && !nets.is_empty()
        && reader_keys.len() >= measure::BATCH)
        .then(|| {
            let (hops, seed) = (arguments.next_hops, arguments.seed);
            measure::updates(arguments.clock, &mut table, nets, reader_keys, hops, seed)
        });
    FamilyReport {
        prefixes,
        build_ms: builds[builds.len() / 2],
        bytes_fib: fib,
        bytes_rib: rib,
        lookups,
        updates,
    }
}

fn print(report: &Report) {
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    println!(
        "build {:.1} ms, {:.2} MiB, of them {:.2} MiB for lookups",
        report.build_ms,
        mib(report.bytes),
        mib(report.bytes_fib)
    );
    for (name, family) in [("IPv4", &report.v4), ("IPv6", &report.v6)] {
        println!(
            "{name}: {} prefixes, build {:.1} ms, lookups {:.2} MiB, writer {:.2} MiB",
            family.prefixes,
            family.build_ms,
            mib(family.bytes_fib),
            mib(family.bytes_rib)
        );
        for lookups in &family.lookups {
            println!(
                "  {:8} batch {:.2} ns (least {:.2}), single {:.2} ns (least {:.2}), \
                 {} of {} found, checksum {}",
                lookups.keys,
                lookups.batch_ns,
                lookups.batch_ns_least,
                lookups.single_ns,
                lookups.single_ns_least,
                lookups.found,
                lookups.count,
                lookups.checksum
            );
        }
        if let Some(updates) = &family.updates {
            println!(
                "  updates {:.2} M/s alone, {:.2} M/s beside a reader; reader {:.2} ns alone, \
                 {:.2} ns beside: loses {:.1} %, at 1 M/s {:.1} %; then {:.2} MiB, {} retired",
                updates.per_second_alone / 1e6,
                updates.per_second_beside_reader / 1e6,
                updates.reader_ns_alone,
                updates.reader_ns_beside_writer,
                updates.reader_loses * 100.0,
                updates.reader_loses_at_a_million * 100.0,
                mib(updates.bytes_after),
                updates.retired_after
            );
        }
    }
}
