//! What Calico accepts and refuses, row by row: a kind, its metadata and spec, and the word of the
//! reason where it is refused. What a store holds already is only noticed.

use vrouter_api::{parse, parse_stored};

fn text(kind: &str, metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {{{spec}}}\n"
    )
}

const ACCEPTED: &[(&str, &str, &str)] = &[
    ("NetworkPolicy", "name: a, namespace: n", ""),
    ("NetworkPolicy", "name: a.b, namespace: n", ""),
    ("NetworkPolicy", "name: knp.default.a.b.c, namespace: n", ""),
    (
        "StagedNetworkPolicy",
        "name: ossg.default.a.b, namespace: n",
        "",
    ),
    ("GlobalNetworkPolicy", "name: a.b", ""),
    (
        "GlobalNetworkPolicy",
        "name: a",
        "types: [Egress], ingress: [{action: Allow}]",
    ),
    (
        "GlobalNetworkPolicy",
        "name: a",
        "ingress: [{action: Deny, protocol: TCP, source: {notNets: [10.0.0.0/8], ports: [1, 65535, '1:65535', http]}}]",
    ),
    (
        "GlobalNetworkPolicy",
        "name: a",
        "ingress: [{action: Deny, source: {namespaceSelector: global()}}]",
    ),
    ("Tier", "name: a-b", ""),
    (
        "NetworkSet",
        "name: s, namespace: n, labels: {projectcalico.org/tier: x}",
        "",
    ),
    (
        "IPPool",
        "name: p",
        "cidr: 10.0.0.0/16, allowedUses: [Workload], namespaceSelector: a == 'b'",
    ),
    (
        "IPPool",
        "name: p",
        "cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], namespaceSelector: a == 'b'",
    ),
    (
        "IPPool",
        "name: p",
        "cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], nodeSelector: all()",
    ),
    (
        "Node",
        "name: n, labels: {kubernetes.io/os: linux, a: ''}",
        "",
    ),
    (
        "FelixConfiguration",
        "name: rack-a",
        "nodeSelector: rack == 'a'",
    ),
    (
        "FelixConfiguration",
        "name: default",
        "logSeverityScreen: WARNING",
    ),
    (
        "KubeControllersConfiguration",
        "name: default",
        "logSeverityScreen: Panic, controllers: {node: {hostEndpoint: {autoCreate: Enabled}, leakGracePeriod: 15m0s}}",
    ),
    (
        "IPAMConfiguration",
        "name: default",
        "maxBlocksPerHost: 1000000, ipCooldownSeconds: 1200",
    ),
];

