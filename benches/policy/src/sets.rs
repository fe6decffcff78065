//! What changes of a large network set cost, from text to published tables: the resource parsed
//! from YAML, the model made of it, the change applied, compiled and published.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::Ipv4Addr;

use policy::compile::{Compiled, Graph, Update};
use policy::model::spec::{EntitySpec, PolicySpec, RuleSpec};
use policy::model::{
    Action, Direction, Endpoint, EndpointKey, EndpointSpec, Invalid, Name, NetworkSet, PacketTuple,
    Policy, PolicyKey, PolicyKind,
};

use crate::calico::{Clock, ms, selector};

/// Single changes measured of each set.
const CHANGES: u32 = 50;

/// Prints a row for each size.
pub(crate) fn run(most: u32) -> Result<(), Invalid> {
    println!(
        "{:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}   (ms)",
        "members",
        "parse",
        "model",
        "fresh",
        "one",
        "worst",
        "replace",
        "4x fewer",
        "label",
        "gone"
    );
    for members in [10_000, 30_000, 100_000, 300_000, 1_000_000] {
        if members <= most {
            row(members)?;
        }
    }
    Ok(())
}

fn row(members: u32) -> Result<(), Invalid> {
    let mut graph = graph()?;
    let clock = Clock::start();
    let parsed = vrouter_api::parse(text(0..members).as_bytes(), "set.yaml");
    let parse = ms(clock.elapsed());
    let Some(resource) = parsed.resources.first() else {
        return Err(Invalid::new("", parsed.errors.len(), "errors in the set"));
    };
    let clock = Clock::start();
    let Some(Update::NetworkSet(first)) = resource.value.update()? else {
        return Err(Invalid::new("kind", "", "is no network set"));
    };
    let model = ms(clock.elapsed());
    drop(parsed);
    let fresh = change(&mut graph, first, 0, true);
    let mut singles: Vec<f64> = Vec::new();
    for i in 0..CHANGES {
        let last = members + i;
        let set = set(0..last + 1, "feed")?;
        singles.push(change(&mut graph, set, last, true));
    }
    singles.sort_by(f64::total_cmp);
    let worst = singles.last().copied().unwrap_or(0.0);
    let other = members * 2..members * 3;
    let replace = change(&mut graph, set(other, "feed")?, members * 2, true);
    let fewer = members * 4..members * 4 + members / 4;
    let shrunk = change(&mut graph, set(fewer, "feed")?, members * 4, true);
    graph.apply(set(0..members, "feed")?.into());
    graph.flush();
    let relabelled = set(0..members, "other")?;
    let label = change(&mut graph, relabelled, members - 1, false);
    let key = set(0..1, "feed")?.key().clone();
    let clock = Clock::start();
    graph.apply(Update::RemoveNetworkSet(key));
    graph.flush();
    let gone = ms(clock.elapsed());
    println!(
        "{members:>9} {parse:>9.1} {model:>8.1} {fresh:>8.1} {:>8.2} {worst:>8.2} {replace:>8.1} \
         {shrunk:>9.1} {label:>8.2} {gone:>8.1}",
        singles[singles.len() / 2]
    );
    Ok(())
}

/// Applies, compiles and publishes a set: milliseconds. Whether packets from `member` are then
/// allowed must be `allowed`.
fn change(graph: &mut Graph, set: NetworkSet, member: u32, allowed: bool) -> f64 {
    let clock = Clock::start();
    graph.apply(set.into());
    graph.flush();
    let tables = black_box(graph.snapshot());
    let time = ms(clock.elapsed());
    assert_eq!(allows(&tables, member), allowed, "member {member}");
    time
}

fn allows(tables: &Compiled, member: u32) -> bool {
    let to = Ipv4Addr::new(10, 0, 0, 1);
    let packet = PacketTuple::new(address(member).into(), to.into(), 6).with_ports(40_000, 80);
    let index = tables.endpoints().next().map(|(index, _)| index);
    index.is_some_and(|index| tables.evaluate(index, Direction::Ingress, &packet).allow)
}

/// A pod that the members of a set labelled `feed` may reach.
fn graph() -> Result<Graph, Invalid> {
    let mut graph = Graph::new(Name::new("node")?);
    let spec = EndpointSpec {
        node: "node".into(),
        addresses: vec!["10.0.0.1".into()],
        ..EndpointSpec::default()
    };
    let key = EndpointKey::workload("ns", "pod")?;
    graph.apply(Endpoint::new(key, &spec)?.into());
    let spec = PolicySpec {
        ingress: vec![RuleSpec {
            source: EntitySpec {
                selector: Some(selector("list == 'feed'")?),
                ..EntitySpec::default()
            },
            ..RuleSpec::new(Action::Allow)
        }],
        ..PolicySpec::default()
    };
    let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, "feed")?;
    graph.apply(Policy::new(key, &spec)?.into());
    graph.flush();
    Ok(graph)
}

fn set(members: std::ops::Range<u32>, list: &str) -> Result<NetworkSet, Invalid> {
    let labels = policy::selector::Labels::from_pairs([("list", list)])?;
    let key = policy::model::NetworkSetKey::new(None, "set")?;
    let nets = members.map(|member| ipnet::IpNet::from(std::net::IpAddr::V4(address(member))));
    NetworkSet::with_nets(key, &labels, nets)
}

/// Addresses far apart: consecutive ones would be kinder to the caches than lists in the field.
fn address(member: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(member.wrapping_mul(0x9E37_79B1))
}

fn text(members: std::ops::Range<u32>) -> String {
    let mut text = String::from(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n\
         metadata: {name: set, labels: {list: feed}}\nspec:\n  nets:\n",
    );
    for member in members {
        let _infallible = writeln!(text, "  - {}/32", address(member));
    }
    text
}
