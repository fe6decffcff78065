//! Tests of the model's constructors: what is refused, where, and what defaults mean.

use super::spec::{EntitySpec, PolicySpec, RuleSpec, ServiceSpec, TierSpec};
use super::*;
use crate::selector::{LabelSource, Labels};

fn global(spec: &PolicySpec) -> Result<Policy, Invalid> {
    Policy::new(
        PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, "p").unwrap(),
        spec,
    )
}

fn namespaced(spec: &PolicySpec) -> Result<Policy, Invalid> {
    Policy::new(
        PolicyKey::new(PolicyKind::NetworkPolicy, Some("ns"), "p").unwrap(),
        spec,
    )
}

fn yaml(text: &str) -> PolicySpec {
    serde_json::from_str(text).unwrap()
}

/// A global policy from JSON; a text that no type takes is refused like a field that cannot stand.
fn global_from(text: &str) -> Result<Policy, Invalid> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let spec = serde_path_to_error::deserialize(&mut reader)
        .map_err(|e| Invalid::new(format!("spec.{}", e.path()), "", e.inner().to_string()))?;
    global(&spec)
}

fn refused(result: Result<Policy, Invalid>, field: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.field, field, "{error}");
    assert!(!error.reason.is_empty());
}

#[test]
fn a_full_policy_parses() {
    let policy = namespaced(&yaml(
        r#"{"tier":"app","order":10.5,"selector":"a == 'b'","types":["Ingress","Egress"],
        "ingress":[{"action":"Allow","protocol":"TCP","ipVersion":4,
          "source":{"selector":"x in {'1'}","notNets":["10.0.0.1/8","fe80::1"]},
          "destination":{"ports":[80,"8000:9000","http"],"notPorts":[443]}},
         {"action":"Log","protocol":"ICMP","icmp":{"type":8},"notICMP":{"type":8,"code":1}}],
        "egress":[{"action":"Pass","notProtocol":17,
          "destination":{"services":{"name":"dns"}}}]}"#,
    ))
    .unwrap();
    assert_eq!(policy.order().value(), Some(10.5));
    let rules = policy.rules(Direction::Ingress).unwrap();
    assert_eq!(rules.len(), 2);
    assert_eq!(rules[0].source().not_nets()[0].to_string(), "10.0.0.0/8");
    assert_eq!(rules[0].destination().ports().len(), 3);
    assert_eq!(
        rules[0].source().selector().unwrap().to_string(),
        "(projectcalico.org/namespace == \"ns\" && x in {\"1\"})"
    );
    let egress = policy.rules(Direction::Egress).unwrap();
    assert_eq!(
        egress[0].destination().service().unwrap().to_string(),
        "ns/dns"
    );
    assert_eq!(egress[0].not_protocol(), Some(Protocol::UDP));
}

#[test]
fn types_default_by_the_rules() {
    let rule = RuleSpec::new(Action::Allow);
    let with = |ingress: usize, egress: usize| {
        let spec = PolicySpec {
            ingress: vec![rule.clone(); ingress],
            egress: vec![rule.clone(); egress],
            ..PolicySpec::default()
        };
        let policy = global(&spec).unwrap();
        (
            policy.rules(Direction::Ingress).is_some(),
            policy.rules(Direction::Egress).is_some(),
        )
    };
    assert_eq!(with(0, 0), (true, false));
    assert_eq!(with(1, 0), (true, false));
    assert_eq!(with(0, 1), (false, true));
    assert_eq!(with(1, 1), (true, true));
}

