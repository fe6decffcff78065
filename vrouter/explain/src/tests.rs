//! Questions over a small cluster.

use super::*;
use vrouter_core::policies;

const CLUSTER: &str = "
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
spec: {bgp: {ipv4Address: 172.16.0.1/24}, ipv4VXLANTunnelAddr: 10.65.0.0}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n2}
spec: {bgp: {ipv4Address: 172.16.0.2/24}}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n1-k8s-web-eth0, namespace: default, labels: {app: web, projectcalico.org/namespace: default, projectcalico.org/orchestrator: k8s}}
spec: {node: n1, orchestrator: k8s, pod: web, endpoint: eth0, interfaceName: cali1, ipNetworks: [10.65.0.1/32, 'fd00::1/128'],
  profiles: [projectcalico-default-allow]}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n2-k8s-client-eth0, namespace: default, labels: {app: client, projectcalico.org/namespace: default, projectcalico.org/orchestrator: k8s}}
spec: {node: n2, orchestrator: k8s, pod: client, endpoint: eth0, interfaceName: cali2, ipNetworks: [10.65.1.1/32],
  profiles: [projectcalico-default-allow]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  selector: app == 'web'
  types: [Ingress]
  ingress:
  - {action: Allow, protocol: TCP, source: {selector: app == 'client'}, destination: {ports: [80]}}
";

fn ask(source: &str, destination: &str, protocol: &str, port: Option<u16>) -> Explain {
    Explain {
        source: source.into(),
        destination: destination.into(),
        protocol: protocol.parse().unwrap(),
        port,
        source_port: None,
        icmp: None,
        family: None,
    }
}

fn answer(node: Option<&str>, ask: &Explain) -> Result<Walk, ErrorBody> {
    let parsed = vrouter_api::parse(CLUSTER.as_bytes(), "t.yaml");
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    let mut resources = Resources::default();
    for resource in parsed.resources {
        resources.upsert(resource.value);
    }
    let reference = policies::reference(&resources);
    Question {
        resources: &resources,
        reference: &reference,
        node,
        host_addresses: &["192.0.2.1".parse().unwrap()],
        underlay: None,
        names: None,
    }
    .explain(ask)
}

fn verdict(node: Option<&str>, ask: &Explain) -> (Verdict, String) {
    let walk = answer(node, ask).unwrap();
    (walk.verdict, walk.because)
}

#[test]
fn both_ends_by_any_name() {
    for source in [
        "default/client",
        "default/n2-k8s-client-eth0",
        "cali2",
        "10.65.1.1",
    ] {
        for destination in ["default/web", "10.65.0.1"] {
            let walk = answer(None, &ask(source, destination, "tcp", Some(80))).unwrap();
            assert_eq!(walk.verdict, Verdict::Allow, "{}", walk.because);
            assert_eq!(walk.source.endpoint.as_deref(), Some("default/client"));
            assert!(walk.egress.is_some() && walk.ingress.is_some());
        }
    }
    let (said, because) = verdict(None, &ask("default/client", "default/web", "tcp", Some(81)));
    assert_eq!(said, Verdict::Deny);
    assert_eq!(
        because,
        "ingress of default/web: default deny of tier default, ingress"
    );
}

#[test]
fn a_node_decides_for_its_own_workloads() {
    let walk = answer(
        Some("n2"),
        &ask("default/client", "default/web", "tcp", Some(81)),
    )
    .unwrap();
    assert_eq!(walk.verdict, Verdict::Allow);
    assert_eq!(walk.notes, ["ingress of default/web is decided on n1"]);
    assert!(walk.egress.is_some() && walk.ingress.is_none());
    let other = answer(
        Some("n1"),
        &ask("default/client", "default/web", "tcp", Some(81)),
    )
    .unwrap();
    assert_eq!(other.verdict, Verdict::Deny);
}

#[test]
fn a_node_reaches_its_workloads_but_not_they_it() {
    let (said, because) = verdict(None, &ask("172.16.0.1", "default/web", "tcp", Some(22)));
    assert_eq!(
        (said, because.as_str()),
        (Verdict::Allow, "a node reaches its own workloads")
    );
    assert_eq!(
        verdict(None, &ask("172.16.0.2", "default/web", "tcp", Some(22))).0,
        Verdict::Deny
    );
    for own in ["172.16.0.1", "10.65.0.0"] {
        let (said, because) = verdict(None, &ask("default/web", own, "tcp", Some(22)));
        assert_eq!(said, Verdict::Deny);
        assert_eq!(because, "defaultEndpointToHostAction of n1 is Drop");
    }
    let own = ask("default/web", "192.0.2.1", "tcp", Some(22));
    assert_eq!(verdict(Some("n1"), &own).0, Verdict::Deny);
    assert_eq!(
        verdict(None, &ask("default/web", "8.8.8.8", "udp", Some(53))).0,
        Verdict::Allow
    );
}

#[test]
fn the_gateway_answers_echo_and_names_alone() {
    let question = |ask: &Explain, names: Option<bool>| {
        let text = "
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: closed}
spec: {selector: app == 'client', types: [Egress]}
";
        let text = format!("{CLUSTER}---{text}");
        let mut resources = Resources::default();
        for resource in vrouter_api::parse(text.as_bytes(), "t.yaml").resources {
            resources.upsert(resource.value);
        }
        Question {
            resources: &resources,
            reference: &policies::reference(&resources),
            node: names.and(Some(if ask.source.ends_with("web") {
                "n1"
            } else {
                "n2"
            })),
            host_addresses: &[],
            underlay: None,
            names,
        }
        .explain(ask)
        .unwrap()
    };
    for (source, protocol, port, names, verdict, because) in [
        (
            "web",
            "udp",
            Some(53),
            Some(true),
            Verdict::Allow,
            "egress of default/web",
        ),
        (
            "web",
            "tcp",
            Some(53),
            None,
            Verdict::Allow,
            "egress of default/web",
        ),
        (
            "web",
            "udp",
            Some(53),
            Some(false),
            Verdict::Deny,
            "names are off in vrouterd of n1",
        ),
        ("web", "udp", Some(54), Some(true), Verdict::Deny, "alone"),
        ("web", "sctp", Some(53), Some(true), Verdict::Deny, "alone"),
        (
            "client",
            "udp",
            Some(53),
            Some(true),
            Verdict::Deny,
            "egress of default/client",
        ),
        (
            "client",
            "icmp",
            None,
            Some(false),
            Verdict::Allow,
            "before policy",
        ),
    ] {
        let source = format!("default/{source}");
        let walk = question(&ask(&source, "169.254.1.1", protocol, port), names);
        assert_eq!(walk.verdict, verdict, "{walk:?}");
        assert!(walk.because.contains(because), "{walk:?}");
        let open = names.is_none();
        assert_eq!(!walk.notes.is_empty(), open, "{walk:?}");
    }
    let gateway = "fe80::ecee:eeff:feee:eeee";
    let walk = question(&ask("default/web", gateway, "udp", Some(53)), Some(true));
    assert_eq!(walk.verdict, Verdict::Allow);
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |ask: &Explain| answer(None, ask).unwrap_err().to_string();
    let unknown = ask("default/nobody", "default/web", "tcp", Some(80));
    assert_eq!(
        refused(&unknown),
        "no endpoint, interface or address \"default/nobody\" (not_found)"
    );
    let text = refused(&ask("default/client", "fd00::1", "tcp", Some(80)));
    assert!(text.contains("do not both have"), "{text}");
    for (protocol, port) in [
        ("tcp", None),
        ("47", Some(1)),
        ("icmp", Some(1)),
        ("icmpv6", None),
    ] {
        let text = refused(&ask("default/client", "default/web", protocol, port));
        assert!(text.ends_with("(bad_params)"), "{text}");
    }
}

