//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use vrouter_control::DEFAULT_SOCKET;
use vrouter_control::model::{Family, Protocol};
use vrouter_control::params::{Explain, Icmp};

/// Looks into a running vrouterd.
#[derive(Debug, Parser)]
#[command(name = "vrouterctl", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The control socket of vrouterd
    #[arg(long, global = true, value_name = "PATH")]
    #[arg(env = "VROUTER_CONTROL_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,

    /// How to print: columns, more columns, or all members for programs
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Ps)]
    pub(crate) output: Format,

    /// Seconds to wait for an answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeout: u32,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Ps,
    Wide,
    Json,
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show state and counters
    Show {
        #[command(subcommand)]
        what: Show,

        /// Show it again every so many seconds
        #[arg(short, long, global = true, value_name = "SECONDS")]
        #[arg(value_parser = clap::value_parser!(u32).range(1..))]
        watch: Option<u32>,
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
}

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

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Walk the policies as a packet would, without sending one
    Explain {
        #[command(flatten)]
        packet: Packet,
        #[command(flatten)]
        from: OfflineArgs,
    },
    /// Compare a file of expectations with what policy says; code 1 if one does not hold
    #[command(after_help = EXPECTATIONS)]
    Test {
        /// YAML: a list of source, destination, to (tcp/80) and expect (Allow or Deny)
        file: PathBuf,
        #[command(flatten)]
        from: OfflineArgs,
    },
}

const EXPECTATIONS: &str = "\
Example:
  - name: clients reach the web
    source: default/client
    destination: default/web
    to: tcp/80
    expect: Allow
  - {source: 192.0.2.1, destination: default/web, to: icmp, expect: Deny}";

/// Where the policies are, if not in a running daemon.
#[derive(Debug, Clone, Args)]
pub(crate) struct OfflineArgs {
    /// Ask the resources in this directory, not vrouterd
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Only what this node decides; all nodes if not given
    #[arg(long, value_name = "NAME", requires = "dir")]
    pub(crate) node: Option<String>,
}

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

#[derive(Debug, Args)]
pub(crate) struct Packet {
    /// Who sends: an address or an endpoint (NAMESPACE/NAME)
    source: String,
    /// Who receives: an address or an endpoint (NAMESPACE/NAME)
    destination: String,
    /// The protocol, with destination port or ICMP type: tcp/80, udp/53, icmp/8, 47
    #[arg(value_name = "PROTOCOL[/PORT]")]
    service: Destined,
    /// The source port, where rules ask for it
    #[arg(long, value_name = "PORT")]
    source_port: Option<u16>,
    /// Which addresses to use of endpoints that have both
    #[arg(long, value_name = "4|6", value_parser = family)]
    family: Option<Family>,
}

impl Packet {
    pub(crate) fn params(&self) -> Explain {
        let (source, destination) = (self.source.clone(), self.destination.clone());
        self.service
            .packet(source, destination, self.source_port, self.family)
    }
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

/// `PROTOCOL[/PORT]`, or `icmp[/TYPE[/CODE]]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destined {
    protocol: Protocol,
    port: Option<u16>,
    icmp: Option<Icmp>,
}

impl Destined {
    /// The question about a packet to this service.
    pub(crate) fn packet(
        self,
        source: String,
        destination: String,
        source_port: Option<u16>,
        family: Option<Family>,
    ) -> Explain {
        let Self {
            protocol,
            port,
            icmp,
        } = self;
        Explain {
            source,
            destination,
            protocol,
            port,
            source_port,
            icmp,
            family,
        }
    }
}

impl FromStr for Destined {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let protocol: Protocol = parts.next().unwrap_or(text).parse()?;
        let (first, second) = (parts.next(), parts.next());
        let number = |what: &str, text: &str| {
            text.parse::<u8>()
                .map_err(|_| format!("{what} {text:?} is not a number up to 255"))
        };
        let (port, icmp) = match (first, second) {
            _ if parts.next().is_some() => return Err("too many slashes".into()),
            (None, _) => (None, None),
            (Some(kind), code) if protocol.is_icmp() => {
                let kind = number("ICMP type", kind)?;
                let code = code.map_or(Ok(0), |code| number("ICMP code", code))?;
                (None, Some(Icmp { kind, code }))
            }
            (Some(port), None) if protocol.has_ports() => {
                let port = port
                    .parse()
                    .map_err(|_| format!("{port:?} is no port number"))?;
                (Some(port), None)
            }
            (Some(_), Some(_)) if protocol.has_ports() => return Err("too many slashes".into()),
            (Some(_), _) => return Err(format!("protocol {protocol} has no ports")),
        };
        Ok(Self {
            protocol,
            port,
            icmp,
        })
    }
}

fn family(text: &str) -> Result<Family, String> {
    match text {
        "4" => Ok(Family::V4),
        "6" => Ok(Family::V6),
        _ => Err("it is 4 or 6".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn services() {
        let parse = |text: &str| text.parse::<Destined>();
        let plain = Destined {
            protocol: Protocol::TCP,
            port: None,
            icmp: None,
        };
        assert_eq!(parse("tcp"), Ok(plain));
        assert_eq!(
            parse("TCP/80"),
            Ok(Destined {
                port: Some(80),
                ..plain
            })
        );
        assert_eq!(
            parse("6/80"),
            Ok(Destined {
                port: Some(80),
                ..plain
            })
        );
        let ping = Destined {
            protocol: Protocol::ICMP,
            port: None,
            icmp: Some(Icmp { kind: 8, code: 0 }),
        };
        assert_eq!(parse("icmp/8"), Ok(ping));
        let unreachable = Some(Icmp { kind: 3, code: 4 });
        assert_eq!(
            parse("icmp/3/4"),
            Ok(Destined {
                icmp: unreachable,
                ..ping
            })
        );
        for wrong in [
            "",
            "/80",
            "tcp/",
            "tcp/65536",
            "tcp/80/1",
            "47/80",
            "icmp/256",
            "icmp/1/2/3",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

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
