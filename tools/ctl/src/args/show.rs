//! `vrouterctl show`: state and counters of a running daemon.

use std::net::IpAddr;
use std::str::FromStr;

use clap::{Args, Subcommand};
use ipnet::IpNet;
use vrouter_control::model::{Family, Protocol};

#[derive(Debug, Subcommand)]
pub(crate) enum Show {
    /// Interfaces: pods, host, tunnels; with addresses and traffic
    #[command(visible_aliases = ["interface", "intf", "if"])]
    Interfaces {
        /// Only this interface or endpoint (NAMESPACE/NAME)
        name: Option<String>,
        /// With the counters of each worker
        #[arg(long)]
        per_worker: bool,
    },
    /// Routes of the forwarding table
    #[command(visible_aliases = ["route", "r"])]
    Routes {
        /// An address: the route a packet to it takes. A prefix: only routes inside it
        #[arg(value_name = "ADDRESS|PREFIX")]
        destination: Option<Destination>,
        /// Only IPv4 or only IPv6
        #[arg(long, value_name = "4|6", value_parser = family)]
        family: Option<Family>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Addresses of workloads on this node
    #[command(visible_aliases = ["neighbor", "neigh"])]
    Neighbors {
        /// Only of this interface or endpoint (NAMESPACE/NAME)
        name: Option<String>,
    },
    /// Other nodes and the tunnels to them
    #[command(visible_alias = "tunnel")]
    Tunnels {
        /// Only to this node
        node: Option<String>,
    },
    /// Connections in the flow table
    #[command(visible_alias = "flow")]
    Flows {
        /// Only from or to this address or prefix
        #[arg(long, value_name = "ADDRESS|PREFIX")]
        address: Option<Destination>,
        /// Only from or to this port
        #[arg(long)]
        port: Option<u16>,
        /// Only of this protocol, by name or number
        #[arg(long)]
        protocol: Option<Protocol>,
        /// Only of this endpoint (NAMESPACE/NAME) or interface
        #[arg(long)]
        endpoint: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Policy rules of each endpoint in the order of evaluation, with hits
    #[command(visible_aliases = ["policies", "pol"])]
    Policy {
        /// Only of this endpoint (NAMESPACE/NAME) or interface
        endpoint: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Dropped packets by reason
    #[command(visible_alias = "drop")]
    Drops {
        /// With the latest dropped packets
        #[arg(long)]
        recent: bool,
        /// With the reasons that dropped nothing
        #[arg(long)]
        all: bool,
    },
    /// Workers: turns, sleeps, buffers
    #[command(visible_alias = "worker")]
    Workers,
    /// Versions of vrouterctl and vrouterd
    Version,
    /// Resources read from the directory and what is wrong with them
    #[command(visible_aliases = ["resource", "res"])]
    Resources,
    /// All counters and whether they balance
    #[command(visible_alias = "counter")]
    Counters {
        /// With the counters that are 0
        #[arg(long)]
        all: bool,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct PageArgs {
    /// Rows at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) limit: u32,
    /// Go on after this row, as an earlier call said
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
}

/// An address or a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Address(IpAddr),
    Prefix(IpNet),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let prefix: IpNet = text
            .parse()
            .map_err(|_| "an address like 10.65.0.1 or a prefix like 10.65.0.0/16".to_owned())?;
        Ok(Self::Prefix(prefix.trunc()))
    }
}

impl Destination {
    pub(crate) fn prefix(self) -> IpNet {
        match self {
            Self::Address(address) => address.into(),
            Self::Prefix(prefix) => prefix,
        }
    }
}

pub(super) fn family(text: &str) -> Result<Family, String> {
    match text {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        _ => Err("it is 4 or 6".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let parse = |text: &str| text.parse::<Destination>().map(Destination::prefix);
        assert_eq!(parse("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(parse("10.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(parse("fd00::1").unwrap().to_string(), "fd00::1/128");
        assert!(parse("10.0.0.0/33").is_err());
        assert!(parse("pod").is_err());
    }
}
