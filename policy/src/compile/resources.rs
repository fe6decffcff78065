//! Recording a changed resource and marking what depends on it.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::graph::{Graph, Group, Item, ItemKey, Local, PolicyState, ProfileState};
use super::membership::{GroupId, Membership};
use super::owners::in_order;
use super::registry::Owner;
use super::symbols::{Pair, Symbol};
use crate::model::{
    Endpoint, Name, NamedPort, NetworkSet, Policy, PolicyKey, Prefixes, Profile, Service, Tier,
};
use crate::selector::Labels;

/// Indexes of departed local endpoints that wait before the oldest is used again.
const LOCAL_QUARANTINE: usize = 64;
/// Prefixes of an item that make them a group.
const MANY_NETS: usize = if cfg!(test) { 2 } else { 64 };

impl Graph {
    pub(super) fn put_tier(&mut self, tier: Tier) {
        if self.tiers.get(tier.name()) != Some(&tier) {
            self.tiers.insert(tier.name().clone(), tier);
            (self.dirty.order, self.dirty.tiers) = (true, true);
        }
    }

    pub(super) fn remove_tier(&mut self, name: &Name) {
        match Tier::built_in()
            .into_iter()
            .find(|tier| tier.name() == name)
        {
            Some(tier) => self.put_tier(tier),
            None => {
                if self.tiers.remove(name).is_some() {
                    (self.dirty.order, self.dirty.tiers) = (true, true);
                }
            }
        }
    }

    pub(super) fn put_policy(&mut self, policy: Arc<Policy>) {
        let key = policy.key().clone();
        let slot = match self.policies.find(&key) {
            Some(slot) => {
                let state = self.policies.get_mut(slot);
                if state.policy == policy {
                    return;
                }
                let moved =
                    state.policy.order() != policy.order() || state.policy.tier() != policy.tier();
                self.dirty.order |= moved;
                state.policy = policy;
                slot
            }
            None => {
                self.dirty.order = true;
                let state = PolicyState {
                    policy,
                    users: 0,
                    blocks: None,
                    held: Vec::new(),
                    rank: 0,
                };
                self.policies.insert(key, state)
            }
        };
        self.dirty.policies.insert(slot);
    }

    pub(super) fn remove_policy(&mut self, key: &PolicyKey) {
        let Some((slot, state)) = self.policies.remove(key) else {
            return;
        };
        self.sets.release(&state.held);
        self.registry.release(&Owner::Policy(key.clone()));
        self.policy_index.remove(slot);
        self.dirty.policies.remove(&slot);
        if state.users > 0 {
            for (local, index) in self.locals.iter_mut().zip(0..) {
                let Some(local) = local else { continue };
                if let Ok(at) = local.policies.binary_search(&slot) {
                    local.policies.remove(at);
                    self.dirty.locals.insert(index);
                }
            }
        }
    }

    pub(super) fn put_profile(&mut self, profile: Arc<Profile>) {
        let slot = self.profile_slot(profile.name());
        let labels = self.symbols.pairs(profile.labels().iter());
        let state = self.profiles.get_mut(slot);
        if state.profile.as_ref() == Some(&profile) {
            return;
        }
        state.profile = Some(profile);
        self.dirty.profiles.insert(slot);
        self.relabel_profile(slot, &labels);
    }

    pub(super) fn remove_profile(&mut self, name: &Name) {
        let Some(slot) = self.profiles.find(name) else {
            return;
        };
        self.profiles.get_mut(slot).profile = None;
        self.dirty.profiles.insert(slot);
        self.relabel_profile(slot, &[]);
        self.drop_profile_if_unused(slot);
    }

    fn relabel_profile(&mut self, slot: u32, labels: &[Pair]) {
        let state = self.profiles.get_mut(slot);
        if *state.labels == *labels {
            return;
        }
        let before = std::mem::replace(&mut state.labels, labels.into());
        let profiles = &self.profiles.values;
        self.profile_labels
            .relabel(slot, &before, labels, |slot, pair| {
                profiles[slot as usize]
                    .as_ref()
                    .is_some_and(|p| p.labels.binary_search(&pair).is_ok())
            });
        let state = self.profiles.get(slot);
        let users: Vec<u32> = state.users.iter().copied().collect();
        for item in users {
            self.touch_item(item);
        }
    }

    /// The slot of a profile, known or only named so far.
    fn profile_slot(&mut self, name: &Name) -> u32 {
        if let Some(slot) = self.profiles.find(name) {
            return slot;
        }
        let state = ProfileState {
            name: name.clone(),
            profile: None,
            labels: Box::default(),
            users: FxHashSet::default(),
            blocks: None,
            held: Vec::new(),
        };
        self.profiles.insert(name.clone(), state)
    }

