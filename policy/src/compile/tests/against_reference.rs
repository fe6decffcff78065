//! Random updates in random order, with flushes anywhere: after each flush the tables say of
//! every packet what the slow evaluator says, down to the rule that decided; and a compiler told
//! the final resources in another order says the same.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::compile::{Chain, Compiled, Graph, Update};
use crate::model::spec::{
    EntitySpec, IcmpSpec, PolicySpec, ProfileSpec, RuleSpec, ServiceAccountSpec, ServiceSpec,
    TierSpec,
};
use crate::model::{
    Action, Direction, Endpoint, EndpointKey, EndpointSpec, IpVersion, Name, NamedPort, NetworkSet,
    NetworkSetKey, PacketTuple, Policy, PolicyKey, PolicyKind, PortMatch, Profile, Protocol,
    Service, ServiceKey, TieBreak, Tier, TierDefault,
};
use crate::reference::Resources;
use crate::selector::Labels;

const ADDRESSES: [&str; 9] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.1.1",
    "8.8.8.8",
    "fd00::1",
    "fd00::2",
    "2001:db8::1",
];
const NETS: [&str; 10] = [
    "10.0.0.1/32",
    "10.0.0.0/31",
    "10.0.0.0/24",
    "10.0.0.0/8",
    "0.0.0.0/0",
    "10.0.1.1/32",
    "fd00::1/128",
    "fd00::/64",
    "::/0",
    "8.8.8.0/24",
];
const SELECTORS: [&str; 14] = [
    "all()",
    "a == 'x'",
    "a != 'x'",
    "a in {'x','y'}",
    "a not in {'x'}",
    "has(b)",
    "!has(b)",
    "a == 'x' && b == 'y'",
    "a == 'x' || has(b)",
    "a contains 'x'",
    "b starts with 'y'",
    "!(a == 'x' && has(b))",
    "pcns.env == 'prod'",
    "pcsa.role == 'r'",
];
const NAMESPACE_SELECTORS: [&str; 5] = [
    "all()",
    "global()",
    "env == 'prod'",
    "env != 'prod'",
    "!has(env)",
];
const NAMESPACES: [&str; 2] = ["n1", "n2"];
const PROFILES: [&str; 4] = ["kns.n1", "kns.n2", "ksa.n1.sa", "p"];

fn sometimes<T: Clone + std::fmt::Debug>(
    often: f64,
    strategy: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    prop::option::weighted(often, strategy).boxed()
}

fn text(from: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(from).prop_map(String::from)
}

fn parsed<T>(from: &'static [&'static str]) -> impl Strategy<Value = T> + Clone
where
    T: std::fmt::Debug + std::str::FromStr<Err: std::fmt::Debug>,
{
    select(from).prop_map(|text| text.parse().unwrap())
}

fn names(from: &'static [&'static str]) -> impl Strategy<Value = Name> + Clone {
    select(from).prop_map(|text| Name::new(text).unwrap())
}

