//! Who is in which set: sets as rules come to name them, items as their labels change, and the
//! addresses of both.

use rustc_hash::FxHashSet;

use super::graph::{Graph, Item, ItemKey, SetState, Sets};
use super::matching::{MatchIndex, Matcher, Need};
use super::membership::{Membership, SetId};
use super::owners::in_order;
use super::rule::SetKey;
use super::symbols::{Pair, Symbols, value};

/// Unused sets that are kept at least.
const UNUSED_SETS: usize = 256;

impl Graph {
    /// Finds the members of sets that are new.
    pub(super) fn scan_fresh_sets(&mut self) {
        // Sets that no label narrows, which every item is matched against.
        let mut anywhere = MatchIndex::default();
        let mut candidates = Vec::new();
        for id in std::mem::take(&mut self.sets.fresh) {
            let Some(state) = &self.sets.states[id.0 as usize] else {
                continue;
            };
            match state.key.clone() {
                SetKey::Selector(selector) | SetKey::Named(selector, ..) => {
                    let matcher = Matcher::new(selector.expr(), &mut self.symbols);
                    self.sets.index.insert(id, matcher.clone());
                    match matcher.needs(&|needs| self.reach(needs)) {
                        None => anywhere.insert(id, matcher),
                        Some(needs) => {
                            self.carriers(&needs, &mut candidates);
                            let mut one = MatchIndex::default();
                            one.insert(id, matcher);
                            self.join_matching(&candidates, &one);
                        }
                    }
                }
                SetKey::Service(key) => {
                    for address in self.services.get(&key).cloned().unwrap_or_default() {
                        let item = ItemKey::Service(key.clone(), address);
                        if let Some(slot) = self.items.find(&item) {
                            let found = self.contribution(slot, &self.sets.index, &mut Vec::new());
                            self.join(slot, &found);
                        }
                    }
                }
            }
        }
        if !anywhere.is_empty() {
            let all: Vec<u32> = self.items.iter().map(|(slot, _)| slot).collect();
            self.join_matching(&all, &anywhere);
        }
    }

    /// How many items are to be looked at for one of these labels.
    fn reach(&self, needs: &[Need]) -> usize {
        let inherited = needs
            .iter()
            .flat_map(|need| self.profile_labels.slots(*need))
            .filter_map(|slot| self.profiles.values[slot as usize].as_ref());
        self.item_labels.cost(needs) + inherited.map(|profile| profile.users.len()).sum::<usize>()
    }

