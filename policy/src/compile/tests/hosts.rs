//! Host endpoints: failsafe ports and the four chains.

use super::*;

const GNP: PolicyKind = PolicyKind::GlobalNetworkPolicy;

fn host() -> Graph {
    let mut g = graph();
    let spec = EndpointSpec {
        node: "n1".into(),
        labels: Labels::from_pairs([("host", "yes")]).unwrap(),
        addresses: vec!["192.0.2.1".into()],
        interface: Some("*".into()),
        ..EndpointSpec::default()
    };
    g.apply(
        Endpoint::new(EndpointKey::host("h").unwrap(), &spec)
            .unwrap()
            .into(),
    );
    g
}

fn ask(
    g: &mut Graph,
    chain: Chain,
    direction: Direction,
    packet: &PacketTuple,
) -> (bool, RuleKind) {
    g.flush();
    let tables = g.snapshot();
    let index = tables.endpoint(&EndpointKey::host("h").unwrap()).unwrap();
    let v = tables.evaluate_chain(index, chain, direction, packet);
    (v.allow, tables.rule(v.rule).unwrap().kind)
}

#[test]
fn failsafe_ports_stay_open_in_all_chains_but_forward() {
    let mut g = host();
    let ssh = tcp("198.51.100.1", "192.0.2.1", 22);
    let web = tcp("198.51.100.1", "192.0.2.1", 80);
    let ingress = Direction::Ingress;
    assert_eq!(
        ask(&mut g, Chain::Normal, ingress, &ssh),
        (true, RuleKind::Failsafe)
    );
    assert_eq!(
        ask(&mut g, Chain::Normal, ingress, &web),
        (false, RuleKind::NoProfile)
    );
    let deny = r#"{"selector":"has(host)","doNotTrack":true,"applyOnForward":true,
        "types":["Ingress","Egress"],"ingress":[{"action":"Deny"}],"egress":[{"action":"Deny"}]}"#;
    g.apply(policy(GNP, "untracked", deny).into());
    assert_eq!(
        ask(&mut g, Chain::Untracked, ingress, &ssh),
        (true, RuleKind::Failsafe)
    );
    assert_eq!(
        ask(&mut g, Chain::Untracked, ingress, &web),
        (false, RuleKind::Policy)
    );
    // The answer of a failsafe connection, which an untracked chain must judge by itself.
    let answer = PacketTuple::new(
        "192.0.2.1".parse().unwrap(),
        "198.51.100.1".parse().unwrap(),
        6,
    )
    .with_ports(22, 40_000);
    let out = Direction::Egress;
    assert_eq!(
        ask(&mut g, Chain::Untracked, out, &answer),
        (true, RuleKind::Failsafe)
    );
    assert_eq!(
        ask(&mut g, Chain::Forward, ingress, &ssh),
        (true, RuleKind::Forward)
    );
    let none = Failsafes {
        inbound: Vec::new(),
        outbound: Vec::new(),
    };
    g.apply(Update::Failsafes(none));
    assert_eq!(
        ask(&mut g, Chain::Normal, ingress, &ssh),
        (false, RuleKind::NoProfile)
    );
}

#[test]
fn a_failsafe_can_be_limited_to_a_prefix() {
    let mut g = host();
    let failsafe = Failsafe {
        protocol: crate::model::Protocol::TCP,
        port: 22,
        net: Some("198.51.100.0/24".parse().unwrap()),
    };
    g.apply(Update::Failsafes(Failsafes {
        inbound: vec![failsafe],
        outbound: Vec::new(),
    }));
    for (from, open) in [("198.51.100.1", true), ("203.0.113.1", false)] {
        let packet = tcp(from, "192.0.2.1", 22);
        assert_eq!(
            ask(&mut g, Chain::Normal, Direction::Ingress, &packet).0,
            open
        );
    }
}

#[test]
fn each_policy_stands_in_its_chain_alone() {
    let mut g = host();
    let none = Failsafes {
        inbound: Vec::new(),
        outbound: Vec::new(),
    };
    g.apply(Update::Failsafes(none));
    let spec = |extra: &str, port: u16| {
        format!(
            r#"{{"selector":"has(host)",{extra}"ingress":[{{"action":"Deny","protocol":"TCP",
            "destination":{{"ports":[{port}]}}}},{{"action":"Allow","protocol":"TCP",
            "destination":{{"ports":[99]}}}}]}}"#
        )
    };
    g.apply(policy(GNP, "normal", &spec("", 1)).into());
    g.apply(policy(GNP, "forward", &spec(r#""applyOnForward":true,"#, 2)).into());
    let untracked = spec(r#""applyOnForward":true,"doNotTrack":true,"#, 3);
    g.apply(policy(GNP, "untracked", &untracked).into());
    let pre_dnat = spec(
        r#""applyOnForward":true,"preDNAT":true,"types":["Ingress"],"#,
        4,
    );
    g.apply(policy(GNP, "prednat", &pre_dnat).into());
    let mut denied_by_rule = |chain| {
        (1..=5u16)
            .filter(|&port| {
                let packet = tcp("198.51.100.1", "192.0.2.1", port);
                ask(&mut g, chain, Direction::Ingress, &packet) == (false, RuleKind::Policy)
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(denied_by_rule(Chain::Normal), [1, 2]);
    assert_eq!(denied_by_rule(Chain::Forward), [2]);
    assert_eq!(denied_by_rule(Chain::Untracked), [3]);
    assert_eq!(denied_by_rule(Chain::PreDnat), [4]);
    let other = tcp("198.51.100.1", "192.0.2.1", 5);
    let ingress = Direction::Ingress;
    assert_eq!(
        ask(&mut g, Chain::Normal, ingress, &other),
        (false, RuleKind::TierDefault)
    );
    assert_eq!(
        ask(&mut g, Chain::Forward, ingress, &other),
        (false, RuleKind::TierDefault)
    );
    assert_eq!(
        ask(&mut g, Chain::Untracked, ingress, &other),
        (true, RuleKind::Undecided)
    );
    assert_eq!(
        ask(&mut g, Chain::PreDnat, ingress, &other),
        (true, RuleKind::Undecided)
    );
    assert_eq!(
        ask(&mut g, Chain::PreDnat, Direction::Egress, &other).1,
        RuleKind::Undecided
    );
    assert_eq!(
        ask(&mut g, Chain::Forward, Direction::Egress, &other),
        (true, RuleKind::Forward)
    );
}

#[test]
fn workloads_know_the_normal_chain_alone() {
    let mut g = graph();
    g.apply(endpoint("web", "n1", "10.0.0.1", &[]).into());
    let untracked = r#"{"doNotTrack":true,"applyOnForward":true,"ingress":[{"action":"Deny"}]}"#;
    g.apply(policy(GNP, "untracked", untracked).into());
    g.apply(Profile::allowing("kns.ns", Labels::new()).unwrap().into());
    g.flush();
    let tables = g.snapshot();
    let packet = tcp("10.0.0.2", "10.0.0.1", 80);
    assert!(verdict(&tables, "web", Direction::Ingress, &packet).allow);
    let index = tables
        .endpoint(&EndpointKey::workload("ns", "web").unwrap())
        .unwrap();
    let v = tables.evaluate_chain(index, Chain::Untracked, Direction::Ingress, &packet);
    assert!(!v.is_decided());
    let gone = EndpointIndex(77);
    assert_eq!(
        tables.evaluate(gone, Direction::Ingress, &packet).rule,
        RuleId::NO_ENDPOINT
    );
}