fn some_of(from: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<String>> {
    subsequence(from.to_vec(), 0..=most)
        .prop_map(|texts| texts.into_iter().map(String::from).collect())
}

fn labels() -> impl Strategy<Value = Labels> {
    (
        sometimes(0.6, text(&["x", "y", "xx"])),
        sometimes(0.4, text(&["y", "yz"])),
    )
        .prop_map(|(a, b)| {
            let pairs = [("a", a), ("b", b)];
            let given = pairs.into_iter().filter_map(|(k, v)| v.map(|v| (k, v)));
            Labels::from_pairs(given).unwrap()
        })
}

fn ports() -> impl Strategy<Value = Vec<PortMatch>> {
    let port = prop_oneof![
        select(vec![80u16, 81, 443]).prop_map(PortMatch::from),
        parsed(&["80:90", "1:65535", "443:450"]),
        parsed(&["http", "dns"]),
    ];
    prop_oneof![3 => Just(Vec::new()), 2 => prop::collection::vec(port, 1..3)]
}

fn entity() -> impl Strategy<Value = EntitySpec> {
    let accounts = (
        some_of(&["sa"], 1),
        sometimes(0.5, parsed(&["role == 'r'", "all()"])),
    )
        .prop_map(|(names, selector)| ServiceAccountSpec::new(&names, selector));
    let service =
        (names(&["s1", "s2"]), names(&["n1"])).prop_map(|(name, namespace)| ServiceSpec {
            name,
            namespace: Some(namespace),
        });
    let parsed_nets =
        |nets: Vec<String>| -> Vec<IpNet> { nets.iter().map(|net| net.parse().unwrap()).collect() };
    let some_nets = move || some_of(&NETS, 3).prop_map(parsed_nets);
    let nets = || prop_oneof![3 => Just(Vec::new()), 1 => some_nets()];
    let plain = (
        nets(),
        nets(),
        sometimes(0.4, parsed(&SELECTORS)),
        sometimes(0.15, parsed(&SELECTORS)),
        sometimes(0.2, parsed(&NAMESPACE_SELECTORS)),
        ports(),
        prop_oneof![4 => Just(Vec::new()), 1 => ports()],
        sometimes(0.1, accounts),
    )
        .prop_map(
            |(nets, not_nets, selector, not_selector, namespaces, ports, not_ports, sa)| {
                EntitySpec {
                    nets,
                    not_nets,
                    selector,
                    not_selector,
                    namespace_selector: namespaces,
                    ports,
                    not_ports,
                    service_accounts: sa.unwrap_or_default(),
                    services: None,
                }
            },
        );
    prop_oneof![
        3 => Just(EntitySpec::default()),
        8 => plain,
        1 => service.prop_map(|s| EntitySpec { services: Some(s), ..EntitySpec::default() }),
    ]
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    let protocol = || parsed::<Protocol>(&["TCP", "UDP", "ICMP", "ICMPv6", "132", "89"]);
    let icmp = || {
        (select(vec![0, 3, 8]), sometimes(0.5, select(vec![0, 1]))).prop_map(|(kind, code)| {
            IcmpSpec {
                kind: Some(kind),
                code,
            }
        })
    };
    (
        (
            select(vec![Action::Allow, Action::Deny, Action::Pass, Action::Log]),
            prop::bool::weighted(0.05),
            prop::bool::weighted(0.05),
        ),
        sometimes(0.2, select(vec![IpVersion::V4, IpVersion::V6])),
        sometimes(0.7, protocol()),
        sometimes(0.1, protocol()),
        sometimes(0.3, icmp()),
        sometimes(0.15, icmp()),
        entity(),
        entity(),
    )
        .prop_map(
            |(
                (action, http, unknown),
                ip_version,
                protocol,
                not_protocol,
                icmp,
                not_icmp,
                from,
                to,
            )| {
                let is_icmp = protocol.is_some_and(Protocol::is_icmp);
                let has_ports = protocol.is_some_and(Protocol::has_ports);
                let keep = |mut entity: EntitySpec| {
                    let is_named = |port: &PortMatch| match port {
                        PortMatch::Named(_) => true,
                        PortMatch::Range(_) => false,
                    };
                    for ports in [&mut entity.ports, &mut entity.not_ports] {
                        ports.retain(|port| has_ports || protocol.is_none() && is_named(port));
                    }
                    entity
                };
                RuleSpec {
                    ip_version: ip_version.filter(|_| !is_icmp),
                    protocol,
                    not_protocol,
                    icmp: icmp.filter(|_| is_icmp).unwrap_or_default(),
                    not_icmp: not_icmp.unwrap_or_default(),
                    source: keep(from),
                    destination: keep(to),
                    has_http: http,
                    has_unknown_fields: unknown,
                    ..RuleSpec::new(action)
                }
            },
        )
}

fn rules(most: usize) -> impl Strategy<Value = Vec<RuleSpec>> {
    prop::collection::vec(rule(), 0..=most)
}

fn order() -> BoxedStrategy<Option<f64>> {
    sometimes(0.7, select(vec![1.0, 2.0, 3.5]))
}

fn policy() -> impl Strategy<Value = Update> {
    let kind = prop_oneof![
        4 => Just(PolicyKind::NetworkPolicy),
        4 => Just(PolicyKind::GlobalNetworkPolicy),
        1 => Just(PolicyKind::KubernetesNetworkPolicy),
        1 => Just(PolicyKind::StagedNetworkPolicy),
        2 => Just(PolicyKind::StagedGlobalNetworkPolicy),
    ];
    let spec = (
        (
            sometimes(0.6, names(&["t1", "t2", "t3"])),
            order(),
            sometimes(0.7, parsed(&SELECTORS)),
        ),
        sometimes(0.2, parsed(&NAMESPACE_SELECTORS)),
        sometimes(0.1, parsed(&["role == 'r'", "all()"])),
        sometimes(
            0.5,
            select(vec![
                vec![Direction::Ingress],
                vec![Direction::Egress],
                vec![Direction::Ingress, Direction::Egress],
            ]),
        ),
        rules(5),
        rules(3),
        select(vec![
            (false, false, false),
            (false, false, true),
            (true, false, true),
            (false, true, true),
        ]),
    )
        .prop_map(
            |((tier, order, selector), namespaces, accounts, types, ingress, egress, host)| {
                PolicySpec {
                    tier,
                    order,
                    selector,
                    namespace_selector: namespaces,
                    service_account_selector: accounts,
                    types: types.unwrap_or_default(),
                    ingress,
                    egress,
                    do_not_track: host.0,
                    pre_dnat: host.1,
                    apply_on_forward: host.2,
                }
            },
        );
    (kind, text(&["p1", "p2", "p3"]), text(&NAMESPACES), spec).prop_map(
        |(kind, name, namespace, mut spec)| {
            if kind.is_namespaced() {
                spec.namespace_selector = None;
                (spec.do_not_track, spec.pre_dnat, spec.apply_on_forward) = (false, false, false);
            }
            if spec.pre_dnat {
                (spec.types, spec.egress) = (vec![Direction::Ingress], Vec::new());
            }
            for (rules, source) in [(&mut spec.ingress, true), (&mut spec.egress, false)] {
                for rule in rules {
                    // Services stand in an ingress source or an egress destination alone.
                    let entity = if source {
                        &mut rule.destination
                    } else {
                        &mut rule.source
                    };
                    entity.services = None;
                }
            }
            let namespace = kind.is_namespaced().then_some(namespace.as_str());
            let key = PolicyKey::new(kind, namespace, &name).unwrap();
            Policy::new(key, &spec).unwrap().into()
        },
    )
}

fn endpoint_key() -> impl Strategy<Value = EndpointKey> {
    (any::<bool>(), text(&NAMESPACES), text(&["e1", "e2", "e3"])).prop_map(|(host, ns, name)| {
        if host && name == "e1" {
            EndpointKey::host("h").unwrap()
        } else {
            EndpointKey::workload(&ns, &name).unwrap()
        }
    })
}

fn endpoint() -> impl Strategy<Value = Update> {
    let port = (
        text(&["http", "dns"]),
        select(vec![Protocol::TCP, Protocol::UDP]),
        select(vec![80, 81, 53]),
    )
        .prop_map(|(name, protocol, port)| NamedPort::new(&name, protocol, port).unwrap());
    (
        endpoint_key(),
        select(vec!["local", "local", "remote"]),
        labels(),
        some_of(&PROFILES, 3),
        some_of(&ADDRESSES, 2),
        prop::collection::vec(port, 0..3),
        sometimes(0.5, text(&["sa", "other"])),
    )
        .prop_map(
            |(key, node, labels, profiles, addresses, ports, service_account)| {
                let spec = EndpointSpec {
                    node: node.into(),
                    labels,
                    profiles,
                    addresses,
                    ports,
                    service_account,
                    ..EndpointSpec::default()
                };
                Endpoint::new(key, &spec).unwrap().into()
            },
        )
}

fn profile() -> impl Strategy<Value = Update> {
    let label = select(vec![
        ("pcns.env", "prod"),
        ("pcns.env", "dev"),
        ("pcsa.role", "r"),
        ("a", "x"),
    ]);
    (
        text(&PROFILES),
        rules(2),
        rules(2),
        prop::collection::vec(label, 0..2),
    )
        .prop_map(|(name, mut ingress, mut egress, labels)| {
            for rule in ingress.iter_mut().chain(&mut egress) {
                (rule.source.services, rule.destination.services) = (None, None);
            }
            let labels_to_apply = labels
                .into_iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect();
            Profile::new(
                &name,
                &ProfileSpec {
                    ingress,
                    egress,
                    labels_to_apply,
                },
            )
            .unwrap()
            .into()
        })
}

fn update() -> impl Strategy<Value = Update> {
    let tier = (
        text(&["t1", "t2", "default"]),
        order(),
        select(vec![
            TierDefault::Deny,
            TierDefault::Pass,
            TierDefault::Deny,
        ]),
    )
        .prop_map(|(name, order, default_action)| {
            let spec = TierSpec {
                order,
                default_action,
            };
            Update::Tier(Tier::new(&name, &spec).unwrap())
        });
    let set = (
        sometimes(0.5, text(&NAMESPACES)),
        text(&["s1", "s2"]),
        labels(),
        some_of(&NETS, 3),
    )
        .prop_map(|(namespace, name, labels, nets)| {
            let key = NetworkSetKey::new(namespace.as_deref(), &name).unwrap();
            Update::NetworkSet(NetworkSet::new(key, &labels, &nets).unwrap())
        });
    let port = (
        select(&ADDRESSES[..]),
        select(vec![Protocol::TCP, Protocol::UDP]),
        select(vec![80u16, 81]),
    )
        .prop_map(|(address, protocol, port)| (address.parse::<IpAddr>().unwrap(), protocol, port));
    let service =
        (text(&["s1", "s2"]), prop::collection::vec(port, 0..4)).prop_map(|(name, endpoints)| {
            Update::Service(Service {
                key: ServiceKey::new(Some("n1"), &name).unwrap(),
                endpoints,
            })
        });
    prop_oneof![
        2 => tier,
        6 => policy(),
        3 => profile(),
        2 => set,
        6 => endpoint(),
        1 => service,
        1 => select(vec![TieBreak::NameFirst, TieBreak::NamespaceFirst])
            .prop_map(Update::TieBreak),
        3 => prop_oneof![policy(), profile(), endpoint()].prop_map(removed),
    ]
}

/// The removal of what an update brought.
fn removed(update: Update) -> Update {
    match update {
        Update::Policy(policy) => Update::RemovePolicy(policy.key().clone()),
        Update::Profile(profile) => Update::RemoveProfile(profile.name().clone()),
        Update::Endpoint(endpoint) => Update::RemoveEndpoint(endpoint.key().clone()),
        Update::NetworkSet(set) => Update::RemoveNetworkSet(set.key().clone()),
        Update::Tier(tier) => Update::RemoveTier(tier.name().clone()),
        Update::Service(service) => Update::RemoveService(service.key),
        other => other,
    }
}

fn packet() -> impl Strategy<Value = PacketTuple> {
    let two = |from: &'static [&'static str]| {
        (select(from), select(from)).prop_map(|(source, destination)| {
            (
                source.parse::<IpAddr>().unwrap(),
                destination.parse::<IpAddr>().unwrap(),
            )
        })
    };
    let pair = prop_oneof![2 => two(&ADDRESSES[..6]), 1 => two(&ADDRESSES[6..])];
    let ports = (
        select(vec![80u16, 81, 443, 53, 22]),
        select(vec![80u16, 81, 85, 443, 53, 22]),
    );
    let headers = prop_oneof![
        (select(vec![6u8, 17, 132]), ports).prop_map(|(p, ports)| (p, Some(ports), (0, 0))),
        (
            select(vec![1u8, 58]),
            select(vec![0u8, 3, 8]),
            select(vec![0u8, 1, 2])
        )
            .prop_map(|(p, kind, code)| (p, None, (kind, code))),
        Just((89, None, (0, 0))),
    ];
    (pair, headers).prop_map(|((source, destination), (protocol, ports, icmp))| {
        let (from, to) = ports.unwrap_or_default();
        PacketTuple::new(source, destination, protocol)
            .with_ports(from, to)
            .with_icmp(icmp.0, icmp.1)
    })
}

