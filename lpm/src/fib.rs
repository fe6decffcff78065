//! The writer's side of the FIB: how routes are painted into the arrays that readers look at.
//!
//! Routes are flattened: each address belongs to its longest prefix only. To change a prefix is to
//! *paint* the parts of its range that no longer prefix holds. The crate's page has the layout.

use crate::cells::{Link, SLOTS, Target, Word};
use crate::layout::{Fib, words_of};
use crate::list::{self, Runs};
use crate::prefix::{Bits, Prefix};
use crate::raw::Subscriber;
use crate::rib::Rib;
use crate::slots::{Canvas, RootLinks, RunSlots, Slots, WordSlots};
use crate::store::{Array, Store};
use crate::words;

/// A range of addresses, and the raw value it shall have.
#[derive(Clone, Copy, Debug)]
struct Paint<B> {
    first: B,
    last: B,
    raw: u16,
}

/// The writer's side.
pub(crate) struct Painter<F: Fib> {
    canvas: Canvas,
    /// Spare lists, so that a change allocates nothing.
    spare: Vec<Runs>,
    spare_paints: Vec<Vec<Paint<F::Bits>>>,
}

impl<F: Fib> Painter<F> {
    /// Whether words below the root are always wide: their readers then need not ask.
    const WIDE: bool = F::WINDOWS;

    /// An empty FIB.
    pub(crate) fn new() -> (Self, Subscriber) {
        let mut painter = Self::private();
        let empty = Store::private(0, 0);
        let (store, subscriber) = std::mem::replace(&mut painter.canvas.store, empty).publish();
        painter.canvas.store = store;
        (painter, subscriber)
    }

    fn private() -> Self {
        let slots = 1 << F::ROOT;
        let store = if F::WORDS {
            Store::private(slots / SLOTS, 0)
        } else {
            Store::private(0, slots)
        };
        Self {
            canvas: Canvas::new(store),
            spare: Vec::new(),
            spare_paints: Vec::new(),
        }
    }

    /// Gives the addresses of `prefix` that nothing longer in `rib` holds the value `raw`.
    pub(crate) fn paint(&mut self, rib: &Rib<F::Bits>, prefix: Prefix<F::Bits>, raw: u16) {
        let mut paints = self.spare_paints.pop().unwrap_or_default();
        let (mut cursor, end) = (Some(prefix.bits), prefix.last());
        if !rib.is_leaf(prefix) {
            for (inner, _) in rib.covered(prefix) {
                let Some(first) = cursor else { break };
                if inner.len == prefix.len || inner.bits < first {
                    continue;
                }
                if inner.bits > first {
                    paints.push(Paint {
                        first,
                        last: inner.bits.previous(),
                        raw,
                    });
                }
                cursor = inner.last().next();
            }
        }
        if let Some(first) = cursor
            && first <= end
        {
            paints.push(Paint {
                first,
                last: end,
                raw,
            });
        }
        self.apply(&paints);
        paints.clear();
        self.spare_paints.push(paints);
        self.canvas.store.settle();
    }

    /// Publishes, at once, the routes of `rib` instead of all there is.
    pub(crate) fn load(&mut self, rib: &Rib<F::Bits>) {
        let mut new = Self::private();
        let paints = flatten(rib);
        new.apply(&paints);
        let Canvas {
            store,
            uniform,
            windows,
        } = new.canvas;
        self.canvas.store.replace(store);
        (self.canvas.uniform, self.canvas.windows) = (uniform, windows);
    }

    pub(crate) fn store(&self) -> &Store {
        &self.canvas.store
    }

    pub(crate) fn store_mut(&mut self) -> &mut Store {
        &mut self.canvas.store
    }

    pub(crate) fn writer_bytes(&self) -> usize {
        self.canvas.store.writer_bytes()
            + self.canvas.uniform.bytes()
            + self.canvas.windows.capacity() * size_of::<(usize, u32)>()
    }

