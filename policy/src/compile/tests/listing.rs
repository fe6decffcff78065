//! What applies to an endpoint, listed, against what evaluation says decided.

use super::*;

#[test]
fn the_order_and_numbers_are_those_of_evaluation() {
    let mut g = graph();
    g.apply(endpoint("web", "n1", "10.0.0.1", &[("app", "web")]).into());
    g.apply(endpoint("far", "n2", "10.0.0.2", &[]).into());
    g.apply(Profile::allowing("kns.ns", Labels::new()).unwrap().into());
    let spec: TierSpec = serde_json::from_str(r#"{"order": 10, "defaultAction": "Pass"}"#).unwrap();
    g.apply(Tier::new("first", &spec).unwrap().into());
    let deny_ssh = r#"{"tier": "first", "selector": "app == 'web'", "types": ["Ingress"],
        "ingress": [{"action": "Deny", "protocol": "TCP", "destination": {"ports": [22]}}]}"#;
    g.apply(policy(PolicyKind::GlobalNetworkPolicy, "first.ssh", deny_ssh).into());
    let allow = |order: u32, port: u16| {
        format!(
            r#"{{"order": {order}, "ingress": [{{"action": "Allow", "protocol": "TCP",
            "destination": {{"ports": [{port}]}}}}]}}"#
        )
    };
    g.apply(policy(PolicyKind::NetworkPolicy, "b", &allow(1, 80)).into());
    g.apply(policy(PolicyKind::StagedNetworkPolicy, "staged", &allow(2, 81)).into());
    g.apply(policy(PolicyKind::NetworkPolicy, "a", &allow(3, 82)).into());
    let elsewhere = r#"{"tier": "nowhere", "ingress": [{"action": "Deny"}]}"#;
    g.apply(policy(PolicyKind::NetworkPolicy, "lost", elsewhere).into());
    g.flush();

    let key = EndpointKey::workload("ns", "web").unwrap();
    let applied = g.applied(&key, Direction::Ingress).unwrap();
    let names: Vec<(&str, Vec<&str>)> = applied
        .tiers
        .iter()
        .map(|tier| {
            let policies = tier.policies.iter();
            let names = policies.map(|p| p.policy.key().name().as_str()).collect();
            (tier.tier.name().as_str(), names)
        })
        .collect();
    assert_eq!(
        names,
        [
            ("first", vec!["first.ssh"]),
            ("default", vec!["b", "staged", "a"])
        ]
    );
    assert_eq!(applied.profiles.len(), 1);
    let tables = g.snapshot();
    let rule = |port| {
        let packet = tcp("10.0.0.2", "10.0.0.1", port);
        verdict(&tables, "web", Direction::Ingress, &packet).rule
    };
    assert_eq!(applied.tiers[0].policies[0].ids[..], [rule(22)]);
    assert_eq!(applied.tiers[1].policies[2].ids[..], [rule(82)]);
    assert_eq!(applied.tiers[1].default, Some(rule(9)));

    let outwards = g.applied(&key, Direction::Egress).unwrap();
    assert!(outwards.tiers.is_empty());
    let packet = tcp("10.0.0.1", "10.0.0.2", 1);
    let by = verdict(&tables, "web", Direction::Egress, &packet).rule;
    assert_eq!(outwards.profiles[0].ids[..], [by]);

    let far = EndpointKey::workload("ns", "far").unwrap();
    assert_eq!(g.applied(&far, Direction::Ingress), None);
}

#[test]
fn rules_that_pass_are_noted() {
    let mut g = graph();
    g.apply(endpoint("web", "n1", "10.0.0.1", &[]).into());
    g.apply(Profile::allowing("kns.ns", Labels::new()).unwrap().into());
    let pass = r#"{"ingress": [{"action": "Deny", "protocol": "UDP"},
        {"action": "Pass", "protocol": "TCP"}]}"#;
    g.apply(policy(PolicyKind::NetworkPolicy, "p", pass).into());
    g.flush();
    let packet = tcp("10.0.0.2", "10.0.0.1", 80);
    let said = verdict(&g.snapshot(), "web", Direction::Ingress, &packet);
    assert!(said.allow);
    let key = EndpointKey::workload("ns", "web").unwrap();
    let applied = g.applied(&key, Direction::Ingress).unwrap();
    let ids = &applied.tiers[0].policies[0].ids;
    assert_eq!(said.passed.as_slice(), &ids[1..]);
}