fn compare(tables: &Compiled, resources: &Resources, packets: &[PacketTuple]) {
    let local = resources
        .endpoints()
        .filter(|e| e.node().as_str() == "local");
    let keys: Vec<&EndpointKey> = local.map(Endpoint::key).collect();
    assert_eq!(tables.endpoints().count(), keys.len());
    for key in keys {
        let index = tables
            .endpoint(key)
            .expect("a local endpoint is in the tables");
        for direction in [Direction::Ingress, Direction::Egress] {
            for chain in [
                Chain::Normal,
                Chain::Forward,
                Chain::Untracked,
                Chain::PreDnat,
            ] {
                for packet in packets {
                    let fast = tables.evaluate_chain(index, chain, direction, packet);
                    let slow = resources.explain(key, chain, direction, packet).unwrap();
                    let info = |id| tables.rule(id).expect("a verdict's rule is known").clone();
                    let all = |ids: &[_]| ids.iter().map(|id| info(*id)).collect::<Vec<_>>();
                    let context = || format!("{packet}\n{slow}\n{slow:#?}");
                    assert_eq!(fast.allow, slow.allow, "{}", context());
                    assert_eq!(info(fast.rule), slow.by, "{}", context());
                    let staged = all(fast.staged.as_slice());
                    assert_eq!(staged, slow.staged[..staged.len()], "{}", context());
                    assert_eq!(
                        staged.len() + usize::from(fast.staged.lost()),
                        slow.staged.len()
                    );
                    let logged = all(fast.logged.as_slice());
                    assert_eq!(logged, slow.logged[..logged.len()], "{}", context());
                    assert_eq!(
                        logged.len() + usize::from(fast.logged.lost()),
                        slow.logged.len()
                    );
                }
            }
        }
    }
}

