//! The slot protocol under loom: every order of the atomics of two threads.

use loom::sync::Arc;
use loom::thread;

use super::super::slot::{Life, LifeState, Slots};
use super::super::*;

fn table() -> Arc<FlowTable> {
    Arc::new(FlowTable::new(Config {
        capacity: 4,
        ..Config::default()
    }))
}

fn key(n: u32) -> FlowKey {
    FlowKey::v4(n, 100, protocol::UDP, 1, 2)
}

fn new(n: u32) -> NewSession {
    let word = u64::from(n);
    NewSession {
        paths: [word, !word],
        ..NewSession::of(key(n), 1, Seen::default())
    }
}

fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn two_inserts_of_one_flow_make_one_session() {
    check(3, || {
        let table = table();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.insert(&new(1), 0));
        let here = table.insert(&NewSession::of(key(1).reverse(), 1, Seen::default()), 0);
        let there = thread.join().expect("the other thread ends");
        assert!(here.is_ok() != there.is_ok(), "{here:?} {there:?}");
        let id = here.or(there).expect("one of them is in");
        assert_eq!(table.lookup(&key(1)).map(|hit| hit.session), Some(id));
        assert_eq!(table.statistics().live, 1);
        assert!(table.remove(id));
        assert_eq!(table.lookup(&key(1)), None, "no second entry is left");
    });
}

#[test]
fn who_finds_a_session_sees_all_of_it() {
    check(3, || {
        let table = table();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.insert(&new(1), 0).is_ok());
        if let Some(hit) = table.lookup(&key(1)) {
            assert_eq!(
                table.session(hit.session).expect("nobody removes it").paths,
                [1, !1]
            );
        }
        assert!(thread.join().expect("the other thread ends"));
    });
}

#[test]
fn a_slot_used_again_is_not_taken_for_its_former_session() {
    check(3, || {
        let table = table();
        let id = table.insert(&new(1), 0).expect("there is room");
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            other.remove(id);
            let next = other.insert(&new(2), 0).expect("there is room");
            assert_eq!(next.slot, id.slot, "the model is about reuse");
        });
        if let Some(session) = table.session(id) {
            assert_eq!(session.paths, [1, !1]);
        }
        if let Some(hit) = table.lookup(&key(1)) {
            assert_eq!(hit.session, id);
        }
        thread.join().expect("the other thread ends");
        assert_eq!(table.session(id), None);
    });
}

#[test]
fn a_refresh_is_seen_whole_or_not() {
    check(3, || {
        let table = table();
        let id = table.insert(&new(1), 0).expect("there is room");
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            let fresh = Session {
                generation: 2,
                verdict: Verdict::Deny,
                paths: [9, !9],
            };
            other.refresh(id, &fresh, [0; 2])
        });
        if let Some(session) = table.session(id) {
            let old = Session {
                generation: 1,
                verdict: Verdict::Allow,
                paths: [1, !1],
            };
            let fresh = Session {
                generation: 2,
                verdict: Verdict::Deny,
                paths: [9, !9],
            };
            assert!(session == old || session == fresh, "{session:?}");
        }
        assert_eq!(thread.join().expect("the other thread ends"), Refresh::Done);
    });
}

#[test]
fn a_session_removed_while_refreshed_gives_its_slot_back_once() {
    check(3, || {
        let table = table();
        let id = table.insert(&new(1), 0).expect("there is room");
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            let fresh = Session {
                generation: 2,
                verdict: Verdict::Deny,
                paths: [9, !9],
            };
            other.refresh(id, &fresh, [0; 2])
        });
        assert!(table.remove(id));
        thread.join().expect("the other thread ends");
        assert_eq!(table.session(id), None);
        assert_eq!(table.lookup(&key(1)), None);
        let slots: Vec<_> = std::iter::from_fn(|| table.slots.pop()).collect();
        assert_eq!(slots.len(), 4, "{slots:?}");
    });
}

#[test]
fn two_removals_end_a_session_once() {
    check(3, || {
        let table = table();
        let id = table.insert(&new(1), 0).expect("there is room");
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.remove(id));
        let here = table.remove(id);
        let there = thread.join().expect("the other thread ends");
        assert!(here != there);
        assert_eq!(table.statistics().live, 0);
    });
}

#[test]
fn the_free_list_gives_each_slot_to_one() {
    check(3, || {
        let slots = Arc::new(Slots::new(3));
        let all: Vec<_> = std::iter::from_fn(|| slots.pop()).collect();
        for &slot in &all {
            slots.push(slot);
        }
        let other = Arc::clone(&slots);
        let thread = thread::spawn(move || {
            let slot = other.pop().expect("three for two");
            // The owner writes over the link.
            other.write_hot(slot, &key(7), 0, [0; 2]);
            other.set_life(slot, Life::new(1, LifeState::Free, 0));
            other.push(slot);
            other.pop().expect("three for two")
        });
        let mine = [slots.pop().expect("three for two")];
        let theirs = thread.join().expect("the other thread ends");
        assert_ne!(mine[0], theirs);
        let last: Vec<_> = std::iter::from_fn(|| slots.pop()).collect();
        assert_eq!(last.len(), 1);
        assert!(last[0] != mine[0] && last[0] != theirs);
    });
}