    /// Paints ranges that are sorted and apart.
    fn apply(&mut self, paints: &[Paint<F::Bits>]) {
        if F::WORDS {
            let mut slots = WordSlots::new(0, false, false);
            self.split(&mut slots, 0, F::ROOT, paints);
            slots.flush(&mut self.canvas);
        } else {
            self.split(&mut RootLinks, 0, F::ROOT, paints);
        }
    }

    /// Cuts ranges at the slots of a level: whole slots are filled, and what covers a part of a
    /// slot goes to the level below.
    fn split(&mut self, slots: &mut impl Slots, depth: u8, width: u8, paints: &[Paint<F::Bits>]) {
        let below = depth + width;
        let mut inner = self.spare_paints.pop().unwrap_or_default();
        let mut inner_slot = 0;
        let mut piece = |this: &mut Self, slots: &mut _, slot: u32, paint: Paint<F::Bits>| {
            if !inner.is_empty() && inner_slot != slot {
                this.descend(slots, inner_slot, below, &inner);
                inner.clear();
            }
            inner_slot = slot;
            if paint.first <= paint.last {
                inner.push(paint);
            }
        };
        for paint in paints {
            let mut low = paint.first.slice(depth, width);
            let high = paint.last.slice(depth, width);
            let starts = paint.first.truncate(below) == paint.first;
            let ends = paint.last.fill(below) == paint.last;
            if low == high && !(starts && ends) {
                piece(self, slots, low, *paint);
                continue;
            }
            if !starts {
                let last = paint.first.fill(below);
                piece(self, slots, low, Paint { last, ..*paint });
                low += 1;
            }
            // Whole slots: fill low to high, or to the one before when the last is a part.
            let filled = if ends { high + 1 } else { high };
            if low < filled {
                slots.fill(&mut self.canvas, low, filled - 1, Link::value(paint.raw));
            }
            if !ends {
                let first = paint.last.truncate(below);
                piece(self, slots, high, Paint { first, ..*paint });
            }
        }
        if !inner.is_empty() {
            self.descend(slots, inner_slot, below, &inner);
        }
        inner.clear();
        self.spare_paints.push(inner);
    }

    /// Paints inside one slot.
    fn descend(&mut self, slots: &mut impl Slots, slot: u32, depth: u8, paints: &[Paint<F::Bits>]) {
        let old = slots.get(&mut self.canvas, slot);
        let new = self.repaint(old, depth, paints);
        if new != old {
            slots.set(&mut self.canvas, slot, new);
        }
    }

    /// Paints the range that `old` stands for; `old` is retired when the answer is another link.
    fn repaint(&mut self, old: Link, depth: u8, paints: &[Paint<F::Bits>]) -> Link {
        let mut runs = self.spare.pop().unwrap_or_default();
        let width = F::list_width(depth);
        let new = match old.target() {
            Target::Words(at) => {
                let width = F::words_width(depth);
                let mut slots = WordSlots::new(at, Self::WIDE, width == 16);
                self.split(&mut slots, depth, width, paints);
                slots.flush(&mut self.canvas);
                if self.gather(at, depth, &mut runs) {
                    self.retire_words(at, depth);
                    self.write(&runs, depth)
                } else {
                    old
                }
            }
            Target::List(at) => {
                runs.read(self.canvas.store.tables(), at);
                let mut before = self.spare.pop().unwrap_or_default();
                before.starts.clone_from(&runs.starts);
                before.links.clone_from(&runs.links);
                self.split(&mut RunSlots::new(&mut runs, width), depth, width, paints);
                let same = list::change(self.canvas.store.tables(), at, &before, &runs);
                self.spare.push(before);
                if same {
                    old
                } else {
                    list::retire(&mut self.canvas.store, at);
                    self.write(&runs, depth)
                }
            }
            Target::Value(_) => {
                runs.fill(old);
                self.split(&mut RunSlots::new(&mut runs, width), depth, width, paints);
                self.write(&runs, depth)
            }
        };
        self.spare.push(runs);
        new
    }