/// What an update is about.
fn subject(update: &Update) -> String {
    match update {
        Update::Tier(tier) => format!("tier {}", tier.name()),
        Update::RemoveTier(name) => format!("tier {name}"),
        Update::Policy(policy) => format!("policy {}", policy.key()),
        Update::RemovePolicy(key) => format!("policy {key}"),
        Update::Profile(profile) => format!("profile {}", profile.name()),
        Update::RemoveProfile(name) => format!("profile {name}"),
        Update::NetworkSet(set) => format!("set {}", set.key()),
        Update::RemoveNetworkSet(key) => format!("set {key}"),
        Update::Endpoint(endpoint) => format!("endpoint {}", endpoint.key()),
        Update::RemoveEndpoint(key) => format!("endpoint {key}"),
        Update::Service(service) => format!("service {}", service.key),
        Update::RemoveService(key) => format!("service {key}"),
        Update::Failsafes(_) => "failsafes".into(),
        Update::TieBreak(_) => "tie break".into(),
    }
}

fn graph() -> Graph {
    Graph::new(Name::new("local").unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_say_what_the_model_says(
        updates in prop::collection::vec((update(), prop::bool::weighted(0.2)), 5..60),
        packets in prop::collection::vec(packet(), 12),
        seed in any::<u64>(),
    ) {
        let (mut incremental, mut resources) = (graph(), Resources::new());
        let mut last: BTreeMap<String, Update> = BTreeMap::new();
        for (update, flush) in updates {
            last.insert(subject(&update), update.clone());
            resources.apply(update.clone());
            incremental.apply(update);
            if flush {
                incremental.flush();
                compare(&incremental.snapshot(), &resources, &packets[..3]);
            }
        }
        incremental.flush();
        prop_assert!(!incremental.flush(), "nothing is left to do");
        compare(&incremental.snapshot(), &resources, &packets);

        // The same resources, told once each in another order.
        let mut at_once = graph();
        let mut order: Vec<Update> = last.into_values().collect();
        let mut state = seed | 1;
        for i in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            order.swap(i, (state >> 33) as usize % (i + 1));
        }
        for update in order {
            at_once.apply(update);
        }
        at_once.flush();
        compare(&at_once.snapshot(), &resources, &packets);
    }
}
