//! Bringing the tables to what the resources say, in one pass over what is marked.
//!
//! The stages depend on each other in one direction alone: labels of changed items → policies of
//! local endpoints → compiled rules of policies in use → the sets these name → memberships →
//! addresses; and programs of local endpoints whose list or rules changed.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::graph::{Graph, PolicyState};
use super::matching::Matcher;
use super::membership::SetId;
use super::program::Block;
use super::registry::{DIRECTIONS, Owner, RuleInfo, RuleKind};
use super::rule::CompiledRule;
use super::snapshot::{Compiled, EndpointIndex};
use super::symbols::{Pair, Symbol};
use crate::model::{Direction, Rule, Tier};

impl Graph {
    /// Does the work that the updates since the last call ask for. True when there is a new
    /// [`Self::snapshot`]; the old one stays valid for those who hold it.
    pub fn flush(&mut self) -> bool {
        let mut items = std::mem::take(&mut self.dirty.items);
        // An item may be gone by now, or another one may have its slot.
        items.retain(|&slot| {
            self.items.values[slot as usize]
                .as_ref()
                .is_some_and(|i| i.dirty)
        });
        items.sort_unstable();
        items.dedup();
        self.match_items(&items);
        self.match_policies();
        if std::mem::take(&mut self.dirty.order) {
            self.rank_policies();
        }
        if std::mem::take(&mut self.dirty.tiers) {
            let live = self
                .locals
                .iter()
                .zip(0..)
                .filter(|(local, _)| local.is_some());
            self.dirty.locals.extend(live.map(|(_, index)| index));
        }
        self.compile_policies();
        self.compile_profiles();
        self.scan_fresh_sets();
        self.refresh_items(&items);
        self.purge_unused_sets();
        let addresses = self.refresh_addresses();
        let endpoints = self.build_programs();
        if self.symbols.is_due() {
            self.sweep_symbols();
        }
        self.publish(addresses || endpoints)
    }

    /// Forgets strings that no label or selector holds any more.
    fn sweep_symbols(&mut self) {
        let mut used = Vec::new();
        let pair = |(key, value): &Pair, used: &mut Vec<Symbol>| used.extend([*key, *value]);
        for (_, item) in self.items.iter() {
            item.own.iter().for_each(|p| pair(p, &mut used));
            used.extend(item.ports.iter().map(|(name, ..)| *name));
        }
        for (_, profile) in self.profiles.iter() {
            profile.labels.iter().for_each(|p| pair(p, &mut used));
        }
        used.extend(
            self.sets
                .states
                .iter()
                .flatten()
                .filter_map(|s| s.named)
                .map(|(n, _)| n),
        );
        self.sets.index.each_symbol(&mut |symbol| used.push(symbol));
        self.policy_index
            .each_symbol(&mut |symbol| used.push(symbol));
        self.symbols.sweep(used);
    }

    /// Which policies apply to the local ones among the changed items.
    fn match_items(&mut self, items: &[u32]) {
        let (mut labels, mut found) = (Vec::new(), Vec::new());
        for &slot in items {
            let Some(index) = self.items.get(slot).local else {
                continue;
            };
            self.effective_labels(slot, &mut labels);
            self.policy_index.find(&labels, &self.symbols, &mut found);
            let local = self.locals[index as usize]
                .as_mut()
                .expect("the item names its place");
            if local.policies == found {
                continue;
            }
            for &policy in &found {
                self.policies.get_mut(policy).users += 1;
            }
            for policy in std::mem::replace(&mut local.policies, found.clone()) {
                self.drop_user(policy);
            }
            self.dirty
                .policies
                .extend(found.iter().copied().filter(|&policy| {
                    let state = self.policies.get(policy);
                    state.blocks.is_none()
                }));
            self.dirty.locals.insert(index);
        }
    }

    /// Which local endpoints the changed policies apply to. Their compiled rules are void.
    fn match_policies(&mut self) {
        let changed: Vec<u32> = self.dirty.policies.iter().copied().collect();
        if changed.is_empty() {
            return;
        }
        for &slot in &changed {
            let selector = self.policies.get(slot).policy.selector().clone();
            let matcher = Matcher::new(selector.expr(), &mut self.symbols);
            self.policy_index.insert(slot, matcher);
            self.policies.get_mut(slot).blocks = None;
        }
        self.work.policies += (changed.len() * self.locals.len()) as u64;
        let mut labels = Vec::new();
        for index in 0..self.locals.len() {
            let Some(item) = self.locals[index].as_ref().map(|local| local.item) else {
                continue;
            };
            self.effective_labels(item, &mut labels);
            let local = self.locals[index].as_mut().expect("just seen");
            let mut touched = false;
            for &slot in &changed {
                let applies = self.policy_index.matches(slot, &labels, &self.symbols);
                let place = local.policies.binary_search(&slot);
                touched |= applies || place.is_ok();
                let state = self.policies.get_mut(slot);
                match (place, applies) {
                    (Ok(at), false) => {
                        local.policies.remove(at);
                        state.users -= 1;
                    }
                    (Err(at), true) => {
                        local.policies.insert(at, slot);
                        state.users += 1;
                    }
                    (Ok(_), true) | (Err(_), false) => {}
                }
            }
            if touched {
                self.dirty
                    .locals
                    .insert(u32::try_from(index).expect("an endpoint's index"));
            }
        }
    }

