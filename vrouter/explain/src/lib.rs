//! What policy does with a packet, and why: names to endpoints, then the walk of both ends.
//!
//! The walk is the slow evaluator's (`policy::reference`), in the order of the packet path: egress
//! of the source, then ingress of the destination or the host's action for its own workloads.
//! Nothing here needs a running node: `vrouterctl` asks it over files.
#![forbid(unsafe_code)]

mod gateway;
mod hosts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use policy::compile::Chain;
use policy::model::{Direction, EndpointKey, PacketTuple};
use policy::reference::{self, Explanation};
use serde::Serialize;
use vrouter_api::{EndpointToHostAction, WorkloadEndpoint};
use vrouter_control::ErrorBody;
use vrouter_control::model::{Family, Protocol};
use vrouter_control::params::{Explain, Icmp};
use vrouter_core::desired::{Local, addresses_of, local_endpoint};
use vrouter_core::policies::endpoint_key;
use vrouter_core::resources::Resources;
use vrouter_core::underlay::Underlay;
use vrouter_dataplane::tables::is_gateway;

/// The source port of a packet when nobody says: the first of those for clients (RFC 6335).
const EPHEMERAL: u16 = 49_152;

/// A question with what it is asked over.
pub struct Question<'a> {
    /// The resources.
    pub resources: &'a Resources,
    /// The same as the evaluator has them.
    pub reference: &'a reference::Resources,
    /// Only what this node decides; `None`: what all nodes decide.
    pub node: Option<&'a str>,
    /// Addresses of that node besides those of its resource.
    pub host_addresses: &'a [IpAddr],
    /// Interface to the other nodes, where that is known.
    pub underlay: Option<&'a Underlay>,
    /// Whether that node answers containers' names, where that is known.
    pub names: Option<bool>,
}

/// Whether a packet passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    Allow,
    Deny,
}

/// One end of the packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Party {
    pub address: IpAddr,
    /// The workload that has it, `namespace/pod`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The node of that workload, or whose own address it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Walk {
    /// Whether the packet passes all that was asked.
    pub verdict: Verdict,
    pub because: String,
    pub source: Party,
    pub destination: Party,
    /// The packet.
    pub packet: PacketTuple,
    /// What is decided elsewhere, or not by policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Egress policy of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Explanation>,
    /// Ingress policy of the destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Explanation>,
    /// Host endpoints on the way, in the order they are met.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Explanation>,
}

/// A workload a name or an address means.
struct Found {
    key: EndpointKey,
    name: String,
    node: String,
}

/// Who was meant, before the family is known.
enum Meant {
    Address(IpAddr),
    Endpoint(Found, Vec<IpAddr>),
}

impl Meant {
    fn has(&self, family: Family) -> bool {
        match self {
            Self::Address(address) => family.contains(address),
            Self::Endpoint(_, addresses) => addresses.iter().any(|a| family.contains(a)),
        }
    }
}

