//! A change costs in proportion to what it changes: each kind of resources is doubled, and the
//! steps of one change must at most double with it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};

use policy::compile::{Graph, Update};
use policy::model::spec::{EntitySpec, PolicySpec, RuleSpec};
use policy::model::{
    Action, Endpoint, EndpointKey, EndpointSpec, Name, NetworkSet, NetworkSetKey, Policy,
    PolicyKey, PolicyKind, Profile, Protocol,
};
use policy::selector::Labels;

/// How many of each resource a cluster has.
#[derive(Clone, Copy, Debug)]
struct Size {
    locals: u32,
    remotes: u32,
    policies: u32,
    rules: u32,
    sets: u32,
    members: u32,
}

const SIZE: Size = Size {
    locals: 20,
    remotes: 2_000,
    policies: 50,
    rules: 10,
    sets: 50,
    members: 3_000,
};

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(number.wrapping_mul(0x9E37_79B1)).into()
}

fn endpoint(number: u32, is_local: bool, app: &str) -> Update {
    let spec = EndpointSpec {
        node: if is_local { "node" } else { "elsewhere" }.into(),
        labels: Labels::from_pairs([("app", app)]).unwrap(),
        profiles: vec!["kns.ns".into()],
        addresses: vec![address(number).to_string()],
        ..EndpointSpec::default()
    };
    let key = EndpointKey::workload("ns", &format!("pod-{number}")).unwrap();
    Endpoint::new(key, &spec).unwrap().into()
}

fn policy(number: u32, rules: u32, port: u16) -> Update {
    let rule = |i: u32| RuleSpec {
        protocol: Some(Protocol::TCP),
        source: EntitySpec {
            selector: Some(match i {
                0 => "app == 'web'".parse().expect("a selector"),
                i => format!("list == 'list-{}'", (i - 1) % 50)
                    .parse()
                    .expect("a selector"),
            }),
            ..EntitySpec::default()
        },
        destination: EntitySpec {
            ports: vec![(port + i as u16).into()],
            ..EntitySpec::default()
        },
        ..RuleSpec::new(Action::Allow)
    };
    let spec = PolicySpec {
        ingress: (0..rules).map(rule).collect(),
        ..PolicySpec::default()
    };
    let name = format!("policy-{number}");
    let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, &name).unwrap();
    Policy::new(key, &spec).unwrap().into()
}

fn set(number: u32, members: std::ops::Range<u32>, list: u32) -> Update {
    let labels = Labels::from_pairs([("list", format!("list-{list}"))]).unwrap();
    let key = NetworkSetKey::new(None, &format!("set-{number}")).unwrap();
    let first = 1 << 24 | number << 14;
    let nets = members.map(|member| address(first + member).into());
    NetworkSet::with_nets(key, &labels, nets).unwrap().into()
}

fn cluster(size: Size) -> Graph {
    let mut graph = Graph::new(Name::new("node").unwrap());
    graph.apply(Profile::allowing("kns.ns", Labels::new()).unwrap().into());
    for number in 0..size.locals + size.remotes {
        graph.apply(endpoint(number, number < size.locals, "web"));
    }
    for number in 0..size.policies {
        graph.apply(policy(number, size.rules, 1_000));
    }
    for number in 0..size.sets {
        let members = if number == 0 { size.members } else { 20 };
        graph.apply(set(number, 0..members, number % 50));
    }
    graph.flush();
    graph
}

/// The steps of each kind of change in a cluster of this size.
fn changes(size: Size) -> Vec<(&'static str, u64)> {
    let mut graph = cluster(size);
    let mut steps = |name, update: Update| {
        let before = graph.work().total();
        graph.apply(update);
        assert!(graph.flush(), "{name} changes nothing");
        (name, graph.work().total() - before)
    };
    [
        steps("a member more", set(0, 0..size.members + 1, 0)),
        steps("a member less", set(0, 1..size.members + 1, 0)),
        steps("a set's label", set(0, 1..size.members + 1, 1)),
        steps("a set more", set(size.sets, 0..20, 3)),
        steps("a remote's labels", endpoint(size.locals, false, "other")),
        steps("a local's labels", endpoint(0, true, "other")),
        steps("a policy's rules", policy(0, size.rules, 2_000)),
        steps("a policy more", policy(size.policies, 1, 80)),
        steps("a policy less", removal(size.policies)),
    ]
    .into()
}

fn removal(number: u32) -> Update {
    let name = format!("policy-{number}");
    let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, &name).unwrap();
    Update::RemovePolicy(key)
}

#[test]
fn a_change_at_most_doubles_with_each_kind_of_resources() {
    let before = changes(SIZE);
    let doubled = [
        (
            "locals",
            Size {
                locals: 2 * SIZE.locals,
                ..SIZE
            },
        ),
        (
            "remotes",
            Size {
                remotes: 2 * SIZE.remotes,
                ..SIZE
            },
        ),
        (
            "policies",
            Size {
                policies: 2 * SIZE.policies,
                ..SIZE
            },
        ),
        (
            "rules",
            Size {
                rules: 2 * SIZE.rules,
                ..SIZE
            },
        ),
        (
            "sets",
            Size {
                sets: 2 * SIZE.sets,
                ..SIZE
            },
        ),
        (
            "members",
            Size {
                members: 2 * SIZE.members,
                ..SIZE
            },
        ),
    ];
    for (resources, size) in doubled {
        for ((name, once), (_, twice)) in before.iter().zip(changes(size)) {
            assert!(
                twice <= 2 * once + 8,
                "{name}: {once} steps, {twice} with twice the {resources}"
            );
        }
    }
}

#[test]
fn a_change_of_a_large_set_costs_what_differs() {
    let size = Size {
        members: 12_000,
        ..SIZE
    };
    for (name, steps) in &changes(size)[..3] {
        assert!(*steps < 50, "{name}: {steps} steps in a set of 12,000");
    }
    let mut graph = cluster(size);
    let fresh = graph.work().prefixes;
    graph.apply(set(0, 20_000..32_000, 0));
    graph.flush();
    let replaced = graph.work().prefixes - fresh;
    assert!(
        replaced <= 5 * 12_000,
        "{replaced} steps to replace 12,000 members"
    );
}
