//! One behaviour a test, on a small table.

use super::super::*;

fn table(config: Config) -> FlowTable {
    FlowTable::new(config)
}

fn small() -> FlowTable {
    table(Config {
        capacity: 64,
        endpoints: 8,
        ..Config::default()
    })
}

pub(super) fn key(n: u32) -> FlowKey {
    FlowKey::v4(0x0a00_0000 + n, 0x0b00_0001, protocol::TCP, 1000, 80)
}

fn syn() -> Seen {
    Seen {
        tcp_flags: flags::SYN,
        packets: 1,
        bytes: 60,
    }
}

fn ack() -> Seen {
    Seen {
        tcp_flags: flags::ACK,
        packets: 1,
        bytes: 52,
    }
}

fn syn_ack() -> Seen {
    Seen {
        tcp_flags: flags::SYN | flags::ACK,
        packets: 1,
        bytes: 60,
    }
}

fn original(session: SessionId) -> Hit {
    Hit {
        session,
        direction: Direction::Original,
    }
}

fn reply(session: SessionId) -> Hit {
    Hit {
        session,
        direction: Direction::Reply,
    }
}

fn establish(table: &FlowTable, id: SessionId, now_ms: u64) {
    assert_eq!(table.touch(reply(id), now_ms, syn_ack()), Touch::Counted);
    assert_eq!(table.touch(original(id), now_ms, ack()), Touch::Counted);
}

#[test]
fn both_directions_find_the_session() {
    let table = small();
    let id = table.insert(&NewSession::of(key(1), 7, syn()), 0).unwrap();
    assert_eq!(table.lookup(&key(1)), Some(original(id)));
    assert_eq!(table.lookup(&key(1).reverse()), Some(reply(id)));
    assert_eq!(table.lookup(&key(2)), None);
    let again = table.insert(&NewSession::of(key(1).reverse(), 7, syn()), 0);
    assert_eq!(again, Err(InsertError::Exists(reply(id))));
    assert!(table.remove(id));
    assert!(!table.remove(id));
    assert_eq!(table.lookup(&key(1)), None);
    assert_eq!(table.session(id), None);
    let statistics = table.statistics();
    assert_eq!(
        (statistics.live, statistics.inserts, statistics.removed),
        (0, 1, 1)
    );
}

#[test]
fn rewritten_sessions_have_a_key_of_their_own_each_way() {
    for (key, reply_key) in [
        (
            key(1),
            FlowKey::v4(0x0c00_0001, 0x0d00_0001, 6, 8080, 40000),
        ),
        (
            FlowKey::v6(1, 2, 6, 1000, 80),
            FlowKey::v6(3, 4, 6, 8080, 40000),
        ),
    ] {
        let table = small();
        let new = NewSession {
            reply_key,
            paths: [11, 22],
            ..NewSession::of(key, 7, syn())
        };
        let id = table.insert(&new, 0).unwrap();
        assert_eq!(table.lookup(&key), Some(original(id)));
        assert_eq!(table.lookup(&reply_key), Some(reply(id)));
        assert_eq!(table.lookup(&key.reverse()), None);
        assert_eq!(table.lookup(&reply_key.reverse()), None);
        assert_eq!(table.session(id).unwrap().paths, [11, 22]);
        let other = Session {
            generation: 8,
            verdict: Verdict::Allow,
            paths: [33, 44],
        };
        assert_eq!(table.refresh(id, &other, [0; 2]), Refresh::Done);
        assert_eq!(table.session(id), Some(other));
        let flow = table.flow(id, 0).unwrap();
        assert_eq!((flow.key, flow.reply_key), (key, reply_key));
        assert_eq!(table.flows(0, 10, 0).flows.len(), 1);
        let clash = NewSession {
            reply_key,
            ..NewSession::of(super::behaviour::key(9), 7, syn())
        };
        assert_eq!(table.insert(&clash, 0), Err(InsertError::Exists(reply(id))));
        assert!(table.remove(id));
        assert_eq!((table.lookup(&key), table.lookup(&reply_key)), (None, None));
        assert!(table.insert(&clash, 0).is_ok());
    }
}

