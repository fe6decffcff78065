//! Which `HostEndpoint` of this node stands for which interface, as far as its packets pass here.
//!
//! As in Felix: the one that names the interface; else one without a name whose `expectedIPs` are
//! the interface's; else the one of all interfaces, `*`. Of several the first by name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use encap::Tunnel;
use policy::compile::{Chain, Compiled};
use policy::model::{Direction, EndpointKey};
use vrouter_api::HostEndpoint;
use vrouter_dataplane::host_endpoint as dataplane;
use vrouter_dataplane::id::InterfaceId;

use crate::resources::Resources;
use crate::underlay::Underlay;

/// The name that stands for all interfaces.
const ALL: &str = "*";

/// What was chosen, by resource name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostEndpoints {
    /// For all interfaces that have none of their own.
    pub all: Option<String>,
    /// For the interface behind the host's routes.
    pub uplink: Option<String>,
    /// For tunnels' devices.
    pub tunnels: BTreeMap<Tunnel, String>,
}

/// Chooses; what will have no effect comes back in words.
pub fn choose(
    resources: &Resources,
    node: &str,
    underlay: Option<&Underlay>,
    tunnels: impl Iterator<Item = Tunnel>,
) -> (HostEndpoints, Vec<String>) {
    let own: Vec<&HostEndpoint> = resources
        .host_endpoints()
        .filter(|endpoint| endpoint.spec.node == node)
        .collect();
    let name = |endpoint: &&HostEndpoint| endpoint.metadata.name.clone();
    let named = |interface: &str| {
        let mut named = own.iter().filter(|e| e.spec.interface_name == interface);
        named.next().map(name)
    };
    let holding = |addresses: &[IpAddr]| {
        let mut holding = own.iter().filter(|e| {
            e.spec.interface_name.is_empty()
                && e.spec.expected_ips.iter().any(|ip| addresses.contains(ip))
        });
        holding.next().map(name)
    };
    let all = named(ALL);
    let mut chosen = HostEndpoints {
        uplink: underlay
            .and_then(|u| named(&u.name).or_else(|| holding(&u.addresses)))
            .or_else(|| all.clone()),
        all,
        tunnels: BTreeMap::new(),
    };
    let mut has_tunnels = false;
    for tunnel in tunnels {
        has_tunnels = true;
        let found = named(tunnel.calico_device());
        if let Some(found) = found.or_else(|| chosen.all.clone()) {
            chosen.tunnels.insert(tunnel, found);
        }
    }
    let problems = own
        .iter()
        .filter_map(|e| chosen.remark(e, underlay, has_tunnels));
    let problems = problems.collect();
    (chosen, problems)
}

impl HostEndpoints {
    fn is_chosen(&self, name: &str) -> bool {
        let mut each = self.tunnels.values().chain(&self.all).chain(&self.uplink);
        each.any(|chosen| chosen == name)
    }

    /// Which host endpoints of a node are up: those whose interface's packets pass here.
    pub fn statuses(&self, resources: &Resources, node: &str) -> BTreeMap<String, bool> {
        let own = resources.host_endpoints().filter(|e| e.spec.node == node);
        own.map(|e| (e.metadata.name.clone(), self.is_chosen(&e.metadata.name)))
            .collect()
    }

    /// What its author should know of a host endpoint of this node.
    fn remark(
        &self,
        endpoint: &HostEndpoint,
        underlay: Option<&Underlay>,
        has_tunnels: bool,
    ) -> Option<String> {
        let name = &endpoint.metadata.name;
        let uplink = underlay.map_or("?", |underlay| underlay.name.as_str());
        if !self.is_chosen(name) {
            return Some(format!(
                "HostEndpoint({name}): has no effect: no packet that vrouterd handles crosses its \
                 interface, or another one stands for it; those that are crossed are {uplink} \
                 (routed pods' packets), the tunnels' devices and \"*\""
            ));
        }
        (has_tunnels && self.all.is_none() && self.tunnels.is_empty()).then(|| {
            format!(
                "HostEndpoint({name}): sees packets that are routed by {uplink}; those in tunnels \
                 cross vxlan.calico or tunl0 (as in Calico), where a host endpoint of that name or \
                 of \"*\" would see them"
            )
        })
    }

