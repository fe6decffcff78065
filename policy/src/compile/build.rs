//! Programs of local endpoints from their policies, tiers and profiles.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::graph::Graph;
use super::program::Program;
use super::programs::Part;
use super::registry::{DIRECTIONS, side};
use super::snapshot::{EndpointPrograms, HostPrograms};
use crate::model::{Direction, Hook, Name, Policy, TierDefault};

impl Graph {
    pub(super) fn build_programs(&mut self) -> bool {
        let dirty = std::mem::take(&mut self.dirty.locals);
        if dirty.is_empty() {
            return false;
        }
        let mut endpoints = std::mem::take(Arc::make_mut(&mut self.endpoints));
        endpoints.resize(self.locals.len(), None);
        let mut built = FxHashMap::default();
        for index in dirty {
            endpoints[index as usize] = self.locals[index as usize]
                .is_some()
                .then(|| Arc::new(self.endpoint(index, &mut built)));
        }
        self.work.entries = self.programs.laid_out();
        let live = endpoints.iter().flatten().count();
        self.programs.forget_unused(64 + live * 16);
        self.endpoints = Arc::new(endpoints);
        true
    }

    /// The programs of one endpoint. `built` holds those of this flush by the policies that
    /// apply, which many endpoints have in common.
    fn endpoint(
        &mut self,
        index: u32,
        built: &mut FxHashMap<Vec<u32>, [Arc<Program>; 2]>,
    ) -> EndpointPrograms {
        let local = self.locals[index as usize]
            .as_ref()
            .expect("asked for a live endpoint");
        let key = local.key.clone();
        let parents = self.items.get(local.item).parents.clone();
        let mut policies = local.policies.clone();
        let known = built.get(&policies).cloned();
        if known.is_none() || key.is_host() {
            policies.sort_unstable_by_key(|&slot| self.policies.get(slot).rank);
        }
        let both = |graph: &mut Self, kind| {
            DIRECTIONS.map(|direction| graph.tiers_program(&policies, kind, direction))
        };
        let tiers = known.unwrap_or_else(|| {
            let tiers = both(self, Kind::Normal);
            let applying = self.locals[index as usize]
                .as_ref()
                .map(|l| l.policies.clone());
            built.insert(applying.unwrap_or_default(), tiers.clone());
            tiers
        });
        let profiles = DIRECTIONS.map(|direction| self.profiles_program(&parents, direction));
        let host = key.is_host().then(|| {
            Box::new(HostPrograms {
                forward: both(self, Kind::Forward),
                untracked: both(self, Kind::Untracked),
                pre_dnat: self.tiers_program(&policies, Kind::PreDnat, Direction::Ingress),
            })
        });
        EndpointPrograms {
            key,
            tiers,
            profiles,
            host,
        }
    }

    /// The program of the profiles, which ends in drop.
    fn profiles_program(&mut self, profiles: &[u32], direction: Direction) -> Arc<Program> {
        let mut parts: Vec<Part> = Vec::new();
        for &slot in profiles {
            let block = match &self.profiles.get(slot).blocks {
                Some(blocks) => blocks[side(direction)].clone(),
                None => self.programs.unknown_profile.clone(),
            };
            parts.push(Part::Rules(block, false));
            parts.push(Part::End(None));
        }
        let last = self.programs.drop.clone();
        self.programs.share(&parts, &last)
    }

    /// The program of one chain and direction, from policies in the order they are met.
    fn tiers_program(
        &mut self,
        policies: &[u32],
        kind: Kind,
        direction: Direction,
    ) -> Arc<Program> {
        let mut parts: Vec<Part> = Vec::new();
        let mut tier: Option<Name> = None;
        let mut enforced = false;
        let mut policies = policies.iter().copied().peekable();
        while let Some(slot) = policies.next() {
            let state = self.policies.get(slot);
            let policy = state.policy.clone();
            let block = state
                .blocks
                .as_ref()
                .and_then(|blocks| blocks[side(direction)].clone());
            // A policy whose tier nobody defined is not met, as in Felix.
            let known = self.tiers.get(policy.tier());
            if let (Some(known), Some(block), true) = (known, block, kind.admits(&policy)) {
                tier = Some(known.name().clone());
                enforced |= !policy.is_staged();
                parts.push(Part::Rules(block, policy.is_staged()));
            }
            let next = policies
                .peek()
                .map(|&next| self.policies.get(next).policy.tier());
            if next != Some(policy.tier()) {
                if let Some(name) = tier.take() {
                    let pass = self.tiers[&name].default_action() == TierDefault::Pass;
                    let default = (enforced && !pass && kind.ends_in_drop()).then(|| {
                        self.programs
                            .tier_default(&name, direction, &mut self.registry)
                    });
                    parts.push(Part::End(default));
                }
                enforced = false;
            }
        }
        let last = match kind {
            Kind::Forward => self.programs.forward.clone(),
            Kind::Normal | Kind::Untracked | Kind::PreDnat => self.programs.undecided.clone(),
        };
        self.programs.share(&parts, &last)
    }
}

/// Which chain a program is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Forward,
    Untracked,
    PreDnat,
}

impl Kind {
    fn admits(self, policy: &Policy) -> bool {
        match self {
            Self::Normal => policy.hook() == Hook::Normal,
            Self::Forward => policy.hook() == Hook::Normal && policy.apply_on_forward(),
            Self::Untracked => policy.hook() == Hook::Untracked,
            Self::PreDnat => policy.hook() == Hook::PreDnat,
        }
    }

    fn ends_in_drop(self) -> bool {
        match self {
            Self::Normal | Self::Forward => true,
            Self::Untracked | Self::PreDnat => false,
        }
    }
}