#[test]
fn a_session_is_refreshed_once_a_generation() {
    let table = small();
    let id = table.insert(&NewSession::of(key(1), 1, syn()), 0).unwrap();
    let new = Session {
        generation: 2,
        verdict: Verdict::Deny,
        paths: [5, 6],
    };
    assert_eq!(table.refresh(id, &new, [3, 4]), Refresh::Done);
    assert_eq!(
        table.refresh(
            id,
            &Session {
                paths: [9, 9],
                ..new
            },
            [3, 4]
        ),
        Refresh::Raced
    );
    assert_eq!(table.session(id), Some(new));
    assert_eq!(table.flow(id, 0).unwrap().rules, [3, 4]);
    assert!(table.remove(id));
    assert_eq!(table.refresh(id, &new, [3, 4]), Refresh::Gone);
}

#[test]
fn counters_and_state_follow_the_packets() {
    let table = small();
    let id = table
        .insert(&NewSession::of(key(1), 1, syn()), 1_000)
        .unwrap();
    establish(&table, id, 2_000);
    let flow = table.flow(id, 3_000).unwrap();
    assert_eq!((flow.packets, flow.bytes), ([2, 1], [112, 60]));
    assert_eq!(flow.state, State::Established);
    assert!(flow.idle_ms.abs_diff(1_000) <= 256 && flow.age_ms.abs_diff(2_000) <= 1_024);
    let rst = Seen {
        tcp_flags: flags::RST,
        ..ack()
    };
    assert_eq!(table.touch(reply(id), 4_000, rst), Touch::Counted);
    assert_eq!(table.flow(id, 4_000).unwrap().state, State::Reset);
    assert_eq!(table.touch(original(id), 5_000, syn()), Touch::Reopened);
    table.remove(id);
    assert_eq!(table.touch(original(id), 5_000, ack()), Touch::Gone);
}

#[test]
fn idle_sessions_age_out_by_protocol_and_state() {
    let table = small();
    let udp = FlowKey::v4(1, 2, protocol::UDP, 3, 4);
    let icmp = FlowKey::v4(1, 2, protocol::ICMP, 5, 5);
    let half_open = table.insert(&NewSession::of(key(1), 1, syn()), 0).unwrap();
    let established = table.insert(&NewSession::of(key(2), 1, syn()), 0).unwrap();
    establish(&table, established, 0);
    let udp = table
        .insert(&NewSession::of(udp, 1, Seen::default()), 0)
        .unwrap();
    let icmp = table
        .insert(&NewSession::of(icmp, 1, Seen::default()), 0)
        .unwrap();
    let mut gone = Vec::new();
    for second in 0..4000 {
        let swept = table.sweep(second * 1000, 1000, |flow| gone.push((flow.id, second)));
        assert!(swept.complete && swept.visited == 4);
    }
    let (ids, seconds): (Vec<_>, Vec<_>) = gone.into_iter().unzip();
    assert_eq!(ids, [icmp, half_open, udp, established]);
    for (second, expected) in seconds.into_iter().zip([11, 20, 60, 3600]) {
        assert!(second.abs_diff(expected) <= 2, "{second} for {expected}");
    }
    assert_eq!(table.statistics().expired, 4);
}

#[test]
fn a_full_table_gives_up_half_open_sessions_and_keeps_the_established() {
    let table = table(Config {
        capacity: 1024,
        ..Config::default()
    });
    let kept: Vec<_> = (0..900)
        .map(|n| {
            let id = table.insert(&NewSession::of(key(n), 1, syn()), 0).unwrap();
            establish(&table, id, 0);
            id
        })
        .collect();
    let mut admitted = 0;
    for n in 10_000..30_000 {
        let inserted = table.insert(&NewSession::of(key(n), 1, syn()), u64::from(n));
        admitted += u32::from(inserted.is_ok());
    }
    assert!(admitted > 19_000, "{admitted} of 20000 admitted");
    assert!(kept.iter().all(|&id| table.session(id).is_some()));
    let statistics = table.statistics();
    assert!(
        statistics.live <= 1024 && statistics.evicted > 19_000,
        "{statistics:?}"
    );
}

#[test]
fn a_table_of_established_sessions_is_full() {
    let table = small();
    for n in 0..64 {
        let id = table.insert(&NewSession::of(key(n), 1, syn()), 0).unwrap();
        establish(&table, id, 0);
    }
    assert_eq!(
        table.insert(&NewSession::of(key(99), 1, syn()), 0),
        Err(InsertError::Full)
    );
    assert_eq!(table.statistics().full, 1);
    assert!(
        table
            .insert(&NewSession::of(key(99), 1, syn()), 3_700_000)
            .is_ok(),
        "expired ones go"
    );
}

