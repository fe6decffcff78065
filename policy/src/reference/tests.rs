//! Tests of the reference by example: the model's text, one sentence a test.

use super::*;
use crate::model::spec::{PolicySpec, ProfileSpec, TierSpec};
use crate::model::{EndpointSpec, NamedPort, PolicyKind, Protocol};
use crate::selector::Labels;

fn cluster() -> Resources {
    let mut resources = Resources::new();
    for (name, address, app) in [("web", "10.0.0.1", "web"), ("client", "10.0.0.2", "client")] {
        let spec = EndpointSpec {
            node: "n1".into(),
            labels: Labels::from_pairs([("app", app)]).unwrap(),
            profiles: vec!["kns.ns".into()],
            addresses: vec![address.into()],
            ports: vec![NamedPort::new("http", Protocol::TCP, 8080).unwrap()],
            ..EndpointSpec::default()
        };
        let key = EndpointKey::workload("ns", name).unwrap();
        resources.apply(Endpoint::new(key, &spec).unwrap().into());
    }
    resources.apply(Profile::allowing("kns.ns", Labels::new()).unwrap().into());
    resources
}

fn with(resources: &mut Resources, kind: PolicyKind, name: &str, spec: &str) {
    let namespace = kind.is_namespaced().then_some("ns");
    let spec: PolicySpec = serde_json::from_str(spec).unwrap();
    let key = PolicyKey::new(kind, namespace, name).unwrap();
    resources.apply(Policy::new(key, &spec).unwrap().into());
}

fn ask(resources: &Resources, from: &str, to: &str, port: u16) -> FlowExplanation {
    let tuple = PacketTuple::new(from.parse().unwrap(), to.parse().unwrap(), 6);
    resources.explain_flow(&tuple.with_ports(40_000, port))
}

#[test]
fn no_policy_means_the_profiles_decide_and_no_profile_means_drop() {
    let mut resources = cluster();
    assert!(ask(&resources, "10.0.0.2", "10.0.0.1", 80).allow);
    resources.apply(Update::RemoveProfile(Name::new("kns.ns").unwrap()));
    let flow = ask(&resources, "10.0.0.2", "10.0.0.1", 80);
    assert!(!flow.allow);
    assert!(flow.ingress.is_none(), "egress dropped it already");
    assert_eq!(flow.egress.unwrap().by.kind, RuleKind::NoProfile);
}

#[test]
fn a_policy_denies_what_it_does_not_allow_in_its_directions_alone() {
    let mut resources = cluster();
    with(
        &mut resources,
        PolicyKind::NetworkPolicy,
        "web",
        r#"{"selector":"app == 'web'","ingress":[{"action":"Allow","protocol":"TCP",
        "source":{"selector":"app == 'client'"},"destination":{"ports":["http"]}}]}"#,
    );
    let flow = ask(&resources, "10.0.0.2", "10.0.0.1", 8080);
    assert!(flow.allow);
    let ingress = flow.ingress.unwrap();
    assert_eq!(ingress.by.index, Some(0));
    assert!(ingress.to_string().contains("selected by"), "{ingress}");
    let denied = ask(&resources, "10.0.0.2", "10.0.0.1", 80).ingress.unwrap();
    assert_eq!(denied.by.kind, RuleKind::TierDefault);
    let rule = &denied
        .stages
        .iter()
        .flat_map(|s| &s.policies)
        .next()
        .unwrap()
        .rules[0];
    assert_eq!(rule.because, "destination port 80 is not in http");
    assert!(
        ask(&resources, "10.0.0.1", "10.0.0.2", 80).allow,
        "egress of web is open"
    );
    let json = serde_json::to_value(&denied).unwrap();
    assert_eq!(json["by"]["kind"], "tierDefault");
    assert_eq!(json["endpoint"]["name"], "web");
}

#[test]
fn staged_policies_are_seen_and_change_nothing() {
    let mut resources = cluster();
    let deny = r#"{"ingress":[{"action":"Deny"}]}"#;
    with(
        &mut resources,
        PolicyKind::StagedGlobalNetworkPolicy,
        "s",
        deny,
    );
    let flow = ask(&resources, "10.0.0.2", "10.0.0.1", 80);
    assert!(flow.allow);
    let ingress = flow.ingress.unwrap();
    assert_eq!(ingress.staged.len(), 1);
    assert_eq!(ingress.by.kind, RuleKind::Profile);
}

#[test]
fn a_passing_tier_default_leads_to_the_next_tier() {
    let mut resources = cluster();
    let tier = TierSpec {
        order: Some(1.0),
        default_action: TierDefault::Pass,
    };
    resources.apply(Tier::new("t", &tier).unwrap().into());
    let nothing = r#"{"tier":"t","ingress":[{"action":"Deny","protocol":"UDP"}]}"#;
    with(
        &mut resources,
        PolicyKind::GlobalNetworkPolicy,
        "p",
        nothing,
    );
    assert!(ask(&resources, "10.0.0.2", "10.0.0.1", 80).allow);
    let tier = TierSpec {
        order: Some(1.0),
        default_action: TierDefault::Deny,
    };
    resources.apply(Tier::new("t", &tier).unwrap().into());
    let flow = ask(&resources, "10.0.0.2", "10.0.0.1", 80);
    assert_eq!(flow.ingress.unwrap().by.tier.unwrap().as_str(), "t");
}

#[test]
fn a_missing_label_matches_negations_but_an_unknown_address_matches_no_selector() {
    let mut resources = cluster();
    let rule = |entity: &str| {
        format!(
            r#"{{"selector":"app == 'web'","ingress":[{{"action":"Allow","source":{entity}}}]}}"#
        )
    };
    let gnp = PolicyKind::GlobalNetworkPolicy;
    with(
        &mut resources,
        gnp,
        "p",
        &rule(r#"{"selector":"!has(role)"}"#),
    );
    assert!(ask(&resources, "10.0.0.2", "10.0.0.1", 80).allow);
    assert!(!ask(&resources, "8.8.8.8", "10.0.0.1", 80).allow);
    with(
        &mut resources,
        gnp,
        "p",
        &rule(r#"{"notSelector":"has(role)"}"#),
    );
    assert!(ask(&resources, "8.8.8.8", "10.0.0.1", 80).allow);
    with(
        &mut resources,
        gnp,
        "p",
        &rule(r#"{"selector":"role != 'x'"}"#),
    );
    assert!(ask(&resources, "10.0.0.2", "10.0.0.1", 80).allow);
}

#[test]
fn an_empty_profile_falls_through_to_drop() {
    let mut resources = cluster();
    resources.apply(
        Profile::new("kns.ns", &ProfileSpec::default())
            .unwrap()
            .into(),
    );
    let flow = ask(&resources, "10.0.0.2", "10.0.0.1", 80);
    assert_eq!(flow.egress.unwrap().by.kind, RuleKind::NoProfile);
}
