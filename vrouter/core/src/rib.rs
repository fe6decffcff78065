//! The routing table's writer: prefixes with adjacencies, and the FIB workers read.
//!
//! A change takes two steps, because workers read the FIB while it changes. First
//! [`Rib::prepare`] gives new adjacencies a place in the table that is published with the next
//! generation; when all workers have seen that, [`Rib::commit`] points prefixes to them. A place
//! is used again only after workers have seen a generation without it ([`Rib::collect`]).
//!
//! Routes are of three sorts: those the resources ask for, compared as a whole, *static* ones, of which
//! there may be a million: they are changed one by one and are known only by the way ([`NextHops`]) they share
//! with many others, and *learned* ones, which are kept where another sort has their prefix.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use lpm::{Table4, Table6, Value};
use rustc_hash::FxHashMap;
use vrouter_dataplane::adjacency::{Adjacency, Member};
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::id::AdjacencyId;
use vrouter_dataplane::tables::Fib;

/// More adjacencies than the FIB's values can name.
#[derive(Debug, thiserror::Error)]
#[error("more than {} different next hops", Value::MAX.index())]
pub struct TooManyAdjacencies;

/// Where packets to a prefix go: one way, or several that share the flows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NextHops(Vec<(Adjacency, u8)>);

impl NextHops {
    /// One way.
    pub fn single(adjacency: Adjacency) -> Self {
        Self(vec![(adjacency, 1)])
    }

    /// Several equal ways; the order does not matter, repetitions do not count. None at all is a
    /// drop.
    pub fn several(adjacencies: Vec<Adjacency>) -> Self {
        Self::weighted(adjacencies.into_iter().map(|it| (it, 1)).collect())
    }

    /// As [`Self::several`], with the shares that they have.
    pub fn weighted(mut ways: Vec<(Adjacency, u8)>) -> Self {
        ways.sort_by_key(|(adjacency, _)| identity(adjacency, 0));
        ways.dedup_by(|a, b| a.0 == b.0);
        if ways.is_empty() {
            ways.push((Adjacency::Drop(DropReason::NoRoute), 1));
        }
        Self(ways)
    }
}

/// What tells one share of an adjacency from others for as long as the process lives, whatever its place.
fn identity(adjacency: &Adjacency, share: u8) -> u64 {
    let mut hasher = DefaultHasher::new();
    share.hash(&mut hasher);
    let mut adjacency = adjacency.clone();
    // A path's MTU changes while its flows stay.
    if let Adjacency::Tunnel { mtu, by_path, .. } = &mut adjacency {
        (*mtu, *by_path) = (0, false);
    }
    adjacency.hash(&mut hasher);
    hasher.finish()
}

/// Routes of this node.
#[derive(Debug)]
pub struct Rib {
    v4: Table4,
    v6: Table6,
    /// Routes the resources ask for; every other prefix in the tables is a static route or a learned one.
    resources: BTreeMap<IpNet, AdjacencyId>,
    /// Learned routes, with their metric, those included whose prefix another sort has. Each holds its
    /// place.
    learned: FxHashMap<IpNet, (AdjacencyId, u32)>,
    adjacencies: Vec<Adjacency>,
    /// Prefixes and groups that lead to each place.
    uses: Vec<u32>,
    places: HashMap<Adjacency, AdjacencyId>,
    free: Vec<AdjacencyId>,
    retired: Vec<AdjacencyId>,
}

/// A change that was prepared: every prefix in it holds its place already.
#[derive(Debug, Default)]
#[must_use]
pub struct Change {
    set: Vec<(IpNet, AdjacencyId)>,
    removed: Vec<IpNet>,
    fixed: Vec<(IpNet, AdjacencyId)>,
    learned: Vec<(IpNet, AdjacencyId, u32)>,
    /// Whether the adjacency table is different, so that it must be seen before the commit.
    pub new_adjacencies: bool,
}

impl Change {
    /// Takes over the prefixes of another change.
    pub(crate) fn append(&mut self, mut other: Change) {
        self.set.append(&mut other.set);
        self.removed.append(&mut other.removed);
        self.fixed.append(&mut other.fixed);
        self.learned.append(&mut other.learned);
        self.new_adjacencies |= other.new_adjacencies;
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
            && self.removed.is_empty()
            && self.fixed.is_empty()
            && self.learned.is_empty()
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
            resources: BTreeMap::new(),
            learned: FxHashMap::default(),
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
        self.v4.len() + self.v6.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether the resources ask for a route to exactly this prefix.
    pub fn is_of_resources(&self, prefix: &IpNet) -> bool {
        self.resources.contains_key(prefix)
    }

    /// The way a prefix goes.
    pub fn find(&self, prefix: &IpNet) -> Option<Vec<&Adjacency>> {
        self.get(prefix).map(|id| self.way(id))
    }

    /// Routes inside a prefix (all of a family: the prefix of length 0), in order.
    pub fn routes(&self, inside: IpNet) -> Box<dyn Iterator<Item = (IpNet, Vec<&Adjacency>)> + '_> {
        match inside {
            IpNet::V4(net) => Box::new(
                self.v4
                    .covered(net)
                    .map(|(net, value)| (IpNet::V4(net), self.way(place_of(value)))),
            ),
            IpNet::V6(net) => Box::new(
                self.v6
                    .covered(net)
                    .map(|(net, value)| (IpNet::V6(net), self.way(place_of(value)))),
            ),
        }
    }