    fn drop_profile_if_unused(&mut self, slot: u32) {
        let state = self.profiles.get(slot);
        if state.profile.is_some() || !state.users.is_empty() {
            return;
        }
        let name = state.name.clone();
        if let Some((_, state)) = self.profiles.remove(&name) {
            self.sets.release(&state.held);
            self.registry.release(&Owner::Profile(name));
        }
        self.dirty.profiles.remove(&slot);
    }

    pub(super) fn put_network_set(&mut self, set: &NetworkSet) {
        let item = self.labelled(set.labels(), set.profiles(), &[]);
        self.put_item(
            &ItemKey::NetworkSet(set.key().clone()),
            item,
            set.nets(),
            false,
        );
    }

    pub(super) fn put_endpoint(&mut self, endpoint: &Endpoint) {
        let item = self.labelled(endpoint.labels(), endpoint.profiles(), endpoint.ports());
        let local = *endpoint.node() == self.node;
        let key = ItemKey::Endpoint(endpoint.key().clone());
        let nets = endpoint.addresses().iter().copied().collect();
        self.put_item(&key, item, &nets, local);
    }

    pub(super) fn put_service(&mut self, service: &Service) {
        let mut by_address: FxHashMap<IpAddr, Vec<(Symbol, u8, u16)>> = FxHashMap::default();
        let unnamed = self.symbols.intern("");
        for (address, protocol, port) in &service.endpoints {
            by_address
                .entry(*address)
                .or_default()
                .push((unnamed, protocol.number(), *port));
        }
        for gone in self.services.remove(&service.key).unwrap_or_default() {
            if !by_address.contains_key(&gone) {
                self.remove_item(&ItemKey::Service(service.key.clone(), gone));
            }
        }
        if by_address.is_empty() {
            return;
        }
        self.services
            .insert(service.key.clone(), by_address.keys().copied().collect());
        for (address, mut ports) in by_address {
            ports.sort_unstable();
            let item = Item {
                ports: ports.into(),
                service: Some(Box::new(service.key.clone())),
                ..Item::default()
            };
            let key = ItemKey::Service(service.key.clone(), address);
            let nets = [IpNet::from(address)].into_iter().collect();
            self.put_item(&key, item, &nets, false);
        }
    }

    /// An item as its labels, profiles and named ports make it.
    fn labelled(&mut self, labels: &Labels, profiles: &[Name], ports: &[NamedPort]) -> Item {
        let mut number = |p: &NamedPort| {
            (
                self.symbols.intern(p.name.as_str()),
                p.protocol.number(),
                p.port,
            )
        };
        Item {
            ports: ports.iter().map(&mut number).collect(),
            own: self.symbols.pairs(labels.iter()),
            parents: profiles
                .iter()
                .map(|name| self.profile_slot(name))
                .collect(),
            ..Item::default()
        }
    }

    /// Records an item: `new` with these prefixes.
    fn put_item(&mut self, key: &ItemKey, new: Item, nets: &Prefixes, local: bool) {
        let Some(slot) = self.items.find(key) else {
            let (parents, labels) = (new.parents.clone(), new.own.clone());
            let slot = self.items.insert(key.clone(), new);
            self.relabel_item(slot, &[], &labels);
            for &parent in &parents {
                self.profiles.get_mut(parent).users.insert(slot);
            }
            if local {
                self.insert_local(key, slot);
            }
            self.move_item(slot, nets);
            self.touch_item(slot);
            return;
        };
        if local != self.items.get(slot).local.is_some() {
            if local {
                self.insert_local(key, slot);
            } else {
                self.remove_local(slot);
            }
            self.touch_item(slot);
        }
        self.move_item(slot, nets);
        let item = self.items.get_mut(slot);
        if item.own == new.own && item.parents == new.parents && item.ports == new.ports {
            return;
        }
        item.ports = new.ports;
        let before = std::mem::replace(&mut item.parents, new.parents.clone());
        let labels = std::mem::replace(&mut item.own, new.own.clone());
        let local = item.local;
        self.relabel_item(slot, &labels, &new.own);
        if before != new.parents {
            self.dirty.locals.extend(local);
            for &parent in &new.parents {
                self.profiles.get_mut(parent).users.insert(slot);
            }
            for &parent in before.iter().filter(|p| !new.parents.contains(p)) {
                self.leave_profile(parent, slot);
            }
        }
        self.touch_item(slot);
    }

