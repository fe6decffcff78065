//! Policies, profiles, endpoints and sets: their checks, and what the policy crate gets.

use policy::model::{Direction, PolicyKind};
use vrouter_api::{Resource, default_allow_profile, parse, to_json, to_yaml};

fn errors(text: &str) -> Vec<String> {
    parse(text.as_bytes(), "f")
        .errors
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn one(text: &str) -> Resource {
    let mut parsed = parse(text.as_bytes(), "f");
    assert!(parsed.errors.is_empty(), "{:#?}", parsed.errors);
    assert_eq!(parsed.resources.len(), 1);
    parsed.resources.remove(0).value
}

fn reprints(resource: &Resource) {
    for text in [to_yaml(resource), to_json(resource)] {
        assert_eq!(&one(&text), resource, "{text}");
    }
}

fn calico(kind: &str, meta: &str, spec: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{{meta}}}\nspec:\n{spec}\n")
}

const RULES: &str = "  order: 10.5
  selector: app == 'web'
  ingress:
  - action: Allow
    protocol: TCP
    source: {selector: \"app == 'client'\", namespaceSelector: all()}
    destination: {ports: [80, '8000:8080', http]}
  - action: Deny
    protocol: ICMP
    icmp: {type: 8, code: 0}
    metadata: {annotations: {why: because}}
  egress:
  - action: Pass
    ipVersion: 4
    destination: {nets: [10.0.0.0/8], notNets: [10.1.0.0/16]}
  - action: Log
    notProtocol: 255
    source: {serviceAccounts: {names: [a], selector: \"x == 'y'\"}}";

#[test]
fn namespaced_policy() {
    let resource = one(&calico("NetworkPolicy", "name: p, namespace: prod", RULES));
    reprints(&resource);
    let policy = model::policy(&resource).unwrap().unwrap();
    assert_eq!(policy.key().kind(), PolicyKind::NetworkPolicy);
    assert_eq!(policy.order().value(), Some(10.5));
    assert_eq!(&**policy.tier(), "default");
    assert_eq!(policy.rules(Direction::Ingress).unwrap().len(), 2);
    assert_eq!(policy.rules(Direction::Egress).unwrap().len(), 2);
    assert!(
        policy.selector().to_string().contains("prod"),
        "{}",
        policy.selector()
    );
}

#[test]
fn a_selector_of_blanks_is_none() {
    let spec = "  selector: '  '\n  namespaceSelector: has(team)";
    let resource = one(&calico("GlobalNetworkPolicy", "name: p", spec));
    reprints(&resource);
    let policy = model::policy(&resource).unwrap().unwrap();
    assert_eq!(policy.selector().to_string(), "has(pcns.team)");
}

#[test]
fn the_other_kinds_of_policy() {
    let global = format!("{RULES}\n  namespaceSelector: has(team)\n  tier: security");
    let resource = one(&calico("GlobalNetworkPolicy", "name: p", &global));
    reprints(&resource);
    let policy = model::policy(&resource).unwrap().unwrap();
    assert_eq!(&**policy.tier(), "security");
    let staged = format!("{RULES}\n  stagedAction: Set");
    let resource = one(&calico("StagedGlobalNetworkPolicy", "name: p", &staged));
    reprints(&resource);
    assert!(model::policy(&resource).unwrap().unwrap().is_staged());
    let resource = one(&calico(
        "StagedNetworkPolicy",
        "name: p, namespace: n",
        &staged,
    ));
    reprints(&resource);
    let deleted = staged.replace("Set", "Delete");
    let resource = one(&calico(
        "StagedNetworkPolicy",
        "name: p, namespace: n",
        &deleted,
    ));
    assert_eq!(model::policy(&resource).unwrap(), None);
}

#[test]
fn types_follow_the_rules() {
    for (spec, ingress, egress) in [
        ("  {}", true, false),
        ("  egress: [{action: Allow}]", false, true),
        (
            "  {ingress: [{action: Allow}], egress: [{action: Allow}]}",
            true,
            true,
        ),
        ("  {types: [Egress]}", false, true),
    ] {
        let resource = one(&calico("GlobalNetworkPolicy", "name: p", spec));
        let policy = model::policy(&resource).unwrap().unwrap();
        assert_eq!(
            policy.rules(Direction::Ingress).is_some(),
            ingress,
            "{spec}"
        );
        assert_eq!(policy.rules(Direction::Egress).is_some(), egress, "{spec}");
    }
}

#[test]
fn every_problem_of_a_policy_at_once() {
    let spec = "  selector: app = 'web'
  order: last
  types: [Ingress, Ingress]
  ingress:
  - action: Permit
  - action: Allow
    protocol: TPC
  - action: Allow
    destination: {ports: [80]}
  - action: Allow
    protocol: TCP
    destination: {ports: [70000, '9:8']}
  - action: Allow
    protocol: UDP
    icmp: {code: 3}
  - action: Allow
    source: {nets: [10.0.0.0/8, 'fd00::/8', nonsense], selektor: all()}
  - action: Allow
    protocol: ICMPv6
    ipVersion: 4
  - action: Deny
    destination: {services: {name: dns}}
    http: {methods: [GET]}
  egress:
  - action: Allow";
    assert_eq!(
        errors(&calico("GlobalNetworkPolicy", "name: p", spec))
            .iter()
            .map(|error| error.replace("GlobalNetworkPolicy(p).spec", "…"))
            .collect::<Vec<_>>(),
        [
            "f:5: ….selector: app = 'web': is not a selector: at character 4: ==, !=, \
             in, not in, contains, starts with or ends with was expected after a label",
            "f:6: ….order: last: must be a number",
            "f:7: ….types: has Ingress twice",
            "f:9: ….ingress[0].action: Permit: must be one of Allow, Deny, Log, Pass",
            "f:11: ….ingress[1].protocol: TPC: must be TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite or a \
             number in 1–255",
            "f:13: ….ingress[2].destination: ports need protocol TCP, UDP or SCTP in the same rule",
            "f:16: ….ingress[3].destination.ports[0]: 70000: must be a port in 1–65535, a range \
             such as 8000:8080, or a port's name",
            "f:16: ….ingress[3].destination.ports[1]: 9:8: must be a port in 1–65535, a range \
             such as 8000:8080, or a port's name",
            "f:19: ….ingress[4].icmp.code: 3: needs a type beside it",
            "f:19: ….ingress[4].icmp: needs protocol ICMP or ICMPv6 in the same rule",
            "f:21: ….ingress[5].source.nets[2]: nonsense: must be an address or a CIDR such as \
             10.0.0.0/8 or fd00::/8",
            "f:21: ….ingress[5].source.selektor: unknown field: did you mean selector?",
            "f:21: ….ingress[5].source: must not mix IPv4 and IPv6 nets in one rule",
            "f:24: ….ingress[6].ipVersion: 4: contradicts the protocol: ICMP is 4, ICMPv6 is 6",
            "f:26: ….ingress[7].destination: services are allowed in source only",
        ]
    );
    assert_eq!(
        errors(&calico(
            "GlobalNetworkPolicy",
            "name: p",
            "  {doNotTrack: true, preDNAT: true}"
        )),
        [
            "f:5: GlobalNetworkPolicy(p).spec.preDNAT: true: must not be set beside doNotTrack",
            "f:4: GlobalNetworkPolicy(p).spec.applyOnForward: must be true when doNotTrack or \
             preDNAT is",
        ]
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
    );
    let many = "  - action: Allow\n".repeat(1025);
    assert_eq!(
        errors(&calico(
            "Profile",
            "name: p",
            &format!("  ingress:\n{many}")
        )),
        ["f:5: Profile(p).spec.ingress: must be at most 1024 rules, has 1025"]
    );
}

#[test]
fn what_only_the_model_knows_has_a_line_too() {
    let spec = "  types: [Egress]\n  egress:\n  - action: Allow\n    destination:\n      services:\n        name: dns";
    assert_eq!(
        errors(&calico("GlobalNetworkPolicy", "name: p", spec)),
        [
            "f:9: GlobalNetworkPolicy(p).spec.egress[0].destination.services.namespace: a global \
          policy must name it"
        ]
    );
}

#[test]
fn what_is_not_enforced_is_kept_and_said() {
    const REST: &str = "a rule that denies matches whatever";
    for (spec, written, notice) in [
        (
            "  ingress:\n  - action: Allow\n    http: {methods: [GET], paths: [{exact: /a}]}",
            r#""http":{"methods":["GET"],"paths":[{"exact":"/a"}]}"#,
            "spec.ingress[0].http: acted on in part: HTTP is not inspected here: ",
        ),
        (
            "  egress:\n  - action: Deny\n    destination: {services: {name: a, namespace: b}}",
            r#""services":{"name":"a","namespace":"b"}"#,
            "spec.egress[0].destination.services: acted on in part: there are no Services yet: ",
        ),
        (
            "  ingress:\n  - action: Allow\n    source: {serviceAccounts: {names: ['A b']}}",
            r#""serviceAccounts":{"names":["A b"]}"#,
            "serviceAccounts.names[0]: A b: stored, not acted on: no service account can have",
        ),
        (
            "  types: [Ingress]\n  egress:\n  - action: Allow",
            r#""egress":[{"action":"Allow"}]"#,
            "spec.egress: stored, not acted on: types lacks Egress",
        ),
        (
            "  ingress:\n  - action: Allow\n    destination: {ports: [web]}",
            r#""ports":["web"]"#,
            "",
        ),
        (
            "  ingress:\n  - action: Allow\n    notICMP: {type: 8}",
            r#""notICMP":{"type":8}"#,
            "",
        ),
    ] {
        let text = calico("GlobalNetworkPolicy", "name: p", spec);
        let parsed = vrouter_api::parse(text.as_bytes(), "f");
        assert!(parsed.errors.is_empty(), "{spec}: {:?}", parsed.errors);
        let resource = &parsed.resources[0].value;
        let json: String = to_json(resource).split('\n').map(str::trim_start).collect();
        assert!(json.replace("\": ", "\":").contains(written), "{json}");
        reprints(resource);
        assert!(model::policy(resource).unwrap().is_some());
        let notices: Vec<String> = parsed.notices.iter().map(ToString::to_string).collect();
        let said = notices.iter().any(|text| text.contains(notice));
        assert!(
            notices.is_empty() == notice.is_empty() && (said || notice.is_empty()),
            "{notices:?}"
        );
        assert!(
            !notice.ends_with(": ") || notices[0].contains(REST),
            "{notices:?}"
        );
    }
}

#[test]
fn a_rule_with_a_field_that_only_a_newer_calico_knows_is_closed() {
    let spec = "  ingress:\n  - action: Allow\n    source: {domains: [example.com]}\n  - action: Allow\n    metadata: {annotations: {a: b}, owner: x}";
    let text = calico("GlobalNetworkPolicy", "name: p", spec);
    let parsed = vrouter_api::parse_stored(text.as_bytes(), "f");
    assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
    let policy = model::policy(&parsed.resources[0].value).unwrap().unwrap();
    let rules = policy.rules(Direction::Ingress).unwrap();
    assert!(rules[0].matches_nothing() && !rules[1].matches_nothing());
    let notices: Vec<String> = parsed.notices.iter().map(ToString::to_string).collect();
    let notice = "spec.ingress[0]: acted on in part: a field of this rule is not understood";
    assert!(
        notices.iter().any(|text| text.contains(notice)),
        "{notices:?}"
    );
}

#[test]
fn a_denying_rule_about_services_denies_without_them() {
    let spec = "  egress:\n  - action: Deny\n    destination: {services: {name: a, namespace: b}}\n  - action: Allow\n    destination: {services: {name: a, namespace: b}}";
    let policy = model::policy(&one(&calico("GlobalNetworkPolicy", "name: p", spec)));
    let policy = policy.unwrap().unwrap();
    let rules = policy.rules(Direction::Egress).unwrap();
    assert!(rules[0].destination().service().is_none());
    assert!(rules[1].destination().service().is_some());
}

const KUBERNETES: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: prod}
spec:
  podSelector:
    matchLabels: {app: web}
    matchExpressions:
    - {key: tier, operator: NotIn, values: [a, b]}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {}
    - namespaceSelector: {matchLabels: {team: x}}
      podSelector: {matchExpressions: [{key: k, operator: Exists}]}
    - ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}
    ports:
    - {port: 80}
    - {port: 8000, endPort: 8010}
    - {protocol: UDP, port: dns}
  egress:
  - {}
";

#[test]
fn kubernetes_policy() {
    let resource = one(KUBERNETES);
    reprints(&resource);
    let policy = model::policy(&resource).unwrap().unwrap();
    assert_eq!(policy.key().kind(), PolicyKind::KubernetesNetworkPolicy);
    assert_eq!(policy.key().name().as_str(), "knp.default.web");
    assert_eq!(
        model::policy_key(&resource.key()).unwrap().as_ref(),
        Some(policy.key())
    );
    assert_eq!(policy.order().value(), Some(1000.0));
    let ingress = policy.rules(Direction::Ingress).unwrap();
    // Three peers, two protocols each.
    assert_eq!(ingress.len(), 6);
    let ports: Vec<String> = ingress[0]
        .destination()
        .ports()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ports, ["80", "8000:8010"]);
    assert_eq!(ingress[4].source().nets()[0].to_string(), "10.0.0.0/8");
    assert_eq!(ingress[4].source().not_nets()[0].to_string(), "10.1.0.0/16");
    assert!(
        ingress[0]
            .source()
            .selector()
            .unwrap()
            .to_string()
            .contains("prod")
    );
    let other = ingress[2].source().selector().unwrap().to_string();
    assert!(
        other.contains("pcns.team") && !other.contains("prod"),
        "{other}"
    );
    let egress = policy.rules(Direction::Egress).unwrap();
    assert_eq!(egress.len(), 1);
    assert!(egress[0].destination().selector().is_none());

    let staged = KUBERNETES
        .replace("networking.k8s.io/v1", "projectcalico.org/v3")
        .replace("kind: NetworkPolicy", "kind: StagedKubernetesNetworkPolicy");
    let resource = one(&staged);
    reprints(&resource);
    assert!(model::policy(&resource).unwrap().unwrap().is_staged());
}

