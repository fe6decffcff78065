//! How the writer makes, changes and retires words: see [`Word`].

use crate::cells::{Link, SLOTS, Word};
use crate::store::{Array, Store};

/// Words that hold one value in all slots share its cell: one leaf (and one link) for each value.
#[derive(Debug, Default)]
pub(crate) struct Uniform {
    /// By raw value; 0 where there is none yet.
    leaves: Vec<u32>,
    links: Vec<u32>,
}

impl Uniform {
    pub(crate) fn bytes(&self) -> usize {
        (self.leaves.capacity() + self.links.capacity()) * 4
    }

    fn word(&mut self, store: &mut Store, raw: u16, wide: bool) -> Word {
        let (cells, array) = if wide {
            (&mut self.links, Array::Links)
        } else {
            (&mut self.leaves, Array::Leaves)
        };
        if raw == 0 && !wide {
            // Leaf 0 is 0 from the start, and so are fresh words.
            return Word::new(0, false, 0);
        }
        let at = usize::from(raw);
        if cells.len() <= at {
            cells.resize(at + 1, 0);
        }
        if cells[at] == 0 {
            let place = store.take(array, 1);
            if wide {
                store.tables().publish_link(place, u32::from(raw));
            } else {
                store.tables().set_leaf(place, raw);
            }
            cells[at] = place as u32;
        }
        Word::new(0, wide, cells[at] as usize)
    }
}

/// Makes all slots of the word at `at` hold a value, by one store.
pub(crate) fn fill(store: &mut Store, uniform: &mut Uniform, at: usize, value: Link, wide: bool) {
    let old = Word(store.tables().word(at));
    let word = uniform.word(store, value.0 as u16, wide);
    if word != old {
        store.tables().publish_word(at, word.0);
        free(store, old);
    }
}

/// Makes the word at `at` hold `slots` instead of `old`, by one store.
///
/// Words of values only are narrow unless `wide`.
pub(crate) fn rewrite(
    store: &mut Store,
    uniform: &mut Uniform,
    at: usize,
    slots: &[Link; SLOTS],
    wide: bool,
) {
    let old = Word(store.tables().word(at));
    let mut runs = [Link(0); SLOTS];
    let (mut ends, mut count, mut pointers) = (0, 1, slots[31].0);
    runs[0] = slots[31];
    for slot in (0..31).rev() {
        pointers |= slots[slot].0;
        if slots[slot] != slots[slot + 1] {
            ends |= 1 << slot;
            runs[count] = slots[slot];
            count += 1;
        }
    }
    let wide = wide || Link(pointers).is_pointer();
    if count == 1 && !runs[0].is_pointer() {
        fill(store, uniform, at, runs[0], wide);
        return;
    }
    if old.ends() == ends && old.is_wide() == wide && !is_shared(old) {
        let tables = store.tables();
        let load = |run: usize| {
            let at = old.place() + run;
            if wide {
                tables.link(at)
            } else {
                u32::from(tables.leaf(at))
            }
        };
        let mut changed = (0..count).filter(|run| load(*run) != runs[*run].0);
        match (changed.next(), changed.next()) {
            (None, _) => return,
            (Some(run), None) => {
                // One cell: it is replaced where it lies, atomically.
                let at = old.place() + run;
                if wide {
                    tables.publish_link(at, runs[run].0);
                } else {
                    tables.set_leaf(at, runs[run].0 as u16);
                }
                return;
            }
            (Some(_), Some(_)) => {}
        }
    }
    let place = store.take(if wide { Array::Links } else { Array::Leaves }, count);
    let tables = store.tables();
    for (run, link) in runs[..count].iter().enumerate() {
        if wide {
            tables.publish_link(place + run, link.0);
        } else {
            tables.set_leaf(place + run, link.0 as u16);
        }
    }
    tables.publish_word(at, Word::new(ends, wide, place).0);
    free(store, old);
}

/// Retires what the word at `at` refers to, but not what its links do.
pub(crate) fn retire(store: &mut Store, at: usize) {
    let word = Word(store.tables().word(at));
    free(store, word);
}

/// Whether the word's cell is one of [`Uniform`]'s: all slots equal, and no slot range shares a
/// pointer.
fn is_shared(word: Word) -> bool {
    word.ends() == 0
}

