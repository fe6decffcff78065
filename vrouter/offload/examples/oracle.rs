//! A long run of the oracle: the program at workloads beside the dataplane's worker. Needs root.

#![allow(
    clippy::unwrap_used,
    reason = "as in the tests it shares its parts with"
)]

#[path = "../tests/bpffs/mod.rs"]
mod bpffs;
#[path = "../../io/tests/namespace/mod.rs"]
mod namespace;
#[path = "../tests/oracle/mod.rs"]
mod oracle;
#[path = "../../dataplane/tests/world/mod.rs"]
mod world;

use clap::Parser;

/// Compares the kernel's program with the worker on random frames; ends at the first difference.
#[derive(Debug, Parser)]
struct Arguments {
    /// Frames.
    #[arg(long, default_value_t = 1_000_000)]
    cases: u64,
    /// Where the random numbers begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let arguments = Arguments::parse();
    println!("{:?}", oracle::run(arguments.cases, arguments.seed));
}
