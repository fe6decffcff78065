//! The slot protocol under loom: every order of the atomics of two threads.

use loom::sync::Arc;
use loom::thread;

use super::super::index::Index;
use super::super::slot::{Life, LifeState, Slots};
use super::super::sync::Ordering;
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
            // The head comes back with another behind it: only the count in it tells.
            let first = other.pop().expect("two of three are left at least");
            let second = other.pop();
            // The owner writes over the link.
            other.write_hot(first, &key(7), 0, [0; 2]);
            other.set_life(first, Life::new(1, LifeState::Free, 0));
            other.push(first);
            second
        });
        let mine = slots.pop();
        let theirs = thread.join().expect("the other thread ends");
        let left: Vec<_> = std::iter::from_fn(|| slots.pop()).collect();
        let mut given: Vec<_> = mine.into_iter().chain(theirs).chain(left).collect();
        given.sort_unstable();
        assert_eq!(given, [0, 1, 2]);
    });
}

/// Both enter their record in the first word they see free, and see different words free: the
/// case in which only the fence between entering and looking makes one see the other.
#[test]
fn two_inserts_meet_although_they_take_different_words() {
    check(3, || {
        let table = table();
        let bucket = |n| table.sought(&key(n)).place.buckets[0];
        let before = (2..)
            .find(|&n| bucket(n) == bucket(1))
            .expect("half of the keys share it");
        let first = table.insert(&new(before), 0).expect("there is room");
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            other.remove(first);
            other.insert(&new(1), 0)
        });
        let here = table.insert(&new(1), 0);
        let there = thread.join().expect("the other thread ends");
        assert!(here.is_ok() != there.is_ok(), "{here:?} {there:?}");
        assert_eq!(table.statistics().live, 1);
    });
}

fn words(n: u32) -> [u64; 2] {
    [u64::from(n), !u64::from(n)]
}

/// The sequence lock alone: a record written over while it is read.
#[test]
fn the_second_look_at_the_life_word_finds_the_writer() {
    check(3, || {
        let slots = Arc::new(Slots::new(1));
        let live = Life::new(0, LifeState::Live, 1);
        slots.write_hot(0, &key(1), 0, words(1));
        slots.set_life(0, live);
        let other = Arc::clone(&slots);
        let thread = thread::spawn(move || {
            other.set_life(0, live.next());
            other.write_hot(0, &key(2), 0, words(2));
        });
        let life = slots.life(0);
        if life == live {
            let stored = slots.read_hot(0);
            if slots.still(0, life) {
                assert_eq!((stored.key, stored.paths), (key(1).canonical().0, words(1)));
            }
        }
        thread.join().expect("the other thread ends");
    });
}

/// The same for the comparison that a lookup makes.
#[test]
fn the_second_look_finds_the_writer_of_another_key() {
    check(3, || {
        let slots = Arc::new(Slots::new(1));
        let live = Life::new(0, LifeState::Live, 1);
        slots.write_hot(0, &key(1), 0, words(1));
        slots.set_life(0, live);
        let other = Arc::clone(&slots);
        let thread = thread::spawn(move || {
            other.set_life(0, live.next());
            other.write_hot(0, &key(2), 0, words(2));
        });
        let life = slots.life(0);
        let matches = slots.matches(0, &key(2)).is_some();
        assert!(!(life == live && matches && slots.still(0, life)));
        thread.join().expect("the other thread ends");
    });
}

/// A record seen live is seen whole.
#[test]
fn the_first_look_at_the_life_word_brings_the_record() {
    check(3, || {
        let slots = Arc::new(Slots::new(1));
        let other = Arc::clone(&slots);
        let thread = thread::spawn(move || {
            other.write_hot(0, &key(1), 0, words(1));
            other.set_life(0, Life::new(0, LifeState::Live, 1));
        });
        if slots.life(0).visible() {
            assert_eq!(slots.path(0, 0), 1);
            assert_eq!(slots.path(0, 1), !1);
        }
        thread.join().expect("the other thread ends");
    });
}

/// An entry found leads to a record that is written.
#[test]
fn an_entry_brings_the_life_word() {
    entry(true);
    entry(false);
}

fn entry(quick: bool) {
    check(3, move || {
        let slots = Arc::new(Slots::new(2));
        let index = Arc::new(Index::new(2));
        let place = index.place(12345 << 32 | 1);
        let (others, entries) = (Arc::clone(&slots), Arc::clone(&index));
        let thread = thread::spawn(move || {
            let found = if quick {
                entries.any(place.buckets[0], place.tag)
            } else {
                entries.slot(place.buckets[0], 0, place.tag)
            };
            found.is_none_or(|slot| others.life(slot).visible())
        });
        // Relaxed, so that nothing but the entry orders it.
        let life = Life::new(0, LifeState::Live, 1);
        slots.hot(1)[super::super::slot::LIFE].store(life.0, Ordering::Relaxed);
        assert!(index.publish(&place, 1));
        assert!(thread.join().expect("the other thread ends"));
    });
}