fn free(store: &mut Store, word: Word) {
    if !is_shared(word) {
        let array = if word.is_wide() {
            Array::Links
        } else {
            Array::Leaves
        };
        store.retire(array, word.place(), word.boundaries() as usize + 1);
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p lpm --lib --release loom`: all interleavings, and all the
/// staleness the orderings allow, of one change and one reader.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::cells::find_in_list;
    use crate::list::Runs;

    fn slots(of: impl Fn(usize) -> u16) -> [Link; SLOTS] {
        std::array::from_fn(|slot| Link::value(of(slot)))
    }

    /// A reader that loads the word once sees all of the old slots or all of the new.
    fn change(old: [Link; SLOTS], new: [Link; SLOTS], wide: bool) {
        loom::model(move || {
            let (mut store, readers) = Store::private(1, 0).publish();
            let mut uniform = Uniform::default();
            rewrite(&mut store, &mut uniform, 0, &old, wide);
            let reader = loom::thread::spawn(move || {
                let tables = readers.pin();
                let word = Word(tables.word(0));
                let seen = [0, 9, 31].map(|slot| word.slot(&tables, slot as u32).0);
                assert!(
                    seen == [0, 9, 31].map(|slot| old[slot].0)
                        || seen == [0, 9, 31].map(|slot| new[slot].0),
                    "{seen:?}"
                );
            });
            rewrite(&mut store, &mut uniform, 0, &new, wide);
            reader.join().expect("the reader does not panic");
        });
    }

    #[test]
    fn loom_a_change_of_leaves_is_seen_whole() {
        change(
            slots(|_| 1),
            slots(|slot| if slot < 16 { 2 } else { 3 }),
            false,
        );
    }

    #[test]
    fn loom_a_change_of_links_is_seen_whole() {
        change(
            slots(|slot| 1 + slot as u16 / 16),
            slots(|slot| 7 + slot as u16 / 8),
            true,
        );
    }

    /// Each lookup sees the old value or the new, and none goes back.
    #[test]
    fn loom_a_value_is_changed_in_place() {
        loom::model(|| {
            let (mut store, readers) = Store::private(1, 0).publish();
            let mut uniform = Uniform::default();
            let halves = |low| slots(|slot| if slot < 16 { low } else { 2 });
            rewrite(&mut store, &mut uniform, 0, &halves(1), false);
            let reader = loom::thread::spawn(move || {
                let tables = readers.pin();
                let word = Word(tables.word(0));
                let seen = [0, 9, 31].map(|slot| word.slot(&tables, slot).0);
                assert!(
                    [[1, 1, 2], [1, 9, 2], [9, 9, 2]].contains(&seen),
                    "{seen:?}"
                );
            });
            rewrite(&mut store, &mut uniform, 0, &halves(9), false);
            reader.join().expect("the reader does not panic");
        });
    }

    /// A list is complete when its link is seen, be it by a new word or in the place of `old`, a
    /// value of slot 3.
    fn list_instead_of(old: u16) {
        loom::model(move || {
            let (mut store, readers) = Store::private(1, 0).publish();
            let mut uniform = Uniform::default();
            let with_third = |third| {
                let mut slots = slots(|slot| 1 + slot as u16 / 16);
                slots[3] = third;
                slots
            };
            rewrite(
                &mut store,
                &mut uniform,
                0,
                &with_third(Link::value(old)),
                true,
            );
            let reader = loom::thread::spawn(move || {
                let tables = readers.pin();
                let link = Word(tables.word(0)).slot(&tables, 3);
                if link.is_list() {
                    assert_eq!(find_in_list(&tables, link.place(), 40), Link::value(6));
                } else {
                    assert_eq!(link, Link::value(old));
                }
            });
            let mut runs = Runs::default();
            runs.fill(Link::value(5));
            runs.paint(40, 50, 255, Link::value(6));
            let list = runs.write(&mut store);
            rewrite(&mut store, &mut uniform, 0, &with_third(list), true);
            reader.join().expect("the reader does not panic");
        });
    }

    #[test]
    fn loom_a_list_is_complete_when_a_word_names_it() {
        list_instead_of(1);
    }

    #[test]
    fn loom_a_list_is_complete_when_a_link_names_it() {
        list_instead_of(8);
    }
}