#[test]
fn faulty_kubernetes_policies() {
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, \
                namespace: b}\n";
    let text = format!(
        "{head}spec:\n  ingress:\n  - from:\n    - {{}}\n    - {{ipBlock: {{cidr: 10.0.0.0/8, \
         except: [11.0.0.0/8]}}}}\n    ports: [{{port: 90, endPort: 80}}, {{port: 80:90}}]\n"
    );
    let place = "NetworkPolicy(b/a).spec.ingress[0]";
    assert_eq!(
        errors(&text),
        [
            format!("f:7: {place}.from[0]: ipBlock, podSelector or namespaceSelector must be set"),
            format!("f:8: {place}.from[1].ipBlock.except[0]: 11.0.0.0/8: must lie within the cidr"),
            format!(
                "f:9: {place}.ports[0].endPort: 80: needs a port number beside it that is not \
                 larger"
            ),
            format!(
                "f:9: {place}.ports[1].port: 80:90: must be a port in 1–65535 or a port's name"
            ),
        ]
    );
}

#[test]
fn endpoints_sets_profiles_and_tiers() {
    let Resource::WorkloadEndpoint(endpoint) = one(&calico(
        "WorkloadEndpoint",
        "namespace: n, labels: {app: web}",
        "  {node: a, orchestrator: k8s, pod: p, serviceAccountName: sa, ipNetworks: [10.0.0.1], \
         profiles: [kns.n], ports: [{name: http, port: 80, protocol: TCP}]}",
    )) else {
        panic!()
    };
    let endpoint = model::workload_endpoint(&endpoint).unwrap();
    assert_eq!(endpoint.labels().len(), 4);
    assert_eq!(endpoint.ports().len(), 1);
    let Resource::HostEndpoint(host) = one(&calico(
        "HostEndpoint",
        "name: h",
        "  {node: a, interfaceName: eth0}",
    )) else {
        panic!()
    };
    assert_eq!(
        &**model::host_endpoint(&host).unwrap().interface().unwrap(),
        "eth0"
    );
    let set = one(&calico(
        "NetworkSet",
        "name: s, namespace: n",
        "  nets: [10.0.0.1/8]",
    ));
    let set = model::network_set(&set).unwrap().unwrap();
    assert_eq!(set.nets().iter().next().unwrap().to_string(), "10.0.0.0/8");
    let profile = model::profile(&default_allow_profile()).unwrap();
    assert_eq!(profile.rules(Direction::Ingress).len(), 1);
    let Resource::Tier(tier) = one(&calico(
        "Tier",
        "name: t",
        "  {order: 5, defaultAction: Pass}",
    )) else {
        panic!()
    };
    assert_eq!(model::tier(&tier).unwrap().order().value(), Some(5.0));
}

