//! The naive table: an ordered map and a search of every length. It is the oracle of the property
//! tests, here and in crates that build on [`Table`](crate::Table), and of nothing else: it has no
//! concurrent readers and a lookup costs as many map searches as an address has bits.

use std::collections::BTreeMap;

use crate::family::Family;
use crate::prefix::{Bits, Prefix};
use crate::value::Value;

/// The oracle: the verbs of [`Table`](crate::Table), written in the most obvious way.
#[derive(Clone, Debug)]
pub struct Reference<F: Family> {
    routes: BTreeMap<Prefix<F::Bits>, Value>,
}

impl<F: Family> Default for Reference<F> {
    fn default() -> Self {
        Self {
            routes: BTreeMap::new(),
        }
    }
}

impl<F: Family> Reference<F> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Maps `net` to `value`; returns what it mapped to before.
    pub fn insert(&mut self, net: F::Net, value: Value) -> Option<Value> {
        self.routes.insert(F::prefix(net), value)
    }

    /// Removes exactly `net`; returns what it mapped to.
    pub fn remove(&mut self, net: F::Net) -> Option<Value> {
        self.routes.remove(&F::prefix(net))
    }

    /// The value of exactly `net`.
    pub fn get(&self, net: F::Net) -> Option<Value> {
        self.routes.get(&F::prefix(net)).copied()
    }

    /// The longest prefix that holds `address`.
    pub fn longest_match(&self, address: F::Address) -> Option<(F::Net, Value)> {
        let bits = F::bits(address);
        (0..=F::Bits::WIDTH).rev().find_map(|len| {
            let prefix = Prefix::new(bits, len);
            self.routes
                .get(&prefix)
                .map(|value| (F::net(prefix), *value))
        })
    }

    /// The value of the longest prefix that holds `address`.
    pub fn lookup(&self, address: F::Address) -> Option<Value> {
        self.longest_match(address).map(|(_, value)| value)
    }

    /// `net` and all that cover it, shortest first.
    pub fn covering(&self, net: F::Net) -> Vec<(F::Net, Value)> {
        self.select(|prefix| prefix.covers(F::prefix(net)))
    }

    /// `net` and all it covers, by address, then shortest first.
    pub fn covered(&self, net: F::Net) -> Vec<(F::Net, Value)> {
        self.select(|prefix| F::prefix(net).covers(prefix))
    }

    /// All routes, by address, then shortest first.
    pub fn routes(&self) -> Vec<(F::Net, Value)> {
        self.select(|_| true)
    }

    /// How many prefixes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no prefix.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.routes.clear();
    }

    fn select(&self, wanted: impl Fn(Prefix<F::Bits>) -> bool) -> Vec<(F::Net, Value)> {
        self.routes
            .iter()
            .filter(|(prefix, _)| wanted(**prefix))
            .map(|(prefix, value)| (F::net(*prefix), *value))
            .collect()
    }
}
