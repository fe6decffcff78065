//! What applies to a local endpoint, in the order of evaluation, with the numbers that its rules
//! are counted under.

use std::sync::Arc;

use super::graph::Graph;
use super::registry::{Owner, RuleId};
use crate::model::{Direction, EndpointKey, Hook, Name, Policy, Profile, Tier};

/// Everything evaluated for one endpoint in one direction, as of the last [`Graph::flush`].
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Tiers with at least one policy, in order.
    pub tiers: Vec<AppliedTier>,
    /// Profiles, in the endpoint's order.
    pub profiles: Vec<AppliedProfile>,
}

/// One tier.
#[derive(Clone, Debug, PartialEq)]
pub struct AppliedTier {
    /// The tier.
    pub tier: Tier,
    /// Its policies that select the endpoint and have the direction, in order. At least one.
    pub policies: Vec<AppliedPolicy>,
    /// The number of the drop at its end; none while no endpoint's tier ends so.
    pub default: Option<RuleId>,
}

/// One policy.
#[derive(Clone, Debug, PartialEq)]
pub struct AppliedPolicy {
    /// The policy.
    pub policy: Arc<Policy>,
    /// The numbers of its rules of the direction.
    pub ids: Box<[RuleId]>,
}

/// One profile.
#[derive(Clone, Debug, PartialEq)]
pub struct AppliedProfile {
    /// Its name.
    pub name: Name,
    /// The profile; none while nobody has defined it, in which case it drops.
    pub profile: Option<Arc<Profile>>,
    /// The numbers of its rules of the direction.
    pub ids: Box<[RuleId]>,
}

impl Graph {
    /// What applies to packets to or from a local workload; none for any other endpoint.
    #[must_use]
    pub fn applied(&self, endpoint: &EndpointKey, direction: Direction) -> Option<Applied> {
        let index = self.published.endpoint(endpoint)?;
        let local = self.locals.get(index.index())?.as_ref()?;
        let mut policies: Vec<(u32, &Arc<Policy>)> = local
            .policies
            .iter()
            .map(|&slot| {
                let state = self.policies.get(slot);
                (state.rank, &state.policy)
            })
            .filter(|(_, policy)| {
                policy.hook() == Hook::Normal && policy.rules(direction).is_some()
            })
            .collect();
        policies.sort_by_key(|(rank, _)| *rank);
        let mut tiers: Vec<AppliedTier> = Vec::new();
        for (_, policy) in policies {
            // A policy whose tier nobody defined is not met.
            let Some(tier) = self.tiers.get(policy.tier()) else {
                continue;
            };
            let owner = Owner::Policy(policy.key().clone());
            let applied = AppliedPolicy {
                policy: Arc::clone(policy),
                ids: self.registry.ids(owner, direction).into(),
            };
            match tiers.last_mut() {
                Some(last) if last.tier.name() == tier.name() => last.policies.push(applied),
                Some(_) | None => {
                    let end = Owner::TierDefault(tier.name().clone());
                    tiers.push(AppliedTier {
                        tier: tier.clone(),
                        policies: vec![applied],
                        default: self.registry.ids(end, direction).first().copied(),
                    });
                }
            }
        }
        let parents = &self.items.get(local.item).parents;
        let profiles = parents.iter().map(|&slot| {
            let state = self.profiles.get(slot);
            let owner = Owner::Profile(state.name.clone());
            AppliedProfile {
                name: state.name.clone(),
                profile: state.profile.clone(),
                ids: self.registry.ids(owner, direction).into(),
            }
        });
        Some(Applied {
            tiers,
            profiles: profiles.collect(),
        })
    }
}
