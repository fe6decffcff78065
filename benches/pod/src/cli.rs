//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use vrouter_lab::spec::{Encap, Offload};

use crate::cases::{Backend, Path, Test};
use crate::traffic::Traffic;

/// Compares node networks from pod to pod: throughput, packet rate, requests, new connections,
/// latency and what each costs in CPU time.
#[derive(Debug, Parser)]
#[command(name = "vrouter-bench", version = vrouter_cli::VERSION)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure, and write a report.
    Run(Box<RunOptions>),
    /// Measure how cost grows with pods, flows, routes and rules, and write a report.
    Scale(Box<ScaleOptions>),
    /// Write the report of a run anew, or print it.
    Report {
        /// The run's directory.
        directory: PathBuf,
        /// In which form; `html` is written into the directory, the others are printed.
        #[arg(short, long, value_enum, default_value = "html")]
        format: Format,
    },
    /// Tell what became better or worse between two runs. The exit code is 1 when something became
    /// worse, significantly and by more than the threshold.
    Compare {
        /// The directory of the older run.
        old: PathBuf,
        /// The directory of the newer run.
        new: PathBuf,
        /// The least change that counts, in per cent.
        #[arg(long, default_value_t = 10.0, value_name = "PERCENT")]
        threshold: f64,
        /// The chance of any false alarm that is accepted.
        #[arg(long, default_value_t = 0.01)]
        significance: f64,
        /// Compare the figures themselves even where both runs have the same reference to take
        /// ratios to. Only on a machine whose speed does not change.
        #[arg(long)]
        absolute: bool,
    },
    /// Print the JSON schema of results.json.
    Schema,
    /// Write the manual, a page a command.
    Man(vrouter_cli::ManOptions),
    /// One side of our own traffic; started by the other verbs.
    #[command(hide = true, subcommand)]
    Traffic(Traffic),
    /// Started by runs against external targets: ends what they started when they are killed.
    #[command(hide = true)]
    Janitor {
        /// The mark of what is to be ended.
        mark: String,
    },
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One self-contained file with charts, `report.html`.
    Html,
    /// Tables for a README.
    Markdown,
    /// A table for the terminal.
    Table,
}

/// What all measuring verbs take.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Who is measured.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub backends: Vec<Backend>,
    /// What is done.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub tests: Vec<Test>,
    /// How often everything is measured.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub rounds: Option<u64>,
    /// After these rounds, go on with tests of TCP and packet rate (tcp, tcp4, tcp-rev, udp-pps)
    /// until the 95 % confidence interval of everybody's ratio to the reference lies within this
    /// many per cent of it. 0 switches it off (default: 5; off with --quick, in `scale` and for
    /// external targets, unless this or --max-rounds is given).
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub settle: Option<f64>,
    /// The most rounds while ratios settle, at least 6 (default: 25, or --rounds if that is more).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(6..=1000))]
    pub max_rounds: Option<u64>,
    /// The length of a test in seconds.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: Option<u64>,
    /// TCP's congestion control, such as cubic or bbr (default: the kernel's). In labs of all
    /// connections; elsewhere of iperf3's, which keep the pacing of a kernel whose own is bbr.
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,
    /// Where results, raw figures and the report go. It is made.
    #[arg(long, default_value = "bench-results")]
    pub out: PathBuf,
    /// Of the order of tests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Who the others are compared with (default: kernel if measured, else direct, else the first).
    #[arg(long)]
    pub reference: Option<String>,
    /// Segmentation and checksum offloads of the underlay between nodes.
    #[arg(long, value_enum, default_value = "on")]
    pub underlay_offload: Offload,
    /// The vrouterd to measure (default: the one beside this program, then the one in PATH).
    #[arg(long, value_name = "PATH", env = "VROUTERD")]
    pub vrouterd: Option<PathBuf>,
    /// More arguments for each vrouterd.
    #[arg(long = "vrouterd-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub vrouterd_args: Vec<String>,
    /// Go on although the machine is busy with something else.
    #[arg(long)]
    pub force: bool,
    /// Go on with the run that is in the output directory, where it was interrupted.
    #[arg(long)]
    pub resume: bool,
    /// The tap-loop backend spins this long for each packet: a slowdown for tests to find.
    #[arg(long, hide = true, default_value_t = 0, value_name = "NANOSECONDS")]
    pub burden: u64,
}