impl Question<'_> {
    /// Walks.
    ///
    /// # Errors
    /// `not_found` for names nobody has, `bad_params` for packets that cannot be.
    pub fn explain(&self, ask: &Explain) -> Result<Walk, ErrorBody> {
        let source = self.meant(&ask.source)?;
        let destination = self.meant(&ask.destination)?;
        let family = family(ask, &source, &destination)?;
        let (source, from) = self.settle(source, family);
        let (destination, to) = self.settle(destination, family);
        let packet = packet(ask, family, source.address, destination.address)?;
        Ok(self.walk(packet, (source, from), (destination, to)))
    }

    fn walk(
        &self,
        packet: PacketTuple,
        (source, from): (Party, Option<Found>),
        (destination, to): (Party, Option<Found>),
    ) -> Walk {
        let mut walk = Walk {
            verdict: Verdict::Allow,
            because: "no policy has a say".to_owned(),
            source,
            destination,
            packet,
            notes: Vec::new(),
            egress: None,
            ingress: None,
            hosts: Vec::new(),
        };
        if let Some(from) = &from
            && is_gateway(walk.destination.address)
        {
            self.gateway(from, &mut walk);
            return walk;
        }
        if let Some(from) = &from {
            walk.egress = self.side(from, Direction::Egress, &mut walk);
        }
        if walk.verdict == Verdict::Deny {
            return walk;
        }
        match (&from, &to) {
            // A host always reaches its own workloads.
            (None, Some(to)) if walk.source.node.as_ref() == Some(&to.node) => {
                "a node reaches its own workloads".clone_into(&mut walk.because);
            }
            (_, Some(to)) => walk.ingress = self.side(to, Direction::Ingress, &mut walk),
            (Some(from), None) if walk.destination.node.as_ref() == Some(&from.node) => {
                self.host(&from.node, &mut walk);
            }
            (Some(_) | None, None) => {}
        }
        self.hosts(&mut walk, [from.as_ref(), to.as_ref()]);
        walk
    }

    /// One end's policy. Its verdict becomes the walk's.
    fn side(&self, end: &Found, direction: Direction, walk: &mut Walk) -> Option<Explanation> {
        if self.node.is_some_and(|node| node != end.node) {
            let (name, node) = (&end.name, &end.node);
            walk.notes
                .push(format!("{direction} of {name} is decided on {node}"));
            return None;
        }
        let said = self
            .reference
            .explain(&end.key, Chain::Normal, direction, &walk.packet);
        let Some(said) = said else {
            let name = &end.name;
            walk.notes
                .push(format!("{direction} of {name}: its resource is refused"));
            walk.verdict = Verdict::Deny;
            return None;
        };
        walk.because = format!("{direction} of {}: {}", end.name, said.by);
        walk.verdict = if said.allow {
            Verdict::Allow
        } else {
            Verdict::Deny
        };
        Some(said)
    }

    /// What a node does with packets of its own workloads to itself.
    fn host(&self, node: &str, walk: &mut Walk) {
        let felix = self.resources.felix(node);
        let action = felix.default_endpoint_to_host_action;
        walk.because = format!("defaultEndpointToHostAction of {node} is {action:?}");
        if action == EndpointToHostAction::Drop {
            walk.verdict = Verdict::Deny;
        }
    }

    fn meant(&self, text: &str) -> Result<Meant, ErrorBody> {
        if let Ok(address) = text.parse() {
            return Ok(Meant::Address(address));
        }
        let called = |endpoint: &&WorkloadEndpoint| local(endpoint).is_called(text);
        let mut all: Vec<&WorkloadEndpoint> = self.resources.endpoints().filter(called).collect();
        // Interface names are only unique on their node.
        all.sort_by_key(|endpoint| self.node != Some(endpoint.spec.node.as_str()));
        let Some(endpoint) = all.first() else {
            return Err(ErrorBody::not_found(format!(
                "no endpoint, interface or address {text:?}"
            )));
        };
        let addresses = local(endpoint).addresses;
        match self.found(endpoint) {
            Some(found) => Ok(Meant::Endpoint(found, addresses)),
            None => Err(ErrorBody::not_found(format!("{text:?} is no workload"))),
        }
    }

    /// The address and owner of one end.
    fn settle(&self, meant: Meant, family: Family) -> (Party, Option<Found>) {
        let (address, found) = match meant {
            Meant::Address(address) => (address, self.owner(address)),
            Meant::Endpoint(found, addresses) => {
                let mut own = addresses.into_iter().filter(|a| family.contains(a));
                let any = match family {
                    Family::V4 => IpAddr::from([0; 4]),
                    Family::V6 => IpAddr::from([0; 16]),
                };
                (own.next().unwrap_or(any), Some(found))
            }
        };
        let node = match &found {
            Some(found) => Some(found.node.clone()),
            None => self.node_of(address),
        };
        let party = Party {
            address,
            endpoint: found.as_ref().map(|found| found.name.clone()),
            node,
        };
        (party, found)
    }

    /// The workload that has an address, ours first.
    fn owner(&self, address: IpAddr) -> Option<Found> {
        let has =
            |e: &&WorkloadEndpoint| e.spec.ip_networks.iter().any(|net| net.contains(&address));
        let ours = |e: &&WorkloadEndpoint| self.node != Some(e.spec.node.as_str());
        let endpoint = self.resources.endpoints().filter(has).min_by_key(ours)?;
        self.found(endpoint)
    }

    fn found(&self, endpoint: &WorkloadEndpoint) -> Option<Found> {
        Some(Found {
            key: endpoint_key(&endpoint.key()).ok()?,
            name: local(endpoint).name(),
            node: endpoint.spec.node.clone(),
        })
    }

    /// The node whose own address it is.
    fn node_of(&self, address: IpAddr) -> Option<String> {
        if self.host_addresses.contains(&address) {
            return self.node.map(str::to_owned);
        }
        let mut nodes = self.resources.nodes();
        nodes
            .find(|node| addresses_of(node).contains(&address))
            .map(|node| node.metadata.name.clone())
    }
}

fn local(endpoint: &WorkloadEndpoint) -> Local {
    local_endpoint(endpoint, Default::default())
}

/// The family both ends have: the one asked for, else IPv4 where it can be.
fn family(ask: &Explain, source: &Meant, destination: &Meant) -> Result<Family, ErrorBody> {
    let both = |family: &Family| source.has(*family) && destination.has(*family);
    let wanted: BTreeMap<&str, Family> = match ask.family {
        Some(Family::V4) => BTreeMap::from([("IPv4", Family::V4)]),
        Some(Family::V6) => BTreeMap::from([("IPv6", Family::V6)]),
        None => BTreeMap::from([("IPv4", Family::V4), ("IPv6", Family::V6)]),
    };
    wanted.values().copied().find(both).ok_or_else(|| {
        let names: Vec<&str> = wanted.into_keys().collect();
        let (source, destination) = (&ask.source, &ask.destination);
        ErrorBody::bad_params(format!(
            "{source} and {destination} do not both have an address of {}",
            names.join(" or of ")
        ))
    })
}

fn packet(
    ask: &Explain,
    family: Family,
    source: IpAddr,
    destination: IpAddr,
) -> Result<PacketTuple, ErrorBody> {
    let protocol = ask.protocol;
    let refuse = |text: String| Err(ErrorBody::bad_params(text));
    let packet = PacketTuple::new(source, destination, protocol.0);
    if protocol.is_icmp() {
        if ask.port.is_some() || ask.source_port.is_some() {
            return refuse(format!("port: {protocol} has no ports"));
        }
        let (of, echo) = match family {
            Family::V4 => (Protocol::ICMP, 8),
            Family::V6 => (Protocol::ICMPV6, 128),
        };
        if protocol != of {
            return refuse(format!(
                "protocol: {protocol} is not of the packet's family"
            ));
        }
        let Icmp { kind, code } = ask.icmp.unwrap_or(Icmp {
            kind: echo,
            code: 0,
        });
        return Ok(packet.with_icmp(kind, code));
    }
    if ask.icmp.is_some() {
        return refuse(format!("icmp: {protocol} has no types"));
    }
    match (protocol.has_ports(), ask.port, ask.source_port) {
        (true, Some(port), source) => Ok(packet.with_ports(source.unwrap_or(EPHEMERAL), port)),
        (true, None, _) => refuse(format!("port: {protocol} needs one")),
        (false, None, None) => Ok(packet),
        (false, Some(_), _) | (false, None, Some(_)) => {
            refuse(format!("port: {protocol} has no ports"))
        }
    }
}