    /// What was chosen, in the packet path's form.
    pub fn compiled(&self, policy: &Compiled) -> dataplane::HostEndpoints {
        let one = |name: &String| one(policy, name);
        let tunnels = self
            .tunnels
            .iter()
            .filter_map(|(tunnel, name)| Some((InterfaceId::tunnel(*tunnel), one(name)?)));
        dataplane::HostEndpoints::new(
            self.all.as_ref().and_then(one),
            self.uplink.as_ref().and_then(one),
            tunnels.collect(),
        )
    }
}

fn one(policy: &Compiled, name: &str) -> Option<dataplane::HostEndpoint> {
    // A resource the compiler refused is among the problems already.
    let index = policy.endpoint(&EndpointKey::host(name).ok()?)?;
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    Some(dataplane::HostEndpoint {
        policy: index,
        untracked: [ingress, egress]
            .map(|direction| policy.has_policies(index, Chain::Untracked, direction)),
        pre_dnat: policy.has_policies(index, Chain::PreDnat, ingress),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> Resources {
        let parsed = vrouter_api::parse(text.as_bytes(), "t.yaml");
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        let mut resources = Resources::default();
        for resource in parsed.resources {
            resources.upsert(resource.value);
        }
        resources
    }

    fn endpoint(name: &str, node: &str, rest: &str) -> String {
        format!(
            "apiVersion: projectcalico.org/v3\nkind: HostEndpoint\nmetadata: {{name: {name}}}\n\
             spec: {{node: {node}, {rest}}}\n---\n"
        )
    }

    fn underlay() -> Underlay {
        Underlay {
            index: 2,
            name: "eth0".into(),
            mtu: 1500,
            addresses: vec!["172.16.0.1".parse().unwrap()],
        }
    }

    const VXLAN: Tunnel = Tunnel::Vxlan(encap::Family::V4);

    fn chosen(text: &str) -> (HostEndpoints, Vec<String>) {
        choose(
            &resources(text),
            "n1",
            Some(&underlay()),
            [VXLAN].into_iter(),
        )
    }

    #[test]
    fn a_name_before_an_address_before_all() {
        let all = endpoint("all", "n1", "interfaceName: '*'");
        let by_address = endpoint("ip", "n1", "expectedIPs: [172.16.0.1]");
        let by_name = endpoint("name", "n1", "interfaceName: eth0, expectedIPs: [1.2.3.4]");
        let tunnel = endpoint("tunnel", "n1", "interfaceName: vxlan.calico");
        let elsewhere = endpoint("a", "n2", "interfaceName: '*'");
        let text = |name: &str| Some(name.to_owned());
        let mut resources = all + &elsewhere;
        let (found, problems) = chosen(&resources);
        assert_eq!((found.all, found.uplink), (text("all"), text("all")));
        assert_eq!(found.tunnels[&VXLAN], "all");
        assert!(problems.is_empty());
        for (more, uplink) in [(by_address, "ip"), (by_name, "name")] {
            resources += &more;
            let (found, _) = chosen(&resources);
            assert_eq!((found.all, found.uplink), (text("all"), text(uplink)));
        }
        resources += &tunnel;
        let (found, problems) = chosen(&resources);
        assert_eq!(found.tunnels[&VXLAN], "tunnel");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("HostEndpoint(ip)"), "{problems:?}");
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let (found, problems) = chosen(&endpoint("lo", "n1", "interfaceName: lo"));
        assert_eq!(found, HostEndpoints::default());
        assert!(problems[0].contains("HostEndpoint(lo): has no effect"));
        let (_, problems) = chosen(&endpoint("eth", "n1", "interfaceName: eth0"));
        assert!(problems[0].contains("vxlan.calico"), "{problems:?}");
        let (found, problems) = chosen(&endpoint("b", "n2", "interfaceName: eth0"));
        assert_eq!((found, problems.len()), (HostEndpoints::default(), 0));
    }
}