#[test]
fn refusals_name_the_field() {
    for (text, field) in [
        (
            r#"{"ingress":[{"action":"allow"}]}"#,
            "spec.ingress[0].action",
        ),
        (
            r#"{"egress":[{"action":"Allow","destination":{"ports":[80]}}]}"#,
            "spec.egress[0].destination.ports",
        ),
        (
            r#"{"ingress":[{"action":"Allow","protocol":"TCP","source":{"ports":[1,70000]}}]}"#,
            "spec.ingress[0].source.ports[1]",
        ),
        (
            r#"{"ingress":[{"action":"Allow","protocol":0}]}"#,
            "spec.ingress[0].protocol",
        ),
        (
            r#"{"ingress":[{"action":"Allow","ipVersion":5}]}"#,
            "spec.ingress[0].ipVersion",
        ),
        (
            r#"{"ingress":[{"action":"Allow","icmp":{"type":8}}]}"#,
            "spec.ingress[0].icmp",
        ),
        (
            r#"{"ingress":[{"action":"Allow","protocol":"ICMP","icmp":{"code":8}}]}"#,
            "spec.ingress[0].icmp.code",
        ),
        (
            r#"{"ingress":[{"action":"Allow","protocol":"ICMP","icmp":{"type":255}}]}"#,
            "spec.ingress[0].icmp.type",
        ),
        (
            r#"{"ingress":[{"action":"Allow","protocol":"ICMPv6","ipVersion":4}]}"#,
            "spec.ingress[0].protocol",
        ),
        (
            r#"{"ingress":[{"action":"Allow","source":{"nets":["10.0.0.0/33"]}}]}"#,
            "spec.ingress[0].source.nets[0]",
        ),
        (
            r#"{"ingress":[{"action":"Allow","source":{"selector":"a = 'b'"}}]}"#,
            "spec.ingress[0].source.selector",
        ),
        (r#"{"selector":"a =="}"#, "spec.selector"),
        (r#"{"types":["ingress"]}"#, "spec.types[0]"),
        (r#"{"tier":"a b"}"#, "spec.tier"),
        (r#"{"doNotTrack":true}"#, "spec.applyOnForward"),
        (
            r#"{"doNotTrack":true,"preDNAT":true,"applyOnForward":true}"#,
            "spec.preDNAT",
        ),
        (
            r#"{"preDNAT":true,"applyOnForward":true,"types":["Egress"]}"#,
            "spec.preDNAT",
        ),
        (
            r#"{"ingress":[{"action":"Allow","source":{"services":{"name":"x"}}}]}"#,
            "spec.ingress[0].source.services.namespace",
        ),
        (
            r#"{"ingress":[{"action":"Allow","destination":{"services":{"name":"x","namespace":"n"}}}]}"#,
            "spec.ingress[0].destination.services",
        ),
    ] {
        refused(global_from(text), field);
    }
    for (text, field) in [
        (r#"{"namespaceSelector":"all()"}"#, "spec.namespaceSelector"),
        (
            r#"{"doNotTrack":true,"applyOnForward":true}"#,
            "spec.doNotTrack",
        ),
        (r#"{"applyOnForward":true}"#, "spec.applyOnForward"),
    ] {
        refused(namespaced(&yaml(text)), field);
    }
    refused(
        global(&PolicySpec {
            order: Some(f64::NAN),
            ..PolicySpec::default()
        }),
        "spec.order",
    );
    let rule = RuleSpec::new(Action::Allow);
    let many = PolicySpec {
        ingress: vec![rule; MAX_RULES + 1],
        ..PolicySpec::default()
    };
    refused(global(&many), "spec.ingress");
}

#[test]
fn keys_know_their_scope() {
    assert!(PolicyKey::new(PolicyKind::NetworkPolicy, None, "p").is_err());
    assert!(PolicyKey::new(PolicyKind::GlobalNetworkPolicy, Some("ns"), "p").is_err());
    assert!(Name::new("a'b").is_err());
    let key = PolicyKey::new(PolicyKind::StagedNetworkPolicy, Some("ns"), "p").unwrap();
    assert_eq!(key.to_string(), "StagedNetworkPolicy ns/p");
}

#[test]
fn ties_are_broken_as_in_each_release() {
    let policy = |kind: PolicyKind, tier: &str, name: &str| {
        let namespace = kind.is_namespaced().then_some("ns");
        let spec = PolicySpec {
            tier: Some(Name::new(tier).unwrap()),
            ..PolicySpec::default()
        };
        Policy::new(PolicyKey::new(kind, namespace, name).unwrap(), &spec).unwrap()
    };
    use PolicyKind::{
        GlobalNetworkPolicy, KubernetesNetworkPolicy, NetworkPolicy, StagedGlobalNetworkPolicy,
        StagedKubernetesNetworkPolicy, StagedNetworkPolicy,
    };
    for (kind, tier, name, new, old) in [
        (
            NetworkPolicy,
            "default",
            "a",
            "a/ns/NetworkPolicy",
            "ns/default.a",
        ),
        (
            NetworkPolicy,
            "default",
            "default.a",
            "default.a/ns/NetworkPolicy",
            "ns/default.a",
        ),
        (
            NetworkPolicy,
            "default",
            "knp.default.a",
            "knp.default.a/ns/NetworkPolicy",
            "ns/knp.default.a",
        ),
        (
            GlobalNetworkPolicy,
            "t",
            "t.a",
            "t.a//GlobalNetworkPolicy",
            "t.a",
        ),
        (
            KubernetesNetworkPolicy,
            "default",
            "knp.default.a",
            "a/ns/KubernetesNetworkPolicy",
            "ns/knp.default.a",
        ),
        (
            StagedNetworkPolicy,
            "default",
            "a",
            "a/ns/StagedNetworkPolicy",
            "ns/staged:default.a",
        ),
        (
            StagedGlobalNetworkPolicy,
            "default",
            "a",
            "a//StagedGlobalNetworkPolicy",
            "staged:default.a",
        ),
        (
            StagedKubernetesNetworkPolicy,
            "default",
            "knp.default.a",
            "a/ns/StagedKubernetesNetworkPolicy",
            "ns/staged:knp.default.a",
        ),
    ] {
        let policy = policy(kind, tier, name);
        assert_eq!(policy.tie_break(TieBreak::NameFirst), new);
        assert_eq!(policy.tie_break(TieBreak::NamespaceFirst), old);
    }
    // A longer name first: `-` is less than the `/` behind the shorter one.
    let [long, short] = ["a-b", "a"]
        .map(|name| policy(GlobalNetworkPolicy, "default", name).tie_break(TieBreak::NameFirst));
    assert!(long < short);
}

#[test]
fn orders_sort_with_none_last() {
    let order = |o| Order::new(o).unwrap();
    assert!(order(Some(-1.0)) < order(Some(0.5)));
    assert!(order(Some(1e300)) < order(None));
    assert_eq!(
        order(Some(-0.0)).cmp(&order(Some(0.0))),
        std::cmp::Ordering::Equal
    );
    assert!(serde_json::from_str::<TierSpec>(r#"{"defaultAction":"Allow"}"#).is_err());
}

#[test]
fn endpoints_get_the_well_known_labels() {
    let spec = EndpointSpec {
        node: "n1".into(),
        addresses: vec!["10.0.0.5".into(), "fd00::5/128".into()],
        service_account: Some("sa".into()),
        ..EndpointSpec::default()
    };
    let endpoint = Endpoint::new(EndpointKey::workload("ns", "e").unwrap(), &spec).unwrap();
    assert_eq!(
        endpoint.labels().value("projectcalico.org/namespace"),
        Some("ns")
    );
    assert_eq!(
        endpoint.labels().value("projectcalico.org/serviceaccount"),
        Some("sa")
    );
    assert_eq!(endpoint.addresses()[0].to_string(), "10.0.0.5/32");
    let set = NetworkSet::new(
        NetworkSetKey::new(Some("ns"), "s").unwrap(),
        &Labels::new(),
        &["10.1.2.3/16".into()],
    )
    .unwrap();
    assert_eq!(set.profiles()[0].as_str(), "kns.ns");
    assert_eq!(set.nets().iter().next().unwrap().to_string(), "10.1.0.0/16");
}

#[test]
fn services_stand_alone() {
    let entity = EntitySpec {
        services: Some(ServiceSpec {
            name: Name::new("x").unwrap(),
            namespace: None,
        }),
        nets: vec!["10.0.0.0/8".parse().unwrap()],
        ..EntitySpec::default()
    };
    let rule = RuleSpec {
        source: entity,
        ..RuleSpec::new(Action::Allow)
    };
    let spec = PolicySpec {
        ingress: vec![rule],
        ..PolicySpec::default()
    };
    refused(namespaced(&spec), "spec.ingress[0].source.services");
}