    /// The smallest form of `runs`.
    fn write(&mut self, runs: &Runs, depth: u8) -> Link {
        if runs.boundaries() == 0 {
            return runs.links[0];
        }
        if runs.boundaries() <= F::greatest_list(depth) {
            return runs.write(&mut self.canvas.store);
        }
        let width = F::words_width(depth);
        let count = words_of(width);
        let at = self.canvas.store.take(Array::Words, count);
        for word in at..at + count {
            self.canvas.store.tables().publish_word(word, 0);
        }
        // A slot of the words is one slot of the list, or 256 that go to the level below.
        let below = F::list_width(depth) - width;
        let mut run = 0;
        let mut inner = self.spare.pop().unwrap_or_default();
        for word in 0..count {
            let mut slots = [Link(0); SLOTS];
            for (slot, cell) in (word * SLOTS..).zip(&mut slots) {
                let (first, end) = (slot << below, (slot + 1) << below);
                while runs
                    .starts
                    .get(run + 1)
                    .is_some_and(|start| usize::from(*start) <= first)
                {
                    run += 1;
                }
                inner.fill(runs.links[run]);
                while let Some(start) = runs.starts.get(run + 1)
                    && usize::from(*start) < end
                {
                    run += 1;
                    inner.push(start & ((1 << below) - 1), runs.links[run]);
                }
                *cell = self.write(&inner, depth + width);
            }
            words::rewrite(
                &mut self.canvas.store,
                &mut self.canvas.uniform,
                at + word,
                &slots,
                Self::WIDE,
            );
        }
        self.spare.push(inner);
        if width == 16 {
            self.canvas.windows.insert(at, runs.boundaries() as u32);
        }
        Link::words(at)
    }

    /// Reads words whose runs are few enough for a list, and lists below them, which are retired.
    fn gather(&mut self, at: usize, depth: u8, runs: &mut Runs) -> bool {
        let width = F::words_width(depth);
        let below = F::list_width(depth) - width;
        let few = F::greatest_list(depth) / 2;
        let tables = self.canvas.store.tables();
        if width == 16 {
            if self
                .canvas
                .windows
                .get(&at)
                .is_some_and(|count| *count as usize > few / 2)
            {
                return false;
            }
        } else {
            let count = (at..at + words_of(width))
                .map(|word| Word(tables.word(word)).boundaries() as usize)
                .sum::<usize>();
            if count > few {
                return false;
            }
        }
        let mut inner = self.spare.pop().unwrap_or_default();
        let mut lists = Vec::new();
        runs.starts.clear();
        runs.links.clear();
        for word in 0..words_of(width) {
            for (slot, link) in Word(tables.word(at + word))
                .expand(tables)
                .iter()
                .enumerate()
            {
                let first = ((word * SLOTS + slot) << below) as u16;
                match link.target() {
                    Target::List(list) if below > 0 => {
                        lists.push(list);
                        inner.read(tables, list);
                        for (start, link) in inner.starts.iter().zip(&inner.links) {
                            runs.push(first + start, *link);
                        }
                    }
                    Target::Words(_) if below > 0 => {
                        self.spare.push(inner);
                        return false;
                    }
                    Target::Value(_) | Target::List(_) | Target::Words(_) => {
                        runs.push(first, *link);
                    }
                }
            }
        }
        self.spare.push(inner);
        if runs.boundaries() > few {
            return false;
        }
        for list in lists {
            list::retire(&mut self.canvas.store, list);
        }
        true
    }

    /// Retires words, but not what their slots refer to.
    fn retire_words(&mut self, at: usize, depth: u8) {
        let count = words_of(F::words_width(depth));
        for word in at..at + count {
            words::retire(&mut self.canvas.store, word);
        }
        self.canvas.store.retire(Array::Words, at, count);
        self.canvas.windows.remove(&at);
    }
}