#[test]
fn an_endpoint_has_its_limit() {
    let config = Config {
        capacity: 64,
        endpoints: 8,
        endpoint_limit: Some(3),
        ..Config::default()
    };
    let table = table(config);
    let owned = |n, owners| NewSession {
        owners,
        ..NewSession::of(key(n), 1, syn())
    };
    let ids: Vec<_> = (0..3)
        .map(|n| table.insert(&owned(n, [2, NO_ENDPOINT]), 0).unwrap())
        .collect();
    assert_eq!(
        table.insert(&owned(3, [4, 2]), 0),
        Err(InsertError::EndpointLimit(2))
    );
    assert_eq!(
        (table.endpoint_sessions(2), table.endpoint_sessions(4)),
        (Some(3), Some(0))
    );
    assert!(table.set_endpoint_limit(2, Some(4)));
    assert!(table.insert(&owned(3, [4, 2]), 0).is_ok());
    assert!(table.set_endpoint_limit(2, None));
    table.remove(ids[0]);
    table.remove(ids[1]);
    assert_eq!(table.endpoint_sessions(2), Some(2));
    assert!(!table.set_endpoint_limit(8, None));
}

#[test]
fn new_sessions_come_no_faster_than_admitted() {
    let admission = Some(Admission {
        per_second: 100,
        burst: 10,
    });
    let table = table(Config {
        capacity: 4096,
        admission,
        ..Config::default()
    });
    let admitted = (0..10_000u32)
        .filter(|&n| {
            table
                .insert(&NewSession::of(key(n), 1, syn()), u64::from(n))
                .is_ok()
        })
        .count();
    assert!(
        (1000..=1010).contains(&admitted),
        "{admitted} in ten seconds"
    );
    assert_eq!(table.statistics().rate_limited, 10_000 - admitted as u64);
}

#[test]
fn a_strict_table_wants_a_syn() {
    let table = table(Config {
        mid_stream: MidStream::Strict,
        ..Config::default()
    });
    let refused = table.insert(&NewSession::of(key(1), 1, ack()), 0);
    assert_eq!(refused, Err(InsertError::MidStream));
    assert!(table.insert(&NewSession::of(key(1), 1, syn()), 0).is_ok());
}

#[test]
fn other_timeouts_hold_for_sessions_that_are_there() {
    let table = small();
    let udp = FlowKey::v4(1, 2, protocol::UDP, 1000, 53);
    table.insert(&NewSession::of(udp, 1, ack()), 0).unwrap();
    assert_eq!(table.sweep(30_000, 1000, |_| {}).expired, 0);
    let shorter = Timeouts {
        udp_ms: 20_000,
        ..table.timeouts()
    };
    table.set_timeouts(&shorter);
    assert_eq!(table.timeouts(), shorter);
    assert_eq!(table.sweep(30_000, 1000, |_| {}).expired, 1);
}

#[test]
fn pages_list_every_session_once() {
    let table = small();
    for n in 0..50 {
        table.insert(&NewSession::of(key(n), 1, syn()), 0).unwrap();
    }
    let (mut from, mut keys) = (Some(0), Vec::new());
    while let Some(start) = from {
        let page = table.flows(start, 7, 0);
        keys.extend(page.flows.iter().map(|flow| flow.key));
        from = page.next;
    }
    let expected: Vec<_> = (0..50).map(key).collect();
    assert_eq!(keys, expected);
}

#[test]
fn a_batch_finds_what_single_lookups_find() {
    let table = table(Config {
        capacity: 1000,
        ..Config::default()
    });
    for n in 0..900 {
        table.insert(&NewSession::of(key(n), 1, syn()), 0).unwrap();
    }
    let keys: Vec<_> = (500..1300)
        .map(|n| if n % 3 == 0 { key(n).reverse() } else { key(n) })
        .collect();
    for length in [0, 1, 7, 16, 33, 256, 800] {
        let mut hits = vec![None; length];
        table.lookup_batch(&keys, &mut hits);
        let single: Vec<_> = keys[..length].iter().map(|key| table.lookup(key)).collect();
        assert_eq!(hits, single);
    }
}

#[test]
fn a_connection_costs_128_bytes() {
    let table = table(Config {
        capacity: 1 << 16,
        ..Config::default()
    });
    assert_eq!(table.bytes() / (1 << 16), 128);
    assert_eq!(size_of::<Option<Hit>>(), 12);
}
