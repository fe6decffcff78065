//! Programs of thousands of rules, found through the index, against plain matching.

use crate::compile::{Graph, Update};
use crate::model::spec::{EntitySpec, PolicySpec, RuleSpec};
use crate::model::{
    Action, Direction, Endpoint, EndpointKey, EndpointSpec, Name, NetworkSet, NetworkSetKey,
    PacketTuple, Policy, PolicyKey, PolicyKind, Protocol,
};
use crate::reference::Resources;
use crate::selector::Labels;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as u32) % n
    }
}

fn rule(random: &mut Random) -> RuleSpec {
    let mut entity = EntitySpec::default();
    let near = |random: &mut Random| (random.below(4), random.below(64));
    match random.below(4) {
        0 => {
            let (a, b) = near(random);
            entity.nets = vec![format!("10.{a}.{b}.0/24").parse().unwrap()];
        }
        1 => {
            let (a, b) = near(random);
            entity.nets = vec![
                format!("10.{a}.0.{b}/32").parse().unwrap(),
                "fd00::/64".parse().unwrap(),
            ];
        }
        2 => {
            entity.selector = Some(format!("set == '{}'", random.below(50)).parse().unwrap());
        }
        _ => {}
    }
    let low = random.below(2_000);
    let ports = match random.below(3) {
        0 => low.to_string(),
        1 => format!("{low}:{}", low + random.below(20)),
        _ => format!("{}:{}", low * 4, low * 4 + random.below(3_000)),
    };
    let action = [Action::Log, Action::Deny, Action::Allow, Action::Allow];
    let action = action[random.below(4) as usize];
    RuleSpec {
        protocol: Some([Protocol::TCP, Protocol::UDP][random.below(2) as usize]),
        destination: EntitySpec {
            ports: vec![ports.parse().unwrap()],
            ..EntitySpec::default()
        },
        source: entity,
        ..RuleSpec::new(action)
    }
}

#[test]
fn twenty_thousand_rules_agree_with_the_reference() {
    let mut random = Random(7);
    let mut graph = Graph::new(Name::new("n").unwrap());
    let mut resources = Resources::new();
    let mut updates: Vec<Update> = Vec::new();
    let key = EndpointKey::workload("ns", "e").unwrap();
    let spec = EndpointSpec {
        node: "n".into(),
        addresses: vec!["10.9.9.9".into()],
        ..EndpointSpec::default()
    };
    updates.push(Endpoint::new(key.clone(), &spec).unwrap().into());
    for i in 0..50 {
        let labels = Labels::from_pairs([("set", i.to_string())]).unwrap();
        let nets: Vec<String> = (0..4)
            .map(|_| {
                format!(
                    "10.{}.{}.{}",
                    random.below(4),
                    random.below(64),
                    random.below(64)
                )
            })
            .collect();
        let set = NetworkSetKey::new(None, &format!("s{i}")).unwrap();
        updates.push(NetworkSet::new(set, &labels, &nets).unwrap().into());
    }
    for i in 0..40 {
        let ingress = (0..500).map(|_| rule(&mut random)).collect();
        let spec = PolicySpec {
            order: Some(f64::from(i)),
            ingress,
            ..PolicySpec::default()
        };
        let key = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, &format!("p{i}")).unwrap();
        updates.push(Policy::new(key, &spec).unwrap().into());
    }
    for update in updates {
        resources.apply(update.clone());
        graph.apply(update);
    }
    graph.flush();
    let tables = graph.snapshot();
    let index = tables.endpoint(&key).unwrap();
    let (mut denied, mut late) = (0, 0);
    for i in 0..150 {
        let source = format!(
            "10.{}.{}.{}",
            random.below(5),
            random.below(64),
            random.below(64)
        );
        let source = if i % 10 == 0 {
            "10.77.0.1".into()
        } else {
            source
        };
        let packet = PacketTuple::new(
            source.parse().unwrap(),
            "10.9.9.9".parse().unwrap(),
            [6, 17, 17, 89][random.below(4) as usize],
        );
        let port = random.below(if i % 2 == 0 { 2_100 } else { 12_000 });
        let packet = packet.with_ports(1, u16::try_from(port).unwrap());
        let fast = tables.evaluate(index, Direction::Ingress, &packet);
        let chain = crate::compile::Chain::Normal;
        let slow = resources
            .evaluate(&key, chain, Direction::Ingress, &packet)
            .unwrap();
        assert_eq!(tables.rule(fast.rule), Some(&slow.by), "{packet}");
        assert_eq!(fast.allow, slow.allow);
        let kept = fast.logged.as_slice().len();
        assert_eq!(kept + usize::from(fast.logged.lost()), slow.logged.len());
        denied += u32::from(!fast.allow);
        late += u32::from(slow.by.policy.is_none_or(|p| p.name().as_str() > "p5"));
    }
    assert!(denied > 10 && late > 10, "{denied} denied, {late} late");
}

#[test]
fn rules_that_are_filed_nowhere_end_where_the_list_ends() {
    // Nothing but negations: every dimension is left out, and the last word is partly padding.
    let mut graph = Graph::new(Name::new("n").unwrap());
    let key = EndpointKey::workload("ns", "e").unwrap();
    let spec = EndpointSpec {
        node: "n".into(),
        addresses: vec!["10.9.9.9".into()],
        ..EndpointSpec::default()
    };
    graph.apply(Endpoint::new(key.clone(), &spec).unwrap().into());
    let refused = |i: usize| RuleSpec {
        not_protocol: Some(Protocol::TCP),
        source: EntitySpec {
            not_nets: vec![format!("10.0.{i}.0/24").parse().unwrap()],
            ..EntitySpec::default()
        },
        ..RuleSpec::new(Action::Allow)
    };
    let spec = PolicySpec {
        ingress: (0..70).map(refused).collect(),
        ..PolicySpec::default()
    };
    let policy = PolicyKey::new(PolicyKind::GlobalNetworkPolicy, None, "p").unwrap();
    graph.apply(Policy::new(policy, &spec).unwrap().into());
    graph.flush();
    let tables = graph.snapshot();
    let index = tables.endpoint(&key).unwrap();
    let verdict = |source: &str, protocol| {
        let to = "10.9.9.9".parse().unwrap();
        let packet = PacketTuple::new(source.parse().unwrap(), to, protocol);
        let verdict = tables.evaluate(index, Direction::Ingress, &packet);
        let rule = tables.rule(verdict.rule).and_then(|rule| rule.index);
        (verdict.allow, rule)
    };
    assert_eq!(verdict("10.1.0.1", 6), (false, None));
    assert_eq!(verdict("10.1.0.1", 17), (true, Some(0)));
    assert_eq!(verdict("10.0.0.1", 17), (true, Some(1)));
}