    /// The items that may have one of these labels, their own or inherited.
    fn carriers(&self, needs: &[Need], found: &mut Vec<u32>) {
        found.clear();
        for need in needs {
            found.extend(self.item_labels.slots(*need));
            for profile in self.profile_labels.slots(*need) {
                if let Some(profile) = &self.profiles.values[profile as usize] {
                    found.extend(&profile.users);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
    }

    /// Makes those of the items that match members of the sets in the index.
    fn join_matching(&mut self, items: &[u32], index: &MatchIndex<SetId>) {
        self.work.items += items.len() as u64;
        let mut labels = Vec::new();
        for &slot in items {
            let Some(item) = &self.items.values[slot as usize] else {
                continue;
            };
            // Changed items are matched against all sets a little later.
            if item.dirty || item.service.is_some() {
                continue;
            }
            let found = self.contribution(slot, index, &mut labels);
            if !found.is_empty() {
                self.join(slot, &found);
            }
        }
    }

    /// Adds sets to those an item is in.
    fn join(&mut self, slot: u32, found: &Membership) {
        let item = self.items.get(slot);
        let union = Membership::union([&item.membership, found].into_iter());
        self.set_membership(slot, union);
    }

    pub(super) fn refresh_items(&mut self, items: &[u32]) {
        self.work.items += items.len() as u64;
        let mut labels = Vec::new();
        for &slot in items {
            self.items.get_mut(slot).dirty = false;
            let membership = self.contribution(slot, &self.sets.index, &mut labels);
            self.set_membership(slot, membership);
        }
    }

    fn set_membership(&mut self, slot: u32, membership: Membership) {
        if self.items.get(slot).membership == membership {
            return;
        }
        let membership = self.intern(membership);
        let item = self.items.get_mut(slot);
        let before = std::mem::replace(&mut item.membership, membership);
        match &item.group {
            // Prefixes of no set at all are not in the table.
            Some(group) if before.is_empty() == item.membership.is_empty() => {
                self.dirty.nets.extend(&group.shared);
            }
            Some(_) | None => self.dirty.nets.extend(item.nets.iter()),
        }
        if let Some(group) = &item.group {
            let membership = item.membership.clone();
            self.addresses.set_group(group.id, membership);
            self.dirty.groups = true;
        }
    }

    /// The sets that an item is in, of those in the index.
    fn contribution(
        &self,
        slot: u32,
        index: &MatchIndex<SetId>,
        labels: &mut Vec<Pair>,
    ) -> Membership {
        let item = self.items.get(slot);
        let (mut sets, mut ports) = (Vec::new(), Vec::new());
        if let Some(service) = &item.service {
            let set = self.sets.by_key.get(&SetKey::Service((**service).clone()));
            if let Some(&set) = set {
                sets.push(set);
                ports.extend(
                    item.ports
                        .iter()
                        .map(|&(_, protocol, port)| (set, protocol, port)),
                );
            }
        } else {
            self.effective_labels(slot, labels);
            let mut found = Vec::new();
            index.find(labels, &self.symbols, &mut found);
            for set in found {
                match self.sets.get(set).named {
                    None => sets.push(set),
                    Some((name, protocol)) => ports.extend(
                        item.ports
                            .iter()
                            .filter(|(n, p, _)| (*n, *p) == (name, protocol))
                            .map(|&(_, protocol, port)| (set, protocol, port)),
                    ),
                }
            }
        }
        Membership::new(sets, ports)
    }

    /// An item's own labels and those it inherits, sorted by key.
    pub(super) fn effective_labels(&self, slot: u32, into: &mut Vec<Pair>) {
        let Item { own, parents, .. } = self.items.get(slot);
        into.clear();
        into.extend_from_slice(own);
        for &parent in parents {
            for pair in &self.profiles.get(parent).labels {
                if !into.iter().any(|(key, _)| *key == pair.0) {
                    into.push(*pair);
                }
            }
        }
        into.sort_unstable();
        debug_assert!(own.iter().all(|&(k, v)| value(into, k) == Some(v)));
    }

    /// One copy of each distinct membership.
    fn intern(&mut self, membership: Membership) -> Membership {
        if let Some(known) = self.memberships.get(&membership) {
            return known.clone();
        }
        if self.memberships.len() > self.memberships_limit {
            self.memberships.retain(Membership::is_used);
            self.memberships_limit = 1024 + 2 * self.memberships.len();
        }
        self.memberships.insert(membership.clone());
        membership
    }

    /// Forgets unused sets once they are many, in one pass over all items.
    pub(super) fn purge_unused_sets(&mut self) {
        if self.sets.unused < UNUSED_SETS.max(self.sets.by_key.len() / 2) {
            return;
        }
        let gone: FxHashSet<SetId> = self.sets.forget_unused();
        for slot in 0..self.items.values.len() {
            let Some(item) = &self.items.values[slot] else {
                continue;
            };
            let kept = item.membership.without(|set| gone.contains(&set));
            self.set_membership(u32::try_from(slot).expect("a slot"), kept);
        }
    }

    pub(super) fn refresh_addresses(&mut self) -> bool {
        let nets = in_order(std::mem::take(&mut self.dirty.nets));
        self.work.prefixes += nets.len() as u64;
        let mut changed = std::mem::take(&mut self.dirty.groups);
        for net in nets {
            let membership = match self.owners.find(&net) {
                [] => None,
                [one] => {
                    let item = self.items.get(*one);
                    let membership = &item.membership;
                    let stored = item.group.as_ref().map_or(membership, |g| &g.reference);
                    (!membership.is_empty()).then(|| stored.clone())
                }
                many => {
                    let many = many.iter().map(|&slot| &self.items.get(slot).membership);
                    let union = Membership::union(many);
                    let union = self.intern(union);
                    (!union.is_empty()).then_some(union)
                }
            };
            changed |= self.addresses.set(net, membership);
        }
        changed
    }
}

impl Sets {
    pub(super) fn get(&self, id: SetId) -> &SetState {
        self.states[id.0 as usize]
            .as_ref()
            .expect("a set that items are in is known")
    }

    /// The set of this key, with one more user.
    pub(super) fn acquire(&mut self, key: SetKey, symbols: &mut Symbols) -> SetId {
        if let Some(&id) = self.by_key.get(&key) {
            let state = self.states[id.0 as usize]
                .as_mut()
                .expect("sets by key are known");
            if state.refs == 0 {
                self.unused -= 1;
            }
            state.refs += 1;
            return id;
        }
        let named = match &key {
            SetKey::Named(_, name, protocol) => {
                Some((symbols.intern(name.as_str()), protocol.number()))
            }
            SetKey::Selector(_) | SetKey::Service(_) => None,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.states.push(None);
            SetId(u32::try_from(self.states.len() - 1).expect("fewer than 2^32 sets"))
        });
        self.states[id.0 as usize] = Some(SetState {
            key: key.clone(),
            refs: 1,
            named,
        });
        self.by_key.insert(key, id);
        self.fresh.push(id);
        id
    }

    pub(super) fn release(&mut self, held: &[SetId]) {
        for id in held {
            let state = self.states[id.0 as usize]
                .as_mut()
                .expect("held sets are known");
            state.refs -= 1;
            if state.refs == 0 {
                self.unused += 1;
            }
        }
    }

    fn forget_unused(&mut self) -> FxHashSet<SetId> {
        let mut gone = FxHashSet::default();
        for (state, id) in self.states.iter_mut().zip(0..) {
            if state.as_ref().is_some_and(|s| s.refs == 0) {
                let id = SetId(id);
                self.index.remove(id);
                gone.insert(id);
                if let Some(state) = state.take() {
                    self.by_key.remove(&state.key);
                }
            }
        }
        self.unused = 0;
        self.free.extend(gone.iter().copied());
        gone
    }
}
