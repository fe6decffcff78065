//! Measures whole turns of the packet path over devices in memory: nanoseconds and instructions by
//! kind of packet, small nodes against large ones, one worker against two; and runs broken frames
//! through it for as long as wanted.
//!
//! A turn is all a worker does but its system calls: it takes a vector of 64 frames from a
//! device's memory, classifies, rewrites and queues them, and hands them to another device. What
//! the devices cost here (a copy of each frame in, a counter out) is measured by itself, as
//! `device only`, and is not taken off.

mod cases;
mod instructions;
mod repeating;
mod scale;
#[path = "../../../vrouter/dataplane/tests/world/mod.rs"]
mod world;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

use cases::Case;
use world::mutate::Mutator;
use world::{Mode, Plan};

/// Measures the packet path, or breaks its packets.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Arguments {
    /// Instead of measuring: runs this many broken frames through all entries.
    #[arg(long, value_name = "FRAMES")]
    fuzz: Option<u64>,
    /// Of the broken frames.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to measure instead of nanoseconds by kind of packet.
#[derive(Subcommand, Debug)]
enum Command {
    /// Counts instructions by kind of packet, with valgrind.
    Instructions(instructions::Instructions),
    /// Prints the way of one packet of each kind, node by node.
    Trace,
    /// Compares small and large nodes: pods, live flows, routes, rules.
    Scale(scale::Scale),
}

/// How to measure, and to print.
#[derive(Args, Debug)]
struct Common {
    /// Rounds of each measurement, of which the median is shown.
    #[arg(long, default_value_t = 15, global = true)]
    rounds: usize,
    /// Turns in each round.
    #[arg(long, default_value_t = 2000, global = true)]
    turns: u64,
    /// Measures only what has this in its name.
    #[arg(long, default_value = "", global = true)]
    only: String,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table, global = true)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What was measured of one kind of packet.
struct Measured {
    name: &'static str,
    nanoseconds: f64,
    fastest: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(frames) = arguments.fuzz {
        return fuzz(frames, arguments.seed, arguments.common.output);
    }
    let arguments = match &arguments.command {
        Some(Command::Instructions(what)) => return instructions::run(what, &arguments.common),
        Some(Command::Scale(what)) => return scale::run(what, &arguments.common),
        Some(Command::Trace) => return trace(&arguments.common),
        None => arguments.common,
    };
    let wanted = cases::all()
        .into_iter()
        .filter(|case| case.name.contains(&arguments.only));
    let measured: Vec<_> = wanted.map(|case| measure(case, &arguments)).collect();
    match arguments.output {
        Output::Table => {
            println!("{:<34} {:>9} {:>9}", "packet", "median ns", "least ns");
            for m in &measured {
                println!("{:<34} {:>9.1} {:>9.1}", m.name, m.nanoseconds, m.fastest);
            }
        }
        Output::Json => {
            let rows: Vec<_> = measured
                .iter()
                .map(|m| {
                    json!({
                        "packet": m.name,
                        "medianNanoseconds": m.nanoseconds,
                        "leastNanoseconds": m.fastest,
                    })
                })
                .collect();
            println!("{}", json!({ "turns": arguments.turns, "packets": rows }));
        }
    }
    ExitCode::SUCCESS
}

fn trace(common: &Common) -> ExitCode {
    let cases = cases::all().into_iter();
    for mut case in cases.filter(|case| case.name.contains(&common.only)) {
        println!("{}", case.name);
        for step in case.way() {
            println!("  {step}");
        }
    }
    ExitCode::SUCCESS
}

fn measure(mut case: Case, arguments: &Common) -> Measured {
    let packets = case.packets(arguments.turns) as f64;
    case.run(arguments.turns.min(200));
    let mut nanoseconds: Vec<_> = (0..arguments.rounds.max(1))
        .map(|_| {
            let start = Instant::now();
            case.run(arguments.turns);
            start.elapsed().as_nanos() as f64 / packets
        })
        .collect();
    case.check();
    nanoseconds.sort_by(f64::total_cmp);
    Measured {
        name: case.name,
        nanoseconds: nanoseconds[nanoseconds.len() / 2],
        fastest: nanoseconds[0],
    }
}

/// Panics, and so ends with an error, when a law is broken.
fn fuzz(frames: u64, seed: u64, output: Output) -> ExitCode {
    let start = Instant::now();
    let mut total = vrouter_dataplane::counters::Balance::default();
    let mut drops = Vec::new();
    for (mode, seed) in Mode::ALL.into_iter().zip(seed..) {
        let mut node = Plan::new(1, mode).build();
        Mutator::new(seed).run(&mut node, frames.div_ceil(Mode::ALL.len() as u64));
        total = total + node.counters().balance();
        drops.extend(node.drops());
    }
    drops.sort_unstable();
    drops.dedup_by(|from, to| {
        let same = from.0 == to.0;
        if same {
            to.1 += from.1;
        }
        same
    });
    let seconds = start.elapsed().as_secs_f64();
    match output {
        Output::Table => {
            println!("{total:?} in {seconds:.1} s; the law holds");
            for (name, count) in drops {
                println!("{count:>12} {name}");
            }
        }
        Output::Json => {
            let drops: serde_json::Map<_, _> = drops
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count.into()))
                .collect();
            println!(
                "{}",
                json!({
                    "received": total.received,
                    "generated": total.generated,
                    "transmitted": total.transmitted,
                    "consumed": total.consumed,
                    "dropped": total.dropped,
                    "drops": drops,
                    "seconds": seconds,
                })
            );
        }
    }
    ExitCode::SUCCESS
}