/// The options of `run`.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// What all measuring verbs take.
    #[command(flatten)]
    pub common: Common,
    /// A short run, within five minutes on two cores: pods of one node and of two over VXLAN, three
    /// rounds, one second a test. Other options still count.
    #[arg(long)]
    pub quick: bool,
    /// From where to where.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub paths: Vec<Path>,
    /// How packets travel between nodes.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub encap: Vec<Encap>,
    /// Policy rules in each direction of every pod.
    #[arg(long, value_delimiter = ',')]
    pub rules: Vec<usize>,
    /// Workers of each vrouterd.
    #[arg(long, value_delimiter = ',')]
    pub workers: Vec<usize>,
    /// Address families, 4 and 6.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(4..=6))]
    pub family: Vec<u8>,
    /// Measure places that others set up, from a YAML file, instead of labs.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backends", "paths", "encap", "rules", "workers", "family"])]
    pub targets: Option<PathBuf>,
    /// Measure between two network namespaces that others set up: the client's.
    #[arg(long, value_name = "NAME", requires_all = ["server_ns", "server_ip"],
          conflicts_with_all = ["backends", "paths", "encap", "rules", "workers", "family", "targets"])]
    pub client_ns: Option<String>,
    /// The server's namespace.
    #[arg(long, value_name = "NAME", requires = "client_ns")]
    pub server_ns: Option<String>,
    /// The server's address.
    #[arg(long, value_name = "ADDRESS", requires = "client_ns")]
    pub server_ip: Option<IpAddr>,
}

/// The options of `scale`.
#[derive(Debug, Clone, Args)]
pub struct ScaleOptions {
    /// What all measuring verbs take.
    #[command(flatten)]
    pub common: Common,
    /// Numbers of pods on the node: `2,8,32,128,256`.
    #[arg(long, value_delimiter = ',', value_parser = number)]
    pub pods: Vec<usize>,
    /// Numbers of UDP flows: `1,100,10k`.
    #[arg(long, value_delimiter = ',', value_parser = number)]
    pub flows: Vec<usize>,
    /// Numbers of routes to blocks of other nodes: `1k,10k,100k`.
    #[arg(long, value_delimiter = ',', value_parser = number)]
    pub routes: Vec<usize>,
    /// Numbers of policy rules in each direction: `8,100,1k,10k`.
    #[arg(long, value_delimiter = ',', value_parser = number)]
    pub rules: Vec<usize>,
}

/// A part of a hundred.
fn percent(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|percent| (0.0..100.0).contains(percent))
        .ok_or_else(|| format!("{text:?} is no number from 0 to less than 100"))
}

/// A number, with `k` for thousands and `M` for millions.
fn number(text: &str) -> Result<usize, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => match text.strip_suffix('M') {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|number| *number > 0)
        .ok_or_else(|| format!("{text:?} is no number such as 8, 10k or 1M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn per_cents_are_parts_of_a_hundred() {
        assert_eq!(percent("2.5"), Ok(2.5));
        assert_eq!(percent("0"), Ok(0.0));
        for bad in ["", "-1", "100", "NaN", "inf", "5%"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_may_be_short() {
        assert_eq!(number("10k"), Ok(10_000));
        assert_eq!(number("1M"), Ok(1_000_000));
        assert_eq!(number("8"), Ok(8));
        for bad in ["", "k", "0", "-1", "1G", "99999999999999999999M"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
