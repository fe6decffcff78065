//! Criteria that are not compared with packets leave a policy closed, not open; what only looks
//! as if it could not be enforced is.

use super::*;
use crate::model::spec::RuleSpec;
use crate::model::{NamedPort, Protocol};
use crate::reference::Resources;

const TCP_80: (u8, u16) = (6, 80);
const TCP_81: (u8, u16) = (6, 81);
const UDP_80: (u8, u16) = (17, 80);
const PING: (u8, u16) = (1, 8);
const PONG: (u8, u16) = (1, 0);

/// Which of these packets a pod with a profile that allows everything lets in.
fn open(spec: &PolicySpec) -> Vec<(u8, u16)> {
    let mut updates: Vec<Update> = vec![Profile::allowing("kns.ns", Labels::new()).unwrap().into()];
    let key = EndpointKey::workload("ns", "web").unwrap();
    let web = EndpointSpec {
        node: "n1".into(),
        profiles: vec!["kns.ns".into()],
        addresses: vec!["10.0.0.1".into()],
        ports: vec![
            NamedPort::new("http", Protocol::TCP, 80).unwrap(),
            NamedPort::new("dns", Protocol::UDP, 80).unwrap(),
        ],
        service_account: Some("web".into()),
        ..EndpointSpec::default()
    };
    updates.push(Endpoint::new(key.clone(), &web).unwrap().into());
    updates.push(endpoint("client", "n2", "10.0.0.2", &[]).into());
    let policy = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, "p").unwrap();
    updates.push(Policy::new(policy, spec).unwrap().into());
    let (mut g, mut reference) = (graph(), Resources::new());
    for update in updates {
        g.apply(update.clone());
        reference.apply(update);
    }
    g.flush();
    let tables = g.snapshot();
    let allowed = |&(protocol, number): &(u8, u16)| {
        let packet = PacketTuple::new(
            "10.0.0.2".parse().unwrap(),
            "10.0.0.1".parse().unwrap(),
            protocol,
        );
        let packet = match protocol {
            1 => packet.with_icmp(u8::try_from(number).unwrap(), 0),
            _ => packet.with_ports(40_000, number),
        };
        let fast = verdict(&tables, "web", Direction::Ingress, &packet).allow;
        let slow = reference.evaluate(&key, Chain::Normal, Direction::Ingress, &packet);
        assert_eq!(fast, slow.unwrap().allow, "{packet}");
        fast
    };
    let all = [TCP_80, TCP_81, UDP_80, PING, PONG];
    all.into_iter().filter(allowed).collect()
}

#[test]
fn what_is_not_compared_with_packets_leaves_the_policy_closed() {
    for (rules, still_open) in [
        (r#"[{"action":"Allow","http":{"methods":["GET"]}}]"#, vec![]),
        (
            r#"[{"action":"Allow","protocol":"TCP","destination":{"ports":[80]},
                "http":{"paths":[{"prefix":"/public"}]}}]"#,
            vec![],
        ),
        (
            r#"[{"action":"Deny","protocol":"TCP","http":{"methods":["PUT"]}},
                {"action":"Allow"}]"#,
            vec![UDP_80, PING, PONG],
        ),
        (
            r#"[{"action":"Deny","http":{}},{"action":"Allow"}]"#,
            vec![],
        ),
        (r#"[{"action":"Pass","http":{}}]"#, vec![]),
        (
            r#"[{"action":"Log","http":{}},{"action":"Allow","protocol":"UDP"}]"#,
            vec![UDP_80],
        ),
        (
            r#"[{"action":"Allow","destination":{"ports":["http"]}}]"#,
            vec![TCP_80],
        ),
        (
            r#"[{"action":"Deny","destination":{"ports":["http"]}},{"action":"Allow"}]"#,
            vec![TCP_81, UDP_80, PING, PONG],
        ),
        (
            r#"[{"action":"Allow","protocol":"TCP","destination":{"notPorts":["http"]}}]"#,
            vec![TCP_81],
        ),
        (
            r#"[{"action":"Allow","notICMP":{"type":8}}]"#,
            vec![TCP_80, TCP_81, UDP_80, PONG],
        ),
        (
            r#"[{"action":"Allow","protocol":"TCP","notICMP":{"type":0}}]"#,
            vec![TCP_80, TCP_81],
        ),
        (
            r#"[{"action":"Allow","source":{"serviceAccounts":{"names":["it's \" none"]}}}]"#,
            vec![],
        ),
        (
            r#"[{"action":"Deny","source":{"selector":"all()",
                "serviceAccounts":{"names":["a b"]}}},{"action":"Allow","protocol":"UDP"}]"#,
            vec![UDP_80],
        ),
    ] {
        let ingress: Vec<RuleSpec> = serde_json::from_str(rules).unwrap();
        let spec = PolicySpec {
            ingress: ingress.clone(),
            ..PolicySpec::default()
        };
        assert_eq!(open(&spec), still_open, "{rules}");
        // Fields that nobody knows do as an HTTP match does.
        let unknown = PolicySpec {
            ingress: ingress
                .into_iter()
                .map(|rule| RuleSpec {
                    has_unknown_fields: rule.has_http,
                    has_http: false,
                    ..rule
                })
                .collect(),
            ..PolicySpec::default()
        };
        assert_eq!(open(&unknown), still_open, "{rules}");
    }
}

#[test]
fn rules_of_a_direction_that_the_types_leave_out_have_no_effect() {
    let spec: PolicySpec = serde_json::from_str(
        r#"{"types":["Egress"],"ingress":[{"action":"Deny"}],"egress":[{"action":"Allow"}]}"#,
    )
    .unwrap();
    assert_eq!(open(&spec).len(), 5);
}

#[test]
fn the_explanation_says_what_is_not_compared() {
    let mut resources = Resources::new();
    resources.apply(endpoint("web", "n1", "10.0.0.1", &[]).into());
    let rules = r#"{"ingress":[{"action":"Allow","http":{}},{"action":"Deny","http":{}}]}"#;
    resources.apply(policy(PolicyKind::NetworkPolicy, "p", rules).into());
    let key = EndpointKey::workload("ns", "web").unwrap();
    let packet = tcp("10.0.0.2", "10.0.0.1", 80);
    let explained = resources
        .explain(&key, Chain::Normal, Direction::Ingress, &packet)
        .unwrap();
    let text = serde_json::to_string(&explained).unwrap();
    assert!(
        text.contains("matches nothing: HTTP is not inspected here"),
        "{text}"
    );
    assert!(
        text.contains("HTTP is not inspected here, so it denies"),
        "{text}"
    );
}
