//! The routing table's writer: prefixes with adjacencies, and the FIB workers read.
//!
//! A change takes two steps, because workers read the FIB while it changes. First
//! [`Rib::prepare`] gives new adjacencies a place in the table that is published with the next
//! generation; when all workers have seen that, [`Rib::commit`] points prefixes to them. A place
//! is used again only after workers have seen a generation without it ([`Rib::collect`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipnet::IpNet;
use lpm::{Table4, Table6, Value};
use vrouter_dataplane::adjacency::Adjacency;
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::id::AdjacencyId;
use vrouter_dataplane::tables::Fib;

/// More adjacencies than the FIB's values can name.
#[derive(Debug, thiserror::Error)]
#[error("more than {} different next hops", Value::MAX.index())]
pub struct TooManyAdjacencies;

/// Routes of this node.
#[derive(Debug)]
pub struct Rib {
    v4: Table4,
    v6: Table6,
    installed: BTreeMap<IpNet, AdjacencyId>,
    adjacencies: Vec<Adjacency>,
    uses: Vec<u32>,
    places: HashMap<Adjacency, AdjacencyId>,
    free: Vec<AdjacencyId>,
    retired: Vec<AdjacencyId>,
}

/// A change that was prepared.
#[derive(Debug, Default)]
#[must_use]
pub struct Change {
    set: Vec<(IpNet, AdjacencyId)>,
    removed: Vec<IpNet>,
    /// Whether the adjacency table is different, so that it must be seen before the commit.
    pub new_adjacencies: bool,
}

impl Change {
    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

impl Default for Rib {
    fn default() -> Self {
        Self::new()
    }
}

impl Rib {
    /// No routes. Adjacency 0 is "no route" and stays.
    pub fn new() -> Self {
        let none = Adjacency::Drop(DropReason::NoRoute);
        Self {
            v4: Table4::new(),
            v6: Table6::new(),
            installed: BTreeMap::new(),
            places: HashMap::from([(none.clone(), AdjacencyId(0))]),
            adjacencies: vec![none],
            uses: vec![1],
            free: Vec::new(),
            retired: Vec::new(),
        }
    }

    /// What workers read.
    pub fn fib(&self) -> Fib {
        Fib::new(self.v4.reader(), self.v6.reader())
    }

    /// The adjacency table for the next generation.
    pub fn adjacencies(&self) -> Arc<Vec<Adjacency>> {
        Arc::new(self.adjacencies.clone())
    }

    /// Routes installed.
    pub fn len(&self) -> usize {
        self.installed.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.installed.is_empty()
    }

    /// Routes from a prefix on, in order.
    pub fn routes(&self, from: Option<IpNet>) -> impl Iterator<Item = (IpNet, &Adjacency)> {
        let from = from.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = self.installed.range((from, std::ops::Bound::Unbounded));
        range.map(|(prefix, id)| (*prefix, &self.adjacencies[id.index()]))
    }

    /// The route a packet to `address` takes.
    pub fn longest_match(&self, address: std::net::IpAddr) -> Option<(IpNet, &Adjacency)> {
        let (prefix, value) = match address {
            std::net::IpAddr::V4(address) => {
                let (net, value) = self.v4.longest_match(address)?;
                (IpNet::V4(net), value)
            }
            std::net::IpAddr::V6(address) => {
                let (net, value) = self.v6.longest_match(address)?;
                (IpNet::V6(net), value)
            }
        };
        Some((prefix, &self.adjacencies[value.index()]))
    }

    /// Finds what must change to have exactly the routes `wanted`.
    ///
    /// # Errors
    /// Too many different adjacencies; nothing is changed then.
    pub fn prepare(
        &mut self,
        wanted: &BTreeMap<IpNet, Adjacency>,
    ) -> Result<Change, TooManyAdjacencies> {
        let mut change = Change::default();
        for (prefix, adjacency) in wanted {
            let before = self.installed.get(prefix).copied();
            if before.is_some_and(|id| self.adjacencies[id.index()] == *adjacency) {
                continue;
            }
            let id = match self.places.get(adjacency) {
                Some(id) => *id,
                None => {
                    change.new_adjacencies = true;
                    match self.place(adjacency) {
                        Ok(id) => id,
                        Err(error) => {
                            self.abandon(&change);
                            return Err(error);
                        }
                    }
                }
            };
            self.uses[id.index()] += 1;
            change.set.push((*prefix, id));
        }
        let gone = self
            .installed
            .keys()
            .filter(|prefix| !wanted.contains_key(prefix));
        change.removed.extend(gone.copied());
        Ok(change)
    }

