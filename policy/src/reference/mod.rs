//! The slow evaluator, written straight from the model's text, and the one that explains itself.
//!
//! [`Resources`] holds everything as told and walks all of it for each packet: tiers by order and
//! name; in each the policies that select the endpoint, by order and tie break, staged ones evaluated
//! in place without effect; the first rule that matches; the tier's default when an enforced
//! policy of it applies in this direction; then the endpoint's profiles; then drop. It is the
//! oracle of the compiler's property tests and the engine of `policy explain`. It shares with the
//! compiler the model and the description of rules, no code that matches anything.

#![forbid(unsafe_code)]

mod explain;
mod matching;
mod passage;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use explain::{
    Explanation, FlowExplanation, PolicyTrace, RuleTrace, Skipped, Stage, StageKind,
};
pub use passage::{Passage, Passed, Side, ToHost};

use crate::compile::{Chain, Failsafes, RuleInfo, RuleKind, Update};
use crate::model::{
    Action, Direction, Endpoint, EndpointKey, Hook, Name, NetworkSet, NetworkSetKey, Order,
    PacketTuple, Policy, PolicyKey, Profile, Service, ServiceKey, TieBreak, Tier, TierDefault,
};
use crate::selector::Inherited;
use matching::{Known, Parties};

/// All resources of a cluster, as last told.
#[derive(Clone, Debug)]
pub struct Resources {
    tiers: BTreeMap<Name, Tier>,
    policies: BTreeMap<PolicyKey, Arc<Policy>>,
    profiles: BTreeMap<Name, Arc<Profile>>,
    network_sets: BTreeMap<NetworkSetKey, NetworkSet>,
    endpoints: BTreeMap<EndpointKey, Endpoint>,
    services: BTreeMap<ServiceKey, Service>,
    failsafes: Failsafes,
    tie_break: TieBreak,
}

/// What the model says of a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the packet may pass.
    pub allow: bool,
    pub by: RuleInfo,
    /// Rules of staged policies that matched, in order.
    pub staged: Vec<RuleInfo>,
    /// `Log` rules that matched, in order.
    pub logged: Vec<RuleInfo>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            tiers: built_in().collect(),
            policies: BTreeMap::new(),
            profiles: BTreeMap::new(),
            network_sets: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            services: BTreeMap::new(),
            failsafes: Failsafes::default(),
            tie_break: TieBreak::default(),
        }
    }
}

fn built_in() -> impl Iterator<Item = (Name, Tier)> {
    Tier::built_in()
        .into_iter()
        .map(|tier| (tier.name().clone(), tier))
}

