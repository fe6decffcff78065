//! The table: its single writer owns it, and hands out readers.

use std::fmt;

use crate::family::{Family, V4, V6};
use crate::fib::Painter;
use crate::prefix::{Bits, Prefix};
use crate::raw::Subscriber;
use crate::reader::Reader;
use crate::rib::Rib;
use crate::value::Value;

/// A table of IPv4 prefixes.
pub type Table4 = Table<V4>;
/// A table of IPv6 prefixes.
pub type Table6 = Table<V6>;

/// Prefixes of one address family and the value of each: the single writer of what its
/// [`readers`](Table::reader) look up.
///
/// Each method that changes the table is visible to the readers when it returns. Host bits of a
/// prefix given to a method are ignored.
pub struct Table<F: Family> {
    rib: Rib<F::Bits>,
    fib: Painter<F::Fib>,
    readers: Subscriber,
}

/// The bytes a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What the readers look addresses up in, with its free space.
    pub fib: usize,
    /// What only the writer needs: the prefixes and their values, and its bookkeeping.
    pub rib: usize,
    /// The part of `fib` that is free for later updates.
    pub free: usize,
    /// The part of `fib`, and what was replaced by it, that waits for readers to move on.
    pub retired: usize,
}

impl Memory {
    /// All of it.
    pub const fn total(&self) -> usize {
        self.fib + self.rib
    }
}

impl<F: Family> Table<F> {
    /// An empty table.
    pub fn new() -> Self {
        let (fib, readers) = Painter::new();
        Self {
            rib: Rib::new(),
            fib,
            readers,
        }
    }

    /// A handle for lookups, to be cloned and sent to any thread.
    pub fn reader(&self) -> Reader<F> {
        Reader::new(self.readers.clone())
    }

    /// Maps `net` to `value`; returns what it mapped to before.
    pub fn insert(&mut self, net: F::Net, value: Value) -> Option<Value> {
        let prefix = F::prefix(net);
        let old = self.rib.insert(prefix, value);
        if old != Some(value) {
            self.paint(prefix, value.raw());
        }
        old
    }

    /// Removes exactly `net`; returns what it mapped to.
    pub fn remove(&mut self, net: F::Net) -> Option<Value> {
        let prefix = F::prefix(net);
        let old = self.rib.remove(prefix)?;
        let cover = self.rib.longest_match(prefix.bits, prefix.len);
        self.paint(prefix, cover.map_or(0, |(_, value)| value.raw()));
        Some(old)
    }

    /// Replaces the whole content by `routes`, published at once: a guard sees either all of the
    /// old content or all of the new. Of equal prefixes the last counts.
    pub fn load(&mut self, routes: impl IntoIterator<Item = (F::Net, Value)>) {
        let mut rib = Rib::new();
        for (net, value) in routes {
            rib.insert(F::prefix(net), value);
        }
        self.rib = rib;
        self.fib.load(&self.rib);
    }

    /// Removes all, published at once.
    pub fn clear(&mut self) {
        self.load([]);
    }

    /// The value of exactly `net`.
    pub fn get(&self, net: F::Net) -> Option<Value> {
        self.rib.get(F::prefix(net))
    }

    /// The longest prefix that holds `address`, and its value.
    pub fn longest_match(&self, address: F::Address) -> Option<(F::Net, Value)> {
        let (prefix, value) = self.rib.longest_match(F::bits(address), F::Bits::WIDTH)?;
        Some((F::net(prefix), value))
    }

    /// `net` and all prefixes that cover it, shortest first.
    pub fn covering(&self, net: F::Net) -> impl Iterator<Item = (F::Net, Value)> {
        let covering = self.rib.covering(F::prefix(net));
        covering
            .into_iter()
            .map(|(prefix, value)| (F::net(prefix), value))
    }

    /// `net` and all prefixes it covers, by address, then shortest first.
    pub fn covered(&self, net: F::Net) -> impl Iterator<Item = (F::Net, Value)> {
        self.rib
            .covered(F::prefix(net))
            .map(|(prefix, value)| (F::net(prefix), value))
    }

    /// All prefixes, by address, then shortest first.
    pub fn iter(&self) -> impl Iterator<Item = (F::Net, Value)> {
        let all = Prefix::new(F::Bits::default(), 0);
        self.rib
            .covered(all)
            .map(|(prefix, value)| (F::net(prefix), value))
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.rib.len()
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes back what readers no longer hold. Updates do so too, from time to time; this is for
    /// a writer that goes idle.
    pub fn reclaim(&mut self) {
        self.fib.store_mut().reclaim();
    }

    /// The bytes held now.
    pub fn memory(&self) -> Memory {
        let store = self.fib.store();
        Memory {
            fib: store.bytes(),
            rib: self.rib.bytes() + self.fib.writer_bytes(),
            free: store.free_bytes(),
            retired: store.retired_bytes(),
        }
    }

    /// Brings a prefix whose routes have changed to the readers.
    fn paint(&mut self, prefix: Prefix<F::Bits>, raw: u16) {
        if self.fib.store().is_sparse() {
            self.fib.load(&self.rib);
        } else {
            self.fib.paint(&self.rib, prefix, raw);
        }
    }
}

impl<F: Family> Default for Table<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Family> FromIterator<(F::Net, Value)> for Table<F> {
    fn from_iter<I: IntoIterator<Item = (F::Net, Value)>>(routes: I) -> Self {
        let mut table = Self::new();
        table.load(routes);
        table
    }
}

impl<F: Family> Extend<(F::Net, Value)> for Table<F> {
    fn extend<I: IntoIterator<Item = (F::Net, Value)>>(&mut self, routes: I) {
        for (net, value) in routes {
            self.insert(net, value);
        }
    }
}

impl<F: Family> fmt::Debug for Table<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len())
            .field("memory", &self.memory())
            .finish()
    }
}