/// The ranges of the whole address space and their values, in order.
fn flatten<B: Bits>(rib: &Rib<B>) -> Vec<Paint<B>> {
    let mut paints: Vec<Paint<B>> = Vec::with_capacity(rib.len() * 5 / 4 + 1);
    let mut open: Vec<(B, u16)> = Vec::new();
    let mut cursor = Some(B::default());
    let mut emit = |first: B, last: B, raw: u16| match paints.last_mut() {
        Some(paint) if paint.raw == raw && paint.last.next() == Some(first) => paint.last = last,
        _ if raw == 0 => {}
        _ => paints.push(Paint { first, last, raw }),
    };
    for (prefix, value) in rib.covered(Prefix::new(B::default(), 0)) {
        while let Some((last, raw)) = open.last().copied()
            && last < prefix.bits
        {
            if let Some(first) = cursor
                && first <= last
            {
                emit(first, last, raw);
                cursor = last.next();
            }
            open.pop();
        }
        if let (Some(first), Some((_, raw))) = (cursor, open.last())
            && first < prefix.bits
        {
            emit(first, prefix.bits.previous(), *raw);
        }
        cursor = Some(prefix.bits);
        open.push((prefix.last(), value.raw()));
    }
    while let Some((last, raw)) = open.pop() {
        if let Some(first) = cursor
            && first <= last
        {
            emit(first, last, raw);
            cursor = last.next();
        }
    }
    paints
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::layout::Fib6;
    use crate::tables::Tables;
    use crate::value::Value;

    /// Walks all that `link` leads to: each list is referred to once, by one slot, and its runs
    /// ascend within the slots of its depth.
    fn walk<F: Fib>(tables: &Tables, link: Link, depth: u8, lists: &mut HashSet<usize>) {
        match link.target() {
            Target::Value(_) => {}
            Target::List(at) => {
                assert!(lists.insert(at), "list {at} is referred to twice");
                let mut runs = Runs::default();
                runs.read(tables, at);
                let width = F::list_width(depth);
                let mut ends: Vec<u32> = runs.starts[1..].iter().copied().map(u32::from).collect();
                ends.push(1 << width);
                for ((start, end), link) in runs.starts.iter().zip(ends).zip(&runs.links) {
                    let start = u32::from(*start);
                    assert!(start < end, "{:?}, {depth} bits deep", runs.starts);
                    assert!(!link.is_pointer() || start + 1 == end, "one slot");
                    walk::<F>(tables, *link, depth + width, lists);
                }
            }
            Target::Words(at) => {
                let width = F::words_width(depth);
                for word in at..at + words_of(width) {
                    for link in Word(tables.word(word)).expand(tables) {
                        walk::<F>(tables, link, depth + width, lists);
                    }
                }
            }
        }
    }

    /// Routes come and go, many of them in one /16, one /32 and one /40, so that lists become words
    /// and lists again.
    #[test]
    fn lists_stay_within_their_depth() {
        let mut seed = 88_172_645_463_325_252_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for _ in 0..12 {
            let mut rib = Rib::<u128>::new();
            let (mut painter, _readers) = Painter::<Fib6>::new();
            let steps = 100 + random(200);
            for step in 0..steps {
                let value = Value::new(random(40) as u32).unwrap();
                let routes: Vec<_> = rib.covered(Prefix::new(0, 0)).collect();
                if step > steps / 2 && !routes.is_empty() && random(3) > 0 {
                    let (prefix, _) = routes[random(routes.len() as u64) as usize];
                    rib.remove(prefix);
                    let cover = rib.longest_match(prefix.bits, prefix.len);
                    painter.paint(&rib, prefix, cover.map_or(0, |(_, value)| value.raw()));
                } else {
                    let (site, shift, len) = match random(4) {
                        0 => (0x2001 << 16 | random(1 << 16), 96, 17 + random(16)),
                        1 => (0x2001_0db8 << 16 | random(1 << 16), 80, 33 + random(18)),
                        _ => (0x2001_0db8_4200 | random(1 << 8), 80, 41 + random(8)),
                    };
                    let prefix = Prefix::new(u128::from(site) << shift, len as u8);
                    rib.insert(prefix, value);
                    painter.paint(&rib, prefix, value.raw());
                }
                let tables = painter.canvas.store.tables();
                let root = Link(tables.link(0x2001));
                walk::<Fib6>(tables, root, Fib6::ROOT, &mut HashSet::new());
            }
        }
    }
}
