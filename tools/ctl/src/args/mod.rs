//! The command line: what calicoctl takes, and our own commands.

pub(crate) mod bgp;
pub(crate) mod calico;
pub(crate) mod drops;
pub(crate) mod format;
pub(crate) mod ipam;
pub(crate) mod kube;
pub(crate) mod node;
pub(crate) mod policy;
pub(crate) mod route;
pub(crate) mod show;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use vrouter_cli::ManOptions;
use vrouter_control::DEFAULT_SOCKET;

use bgp::BgpCommand;
use calico::Verb;
use drops::DropsArgs;
use kube::KubeCommand;
use policy::PolicyCommand;
use route::RouteCommand;
use show::Show;

/// Manages Calico resources, and looks into a running vrouterd
#[derive(Debug, Parser)]
#[command(
    name = "vrouterctl",
    version = vrouter_cli::VERSION,
    disable_help_subcommand = true,
    max_term_width = 80
)]
pub(crate) struct Cli {
    /// The control socket of vrouterd
    #[arg(long, global = true, value_name = "PATH")]
    #[arg(env = "VROUTER_CONTROL_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,

    /// How to print: ps, wide, json or yaml; get takes templates too
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "ps"
    )]
    pub(crate) output: String,

    /// Seconds to wait for an answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeout: u32,

    /// Which datastore: a file as calicoctl has it [default: /etc/calico/calicoctl.cfg if it is
    /// there, else the environment]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Resources of this directory, whatever file or environment say; for show, route and the like
    /// a running vrouterd answers all the same
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "config")]
    pub(crate) directory: Option<PathBuf>,

    /// Accepted as calicoctl does; there is no log
    #[arg(short, long, value_name = "LEVEL", hide_possible_values = true)]
    pub(crate) log_level: Option<LogLevel>,

    /// Refused: it is for the kubernetes datastore, which is not supported yet
    #[arg(long, global = true, value_name = "CONTEXT", hide = true)]
    pub(crate) context: Option<String>,

    /// Accepted as calicoctl does; versions are not compared
    #[arg(long, global = true)]
    pub(crate) allow_version_mismatch: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// calicoctl's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Panic,
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Calico(Verb),
    /// Read the etcd of a Kubernetes cluster
    Kube {
        #[command(subcommand)]
        command: KubeCommand,
    },
    /// Show state and counters
    Show {
        #[command(subcommand)]
        what: Show,

        /// Show it again every so many seconds
        #[arg(short, long, global = true, value_name = "SECONDS")]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        watch: Option<u32>,
    },
    /// Show the node on one screen: health, datastore, interfaces, tunnels, policies, drops
    Status {
        /// Where BIRD listens [default: where vrouterd's, Calico's and Debian's do]
        #[arg(long, value_name = "PATH")]
        bird_socket: Vec<PathBuf>,
    },
    /// Print dropped packets, a line each, with reason, ends and rule
    Drops(DropsArgs),
    /// Collect state and logs of this node into an archive, as node diags does
    Diags {
        /// Where to put the archive [default: the directory for temporary files]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Add and delete static routes to other nodes
    Route {
        #[command(subcommand)]
        command: RouteCommand,
    },
    /// Explain what policy does
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Render, plan and explain a node's BGP, and look into a running BIRD
    Bgp {
        #[command(subcommand)]
        command: BgpCommand,
    },
    /// Print the versions of vrouterctl and vrouterd
    Version {
        /// Only that of vrouterctl; needs no daemon
        #[arg(long)]
        client: bool,
    },
    /// Read configuration and resources again, as SIGHUP does
    Reload,
    /// Stop vrouterd in order, as SIGTERM does
    Shutdown,
    /// Call a method of the control protocol, print its result as JSON (docs/control.md)
    Call {
        /// The method, such as show.routes
        method: String,
        /// Its parameters, a JSON object
        params: Option<String>,
    },
    /// Print the names of the resources of a kind, for shells that complete them
    #[command(hide = true)]
    Names {
        /// The kind
        kind: String,
        /// The namespace
        #[arg(short, long)]
        namespace: Option<String>,
    },
    /// Print a script that completes vrouterctl's words in a shell
    Completion {
        /// For which shell
        shell: Shell,
    },
    /// Write the manual, a page a command
    Man(ManOptions),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
