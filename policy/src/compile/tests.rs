//! Tests of the compiler by example; `against_reference` compares it with the slow evaluator.

mod against_reference;
mod closed;
mod hosts;
mod listing;
mod long_programs;

use std::sync::Arc;

use super::*;
use crate::model::spec::{PolicySpec, ProfileSpec, TierSpec};
use crate::model::{
    Direction, Endpoint, EndpointKey, EndpointSpec, Name, NetworkSet, NetworkSetKey, PacketTuple,
    Policy, PolicyKey, PolicyKind, Profile, Tier, TierDefault,
};
use crate::selector::Labels;

fn graph() -> Graph {
    Graph::new(Name::new("n1").unwrap())
}

fn endpoint(name: &str, node: &str, address: &str, labels: &[(&str, &str)]) -> Endpoint {
    let key = EndpointKey::workload("ns", name).unwrap();
    let spec = EndpointSpec {
        node: node.into(),
        labels: Labels::from_pairs(labels.iter().copied()).unwrap(),
        profiles: vec!["kns.ns".into()],
        addresses: vec![address.into()],
        ..EndpointSpec::default()
    };
    Endpoint::new(key, &spec).unwrap()
}

fn policy(kind: PolicyKind, name: &str, spec: &str) -> Policy {
    let namespace = kind.is_namespaced().then_some("ns");
    let spec: PolicySpec = serde_json::from_str(spec).unwrap();
    Policy::new(PolicyKey::new(kind, namespace, name).unwrap(), &spec).unwrap()
}

fn tcp(from: &str, to: &str, port: u16) -> PacketTuple {
    PacketTuple::new(from.parse().unwrap(), to.parse().unwrap(), 6).with_ports(40_000, port)
}

fn verdict(tables: &Compiled, name: &str, direction: Direction, packet: &PacketTuple) -> Verdict {
    let key = EndpointKey::workload("ns", name).unwrap();
    tables.evaluate(tables.endpoint(&key).unwrap(), direction, packet)
}

#[test]
fn tiers_policies_sets_profiles() {
    let mut g = graph();
    g.apply(endpoint("web", "n1", "10.0.0.1", &[("app", "web")]).into());
    g.apply(endpoint("client", "n2", "10.0.0.2", &[("app", "client")]).into());
    g.apply(Profile::allowing("kns.ns", Labels::new()).unwrap().into());
    assert!(g.flush());
    let open = g.snapshot();
    let request = tcp("10.0.0.2", "10.0.0.1", 80);
    assert!(verdict(&open, "web", Direction::Ingress, &request).allow);

    g.apply(
        policy(
            PolicyKind::NetworkPolicy,
            "web",
            r#"{"selector":"app == 'web'","ingress":[{"action":"Allow","protocol":"TCP",
            "source":{"selector":"app == 'client'"},"destination":{"ports":[80]}}]}"#,
        )
        .into(),
    );
    assert!(g.flush());
    let closed = g.snapshot();
    let allowed = verdict(&closed, "web", Direction::Ingress, &request);
    assert!(allowed.allow);
    let info = closed.rule(allowed.rule).unwrap();
    assert_eq!(info.policy.as_ref().unwrap().name().as_str(), "web");
    assert_eq!(info.index, Some(0));
    let denied = verdict(
        &closed,
        "web",
        Direction::Ingress,
        &tcp("10.0.0.2", "10.0.0.1", 81),
    );
    assert!(!denied.allow);
    assert_eq!(
        closed.rule(denied.rule).unwrap().kind,
        RuleKind::TierDefault
    );
    assert!(
        verdict(
            &closed,
            "web",
            Direction::Egress,
            &tcp("10.0.0.1", "10.0.0.2", 1)
        )
        .allow
    );
    // The old tables still say what they said.
    let other = tcp("10.0.0.2", "10.0.0.1", 81);
    assert!(verdict(&open, "web", Direction::Ingress, &other).allow);

    // A member leaves the set: no program changes.
    let before = closed.endpoints.clone();
    g.apply(endpoint("client", "n2", "10.0.0.2", &[("app", "other")]).into());
    assert!(g.flush());
    let left = g.snapshot();
    assert!(Arc::ptr_eq(&before, &left.endpoints));
    assert!(!verdict(&left, "web", Direction::Ingress, &request).allow);
    // The same again is no change.
    g.apply(endpoint("client", "n2", "10.0.0.2", &[("app", "other")]).into());
    assert!(!g.flush());
    // A network set can be a member too.
    let set = NetworkSet::new(
        NetworkSetKey::new(Some("ns"), "s").unwrap(),
        &Labels::from_pairs([("app", "client")]).unwrap(),
        &["10.0.0.0/30".into()],
    );
    g.apply(set.unwrap().into());
    assert!(g.flush());
    assert!(verdict(&g.snapshot(), "web", Direction::Ingress, &request).allow);
}