/// What the policy compiler is told of resources.
mod model {
    use std::sync::Arc;

    use policy::compile::Update;
    use policy::model::{Endpoint, Invalid, NetworkSet, Policy, PolicyKey, Profile, Tier};
    use vrouter_api::{HostEndpoint, Key, Resource, WorkloadEndpoint};

    pub(super) fn policy(resource: &Resource) -> Result<Option<Arc<Policy>>, Invalid> {
        Ok(match resource.update()? {
            Some(Update::Policy(policy)) => Some(policy),
            _ => None,
        })
    }

    pub(super) fn policy_key(key: &Key) -> Result<Option<PolicyKey>, Invalid> {
        Ok(match key.removal()? {
            Some(Update::RemovePolicy(key)) => Some(key),
            _ => None,
        })
    }

    pub(super) fn network_set(resource: &Resource) -> Result<Option<NetworkSet>, Invalid> {
        Ok(match resource.update()? {
            Some(Update::NetworkSet(set)) => Some(set),
            _ => None,
        })
    }

    fn endpoint(resource: &Resource) -> Result<Endpoint, Invalid> {
        match resource.update()? {
            Some(Update::Endpoint(endpoint)) => Ok(endpoint),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn workload_endpoint(object: &WorkloadEndpoint) -> Result<Endpoint, Invalid> {
        endpoint(&object.clone().into())
    }

    pub(super) fn host_endpoint(object: &HostEndpoint) -> Result<Endpoint, Invalid> {
        endpoint(&object.clone().into())
    }

    pub(super) fn profile(object: &vrouter_api::Profile) -> Result<Arc<Profile>, Invalid> {
        match Resource::from(object.clone()).update()? {
            Some(Update::Profile(profile)) => Ok(profile),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn tier(object: &vrouter_api::Tier) -> Result<Tier, Invalid> {
        match Resource::from(object.clone()).update()? {
            Some(Update::Tier(tier)) => Ok(tier),
            other => panic!("{other:?}"),
        }
    }
}
