//! The table beside one made of a `HashMap` and plain structs, under random operations.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert {
        key: FlowKey,
        reply: Option<FlowKey>,
        deny: bool,
    },
    Lookup(Vec<FlowKey>),
    Remove(FlowKey),
    Refresh {
        key: FlowKey,
        word: u64,
    },
    Touch {
        key: FlowKey,
        bytes: u32,
    },
    Wait {
        seconds: u64,
    },
    Sweep,
}

#[derive(Clone, Debug)]
struct Slow {
    key: FlowKey,
    reply: FlowKey,
    session: Session,
    rules: [u32; 2],
    packets: [u32; 2],
    bytes: [u64; 2],
    created: u64,
    used: u64,
}

/// Both keys of each session lead to it.
#[derive(Default)]
struct Reference {
    sessions: HashMap<SessionId, Slow>,
    keys: HashMap<FlowKey, Hit>,
}

impl Reference {
    fn remove(&mut self, id: SessionId) {
        let slow = self
            .sessions
            .remove(&id)
            .expect("only what is there is removed");
        // The original direction is entered last, see below; a key that is its own reverse
        // stands once.
        self.keys.remove(&slow.key);
        self.keys.remove(&slow.reply);
    }
}

fn keys() -> impl Strategy<Value = FlowKey> {
    let protocols = prop::sample::select(vec![protocol::UDP, protocol::ICMP, protocol::SCTP]);
    (any::<bool>(), 1u32..4, 1u32..4, protocols, 1u16..3, 1u16..3).prop_map(
        |(v6, src, dst, protocol, sport, dport)| {
            if v6 {
                let wide = |n: u32| u128::from(n) << 64 | 1;
                FlowKey::v6(wide(src), wide(dst), protocol, sport, dport)
            } else {
                FlowKey::v4(src, dst, protocol, sport, dport)
            }
        },
    )
}

/// Reply keys of rewritten sessions come from elsewhere, so that they meet no plain session but
/// often each other.
fn rewritten() -> impl Strategy<Value = FlowKey> {
    (10u32..13, 20u32..23).prop_map(|(src, dst)| FlowKey::v4(src, dst, protocol::UDP, 5, 6))
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (keys(), prop::option::weighted(0.3, rewritten()), any::<bool>())
            .prop_map(|(key, reply, deny)| Step::Insert { key, reply, deny }),
        4 => prop::collection::vec(prop_oneof![keys(), rewritten()], 0..40).prop_map(Step::Lookup),
        2 => keys().prop_map(Step::Remove),
        2 => (keys(), any::<u64>()).prop_map(|(key, word)| Step::Refresh { key, word }),
        4 => (keys(), any::<u32>()).prop_map(|(key, bytes)| Step::Touch { key, bytes }),
        2 => (1u64..90).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Sweep),
    ]
}

/// Times are whole numbers of the table's coarsest step.
const SECOND: u64 = 1024;

fn timeout(key: &FlowKey) -> u64 {
    match key.protocol() {
        protocol::UDP => 60 * SECOND,
        protocol::ICMP => 5 * SECOND,
        _ => 600 * SECOND,
    }
}

fn config() -> Config {
    let timeouts = Timeouts {
        udp_ms: 60 * SECOND,
        icmp_ms: 5 * SECOND,
        generic_ms: 600 * SECOND,
        creation_grace_ms: 10 * SECOND,
        ..Timeouts::default()
    };
    Config {
        capacity: 1024,
        timeouts,
        seed: 99,
        ..Config::default()
    }
}

