//! Kubernetes' NetworkPolicy into Calico's, as libcalico's `conversion` does it: order 1000 in
//! the default tier, selectors limited to pods, one rule for each peer and protocol.

use policy::model::spec::{EntitySpec, PolicySpec, RuleSpec};
use policy::model::{Action, Invalid, PortMatch, PortRange, Protocol};
use policy::selector::{Expr, LABEL_ORCHESTRATOR, LabelKey, Selector, Value};

use crate::kinds::{
    KubernetesNetworkPolicySpec, LabelSelector, Operator, Peer, PodPeer, PolicyPort,
};

/// The order of every converted policy.
const ORDER: f64 = 1000.0;

/// The policy of a Kubernetes one.
///
/// # Errors
/// What the model cannot hold.
pub(crate) fn kubernetes(policy: &KubernetesNetworkPolicySpec) -> Result<PolicySpec, Invalid> {
    let mut spec = PolicySpec {
        order: Some(ORDER),
        selector: Some(pods(Some(&policy.pod_selector))?),
        types: policy.policy_types.clone(),
        ..PolicySpec::default()
    };
    for rule in &policy.ingress {
        for (peer, mut allow) in rules(&rule.from, &rule.ports)? {
            allow.source = peer;
            spec.ingress.push(allow);
        }
    }
    for rule in &policy.egress {
        for (peer, mut allow) in rules(&rule.to, &rule.ports)? {
            let ports = allow.destination.ports;
            allow.destination = EntitySpec { ports, ..peer };
            spec.egress.push(allow);
        }
    }
    Ok(spec)
}

/// A rule for each peer and protocol, with the peer that one of its sides must be.
fn rules(peers: &[Peer], ports: &[PolicyPort]) -> Result<Vec<(EntitySpec, RuleSpec)>, Invalid> {
    let allowing = allowing(ports)?;
    let peers = match peers {
        [] => vec![EntitySpec::default()],
        peers => peers.iter().map(peer).collect::<Result<_, _>>()?,
    };
    let pairs = peers
        .iter()
        .flat_map(|peer| allowing.iter().map(|rule| (peer.clone(), rule.clone())));
    Ok(pairs.collect())
}

/// A rule for each protocol; one with an entry without a port allows all of the protocol's ports.
fn allowing(ports: &[PolicyPort]) -> Result<Vec<RuleSpec>, Invalid> {
    if ports.is_empty() {
        return Ok(vec![RuleSpec::new(Action::Allow)]);
    }
    let mut rules = Vec::new();
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::SCTP] {
        let ports: Vec<&PolicyPort> = ports.iter().filter(|p| p.protocol == protocol).collect();
        if ports.is_empty() {
            continue;
        }
        let mut rule = RuleSpec::new(Action::Allow);
        rule.protocol = Some(protocol);
        if ports.iter().all(|port| port.port.is_some()) {
            let matches = ports.into_iter().filter_map(ports_of);
            rule.destination.ports = matches.collect::<Result<_, _>>()?;
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// The ports of one entry, none where the entry allows all.
fn ports_of(port: &PolicyPort) -> Option<Result<PortMatch, Invalid>> {
    Some(match (port.port.as_ref()?, port.end_port) {
        (PortMatch::Range(range), Some(end)) => {
            PortRange::new(range.first(), end).map(PortMatch::Range)
        }
        (single, _) => Ok(single.clone()),
    })
}

fn peer(peer: &Peer) -> Result<EntitySpec, Invalid> {
    Ok(match peer {
        Peer::IpBlock(block) => EntitySpec {
            nets: vec![block.cidr],
            not_nets: block.except.clone(),
            ..EntitySpec::default()
        },
        Peer::Pods(PodPeer {
            pod_selector,
            namespace_selector,
        }) => EntitySpec {
            selector: Some(pods(pod_selector.as_ref())?),
            namespace_selector: namespace_selector
                .as_ref()
                .map(|selector| conditions(selector).map(all_of))
                .transpose()?,
            ..EntitySpec::default()
        },
    })
}

/// Pods alone, with such labels.
fn pods(selector: Option<&LabelSelector>) -> Result<Selector, Invalid> {
    let mut all = vec![Expr::Equal(
        LabelKey::new(LABEL_ORCHESTRATOR)?,
        value("k8s")?,
    )];
    if let Some(selector) = selector {
        all.extend(conditions(selector)?);
    }
    Ok(all_of(all))
}

fn all_of(mut conditions: Vec<Expr>) -> Selector {
    match conditions.len() {
        0 => Expr::All,
        1 => conditions.remove(0),
        _ => Expr::And(conditions),
    }
    .into()
}

/// Each label and expression in Calico's language.
fn conditions(selector: &LabelSelector) -> Result<Vec<Expr>, Invalid> {
    let labels = selector
        .match_labels
        .iter()
        .map(|(key, wanted)| Ok(Expr::Equal(LabelKey::new(key)?, value(wanted)?)));
    let expressions = selector.match_expressions.iter().map(|requirement| {
        let key = LabelKey::new(&requirement.key)?;
        let values = requirement.values.iter().map(|text| value(text));
        let mut values: Vec<Value> = values.collect::<Result<_, _>>()?;
        values.sort();
        values.dedup();
        Ok(match requirement.operator {
            Operator::In => Expr::In(key, values),
            Operator::NotIn => Expr::NotIn(key, values),
            Operator::Exists => Expr::Has(key),
            Operator::DoesNotExist => Expr::Not(Box::new(Expr::Has(key))),
        })
    });
    labels.chain(expressions).collect()
}

/// A label's value.
fn value(text: &str) -> Result<Value, Invalid> {
    Value::new(text)
        .ok_or_else(|| Invalid::new("", text, "a value cannot hold both kinds of quotes"))
}