#[test]
fn families() {
    let mut ask = ask("default/web", "fd00::2", "icmpv6", None);
    let walk = answer(None, &ask).unwrap();
    assert_eq!(walk.packet.icmp_type, 128);
    assert_eq!(walk.source.address, "fd00::1".parse::<IpAddr>().unwrap());
    ask.family = Some(Family::V4);
    assert!(answer(None, &ask).is_err());
}

#[test]
fn host_endpoints_have_their_say() {
    const HOSTS: &str = "
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.65.0.0/16, vxlanMode: Always}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: one, labels: {host: one}}
spec: {node: n1, interfaceName: '*'}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: forward}
spec:
  selector: host == 'one'
  applyOnForward: true
  types: [Ingress, Egress]
  ingress: [{action: Allow, protocol: TCP}]
  egress: [{action: Allow}]
";
    let text = format!("{CLUSTER}---{HOSTS}");
    let ask_over = |ask: &Explain| {
        let parsed = vrouter_api::parse(text.as_bytes(), "t.yaml");
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        let mut resources = Resources::default();
        for resource in parsed.resources {
            resources.upsert(resource.value);
        }
        let reference = policies::reference(&resources);
        Question {
            resources: &resources,
            reference: &reference,
            node: None,
            host_addresses: &[],
            underlay: None,
            names: None,
        }
        .explain(ask)
        .unwrap()
    };
    let allowed = ask_over(&ask("default/client", "default/web", "tcp", Some(80)));
    assert_eq!(allowed.verdict, Verdict::Allow);
    assert_eq!(allowed.hosts.len(), 2, "in by the tunnel, out to the pod");
    let denied = ask_over(&ask("default/web", "default/client", "udp", Some(53)));
    assert_eq!(denied.verdict, Verdict::Deny);
    assert!(
        denied.because.contains("HostEndpoint one"),
        "{}",
        denied.because
    );
    // What concerns another node alone does not meet it.
    let other = ask_over(&ask("default/client", "172.16.0.2", "udp", Some(53)));
    assert!(other.hosts.is_empty());
}