    fn place(&mut self, adjacency: &Adjacency) -> Result<AdjacencyId, TooManyAdjacencies> {
        let id = match self.free.pop() {
            Some(id) => {
                self.adjacencies[id.index()] = adjacency.clone();
                id
            }
            None if self.adjacencies.len() > Value::MAX.index() => return Err(TooManyAdjacencies),
            None => {
                self.adjacencies.push(adjacency.clone());
                self.uses.push(0);
                AdjacencyId(self.adjacencies.len() as u32 - 1)
            }
        };
        self.places.insert(adjacency.clone(), id);
        Ok(id)
    }

    fn abandon(&mut self, change: &Change) {
        for (_, id) in &change.set {
            self.release(*id);
        }
    }

    fn release(&mut self, id: AdjacencyId) {
        let uses = &mut self.uses[id.index()];
        *uses -= 1;
        if *uses == 0 {
            self.places.remove(&self.adjacencies[id.index()]);
            self.retired.push(id);
        }
    }

    /// Makes a prepared change, one prefix at a time, under the eyes of the workers.
    pub fn commit(&mut self, change: Change) {
        for (prefix, id) in change.set {
            let value = Value::new(id.0).expect("place() gives no greater index");
            match prefix {
                IpNet::V4(net) => self.v4.insert(net, value),
                IpNet::V6(net) => self.v6.insert(net, value),
            };
            if let Some(before) = self.installed.insert(prefix, id) {
                self.release(before);
            }
        }
        for prefix in change.removed {
            match prefix {
                IpNet::V4(net) => self.v4.remove(net),
                IpNet::V6(net) => self.v6.remove(net),
            };
            if let Some(before) = self.installed.remove(&prefix) {
                self.release(before);
            }
        }
    }

    /// Frees the places no prefix points to. Call it when all workers have seen a generation
    /// that was published after the last commit.
    pub fn collect(&mut self) {
        self.free.append(&mut self.retired);
        self.v4.reclaim();
        self.v6.reclaim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrouter_dataplane::id::InterfaceId;

    fn host(out: u16) -> Adjacency {
        Adjacency::Host {
            out: InterfaceId(out),
            local: true,
            mtu: 1500,
        }
    }

    fn wanted(routes: &[(&str, Adjacency)]) -> BTreeMap<IpNet, Adjacency> {
        routes
            .iter()
            .map(|(p, a)| (p.parse().unwrap(), a.clone()))
            .collect()
    }

    #[test]
    fn places_are_reused_only_after_collection() {
        let mut rib = Rib::new();
        let change = rib
            .prepare(&wanted(&[("10.0.0.0/8", host(1)), ("fd00::/8", host(1))]))
            .unwrap();
        assert!(change.new_adjacencies);
        rib.commit(change);
        let first = rib.fib().lookup("10.1.1.1".parse().unwrap()).unwrap();
        assert_eq!(rib.fib().lookup("fd00::1".parse().unwrap()), Some(first));
        // Replaced: the old place is not given to the new adjacency yet.
        let change = rib.prepare(&wanted(&[("10.0.0.0/8", host(2))])).unwrap();
        rib.commit(change);
        let second = rib.fib().lookup("10.1.1.1".parse().unwrap()).unwrap();
        assert_ne!(first, second);
        assert_eq!(rib.fib().lookup("fd00::1".parse().unwrap()), None);
        rib.collect();
        let change = rib.prepare(&wanted(&[("10.0.0.0/8", host(3))])).unwrap();
        rib.commit(change);
        assert_eq!(rib.fib().lookup("10.1.1.1".parse().unwrap()), Some(first));
        // The same again changes nothing.
        assert!(
            rib.prepare(&wanted(&[("10.0.0.0/8", host(3))]))
                .unwrap()
                .is_empty()
        );
    }
}