    /// The route a packet to `address` takes.
    pub fn longest_match(&self, address: IpAddr) -> Option<(IpNet, Vec<&Adjacency>)> {
        let (prefix, value) = match address {
            IpAddr::V4(address) => {
                let (net, value) = self.v4.longest_match(address)?;
                (IpNet::V4(net), value)
            }
            IpAddr::V6(address) => {
                let (net, value) = self.v6.longest_match(address)?;
                (IpNet::V6(net), value)
            }
        };
        Some((prefix, self.way(place_of(value))))
    }

    fn way(&self, id: AdjacencyId) -> Vec<&Adjacency> {
        match &self.adjacencies[id.index()] {
            Adjacency::Group(members) => {
                let mut places: Vec<AdjacencyId> = members.iter().map(|it| it.adjacency).collect();
                // Shares of one way stand side by side.
                places.dedup();
                let ways = places.into_iter();
                ways.map(|place| &self.adjacencies[place.index()]).collect()
            }
            one @ (Adjacency::Drop(_)
            | Adjacency::Host { .. }
            | Adjacency::Neighbor { .. }
            | Adjacency::Tunnel { .. }) => vec![one],
        }
    }

    fn get(&self, prefix: &IpNet) -> Option<AdjacencyId> {
        match prefix {
            IpNet::V4(net) => self.v4.get(*net),
            IpNet::V6(net) => self.v6.get(*net),
        }
        .map(place_of)
    }

    /// Whether the routes of resources are exactly these.
    pub fn is(&self, wanted: &BTreeMap<IpNet, Adjacency>) -> bool {
        let same = |(prefix, adjacency): (&IpNet, &Adjacency)| {
            let id = self.resources.get(prefix);
            id.is_some_and(|id| self.adjacencies[id.index()] == *adjacency)
        };
        self.resources.len() == wanted.len() && wanted.iter().all(same)
    }

    /// Whether they are, once a change is committed.
    pub fn will_be(&self, change: &Change, wanted: &BTreeMap<IpNet, Adjacency>) -> bool {
        let mut next = self.resources.clone();
        next.extend(change.set.iter().copied());
        for prefix in &change.removed {
            next.remove(prefix);
        }
        let same = |(prefix, adjacency): (&IpNet, &Adjacency)| {
            let id = next.get(prefix);
            id.is_some_and(|id| self.adjacencies[id.index()] == *adjacency)
        };
        next.len() == wanted.len() && wanted.iter().all(same)
    }

    /// Finds what must change to have exactly the routes `wanted` of the resources. A static
    /// route to the same prefix gives way.
    ///
    /// # Errors
    /// Too many different adjacencies; nothing is changed then.
    pub fn prepare(
        &mut self,
        wanted: &BTreeMap<IpNet, Adjacency>,
    ) -> Result<Change, TooManyAdjacencies> {
        let mut change = Change::default();
        for (prefix, adjacency) in wanted {
            let before = self.resources.get(prefix).copied();
            if before.is_some_and(|id| self.adjacencies[id.index()] == *adjacency) {
                continue;
            }
            match self.hold(
                &NextHops::single(adjacency.clone()),
                &mut change.new_adjacencies,
            ) {
                Ok(id) => change.set.push((*prefix, id)),
                Err(error) => {
                    self.abandon(&change);
                    return Err(error);
                }
            }
        }
        let gone = self.resources.keys().filter(|p| !wanted.contains_key(p));
        change.removed.extend(gone.copied());
        Ok(change)
    }