fn run(steps: Vec<Step>) {
    let table = FlowTable::new(config());
    let mut reference = Reference::default();
    let (mut now, mut generation) = (7 * SECOND, 1);
    for step in steps {
        match step {
            Step::Insert { key, reply, deny } => {
                let verdict = if deny { Verdict::Deny } else { Verdict::Allow };
                let reply_key = reply.unwrap_or(key.reverse());
                let first = Seen {
                    tcp_flags: 0,
                    packets: 1,
                    bytes: 100,
                };
                let new = NewSession {
                    reply_key,
                    verdict,
                    paths: [u64::from(generation), now],
                    rules: [generation, 3],
                    ..NewSession::of(key, generation, first)
                };
                let expected = reference.keys.get(&key).or(reference.keys.get(&reply_key));
                match table.insert(&new, now) {
                    Ok(id) => {
                        assert_eq!(expected, None, "{key:?}");
                        let paths = new.paths;
                        let slow = Slow {
                            key,
                            reply: reply_key,
                            session: Session {
                                generation,
                                verdict,
                                paths,
                            },
                            rules: new.rules,
                            packets: [1, 0],
                            bytes: [100, 0],
                            created: now,
                            used: now,
                        };
                        let hit = |direction| Hit {
                            session: id,
                            direction,
                        };
                        reference.keys.insert(reply_key, hit(Direction::Reply));
                        reference.keys.insert(key, hit(Direction::Original));
                        reference.sessions.insert(id, slow);
                    }
                    Err(InsertError::Exists(hit)) => assert_eq!(Some(&hit), expected),
                    Err(error) => panic!("{error}"),
                }
            }
            Step::Lookup(keys) => {
                let mut hits = vec![None; keys.len()];
                table.lookup_batch(&keys, &mut hits);
                let expected: Vec<_> = keys
                    .iter()
                    .map(|key| reference.keys.get(key).copied())
                    .collect();
                assert_eq!(hits, expected);
                let single: Vec<_> = keys.iter().map(|key| table.lookup(key)).collect();
                assert_eq!(single, expected);
            }
            Step::Remove(key) => {
                if let Some(hit) = reference.keys.get(&key).copied() {
                    assert!(table.remove(hit.session));
                    reference.remove(hit.session);
                }
            }
            Step::Refresh { key, word } => {
                generation += 1;
                if let Some(hit) = reference.keys.get(&key) {
                    let new = Session {
                        generation,
                        verdict: Verdict::Allow,
                        paths: [word, !word],
                    };
                    assert_eq!(table.refresh(hit.session, &new, [1, 2]), Refresh::Done);
                    let slow = reference
                        .sessions
                        .get_mut(&hit.session)
                        .expect("keys lead to it");
                    (slow.session, slow.rules) = (new, [1, 2]);
                }
            }
            Step::Touch { key, bytes } => {
                if let Some(&hit) = reference.keys.get(&key) {
                    let seen = Seen {
                        tcp_flags: 0,
                        packets: 2,
                        bytes,
                    };
                    assert_eq!(table.touch(hit, now, seen), Touch::Counted);
                    let slow = reference
                        .sessions
                        .get_mut(&hit.session)
                        .expect("keys lead to it");
                    slow.packets[hit.direction.index()] += 2;
                    slow.bytes[hit.direction.index()] += u64::from(bytes);
                    slow.used = now;
                }
            }
            Step::Wait { seconds } => now += seconds * SECOND,
            Step::Sweep => {
                let mut gone = Vec::new();
                table.sweep(now, usize::MAX, |flow| gone.push(flow.id));
                let mut expected: Vec<_> = reference
                    .sessions
                    .iter()
                    .filter(|(_, slow)| now - slow.used > timeout(&slow.key))
                    .filter(|(_, slow)| now - slow.created > 10 * SECOND)
                    .map(|(&id, _)| id)
                    .collect();
                expected.iter().for_each(|&id| reference.remove(id));
                gone.sort_by_key(|id| id.to_bits());
                expected.sort_by_key(|id| id.to_bits());
                assert_eq!(gone, expected);
            }
        }
        compare(&table, &reference, now);
    }
}

fn compare(table: &FlowTable, reference: &Reference, now: u64) {
    let listed = table.flows(0, usize::MAX, now).flows;
    assert_eq!(listed.len(), reference.sessions.len());
    assert_eq!(table.statistics().live, reference.sessions.len() as u64);
    for flow in listed {
        let slow = &reference.sessions[&flow.id];
        let session = table.session(flow.id).expect("it was listed");
        assert_eq!(session, slow.session);
        assert_eq!((flow.key, flow.reply_key), (slow.key, slow.reply));
        assert_eq!((flow.packets, flow.bytes), (slow.packets, slow.bytes));
        assert_eq!(
            (flow.verdict, flow.rules),
            (slow.session.verdict, slow.rules)
        );
        assert_eq!(
            (flow.age_ms, flow.idle_ms),
            (now - slow.created, now - slow.used)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_table_does_what_a_map_does(steps in prop::collection::vec(steps(), 1..120)) {
        run(steps);
    }
}
