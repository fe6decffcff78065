//! The host endpoints a packet meets on the nodes of its two ends.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use policy::model::EndpointKey;
use policy::reference::{Passage, Side, ToHost};
use vrouter_api::EndpointToHostAction;
use vrouter_core::desired::{Desired, Route, Target, desired};
use vrouter_core::host_endpoints::{HostEndpoints, choose};
use vrouter_core::underlay::Underlay;

use super::{Found, Question, Verdict, Walk};

impl Question<'_> {
    /// Adds what the host endpoints of both ends' nodes say to a walk.
    pub(super) fn hosts(&self, walk: &mut Walk, ends: [Option<&Found>; 2]) {
        let mut nodes: Vec<String> = Vec::new();
        for node in [&walk.source.node, &walk.destination.node]
            .into_iter()
            .flatten()
        {
            let ours = self.node.is_none_or(|own| own == node);
            if ours && !nodes.contains(node) {
                nodes.push(node.clone());
            }
        }
        for node in nodes {
            self.on(&node, walk, ends);
        }
    }

    /// What one node's host endpoints say.
    fn on(&self, node: &str, walk: &mut Walk, [from, to]: [Option<&Found>; 2]) {
        let mut own = self
            .resources
            .host_endpoints()
            .filter(|e| e.spec.node == node);
        if own.next().is_none() {
            return;
        }
        let wanted = desired(self.resources, node);
        let guessed = self.underlay.is_none().then(|| guess(&wanted));
        let underlay = self.underlay.or(guessed.as_ref());
        let tunnels = wanted.tunnels.iter().copied();
        let (chosen, remarks) = choose(self.resources, node, underlay, tunnels);
        walk.notes.extend(remarks);
        let end = |found: Option<&Found>, party_node: &Option<String>, address| match found {
            Some(found) if found.node == node => End::Workload(found.key.clone()),
            Some(_) | None if party_node.as_deref() == Some(node) => End::Host,
            Some(_) | None => End::Interface(crossed(&wanted, &chosen, address)),
        };
        let source = end(from, &walk.source.node, walk.source.address);
        let destination = end(to, &walk.destination.node, walk.destination.address);
        let all = chosen.all.as_deref().and_then(key);
        let passage = Passage {
            from: source.side(),
            to: destination.side(),
            all: all.as_ref(),
            to_host: match self.resources.felix(node).default_endpoint_to_host_action {
                EndpointToHostAction::Drop => ToHost::Drop,
                EndpointToHostAction::Accept => ToHost::Accept,
                EndpointToHostAction::Return => ToHost::Return,
            },
        };
        let passed = self.reference.pass(&passage, &walk.packet);
        for said in passed
            .asked
            .into_iter()
            .filter(|said| said.endpoint.is_host())
        {
            if !said.allow && walk.verdict == Verdict::Allow {
                walk.verdict = Verdict::Deny;
                walk.because = format!("{} of {}: {}", said.direction, said.endpoint, said.by);
            }
            walk.hosts.push(said);
        }
    }
}

/// One end of the packet, as a node sees it.
enum End {
    Workload(EndpointKey),
    Host,
    Interface(Option<EndpointKey>),
}

impl End {
    fn side(&self) -> Side<'_> {
        match self {
            Self::Workload(key) => Side::Workload(key),
            Self::Host => Side::Host,
            Self::Interface(key) => Side::Interface(key.as_ref()),
        }
    }
}

fn key(name: &str) -> Option<EndpointKey> {
    EndpointKey::host(name).ok()
}

/// The host endpoint of the interface by which a node reaches an address.
fn crossed(wanted: &Desired, chosen: &HostEndpoints, address: IpAddr) -> Option<EndpointKey> {
    let name = match longest(&wanted.routes, address).map(|route| &route.target) {
        Some(Target::Node {
            tunnel: Some(tunnel),
            ..
        }) => chosen.tunnels.get(tunnel),
        Some(
            Target::Node { tunnel: None, .. }
            | Target::Endpoint(_)
            | Target::Host
            | Target::Uplink
            | Target::Blackhole
            | Target::Unreachable,
        )
        | None => chosen.uplink.as_ref(),
    };
    name.and_then(|name| key(name))
}

fn longest(routes: &BTreeMap<IpNet, Route>, address: IpAddr) -> Option<&Route> {
    let own = routes
        .iter()
        .filter(|(prefix, _)| prefix.contains(&address));
    own.max_by_key(|(prefix, _)| prefix.prefix_len())
        .map(|(_, route)| route)
}

/// The underlay's interface of a node that is not asked itself: its addresses are in its resource,
/// its name is not.
fn guess(wanted: &Desired) -> Underlay {
    let own = [wanted.v4, wanted.v6].into_iter().flatten();
    Underlay {
        index: 0,
        name: "the underlay's interface".to_owned(),
        mtu: 0,
        addresses: own.map(|net| net.addr()).collect(),
    }
}