    /// Prepares static routes, added or replaced. Prefixes the resources route are left out.
    ///
    /// # Errors
    /// Too many different adjacencies; nothing is changed then.
    pub fn prepare_static<'a>(
        &mut self,
        routes: impl IntoIterator<Item = (IpNet, &'a NextHops)>,
    ) -> Result<Change, TooManyAdjacencies> {
        let mut change = Change::default();
        // Long runs of routes share their way.
        let mut last: Option<(&NextHops, AdjacencyId)> = None;
        for (prefix, way) in routes {
            if self.resources.contains_key(&prefix) {
                continue;
            }
            let held = match last {
                Some((same, id)) if std::ptr::eq(same, way) => {
                    self.uses[id.index()] += 1;
                    Ok(id)
                }
                Some(_) | None => self.hold(way, &mut change.new_adjacencies),
            };
            match held {
                Ok(id) => {
                    last = Some((way, id));
                    change.fixed.push((prefix, id));
                }
                Err(error) => {
                    self.abandon(&change);
                    return Err(error);
                }
            }
        }
        Ok(change)
    }

    /// Prepares learned routes, added or replaced, each with its metric.
    ///
    /// # Errors
    /// Too many different adjacencies; nothing is changed then.
    pub fn prepare_learned<'a>(
        &mut self,
        routes: impl IntoIterator<Item = (IpNet, u32, &'a NextHops)>,
    ) -> Result<Change, TooManyAdjacencies> {
        let mut change = Change::default();
        for (prefix, metric, way) in routes {
            let same = self.place(way).map(|id| (id, metric));
            if same.is_some() && self.learned.get(&prefix).copied() == same {
                continue;
            }
            match self.hold(way, &mut change.new_adjacencies) {
                Ok(id) => change.learned.push((prefix, id, metric)),
                Err(error) => {
                    self.abandon(&change);
                    return Err(error);
                }
            }
        }
        Ok(change)
    }

    /// The place of a way, if it has one.
    fn place(&self, way: &NextHops) -> Option<AdjacencyId> {
        if let [(one, _)] = way.0.as_slice() {
            return self.places.get(one).copied();
        }
        let mut members = Vec::new();
        for (adjacency, share) in shares(way) {
            members.push(Member {
                key: identity(adjacency, share),
                adjacency: *self.places.get(adjacency)?,
            });
        }
        self.places.get(&Adjacency::Group(members.into())).copied()
    }

    /// Whether a prefix goes by that way.
    pub fn has_place(&self, way: &NextHops) -> bool {
        self.place(way).is_some()
    }

    /// Whether a prefix is routed as it was learned.
    pub fn is_learned(&self, prefix: &IpNet) -> bool {
        let learned = self.learned.get(prefix).map(|(id, _)| *id);
        learned.is_some() && learned == self.get(prefix) && !self.is_of_resources(prefix)
    }

    /// Every learned prefix with its metric.
    pub fn learned(&self) -> impl Iterator<Item = (IpNet, u32)> {
        let all = self.learned.iter();
        all.map(|(prefix, (_, metric))| (*prefix, *metric))
    }

    /// All learned routes that go by `way`, with their metrics.
    pub fn learned_by(&self, way: &NextHops) -> Vec<(IpNet, u32)> {
        let Some(place) = self.place(way) else {
            return Vec::new();
        };
        let same = self.learned.iter().filter(|(_, (id, _))| *id == place);
        same.map(|(prefix, (_, metric))| (*prefix, *metric))
            .collect()
    }

    /// The place of a way, made if need be, with one use more.
    fn hold(&mut self, way: &NextHops, made: &mut bool) -> Result<AdjacencyId, TooManyAdjacencies> {
        let [(one, _)] = way.0.as_slice() else {
            let mut members = Vec::with_capacity(way.0.len());
            for (adjacency, share) in shares(way) {
                let key = identity(adjacency, share);
                match self.hold_one(adjacency.clone(), made) {
                    Ok(adjacency) => members.push(Member { key, adjacency }),
                    Err(error) => {
                        members
                            .iter()
                            .for_each(|member| self.release(member.adjacency));
                        return Err(error);
                    }
                }
            }
            let group = Adjacency::Group(members.clone().into());
            let known = self.places.contains_key(&group);
            let held = self.hold_one(group, made);
            // A group that was there holds its members already.
            if known || held.is_err() {
                members
                    .iter()
                    .for_each(|member| self.release(member.adjacency));
            }
            return held;
        };
        self.hold_one(one.clone(), made)
    }

    fn hold_one(
        &mut self,
        adjacency: Adjacency,
        made: &mut bool,
    ) -> Result<AdjacencyId, TooManyAdjacencies> {
        if let Some(id) = self.places.get(&adjacency) {
            self.uses[id.index()] += 1;
            return Ok(*id);
        }
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
        self.uses[id.index()] = 1;
        self.places.insert(adjacency, id);
        *made = true;
        Ok(id)
    }

    pub(crate) fn abandon(&mut self, change: &Change) {
        for (_, id) in change.set.iter().chain(&change.fixed) {
            self.release(*id);
        }
        for (_, id, _) in &change.learned {
            self.release(*id);
        }
    }

