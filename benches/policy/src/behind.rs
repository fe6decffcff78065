//! What a verdict costs behind how many rules that do not match: deny rules by prefix, by set
//! and by port, then one that allows.

use std::hint::black_box;

use ipnet::Ipv4Net;
use policy::compile::Graph;
use policy::model::spec::{EntitySpec, PolicySpec, RuleSpec};
use policy::model::{
    Action, Direction, Endpoint, EndpointKey, EndpointSpec, Invalid, MAX_RULES, Name, NetworkSet,
    NetworkSetKey, PacketTuple, Policy, PolicyKey, PolicyKind, Protocol,
};
use policy::selector::Labels;

use crate::calico::Clock;

/// Prints the cost behind 8, 1,000, 10,000 and 100,000 rules.
pub(crate) fn run(verdicts: u32) -> Result<(), Invalid> {
    for rules in [8, 1_000, 10_000, 100_000] {
        let mut graph = Graph::new(Name::new("node")?);
        let key = EndpointKey::workload("ns", "pod")?;
        let spec = EndpointSpec {
            node: "node".into(),
            addresses: vec!["10.0.0.1".into()],
            ..EndpointSpec::default()
        };
        graph.apply(Endpoint::new(key.clone(), &spec)?.into());
        for set in 0..200u32 {
            let labels = Labels::from_pairs([("set", set.to_string())])?;
            let nets: Vec<String> = (0..8)
                .map(|i| format!("172.{}.{set}.{i}", 16 + i))
                .collect();
            let name = NetworkSetKey::new(None, &format!("set-{set}"))?;
            graph.apply(NetworkSet::new(name, &labels, &nets)?.into());
        }
        let all: Vec<RuleSpec> = (0..rules)
            .map(before)
            .chain([RuleSpec::new(Action::Allow)])
            .collect();
        for (i, rules) in all.chunks(MAX_RULES).enumerate() {
            let order = Some(f64::from(u32::try_from(i).unwrap_or(u32::MAX)));
            let spec = PolicySpec {
                order,
                ingress: rules.to_vec(),
                ..PolicySpec::default()
            };
            let name = format!("policy-{i}");
            let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, &name)?;
            graph.apply(Policy::new(key, &spec)?.into());
        }
        let build = Clock::start();
        graph.flush();
        let build = build.elapsed().as_secs_f64() * 1e3;
        let tables = graph.snapshot();
        let Some(index) = tables.endpoint(&key) else {
            continue;
        };
        let packets: Vec<PacketTuple> = (0..1024u32)
            .map(|i| {
                let source = std::net::Ipv4Addr::from_bits(0x0a00_0100 + i);
                let to = std::net::Ipv4Addr::from_bits(0x0a00_0001);
                PacketTuple::new(source.into(), to.into(), 6).with_ports(40_000, 8_080)
            })
            .collect();
        let mut allowed = 0u32;
        let clock = Clock::start();
        for i in 0..verdicts {
            let packet = black_box(&packets[i as usize % packets.len()]);
            allowed += u32::from(tables.evaluate(index, Direction::Ingress, packet).allow);
        }
        let each = clock.elapsed().as_nanos() as f64 / f64::from(verdicts);
        println!(
            "behind {rules:>7} rules  {each:.0} ns (compiled in {build:.1} ms, {})",
            if allowed == verdicts {
                "all allowed"
            } else {
                "NOT ALL ALLOWED"
            }
        );
    }
    Ok(())
}

/// A rule that the packets do not match, for one reason of four.
fn before(i: u32) -> RuleSpec {
    let mut rule = RuleSpec {
        protocol: Some(Protocol::TCP),
        ..RuleSpec::new(Action::Deny)
    };
    let net = |bits: u32, length| Ipv4Net::new_assert(bits.into(), length).into();
    match i % 4 {
        0 => rule.source.nets = vec![net(0xac10_0000 + (i / 4 % 256) * 256, 24)],
        1 => {
            let selector = format!("set == '{}'", i / 4 % 200);
            rule.source.selector = Some(selector.parse().expect("a selector"));
        }
        2 => {
            let port = 10_000 + u16::try_from(i / 4 % 50_000).unwrap_or(0);
            rule.destination = EntitySpec {
                ports: vec![port.into()],
                ..EntitySpec::default()
            };
        }
        _ => {
            // The port matches, the source does not.
            rule.destination = EntitySpec {
                ports: vec![8_080.into()],
                ..EntitySpec::default()
            };
            rule.source.nets = vec![net(0xc0a8_0000 + i / 4 % 65_536, 32)];
        }
    }
    rule
}
