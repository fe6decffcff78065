//! Measures the policy compiler: clusters of its own making, programs of many rules, network sets
//! of many members.

mod behind;
mod calico;
mod sets;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure the policy compiler and its verdicts.
#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Subcommand)]
enum Measurement {
    /// First sync, updates and verdicts of a cluster.
    Cluster(calico::Cluster),
    /// Verdicts behind 8 to 100,000 rules.
    Rules {
        /// Verdicts measured.
        #[arg(long, default_value_t = 2_000_000)]
        verdicts: u32,
    },
    /// Changes of network sets of 10,000 to 1,000,000 members.
    Sets {
        /// Members of the largest set.
        #[arg(long, default_value_t = 1_000_000)]
        most: u32,
    },
}

fn main() -> ExitCode {
    let outcome = match Options::parse().measurement {
        Measurement::Cluster(cluster) => calico::run(&cluster),
        Measurement::Rules { verdicts } => behind::run(verdicts),
        Measurement::Sets { most } => sets::run(most),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("policy-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