    /// Numbers all policies in the order they are met: tier order, tier name, order, tie break. A
    /// policy that moved is marked itself; the others keep their order among each other.
    fn rank_policies(&mut self) {
        let mut order: Vec<u32> = self.policies.iter().map(|(slot, _)| slot).collect();
        let key = |state: &PolicyState| {
            let policy = &state.policy;
            let tier = self.tiers.get(policy.tier()).map(Tier::order);
            (
                tier,
                policy.tier().clone(),
                policy.order(),
                policy.tie_break(self.tie_break),
                policy.key().clone(),
            )
        };
        self.work.policies += order.len() as u64;
        order.sort_by_cached_key(|&slot| key(self.policies.get(slot)));
        for (rank, slot) in (0..).zip(order) {
            self.policies.get_mut(slot).rank = rank;
        }
    }

    /// Compiles the changed policies that are in use, and lets go of those that are not.
    fn compile_policies(&mut self) {
        for slot in std::mem::take(&mut self.dirty.policies) {
            let state = self.policies.get(slot);
            let policy = state.policy.clone();
            let mut held = Vec::new();
            let blocks = (state.users > 0).then(|| {
                DIRECTIONS.map(|direction| {
                    let owner = Owner::Policy(policy.key().clone());
                    let Some(rules) = policy.rules(direction) else {
                        self.registry.assign(owner, direction, Vec::new());
                        return None;
                    };
                    let info = |index, rule: &Rule| RuleInfo {
                        kind: RuleKind::Policy,
                        tier: Some(policy.tier().clone()),
                        policy: Some(policy.key().clone()),
                        profile: None,
                        index: Some(index),
                        direction,
                        action: rule.action(),
                        staged: policy.is_staged(),
                    };
                    Some(self.compile_block(owner, direction, rules, info, &mut held))
                })
            });
            let state = self.policies.get_mut(slot);
            state.blocks = blocks;
            let before = std::mem::replace(&mut state.held, held);
            self.sets.release(&before);
        }
    }

    fn compile_profiles(&mut self) {
        for slot in std::mem::take(&mut self.dirty.profiles) {
            let state = self.profiles.get_mut(slot);
            state.blocks = None;
            let held = std::mem::take(&mut state.held);
            self.sets.release(&held);
            for &user in &self.profiles.get(slot).users {
                self.dirty.locals.extend(self.items.get(user).local);
            }
        }
        // A profile is compiled when the first local endpoint with it is built; see
        // `profile_blocks`. The sets it names must be known before items are matched.
        let parents: FxHashSet<u32> = self
            .dirty
            .locals
            .iter()
            .filter_map(|&index| self.locals[index as usize].as_ref())
            .flat_map(|local| self.items.get(local.item).parents.iter().copied())
            .collect();
        for slot in parents {
            let state = self.profiles.get(slot);
            let (Some(profile), None) = (state.profile.clone(), &state.blocks) else {
                continue;
            };
            let mut held = Vec::new();
            let blocks = DIRECTIONS.map(|direction| {
                let info = |index, rule: &Rule| RuleInfo {
                    kind: RuleKind::Profile,
                    tier: None,
                    policy: None,
                    profile: Some(profile.name().clone()),
                    index: Some(index),
                    direction,
                    action: rule.action(),
                    staged: false,
                };
                let owner = Owner::Profile(profile.name().clone());
                self.compile_block(owner, direction, profile.rules(direction), info, &mut held)
            });
            let state = self.profiles.get_mut(slot);
            state.blocks = Some(blocks);
            state.held = held;
        }
    }

    fn compile_block(
        &mut self,
        owner: Owner,
        direction: Direction,
        rules: &[Rule],
        info: impl Fn(usize, &Rule) -> RuleInfo,
        held: &mut Vec<SetId>,
    ) -> Arc<Block> {
        self.work.rules += rules.len() as u64;
        let infos = rules
            .iter()
            .enumerate()
            .map(|(i, rule)| info(i, rule))
            .collect();
        let ids = self.registry.assign(owner, direction, infos);
        let rules = rules
            .iter()
            .zip(ids)
            .map(|(rule, id)| {
                CompiledRule::new(id, rule, &mut |key| {
                    let set = self.sets.acquire(key, &mut self.symbols);
                    held.push(set);
                    set
                })
            })
            .collect();
        Arc::new(Block { rules })
    }

    fn publish(&mut self, tables: bool) -> bool {
        let rules = self.registry.infos();
        let failsafes = std::mem::take(&mut self.dirty.failsafes);
        let endpoints = std::mem::take(&mut self.dirty.endpoints);
        let renumbered = !Arc::ptr_eq(&rules, &self.published.rules);
        if !(tables || failsafes || endpoints || renumbered) {
            return false;
        }
        let by_key = if endpoints {
            let live = self.locals.iter().zip(0..);
            Arc::new(
                live.filter_map(|(local, index)| {
                    local
                        .as_ref()
                        .map(|local| (local.key.clone(), EndpointIndex(index)))
                })
                .collect(),
            )
        } else {
            self.published.by_key.clone()
        };
        self.published = Arc::new(Compiled {
            generation: self.published.generation + 1,
            addresses: self.addresses.clone(),
            endpoints: self.endpoints.clone(),
            by_key,
            rules,
            failsafes: self.failsafes.clone(),
        });
        true
    }
}
