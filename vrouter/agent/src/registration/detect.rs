//! Which address of the host is the node's: Calico's ways to tell.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;

use encap::Family;
use ipnet::IpNet;
use regex::Regex;
use vrouter_io::link::Link;

/// Interfaces that are never a node's uplink, as Calico leaves them out, and our own.
const NEVER: &str = "^(docker|cbr|dummy|virbr|lxcbr|veth|lo|cali|tunl|flannel|kube-ipvs|cni|\
    vxlan\\.calico|vxlan-v6\\.calico|wireguard\\.cali|wg-v6\\.cali|nodelocaldns|vrouter-)";

/// How the address is found.
#[derive(Debug, Clone)]
pub enum Method {
    /// Not at all.
    None,
    /// The first usable one.
    FirstFound,
    /// The first of interfaces with such names.
    Interface(Vec<Regex>),
    /// The first of interfaces with other names.
    SkipInterface(Vec<Regex>),
    /// The one from which that host is reached.
    CanReach(String),
    /// The first within these ranges.
    Cidr(Vec<IpNet>),
}

impl PartialEq for Method {
    fn eq(&self, other: &Method) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Method {}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |names: &[Regex]| {
            let names: Vec<&str> = names.iter().map(Regex::as_str).collect();
            names.join(",")
        };
        match self {
            Method::None => f.write_str("none"),
            Method::FirstFound => f.write_str("first-found"),
            Method::Interface(names) => write!(f, "interface={}", joined(names)),
            Method::SkipInterface(names) => write!(f, "skip-interface={}", joined(names)),
            Method::CanReach(host) => write!(f, "can-reach={host}"),
            Method::Cidr(ranges) => {
                let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                write!(f, "cidr={}", ranges.join(","))
            }
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Method, String> {
        let names = |list: &str| {
            let names = list.split(',').map(|name| Regex::new(name.trim()));
            names
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| format!("{list}: {error}"))
        };
        match text.split_once('=') {
            None if text == "none" => Ok(Method::None),
            None if text == "first-found" => Ok(Method::FirstFound),
            Some(("interface", list)) if !list.is_empty() => names(list).map(Method::Interface),
            Some(("skip-interface", list)) if !list.is_empty() => {
                names(list).map(Method::SkipInterface)
            }
            Some(("can-reach", host)) if !host.is_empty() => Ok(Method::CanReach(host.to_owned())),
            Some(("cidr", list)) => {
                let ranges = list.split(',').map(|range| range.trim().parse());
                let ranges = ranges.collect::<Result<Vec<_>, _>>();
                ranges.map(Method::Cidr).map_err(|_| {
                    format!("{list}: must be CIDRs joined by commas, such as 10.0.0.0/8")
                })
            }
            None if text == "kubernetes-internal-ip" => {
                Err("kubernetes-internal-ip needs Kubernetes, which is not supported yet".into())
            }
            None | Some(_) => Err(
                "must be none, first-found, interface=REGEX, skip-interface=REGEX, \
                 can-reach=HOST or cidr=CIDR"
                    .into(),
            ),
        }
    }
}

/// An address of the host, with its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) interface: String,
    pub(super) address: IpNet,
}

/// The usable addresses of interfaces that are up, in the kernel's order.
pub(super) fn candidates() -> vrouter_io::Result<Vec<Candidate>> {
    let link = Link::open()?;
    let interfaces = link.interfaces()?;
    let held = link.addresses()?;
    let found = held.iter().filter_map(|it| {
        let interface = interfaces
            .iter()
            .find(|i| i.index == it.interface && i.up)?;
        Some(Candidate {
            interface: interface.name.clone(),
            address: it.address,
        })
    });
    Ok(found.collect())
}

/// The address that a method finds among these.
pub(super) fn choose(method: &Method, candidates: &[Candidate], family: Family) -> Option<IpNet> {
    let never = Regex::new(NEVER).expect("the pattern is a constant");
    let usable = |it: &&Candidate| match it.address.addr() {
        IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local() && !a.is_multicast(),
        IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local() && !a.is_multicast(),
    };
    let mut usable = candidates
        .iter()
        .filter(|it| family.contains(&it.address.addr()))
        .filter(usable);
    let among = |names: &[Regex], name: &str| names.iter().any(|it| it.is_match(name));
    let found = match method {
        Method::None => None,
        Method::FirstFound => usable.find(|it| !never.is_match(&it.interface)),
        Method::Interface(names) => usable.find(|it| among(names, &it.interface)),
        Method::SkipInterface(names) => {
            usable.find(|it| !never.is_match(&it.interface) && !among(names, &it.interface))
        }
        Method::CanReach(host) => {
            let source = source_towards(host, family)?;
            usable.find(|it| it.address.addr() == source)
        }
        Method::Cidr(ranges) => usable.find(|it| {
            ranges
                .iter()
                .any(|range| range.contains(&it.address.addr()))
        }),
    };
    found.map(|it| it.address)
}

/// The address the kernel would speak from to a host; nothing is sent.
fn source_towards(host: &str, family: Family) -> Option<IpAddr> {
    let mut targets = (host, 80).to_socket_addrs().ok()?;
    let target = targets.find(|it| family.contains(&it.ip()))?;
    let any = match family {
        Family::V4 => "0.0.0.0:0",
        Family::V6 => "[::]:0",
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(target).ok()?;
    socket.local_addr().ok().map(|it| it.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, family: Family) -> Option<String> {
        let candidates: Vec<Candidate> = [
            ("lo", "127.0.0.1/8"),
            ("docker0", "172.17.0.1/16"),
            ("tunl0", "10.65.0.1/32"),
            ("eth0", "169.254.3.4/16"),
            ("eth0", "192.0.2.10/24"),
            ("eth1", "198.51.100.10/24"),
            ("eth0", "fe80::1/64"),
            ("eth1", "2001:db8::1/64"),
        ]
        .iter()
        .map(|(interface, address)| Candidate {
            interface: (*interface).to_owned(),
            address: address.parse().expect("an address"),
        })
        .collect();
        let method = method.parse().expect("a method");
        choose(&method, &candidates, family).map(|it| it.to_string())
    }

    #[test]
    fn methods_find_what_calicos_would() {
        for (method, family, expected) in [
            ("first-found", Family::V4, Some("192.0.2.10/24")),
            ("first-found", Family::V6, Some("2001:db8::1/64")),
            ("interface=eth1", Family::V4, Some("198.51.100.10/24")),
            (
                "interface=wlan.*,eth1",
                Family::V4,
                Some("198.51.100.10/24"),
            ),
            ("interface=docker0", Family::V4, Some("172.17.0.1/16")),
            ("skip-interface=eth0", Family::V4, Some("198.51.100.10/24")),
            ("cidr=198.51.0.0/16", Family::V4, Some("198.51.100.10/24")),
            ("cidr=203.0.113.0/24", Family::V4, None),
            ("none", Family::V4, None),
            // The only host that is surely reached here speaks from an address nobody may use.
            ("can-reach=127.0.0.1", Family::V4, None),
        ] {
            assert_eq!(found(method, family).as_deref(), expected, "{method}");
        }
    }

    #[test]
    fn what_is_no_method_is_refused() {
        for text in [
            "",
            "first",
            "interface=",
            "interface=(",
            "cidr=x",
            "kubernetes-internal-ip",
        ] {
            assert!(text.parse::<Method>().is_err(), "{text}");
        }
        let method: Method = "skip-interface=a,b.*".parse().expect("a method");
        assert_eq!(method.to_string(), "skip-interface=a,b.*");
    }
}