    pub(super) fn remove_item(&mut self, key: &ItemKey) {
        let Some(slot) = self.items.find(key) else {
            return;
        };
        self.move_item(slot, &Prefixes::default());
        self.remove_local(slot);
        let Some((_, item)) = self.items.remove(key) else {
            return;
        };
        self.free_groups.extend(item.group.map(|group| group.id));
        self.relabel_item(slot, &item.own, &[]);
        for &parent in &item.parents {
            self.leave_profile(parent, slot);
        }
    }

    fn relabel_item(&mut self, slot: u32, before: &[Pair], after: &[Pair]) {
        let items = &self.items.values;
        self.item_labels.relabel(slot, before, after, |slot, pair| {
            items[slot as usize]
                .as_ref()
                .is_some_and(|i| i.own.binary_search(&pair).is_ok())
        });
    }

    /// One item less with a profile. An item may name the same profile twice.
    fn leave_profile(&mut self, profile: u32, item: u32) {
        if self.profiles.values[profile as usize].is_some() {
            self.profiles.get_mut(profile).users.remove(&item);
            self.drop_profile_if_unused(profile);
        }
    }

    /// Gives an item other prefixes.
    fn move_item(&mut self, slot: u32, nets: &Prefixes) {
        let item = self.items.get_mut(slot);
        let before = std::mem::replace(&mut item.nets, nets.clone());
        if nets.len() >= MANY_NETS && item.group.is_none() {
            self.group_item(slot, &before);
        }
        let change = before.difference(nets);
        self.work.prefixes += change.compared as u64;
        for net in in_order(change.gone) {
            self.dirty.nets.push(net);
            if let Some(group) = &mut self.items.get_mut(slot).group {
                group.shared.remove(&net);
            }
            if let Some(only) = self.owners.remove(net, slot)
                && let Some(group) = &mut self.items.get_mut(only).group
            {
                group.shared.remove(&net);
            }
        }
        for net in in_order(change.new) {
            self.dirty.nets.push(net);
            let owners = self.owners.insert(net, slot);
            let newly_shared = match owners {
                [_] => continue,
                [_, _] => owners,
                _ => &[slot],
            };
            for &owner in newly_shared {
                if let Some(group) = &mut self.items.get_mut(owner).group {
                    group.shared.insert(net);
                }
            }
        }
    }

    /// Lets an item's prefixes have one membership in common; it had few, `nets`, until now.
    fn group_item(&mut self, slot: u32, nets: &Prefixes) {
        let id = self.free_groups.pop().unwrap_or_else(|| {
            self.groups += 1;
            GroupId(self.groups - 1)
        });
        let is_shared = |net: &IpNet| self.owners.find(net).len() > 1;
        let shared = nets.iter().filter(is_shared).collect();
        self.dirty.nets.extend(nets.iter());
        self.dirty.groups = true;
        let item = self.items.get_mut(slot);
        self.addresses.set_group(id, item.membership.clone());
        item.group = Some(Box::new(Group {
            id,
            reference: Membership::group(id),
            shared,
        }));
    }

    fn insert_local(&mut self, key: &ItemKey, slot: u32) {
        let ItemKey::Endpoint(key) = key else { return };
        let local = Local {
            key: key.clone(),
            item: slot,
            policies: Vec::new(),
        };
        let index = if self.free_locals.len() > LOCAL_QUARANTINE {
            self.free_locals
                .pop_front()
                .expect("longer than the quarantine")
        } else {
            self.locals.push(None);
            u32::try_from(self.locals.len() - 1).expect("fewer than 2^32 local endpoints")
        };
        self.locals[index as usize] = Some(local);
        self.items.get_mut(slot).local = Some(index);
        self.dirty.locals.insert(index);
        self.dirty.endpoints = true;
    }

    pub(super) fn remove_local(&mut self, slot: u32) {
        let Some(index) = self.items.get_mut(slot).local.take() else {
            return;
        };
        if let Some(local) = self.locals[index as usize].take() {
            for policy in local.policies {
                self.drop_user(policy);
            }
        }
        self.free_locals.push_back(index);
        self.dirty.locals.insert(index);
        self.dirty.endpoints = true;
    }

    /// One local endpoint less for a policy.
    pub(super) fn drop_user(&mut self, policy: u32) {
        let state = self.policies.get_mut(policy);
        state.users -= 1;
        if state.users == 0 {
            self.dirty.policies.insert(policy);
        }
    }

    pub(super) fn touch_item(&mut self, slot: u32) {
        let item = self.items.get_mut(slot);
        if !item.dirty {
            item.dirty = true;
            self.dirty.items.push(slot);
        }
    }
}
