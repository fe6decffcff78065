//! `vrouterctl policy`: the packet to explain, and where the policies are.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use vrouter_control::model::{Family, Protocol};
use vrouter_control::params::{Explain, Icmp};

use super::show::family;

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
    /// The older name of --directory
    #[arg(long, value_name = "DIR", hide = true, conflicts_with = "directory")]
    pub(crate) dir: Option<PathBuf>,
    /// With --directory only what this node decides; all nodes if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Packet {
    /// The sender: an address, an interface or an endpoint ([NAMESPACE/]NAME)
    source: String,
    /// The receiver: an address, an interface or an endpoint ([NAMESPACE/]NAME)
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

/// What a packet is sent to, as it is written on the command line.
pub(crate) fn service(packet: &Explain) -> String {
    let protocol = packet.protocol;
    match (packet.port, packet.icmp) {
        (Some(port), _) => format!("{protocol}/{port}"),
        (None, Some(icmp)) => format!("{protocol}/{}/{}", icmp.kind, icmp.code),
        (None, None) => protocol.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
