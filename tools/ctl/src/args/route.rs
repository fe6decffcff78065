//! `vrouterctl route`: static routes of a running daemon.

use std::path::PathBuf;

use clap::Subcommand;
use ipnet::IpNet;

#[derive(Debug, Subcommand)]
pub(crate) enum RouteCommand {
    /// Add a route, or replace its nodes
    Add {
        /// Where to
        prefix: IpNet,
        /// The nodes to go by; flows are spread over several
        #[arg(required = true, value_name = "NODE")]
        nodes: Vec<String>,
    },
    /// Delete routes
    Delete {
        /// Their prefixes
        #[arg(required = true, value_name = "PREFIX")]
        prefixes: Vec<IpNet>,
    },
    /// Add all routes of a file: lines of a prefix and one or more nodes
    Load {
        /// The file; - is standard input
        file: PathBuf,
        /// The nodes of lines that name none
        #[arg(long = "via", value_name = "NODE")]
        nodes: Vec<String>,
    },
}
