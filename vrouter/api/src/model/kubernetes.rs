//! Kubernetes' NetworkPolicy into Calico's, as libcalico's `conversion` does it: order 1000 in
//! the default tier, selectors limited to pods, one rule for each peer and protocol.

use policy::model::spec::{EntitySpec, NumberOrText, PolicySpec, RuleSpec};

use crate::kinds::{
    KubernetesNetworkPolicySpec, LabelSelector, Operator, Peer, PodPeer, PolicyPort, PortMatch,
    Protocol,
};
use crate::model::rules;

/// Selects pods alone.
const PODS: &str = "projectcalico.org/orchestrator == 'k8s'";
/// The order of every converted policy.
const ORDER: f64 = 1000.0;

pub(crate) fn spec(policy: &KubernetesNetworkPolicySpec) -> PolicySpec {
    let ingress = policy
        .ingress
        .iter()
        .flat_map(|rule| rules_of(&rule.from, &rule.ports, |rule, peer| rule.source = peer));
    let egress = policy.egress.iter().flat_map(|rule| {
        rules_of(&rule.to, &rule.ports, |rule, peer| {
            let ports = std::mem::take(&mut rule.destination.ports);
            rule.destination = EntitySpec { ports, ..peer };
        })
    });
    PolicySpec {
        order: Some(ORDER),
        selector: Some(pods(&policy.pod_selector)),
        types: super::types(&policy.policy_types),
        ingress: ingress.collect(),
        egress: egress.collect(),
        ..PolicySpec::default()
    }
}

/// The rules for each peer and protocol; `put` writes the peer on its side.
fn rules_of(
    peers: &[Peer],
    ports: &[PolicyPort],
    put: impl Fn(&mut RuleSpec, EntitySpec),
) -> Vec<RuleSpec> {
    let groups = groups(ports);
    let peers: Vec<EntitySpec> = match peers {
        [] => vec![EntitySpec::default()],
        peers => peers.iter().map(peer).collect(),
    };
    let mut rules = Vec::new();
    for peer in peers {
        for (protocol, ports) in &groups {
            let mut rule = RuleSpec {
                action: "Allow".to_owned(),
                protocol: protocol.map(rules::protocol),
                ..RuleSpec::default()
            };
            rule.destination.ports.clone_from(ports);
            put(&mut rule, peer.clone());
            rules.push(rule);
        }
    }
    rules
}

/// The ports by protocol; a protocol without a port number allows all of its ports.
fn groups(ports: &[PolicyPort]) -> Vec<(Option<Protocol>, Vec<NumberOrText>)> {
    if ports.is_empty() {
        return vec![(None, Vec::new())];
    }
    let mut groups: Vec<(Option<Protocol>, Vec<NumberOrText>)> = Vec::new();
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
        let of: Vec<&PolicyPort> = ports
            .iter()
            .filter(|port| port.protocol == protocol)
            .collect();
        if of.is_empty() {
            continue;
        }
        let all = of.iter().any(|port| port.port.is_none());
        let numbers = of
            .iter()
            .filter_map(|port| match (&port.port, port.end_port) {
                (Some(PortMatch::Range(low, _)), Some(end)) => {
                    Some(rules::port(&PortMatch::Range(*low, end)))
                }
                (Some(single), _) => Some(rules::port(single)),
                (None, _) => None,
            });
        groups.push((
            Some(protocol),
            if all { Vec::new() } else { numbers.collect() },
        ));
    }
    groups
}

fn peer(peer: &Peer) -> EntitySpec {
    match peer {
        Peer::IpBlock(block) => EntitySpec {
            nets: vec![block.cidr.to_string()],
            not_nets: block.except.iter().map(ToString::to_string).collect(),
            ..EntitySpec::default()
        },
        Peer::Pods(PodPeer {
            pod_selector,
            namespace_selector,
        }) => EntitySpec {
            selector: Some(pod_selector.as_ref().map_or_else(|| PODS.to_owned(), pods)),
            namespace_selector: namespace_selector.as_ref().map(|selector| {
                let conditions = conditions(selector);
                if conditions.is_empty() {
                    "all()".to_owned()
                } else {
                    conditions.join(" && ")
                }
            }),
            ..EntitySpec::default()
        },
    }
}

fn pods(selector: &LabelSelector) -> String {
    let mut all = vec![PODS.to_owned()];
    all.extend(conditions(selector));
    all.join(" && ")
}

/// Each label and expression in Calico's language. Label values hold no quotes: they were
/// checked.
fn conditions(selector: &LabelSelector) -> Vec<String> {
    let labels = selector
        .match_labels
        .iter()
        .map(|(key, value)| format!("{key} == '{value}'"));
    let expressions = selector.match_expressions.iter().map(|requirement| {
        let key = &requirement.key;
        let values: Vec<String> = requirement
            .values
            .iter()
            .map(|v| format!("'{v}'"))
            .collect();
        let set = values.join(", ");
        match requirement.operator {
            Operator::In => format!("{key} in {{ {set} }}"),
            Operator::NotIn => format!("{key} not in {{ {set} }}"),
            Operator::Exists => format!("has({key})"),
            Operator::DoesNotExist => format!("!has({key})"),
        }
    });
    labels.chain(expressions).collect()
}
