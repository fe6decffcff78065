//! Lists: the runs of a range of 256 or 65,536 slots in which few prefixes lie.
//!
//! A block of leaves: the count *n* of boundaries (1 to 31; bit 15 set when wide), the first slot
//! of each run but the first (*n*, ascending), then the runs (*n* + 1; two leaves each, the low half
//! first, when wide). A slot's run is found by counting the boundaries not above it. Count and
//! boundaries fit in one vector of 64 bytes.

use crate::cells::{Link, POINTER, WIDE_LIST, wide_run};
use crate::store::{Array, Store};
use crate::tables::Tables;

/// The runs of a list, to be changed.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// First slots, ascending; the first is 0.
    pub(crate) starts: Vec<u16>,
    pub(crate) links: Vec<Link>,
}

impl Runs {
    /// One run.
    pub(crate) fn fill(&mut self, link: Link) {
        self.starts.clear();
        self.links.clear();
        self.push(0, link);
    }

    /// Appends a run unless it continues the last.
    pub(crate) fn push(&mut self, start: u16, link: Link) {
        if self.links.last() != Some(&link) {
            self.starts.push(start);
            self.links.push(link);
        }
    }

    pub(crate) fn boundaries(&self) -> usize {
        self.starts.len() - 1
    }

    fn at(&self, slot: u16) -> usize {
        self.starts.partition_point(|start| *start <= slot) - 1
    }

    pub(crate) fn slot(&self, slot: u16) -> Link {
        self.links[self.at(slot)]
    }

    /// Sets the slots `low` to `high` of a range whose last slot is `last`.
    pub(crate) fn paint(&mut self, low: u16, high: u16, last: u16, link: Link) {
        let first = self.starts.partition_point(|start| *start < low);
        let mut end = self.at(high) + 1;
        let mut starts = [0; 2];
        let mut links = [link; 2];
        let mut count = 0;
        if first == 0 || self.links[first - 1] != link {
            starts[0] = low;
            count = 1;
        }
        if high < last {
            let next = high + 1;
            if self.starts.get(end) == Some(&next) {
                // The next run begins here anyway; it goes when it is the same.
                if self.links[end] == link {
                    end += 1;
                }
            } else if self.links[end - 1] != link {
                starts[count] = next;
                links[count] = self.links[end - 1];
                count += 1;
            }
        }
        self.starts
            .splice(first..end, starts[..count].iter().copied());
        self.links
            .splice(first..end, links[..count].iter().copied());
    }

    /// Writes the runs to a new block: 1 to [`GREATEST_LIST`](crate::cells::GREATEST_LIST) boundaries.
    pub(crate) fn write(&self, store: &mut Store) -> Link {
        let boundaries = self.boundaries();
        let wide = self.links.iter().any(|link| link.is_pointer());
        let at = store.take(Array::Leaves, size(boundaries, wide));
        let tables = store.tables();
        tables.set_leaf(at, boundaries as u16 | if wide { WIDE_LIST } else { 0 });
        for (place, start) in (at + 1..).zip(&self.starts[1..]) {
            tables.set_leaf(place, *start);
        }
        let runs = at + 1 + boundaries;
        for (run, link) in self.links.iter().enumerate() {
            if wide {
                tables.set_leaf(runs + 2 * run, link.0 as u16);
                tables.set_leaf(runs + 2 * run + 1, (link.0 >> 16) as u16);
            } else {
                tables.set_leaf(runs + run, link.0 as u16);
            }
        }
        Link::list(at)
    }

    /// Reads the list at `at`.
    pub(crate) fn read(&mut self, tables: &Tables, at: usize) {
        let header = tables.leaf(at);
        let (boundaries, wide) = (usize::from(header & !WIDE_LIST), header & WIDE_LIST != 0);
        self.starts.clear();
        self.links.clear();
        self.starts.push(0);
        self.starts
            .extend((at + 1..).take(boundaries).map(|place| tables.leaf(place)));
        let runs = at + 1 + boundaries;
        self.links.extend((0..=boundaries).map(|run| {
            if wide {
                Link(wide_run(tables, runs + 2 * run))
            } else {
                Link::value(tables.leaf(runs + run))
            }
        }));
    }
}

/// Retires the list at `at`.
pub(crate) fn retire(store: &mut Store, at: usize) {
    let header = store.tables().leaf(at);
    let size = size(usize::from(header & !WIDE_LIST), header & WIDE_LIST != 0);
    store.retire(Array::Leaves, at, size);
}

/// Changes one run of the list at `at` where it lies, if that is all that `runs` changes and can be
/// seen at once.
pub(crate) fn change(tables: &Tables, at: usize, old: &Runs, new: &Runs) -> bool {
    if old.starts != new.starts {
        return false;
    }
    let wide = tables.leaf(at) & WIDE_LIST != 0;
    let mut changed = old
        .links
        .iter()
        .zip(&new.links)
        .enumerate()
        .filter(|(_, (old, new))| old != new);
    match (changed.next(), changed.next()) {
        (None, _) => true,
        (Some((run, (_, link))), None) if !wide && link.0 & POINTER == 0 => {
            tables.set_leaf(at + 1 + old.boundaries() + run, link.0 as u16);
            true
        }
        _ => false,
    }
}

fn size(boundaries: usize, wide: bool) -> usize {
    1 + boundaries + (boundaries + 1) * if wide { 2 } else { 1 }
}