impl Resources {
    /// Nothing but Calico's built-in tiers and the default failsafes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a change; the same updates as the compiler's.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Tier(tier) => drop(self.tiers.insert(tier.name().clone(), tier)),
            Update::RemoveTier(name) => {
                self.tiers.remove(&name);
                self.tiers
                    .extend(built_in().filter(|(built_in, _)| *built_in == name));
            }
            Update::Policy(policy) => drop(self.policies.insert(policy.key().clone(), policy)),
            Update::RemovePolicy(key) => drop(self.policies.remove(&key)),
            Update::Profile(profile) => {
                drop(self.profiles.insert(profile.name().clone(), profile));
            }
            Update::RemoveProfile(name) => drop(self.profiles.remove(&name)),
            Update::NetworkSet(set) => drop(self.network_sets.insert(set.key().clone(), set)),
            Update::RemoveNetworkSet(key) => drop(self.network_sets.remove(&key)),
            Update::Endpoint(endpoint) => {
                drop(self.endpoints.insert(endpoint.key().clone(), endpoint));
            }
            Update::RemoveEndpoint(key) => drop(self.endpoints.remove(&key)),
            Update::Service(service) => drop(self.services.insert(service.key.clone(), service)),
            Update::RemoveService(key) => drop(self.services.remove(&key)),
            Update::Failsafes(failsafes) => self.failsafes = failsafes,
            Update::TieBreak(by) => self.tie_break = by,
        }
    }

    /// All endpoints, of all nodes.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// The workload endpoints that have this address.
    pub fn workloads_at(&self, address: IpAddr) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().filter(move |endpoint| {
            !endpoint.key().is_host()
                && endpoint
                    .addresses()
                    .iter()
                    .any(|net| net.contains(&address))
        })
    }

    /// The verdict on a packet, none for an unknown endpoint.
    #[must_use]
    pub fn evaluate(
        &self,
        endpoint: &EndpointKey,
        chain: Chain,
        direction: Direction,
        tuple: &PacketTuple,
    ) -> Option<Outcome> {
        let explanation = self.explain(endpoint, chain, direction, tuple)?;
        Some(Outcome {
            allow: explanation.allow,
            by: explanation.by,
            staged: explanation.staged,
            logged: explanation.logged,
        })
    }

    /// The verdict with all that led to it, none for an unknown endpoint.
    #[must_use]
    pub fn explain(
        &self,
        endpoint: &EndpointKey,
        chain: Chain,
        direction: Direction,
        tuple: &PacketTuple,
    ) -> Option<Explanation> {
        let endpoint = self.endpoints.get(endpoint)?;
        let mut walk = Explanation::new(endpoint.key().clone(), chain, direction, *tuple);
        if endpoint.key().is_host() && self.failsafes.allow(chain, direction, tuple) {
            walk.decide(true, fixed(RuleKind::Failsafe, Action::Allow));
            return Some(walk);
        }
        let has_chain = match chain {
            Chain::Normal => true,
            Chain::Forward | Chain::Untracked => endpoint.key().is_host(),
            Chain::PreDnat => endpoint.key().is_host() && direction == Direction::Ingress,
        };
        if !has_chain {
            walk.decide(true, fixed(RuleKind::Undecided, Action::Allow));
            return Some(walk);
        }
        let parties = Parties {
            resources: self,
            tuple,
            source: self.known(tuple.source),
            destination: self.known(tuple.destination),
        };
        for tier in self.tiers_in_order() {
            if self.tier(tier, endpoint, &parties, &mut walk) {
                return Some(walk);
            }
        }
        match chain {
            Chain::Normal => self.profiles(endpoint, &parties, &mut walk),
            Chain::Forward => walk.decide(true, fixed(RuleKind::Forward, Action::Allow)),
            Chain::Untracked | Chain::PreDnat => {
                walk.decide(true, fixed(RuleKind::Undecided, Action::Allow));
            }
        }
        Some(walk)
    }

    /// Walks one tier; true when it decided.
    fn tier(
        &self,
        tier: &Tier,
        endpoint: &Endpoint,
        parties: &Parties<'_>,
        walk: &mut Explanation,
    ) -> bool {
        let mut stage = Stage::new(StageKind::Tier, tier.name().clone());
        let mut policies: Vec<&Policy> = self
            .policies
            .values()
            .filter(|p| p.tier() == tier.name())
            .map(|p| &**p)
            .collect();
        policies.sort_by_cached_key(|policy| {
            let tie_break = policy.tie_break(self.tie_break);
            (policy.order(), tie_break, policy.key().clone())
        });
        let labels = self.labels(endpoint);
        let mut enforced = false;
        let mut end = None;
        for policy in policies {
            let rules = match (policy.rules(walk.direction), admits(walk.chain, policy)) {
                _ if !policy.selector().matches(&labels) => {
                    let selector = policy.selector();
                    stage.skip(
                        policy,
                        format!("its selector {selector} does not match the endpoint"),
                    );
                    continue;
                }
                (_, false) => {
                    stage.skip(policy, "it is not for this chain".into());
                    continue;
                }
                (None, true) => {
                    stage.skip(policy, format!("it has no type {}", walk.direction));
                    continue;
                }
                (Some(rules), true) => rules,
            };
            enforced |= !policy.is_staged();
            let mut trace = PolicyTrace::new(policy.key().clone(), policy.order().value());
            for (index, rule) in rules.iter().enumerate() {
                let info = RuleInfo {
                    kind: RuleKind::Policy,
                    tier: Some(tier.name().clone()),
                    policy: Some(policy.key().clone()),
                    profile: None,
                    index: Some(index),
                    direction: walk.direction,
                    action: rule.action(),
                    staged: policy.is_staged(),
                };
                let matched = parties.try_rule(rule);
                trace
                    .rules
                    .push(RuleTrace::new(index, rule.action(), &matched));
                if matched.is_err() {
                    continue;
                }
                if policy.is_staged() {
                    walk.staged.push(info);
                } else if rule.action() == Action::Log {
                    walk.logged.push(info);
                } else {
                    end = Some(info);
                }
                if rule.action() != Action::Log {
                    break;
                }
            }
            trace.conclude(policy.is_staged());
            stage.policies.push(trace);
            if end.is_some() {
                break;
            }
        }
        let decided = match end {
            Some(info) if info.action == Action::Pass => {
                stage.end = "passed to the next tier".into();
                false
            }
            Some(info) => {
                stage.end = format!("decided: {}", info.action);
                walk.decide(info.action == Action::Allow, info);
                true
            }
            None => self.tier_end(tier, enforced, &mut stage, walk),
        };
        walk.stages.push(stage);
        decided
    }

    /// What happens when no rule of a tier decided; true when that decides.
    fn tier_end(
        &self,
        tier: &Tier,
        enforced: bool,
        stage: &mut Stage,
        walk: &mut Explanation,
    ) -> bool {
        let never_drops = match walk.chain {
            Chain::Normal | Chain::Forward => false,
            Chain::Untracked | Chain::PreDnat => true,
        };
        if stage.policies.is_empty() {
            stage.end = "no policy of this tier applies".into();
        } else if !enforced {
            stage.end = "only staged policies apply".into();
        } else if never_drops {
            stage.end = "no rule matched; this chain does not drop".into();
        } else if tier.default_action() == TierDefault::Pass {
            stage.end = "no rule matched; the tier's default is Pass".into();
        } else {
            stage.end = "no rule matched; the tier's default is Deny".into();
            walk.decide(
                false,
                RuleInfo {
                    tier: Some(tier.name().clone()),
                    direction: walk.direction,
                    ..fixed(RuleKind::TierDefault, Action::Deny)
                },
            );
            return true;
        }
        false
    }

    fn profiles(&self, endpoint: &Endpoint, parties: &Parties<'_>, walk: &mut Explanation) {
        for name in endpoint.profiles() {
            let mut stage = Stage::new(StageKind::Profile, name.clone());
            let Some(profile) = self.profiles.get(name) else {
                stage.end = "no such profile: drop, until it is defined".into();
                walk.stages.push(stage);
                break;
            };
            let mut end = None;
            for (index, rule) in profile.rules(walk.direction).iter().enumerate() {
                let info = RuleInfo {
                    profile: Some(name.clone()),
                    index: Some(index),
                    direction: walk.direction,
                    ..fixed(RuleKind::Profile, rule.action())
                };
                let matched = parties.try_rule(rule);
                stage
                    .rules
                    .push(RuleTrace::new(index, rule.action(), &matched));
                if matched.is_err() {
                    continue;
                }
                if rule.action() == Action::Log {
                    walk.logged.push(info);
                } else {
                    end = Some(info);
                    break;
                }
            }
            stage.end = match &end {
                Some(info) => format!("decided: {}", info.action),
                None => "no rule matched".into(),
            };
            walk.stages.push(stage);
            match end {
                Some(info) if info.action != Action::Pass => {
                    return walk.decide(info.action == Action::Allow, info);
                }
                Some(_) | None => {}
            }
        }
        walk.decide(false, fixed(RuleKind::NoProfile, Action::Deny));
    }

    fn tiers_in_order(&self) -> Vec<&Tier> {
        let mut tiers: Vec<(Order, &Name, &Tier)> = self
            .tiers
            .values()
            .map(|tier| (tier.order(), tier.name(), tier))
            .collect();
        tiers.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        tiers.into_iter().map(|(_, _, tier)| tier).collect()
    }

    fn labels<'a>(&'a self, endpoint: &'a Endpoint) -> Inherited<'a> {
        self.inherited(endpoint.labels(), endpoint.profiles())
    }

    fn inherited<'a>(
        &'a self,
        own: &'a crate::selector::Labels,
        profiles: &'a [Name],
    ) -> Inherited<'a> {
        let parents = profiles.iter().filter_map(|name| self.profiles.get(name));
        Inherited::new(own, parents.map(|profile| profile.labels()))
    }

    /// The endpoints and network sets that have an address.
    fn known(&self, address: IpAddr) -> Vec<Known<'_>> {
        let endpoints = self.endpoints.values().filter_map(|endpoint| {
            let has = endpoint
                .addresses()
                .iter()
                .any(|net| net.contains(&address));
            has.then(|| Known {
                name: endpoint.key().to_string(),
                labels: self.labels(endpoint),
                ports: endpoint.ports(),
            })
        });
        let sets = self.network_sets.values().filter_map(|set| {
            let has = set.nets().iter().any(|net| net.contains(&address));
            has.then(|| Known {
                name: format!("network set {}", set.key()),
                labels: self.inherited(set.labels(), set.profiles()),
                ports: &[],
            })
        });
        endpoints.chain(sets).collect()
    }
}

fn admits(chain: Chain, policy: &Policy) -> bool {
    match chain {
        Chain::Normal => policy.hook() == Hook::Normal,
        Chain::Forward => policy.hook() == Hook::Normal && policy.apply_on_forward(),
        Chain::Untracked => policy.hook() == Hook::Untracked,
        Chain::PreDnat => policy.hook() == Hook::PreDnat,
    }
}

/// The description of an outcome that no resource's rule brought about.
fn fixed(kind: RuleKind, action: Action) -> RuleInfo {
    RuleInfo {
        kind,
        tier: None,
        policy: None,
        profile: None,
        index: None,
        direction: Direction::Ingress,
        action,
        staged: false,
    }
}

#[cfg(test)]
mod tests;
