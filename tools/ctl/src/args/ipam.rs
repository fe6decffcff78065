//! calicoctl's `ipam`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Subcommand;
use ipnet::IpNet;

#[derive(Debug, Subcommand)]
pub(crate) enum IpamCommand {
    /// How full the pools are, or who has an address
    Show {
        /// Who has this address
        #[arg(long, value_name = "IP")]
        ip: Option<IpAddr>,
        /// With the blocks of each pool
        #[arg(long)]
        show_blocks: bool,
        /// The addresses that nodes have from others' blocks
        #[arg(long)]
        show_borrowed: bool,
        /// How IPAM works in this cluster
        #[arg(long)]
        show_configuration: bool,
    },
    /// Look for contradictions; -o FILE writes a report for release
    Check {
        /// Print every address that is in use
        #[arg(long)]
        show_all_ips: bool,
        /// Print the addresses that have problems
        #[arg(long)]
        show_problem_ips: bool,
    },
    /// Take back addresses that nobody uses any more
    Release {
        /// This one, whoever has it
        #[arg(long, value_name = "IP", required_unless_present = "from_report")]
        ip: Option<IpAddr>,
        /// Those that a report of check calls not in use
        #[arg(long, value_name = "FILE", conflicts_with = "ip")]
        from_report: Vec<PathBuf>,
        /// Although the datastore is not locked
        #[arg(long)]
        force: bool,
    },
    /// Replace a pool by smaller ones; the datastore must be locked
    Split {
        /// How many, a power of 2
        number: usize,
        /// The pool's range
        #[arg(long, required_unless_present = "name", conflicts_with = "name")]
        cidr: Option<IpNet>,
        /// The pool's name
        #[arg(long)]
        name: Option<String>,
    },
    /// Change how IPAM works
    Configure {
        /// Whether nodes take addresses from their own blocks alone
        #[arg(long, value_name = "true|false")]
        #[arg(required_unless_present = "max_blocks_per_host")]
        strictaffinity: Option<bool>,
        /// Blocks a node may have; 0 for the built-in limit of 20
        #[arg(long, value_name = "NUMBER")]
        max_blocks_per_host: Option<usize>,
    },
}