    fn release(&mut self, id: AdjacencyId) {
        let uses = &mut self.uses[id.index()];
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        let gone = self.adjacencies[id.index()].clone();
        self.places.remove(&gone);
        self.retired.push(id);
        if let Adjacency::Group(members) = gone {
            members
                .iter()
                .for_each(|member| self.release(member.adjacency));
        }
    }

    /// Makes a prepared change, one prefix at a time, under the eyes of the workers.
    pub fn commit(&mut self, change: Change) {
        // A route of the resources has the last word about its prefix.
        for (prefix, id) in change.fixed {
            self.point(prefix, id);
        }
        for (prefix, id) in change.set {
            self.point(prefix, id);
            self.resources.insert(prefix, id);
        }
        for prefix in change.removed {
            self.resources.remove(&prefix);
            self.fall_back(prefix);
        }
        for (prefix, id, metric) in change.learned {
            let before = self.learned.insert(prefix, (id, metric)).map(|it| it.0);
            let now = self.get(&prefix);
            if !self.is_of_resources(&prefix) && (now.is_none() || now == before) {
                self.uses[id.index()] += 1;
                self.point(prefix, id);
            }
            before.into_iter().for_each(|before| self.release(before));
        }
    }

    /// A prefix goes as it was learned, if it was; whether it had a route.
    fn fall_back(&mut self, prefix: IpNet) -> bool {
        let Some((id, _)) = self.learned.get(&prefix).copied() else {
            return self.withdraw(&prefix);
        };
        self.uses[id.index()] += 1;
        self.point(prefix, id);
        true
    }

    /// Forgets learned routes, each if it still has that metric; how many.
    pub fn remove_learned(&mut self, routes: impl IntoIterator<Item = (IpNet, u32)>) -> usize {
        let mut removed = 0;
        for (prefix, metric) in routes {
            let known = self.learned.get(&prefix).copied();
            let Some((id, _)) = known.filter(|(_, last)| *last == metric) else {
                continue;
            };
            if self.is_learned(&prefix) {
                self.withdraw(&prefix);
            }
            self.learned.remove(&prefix);
            self.release(id);
            removed += 1;
        }
        removed
    }

    fn point(&mut self, prefix: IpNet, id: AdjacencyId) {
        let value = Value::new(id.0).expect("hold() gives no greater index");
        let before = match prefix {
            IpNet::V4(net) => self.v4.insert(net, value),
            IpNet::V6(net) => self.v6.insert(net, value),
        };
        if let Some(before) = before {
            self.release(place_of(before));
        }
    }

    fn withdraw(&mut self, prefix: &IpNet) -> bool {
        let before = match prefix {
            IpNet::V4(net) => self.v4.remove(*net),
            IpNet::V6(net) => self.v6.remove(*net),
        };
        before
            .inspect(|before| self.release(place_of(*before)))
            .is_some()
    }

    /// Removes static routes; how many there were. Those of resources stay.
    pub fn remove_static(&mut self, prefixes: &[IpNet]) -> usize {
        let fixed = prefixes
            .iter()
            .filter(|prefix| !self.is_of_resources(prefix) && !self.is_learned(prefix));
        let fixed: Vec<IpNet> = fixed.copied().collect();
        let mut removed = 0;
        for prefix in fixed {
            removed += usize::from(self.fall_back(prefix));
        }
        removed
    }

    /// All static routes that go by `way`.
    pub fn static_by(&self, way: &NextHops) -> Vec<IpNet> {
        let every = [IpNet::V4(Default::default()), IpNet::V6(Default::default())];
        let place = self.place(way);
        let mut all: Vec<IpNet> = every
            .into_iter()
            .flat_map(|all| self.routes(all))
            .map(|(prefix, _)| prefix)
            .collect();
        all.retain(|prefix| {
            self.get(prefix) == place && !self.is_of_resources(prefix) && !self.is_learned(prefix)
        });
        all
    }

    /// How many places are in use, "no route" included.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Frees the places no prefix points to. Call it when all workers have seen a generation
    /// that was published after the last commit.
    pub fn collect(&mut self) {
        self.free.append(&mut self.retired);
        self.v4.reclaim();
        self.v6.reclaim();
    }
}

/// Every share of every adjacency of a way.
fn shares(way: &NextHops) -> impl Iterator<Item = (&Adjacency, u8)> {
    let all = way.0.iter();
    all.flat_map(|(adjacency, shares)| (0..*shares).map(move |share| (adjacency, share)))
}

fn place_of(value: Value) -> AdjacencyId {
    AdjacencyId(value.into())
}

#[cfg(test)]
mod tests;
