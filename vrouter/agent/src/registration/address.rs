//! Which address a node's resource is to have, in the words of calico/node's `IP` and `IP6`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use encap::Family;
use ipnet::IpNet;
use vrouter_api::Resource;

use super::detect::{self, Candidate, Method};

/// Where a node's address is from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// What the resource has; found if it has none.
    #[default]
    Kept,
    /// Found, at every start.
    Found,
    /// Nothing is looked for.
    Nowhere,
    /// Given, with the length of its prefix or without: then it is the host's own.
    Given(IpAddr, Option<u8>),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Choice, String> {
        match text {
            "" => Ok(Choice::Kept),
            "autodetect" => Ok(Choice::Found),
            "none" => Ok(Choice::Nowhere),
            _ => {
                let net = text.parse::<IpNet>();
                let net = net.map(|net| Choice::Given(net.addr(), Some(net.prefix_len())));
                let address = text.parse().map(|address| Choice::Given(address, None));
                net.or(address).map_err(|_| {
                    "must be autodetect, none or an address with or without a prefix length".into()
                })
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Choice::Kept => Ok(()),
            Choice::Found => f.write_str("autodetect"),
            Choice::Nowhere => f.write_str("none"),
            Choice::Given(address, Some(length)) => write!(f, "{address}/{length}"),
            Choice::Given(address, None) => write!(f, "{address}"),
        }
    }
}

impl Choice {
    /// Whether it is an address of the other family.
    #[must_use]
    pub fn is_of_other_family(self, family: Family) -> bool {
        match self {
            Choice::Given(address, _) => !family.contains(&address),
            Choice::Kept | Choice::Found | Choice::Nowhere => false,
        }
    }

    /// Whether the host's addresses have to be looked at, if the resource has this one.
    pub(super) fn looks(self, method: &Method, now: Option<IpNet>) -> bool {
        match self {
            Choice::Kept => now.is_none() && *method != Method::None,
            Choice::Found | Choice::Given(..) => true,
            Choice::Nowhere => false,
        }
    }

    /// The address the resource is to have instead of `now`.
    pub(super) fn settle(
        self,
        method: &Method,
        now: Option<IpNet>,
        candidates: &[Candidate],
        family: Family,
    ) -> Result<Option<IpNet>, String> {
        if !self.looks(method, now) {
            return Ok(now);
        }
        match self {
            Choice::Kept | Choice::Found => {
                let found = detect::choose(method, candidates, family).map(Some);
                found.ok_or_else(|| format!("no {family} address is found by {method}"))
            }
            Choice::Nowhere => Ok(now),
            Choice::Given(address, length) => {
                let held = candidates.iter().map(|it| it.address);
                let held = held.filter(|it| it.addr() == address);
                let length = length.or_else(|| held.map(|it| it.prefix_len()).next());
                let whole = if family.is_v6() { 128 } else { 32 };
                let net = IpNet::new(address, length.unwrap_or(whole));
                net.map(Some).map_err(|error| format!("{self}: {error}"))
            }
        }
    }
}

/// The other node that has this underlay address, if one has.
pub(super) fn holder<'a>(nodes: &'a [Resource], own: &str, address: IpAddr) -> Option<&'a str> {
    nodes.iter().find_map(|resource| {
        let Resource::Node(node) = resource else {
            return None;
        };
        let bgp = node.spec.bgp.as_ref()?;
        let v4 = bgp.ipv4_address.as_ref().map(|net| IpAddr::V4(net.addr()));
        let v6 = bgp.ipv6_address.as_ref().map(|net| IpAddr::V6(net.addr()));
        let has = v4 == Some(address) || v6 == Some(address);
        (has && node.metadata.name != own).then_some(node.metadata.name.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_node_of_an_address_is_named() {
        let text = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: n1}\n\
                    spec: {bgp: {ipv4Address: 172.16.1.1/24, ipv6Address: 'fd00::1/64'}}\n";
        let nodes = [vrouter_api::parse(text.as_bytes(), "f").resources[0]
            .value
            .clone()];
        let holder = |own, address: &str| holder(&nodes, own, address.parse().expect("an address"));
        assert_eq!(holder("n2", "172.16.1.1"), Some("n1"));
        assert_eq!(holder("n2", "fd00::1"), Some("n1"));
        assert_eq!(holder("n2", "172.16.1.2"), None);
        assert_eq!(holder("n1", "172.16.1.1"), None);
    }

    #[test]
    fn words_are_calicos() {
        for text in [
            "",
            "autodetect",
            "none",
            "192.0.2.1",
            "192.0.2.1/24",
            "fd00::1/64",
        ] {
            assert_eq!(text.parse::<Choice>().unwrap().to_string(), text);
        }
        for bad in ["auto", "192.0.2.1/33", "192.0.2", "eth0"] {
            let error = bad.parse::<Choice>().unwrap_err();
            assert!(error.contains("must be autodetect, none or"), "{error}");
        }
        let given: Choice = "fd00::1".parse().unwrap();
        assert!(given.is_of_other_family(Family::V4) && !given.is_of_other_family(Family::V6));
    }

    #[test]
    fn what_is_there_gives_way_only_to_what_is_asked_for() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let candidates = [Candidate {
            interface: "eth0".into(),
            address: net("192.0.2.1/24"),
        }];
        let (first, none) = (Method::FirstFound, Method::None);
        let old = Some(net("198.51.100.1/24"));
        let new = Some(net("192.0.2.1/24"));
        for (text, method, now, wanted) in [
            ("", &first, old, old),
            ("", &first, None, new),
            ("", &none, None, None),
            ("autodetect", &first, old, new),
            ("none", &first, None, None),
            ("none", &first, old, old),
            ("192.0.2.1", &none, old, new),
            ("192.0.2.1/25", &first, old, Some(net("192.0.2.1/25"))),
            ("192.0.2.9", &first, None, Some(net("192.0.2.9/32"))),
        ] {
            let choice: Choice = text.parse().unwrap();
            let settled = choice.settle(method, now, &candidates, Family::V4);
            assert_eq!(settled, Ok(wanted), "{text:?} {method} {now:?}");
        }
        let nothing = Choice::Found.settle(&first, None, &candidates, Family::V6);
        assert_eq!(
            nothing,
            Err("no IPv6 address is found by first-found".to_owned())
        );
    }
}