#[test]
fn pass_log_and_staged() {
    let mut g = graph();
    g.apply(endpoint("web", "n1", "10.0.0.1", &[]).into());
    g.apply(
        Profile::new("kns.ns", &ProfileSpec::default())
            .unwrap()
            .into(),
    );
    g.apply(
        Tier::new(
            "first",
            &TierSpec {
                order: Some(1.0),
                default_action: TierDefault::Deny,
            },
        )
        .unwrap()
        .into(),
    );
    let rules = [
        (
            PolicyKind::GlobalNetworkPolicy,
            "a",
            r#"{"tier":"first","order":1,"ingress":[
            {"action":"Log"},
            {"action":"Pass","protocol":"TCP","destination":{"ports":["1:99"]}}]}"#,
        ),
        (
            PolicyKind::StagedGlobalNetworkPolicy,
            "b",
            r#"{"tier":"first","order":0,
            "ingress":[{"action":"Deny"}]}"#,
        ),
        (
            PolicyKind::GlobalNetworkPolicy,
            "c",
            r#"{"ingress":[
            {"action":"Allow","protocol":"TCP","destination":{"ports":[80]}}]}"#,
        ),
    ];
    for (kind, name, spec) in rules {
        g.apply(policy(kind, name, spec).into());
    }
    g.flush();
    let tables = g.snapshot();
    let v = verdict(
        &tables,
        "web",
        Direction::Ingress,
        &tcp("1.1.1.1", "10.0.0.1", 80),
    );
    assert!(v.allow);
    assert_eq!(
        tables
            .rule(v.rule)
            .unwrap()
            .policy
            .as_ref()
            .unwrap()
            .name()
            .as_str(),
        "c"
    );
    assert_eq!(v.logged.as_slice().len(), 1);
    assert_eq!(v.staged.as_slice().len(), 1);
    assert!(tables.rule(v.staged.as_slice()[0]).unwrap().staged);
    let v = verdict(
        &tables,
        "web",
        Direction::Ingress,
        &tcp("1.1.1.1", "10.0.0.1", 81),
    );
    assert_eq!(
        tables.rule(v.rule).unwrap().tier.as_ref().unwrap().as_str(),
        "default"
    );
    let v = verdict(
        &tables,
        "web",
        Direction::Ingress,
        &tcp("1.1.1.1", "10.0.0.1", 100),
    );
    assert_eq!(
        tables.rule(v.rule).unwrap().tier.as_ref().unwrap().as_str(),
        "first"
    );
    assert!(!v.allow);
}

#[test]
fn strings_that_nothing_holds_are_forgotten() {
    let mut g = graph();
    g.apply(
        policy(
            PolicyKind::GlobalNetworkPolicy,
            "p",
            r#"{"selector":"app == 'web'"}"#,
        )
        .into(),
    );
    g.apply(
        endpoint(
            "web",
            "n1",
            "10.0.0.1",
            &[("app", "web"), ("kept", "value")],
        )
        .into(),
    );
    for i in 0..150_000u32 {
        let labels = [("app", &*format!("app-{i}")), ("turn", &*i.to_string())];
        g.apply(endpoint("other", "n2", "10.0.0.2", &labels).into());
        if i % 1_000 == 0 {
            g.flush();
        }
    }
    g.flush();
    assert!(g.symbols.len() < 70_000, "{} strings", g.symbols.len());
    let packet = tcp("10.0.0.2", "10.0.0.1", 80);
    let v = verdict(&g.snapshot(), "web", Direction::Ingress, &packet);
    assert_eq!(
        g.snapshot().rule(v.rule).unwrap().kind,
        RuleKind::TierDefault
    );
}

#[test]
fn rule_numbers_stay_while_the_policy_lives() {
    let mut g = graph();
    g.apply(endpoint("web", "n1", "10.0.0.1", &[("app", "web")]).into());
    let with = |rules: &str| {
        let spec =
            format!(r#"{{"selector":"app == 'web'","types":["Ingress"],"ingress":[{rules}]}}"#);
        policy(PolicyKind::NetworkPolicy, "p", &spec)
    };
    let ssh = r#"{"action":"Allow","protocol":"TCP","destination":{"ports":[22]}}"#;
    let web = r#"{"action":"Allow","protocol":"TCP","destination":{"ports":[80]}}"#;
    let by = |g: &Graph, port| {
        let v = verdict(
            &g.snapshot(),
            "web",
            Direction::Ingress,
            &tcp("1.1.1.1", "10.0.0.1", port),
        );
        v.rule
    };
    g.apply(with(&format!("{ssh},{web}")).into());
    g.flush();
    let (first, second) = (by(&g, 22), by(&g, 80));
    assert_ne!(first, second);
    // Other endpoints, other policies, a rule's content: the numbers stay.
    g.apply(endpoint("two", "n1", "10.0.0.2", &[("app", "web")]).into());
    g.apply(policy(PolicyKind::GlobalNetworkPolicy, "q", r#"{"order":1}"#).into());
    g.apply(Update::RemovePolicy(
        PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, "q").unwrap(),
    ));
    g.apply(with(&format!("{ssh},{}", web.replace("80", "81"))).into());
    g.flush();
    assert_eq!((by(&g, 22), by(&g, 81)), (first, second));
    // A rule that went frees its number, which nobody gets at once.
    g.apply(with(ssh).into());
    g.apply(endpoint("three", "n1", "10.0.0.3", &[]).into());
    g.flush();
    assert_eq!(by(&g, 22), first);
    g.apply(with(&format!("{ssh},{web}")).into());
    g.flush();
    assert_ne!(by(&g, 80), second);
}