const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "NetworkPolicy",
        "name: a.b.c, namespace: n",
        "",
        "policy's name",
    ),
    (
        "GlobalNetworkPolicy",
        "name: knp.default.a.b",
        "",
        "policy's name",
    ),
    (
        "StagedGlobalNetworkPolicy",
        "name: a.b.c",
        "",
        "policy's name",
    ),
    ("Tier", "name: a.b", "", "RFC 1123 label"),
    (
        "GlobalNetworkPolicy",
        "name: a",
        "selector: global()",
        "global() can only be used",
    ),
    (
        "GlobalNetworkPolicy",
        "name: a",
        "namespaceSelector: global()",
        "global() can only be used",
    ),
    (
        "NetworkPolicy",
        "name: a, namespace: n",
        "ingress: [{action: Deny, source: {selector: global()}}]",
        "global() can only be used",
    ),
    (
        "NetworkPolicy",
        "name: a, namespace: n",
        "ingress: [{action: Deny, source: {namespaceSelector: \"global() || a == 'b'\"}}]",
        "cannot be combined",
    ),
    (
        "NetworkPolicy",
        "name: a, namespace: n",
        "ingress: [{action: Deny, source: {notNets: [0.0.0.0/0]}}]",
        "catch-all",
    ),
    (
        "NetworkPolicy",
        "name: a, namespace: n",
        "ingress: [{action: Deny, source: {notNets: ['::/0']}}]",
        "catch-all",
    ),
    (
        "NetworkPolicy",
        "name: a, namespace: n",
        "ingress: [{action: Deny, protocol: TCP, source: {ports: [0]}}]",
        "between 1 and 65535",
    ),
    (
        "NetworkPolicy",
        "name: a, namespace: n",
        "ingress: [{action: Deny, protocol: TCP, source: {ports: ['0:5']}}]",
        "between 1 and 65535",
    ),
    (
        "NetworkSet",
        "name: s, namespace: n, labels: {projectcalico.org/namespace: x}",
        "",
        "not a valid label name",
    ),
    (
        "GlobalNetworkSet",
        "name: s, labels: {projectcalico.org/namespace: x}",
        "",
        "not a valid label name",
    ),
    (
        "IPPool",
        "name: p",
        "cidr: 10.0.0.0/16, namespaceSelector: a == 'b'",
        "cannot have namespaceSelector",
    ),
    (
        "IPPool",
        "name: p",
        "cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], vxlanMode: Always",
        "cannot have IPIP or VXLAN",
    ),
    (
        "IPPool",
        "name: p",
        "cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], ipipMode: Always",
        "cannot have IPIP or VXLAN",
    ),
    (
        "IPPool",
        "name: p",
        "cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], disableBGPExport: true",
        "cannot disable BGP export",
    ),
    (
        "IPPool",
        "name: p",
        "cidr: 10.0.0.0/16, allowedUses: [LoadBalancer], nodeSelector: a == 'b'",
        "must have nodeSelector set to all()",
    ),
    (
        "FelixConfiguration",
        "name: default",
        "nodeSelector: rack == 'a'",
        "must not be set on the",
    ),
    (
        "FelixConfiguration",
        "name: default",
        "bpfAttachType: tcx",
        "must be one of",
    ),
    (
        "KubeControllersConfiguration",
        "name: default",
        "controllers: {node: {syncLabels: yes}}",
        "must be one of",
    ),
    (
        "IPAMConfiguration",
        "name: default",
        "maxBlocksPerHost: 1000001",
        "1000000",
    ),
];

/// What is refused whatever a store holds: it has no meaning here.
const NEVER: &[&str] = &["must be one of", "1000000", "must not be set on the"];

#[test]
fn what_calico_accepts_is_accepted() {
    for (kind, metadata, spec) in ACCEPTED {
        let text = text(kind, metadata, spec);
        assert_eq!(parse(text.as_bytes(), "f").errors, [], "{text}");
    }
}

#[test]
fn what_calico_refuses_is_refused() {
    for (kind, metadata, spec, reason) in REFUSED {
        let text = text(kind, metadata, spec);
        let errors = parse(text.as_bytes(), "f").errors;
        assert!(
            errors.iter().any(|error| error.reason.contains(reason)),
            "{text}{errors:?}"
        );
    }
}

#[test]
fn what_a_store_holds_already_is_noticed() {
    for (kind, metadata, spec, reason) in REFUSED {
        if NEVER.contains(reason) {
            continue;
        }
        let text = text(kind, metadata, spec);
        let parsed = parse_stored(text.as_bytes(), "f");
        assert_eq!(parsed.errors, [], "{text}");
        assert!(
            parsed.notices.iter().any(|it| it.text.contains(reason)),
            "{text}{:?}",
            parsed.notices
        );
    }
}

#[test]
fn labels_are_those_of_kubernetes() {
    let long = "a".repeat(63);
    for (label, good) in [
        ("a", true),
        ("A.b_c-d", true),
        ("example.com/a", true),
        (&*long, true),
        (&*format!("{long}a"), false),
        ("-a", false),
        ("a-", false),
        ("Example.com/a", false),
        ("/a", false),
        ("a/", false),
        ("a/b/c", false),
    ] {
        let text = text("Node", &format!("name: n, labels: {{'{label}': x}}"), "");
        assert_eq!(
            parse(text.as_bytes(), "f").errors.is_empty(),
            good,
            "{label}"
        );
    }
}
