//! `vrouterctl bgp`: a node's BIRD from resources, and a BIRD that runs.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ipnet::IpNet;

#[derive(Debug, Subcommand)]
pub(crate) enum BgpCommand {
    /// Print the configuration that a node's BIRD gets
    Render {
        #[command(flatten)]
        from: NodeArgs,
        /// Passwords as they are, for BIRD to read; asterisks otherwise
        #[arg(long)]
        show_passwords: bool,
    },
    /// Say what a change of resources does to a node's sessions and routes
    Plan {
        #[command(flatten)]
        from: NodeArgs,
        /// The resources as they will be: a file
        #[arg(short, long, value_name = "FILE")]
        filename: PathBuf,
        /// The resources of the file go
        #[arg(long)]
        delete: bool,
    },
    /// Say to whom a prefix is told, and which step or rule decides it
    Explain {
        /// The prefix; an address stands for all of itself
        #[arg(value_parser = prefix)]
        prefix: IpNet,
        /// One session alone, by its name or its neighbor's address
        #[arg(long, value_name = "SESSION")]
        peer: Option<String>,
        #[command(flatten)]
        from: NodeArgs,
        #[command(flatten)]
        bird: BirdArgs,
    },
    /// List the sessions of the BIRD that runs here
    Peers {
        #[command(flatten)]
        bird: BirdArgs,
    },
    /// List the routes of the BIRD that runs here
    Routes {
        /// Those to this prefix alone
        #[arg(value_parser = prefix)]
        prefix: Option<IpNet>,
        #[command(flatten)]
        bird: BirdArgs,
    },
}

/// Whose BIRD.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node
    #[arg(long, value_name = "NAME", env = "NODENAME")]
    pub(crate) node: String,
    /// BIRD's identity: an IPv4 address, or hash; the node's address otherwise
    #[arg(long, value_name = "ID", env = "CALICO_ROUTER_ID")]
    pub(crate) router_id: Option<String>,
    /// The addresses of services to tell, instead of serviceClusterIPs
    #[arg(long, value_name = "CIDR", env = "CALICO_ADVERTISE_CLUSTER_IPS")]
    pub(crate) advertise_cluster_ips: Option<IpNet>,
    /// Where the Secrets of passwords are
    #[arg(long, value_name = "NAMESPACE", env = "NAMESPACE")]
    #[arg(default_value = "kube-system")]
    pub(crate) secret_namespace: String,
}

/// Which BIRD.
#[derive(Debug, Args)]
pub(crate) struct BirdArgs {
    /// BIRD's control socket; may be repeated [default: where vrouterd's, Calico's and Debian's listen]
    #[arg(long, value_name = "PATH")]
    pub(crate) bird_socket: Vec<PathBuf>,
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse::<IpNet>())
        .map(|net| net.trunc())
        .map_err(|_| "must be a prefix such as 10.65.0.0/26, or an address".to_owned())
}
