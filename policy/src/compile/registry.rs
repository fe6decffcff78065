//! Rule numbers: what dataplanes count by and what verdicts name.
//!
//! A rule keeps its number while its policy lives, whatever else changes; numbers of removed
//! rules are handed out again only after [`QUARANTINE`] others were freed, so that counters of a
//! rule that went are not mistaken for those of one that came.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::model::{Action, Direction, Name, PolicyKey};

/// Freed numbers that wait before the oldest is used again.
const QUARANTINE: usize = 1024;

/// Both directions, in the order of [`side`].
pub(super) const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// The place of a direction's half in pairs of tables.
pub(super) fn side(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

/// The number of a rule, or of one of the fixed outcomes below. Small and dense: index counters
/// with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RuleId(u32);

impl RuleId {
    /// No tier decided and no profile rule matched: drop.
    pub const NO_PROFILE: Self = Self(0);
    /// A `doNotTrack` or `preDNAT` chain without a match: the packet goes on.
    pub const UNDECIDED: Self = Self(1);
    /// Traffic forwarded by a host endpoint that no `applyOnForward` policy decided: allow.
    pub const FORWARD: Self = Self(2);
    /// A failsafe port of a host endpoint: allow.
    pub const FAILSAFE: Self = Self(3);
    /// The endpoint index is not in the tables: drop.
    pub const NO_ENDPOINT: Self = Self(4);

    /// The number as an array index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// The rule with this number, as read from a counter array.
    #[must_use]
    pub fn from_index(index: u32) -> Self {
        Self(index)
    }
}

/// What a rule number stands for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleInfo {
    /// Kind of rule.
    pub kind: RuleKind,
    /// Tier, of policies' rules and tier defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Name>,
    /// Policy, of policies' rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyKey>,
    /// Profile, of profiles' rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Name>,
    /// Index of the rule in its direction, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// Direction; fixed outcomes that know none say ingress.
    pub direction: Direction,
    /// What the rule does.
    pub action: Action,
    /// Whether it belongs to a staged policy.
    pub staged: bool,
}

/// Kinds of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RuleKind {
    /// A policy's rule.
    Policy,
    /// The drop at the end of a tier.
    TierDefault,
    /// A profile's rule.
    Profile,
    /// [`RuleId::NO_PROFILE`].
    NoProfile,
    /// [`RuleId::UNDECIDED`].
    Undecided,
    /// [`RuleId::FORWARD`].
    Forward,
    /// [`RuleId::FAILSAFE`].
    Failsafe,
    /// [`RuleId::NO_ENDPOINT`].
    NoEndpoint,
}

/// Who a list of rules belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Policy(PolicyKey),
    Profile(Name),
    TierDefault(Name),
}

pub(super) struct Registry {
    infos: Arc<Vec<Arc<RuleInfo>>>,
    owned: FxHashMap<(Owner, Direction), Vec<RuleId>>,
    freed: VecDeque<RuleId>,
}

impl Registry {
    pub(super) fn new() -> Self {
        let fixed = |kind, action| {
            Arc::new(RuleInfo {
                kind,
                tier: None,
                policy: None,
                profile: None,
                index: None,
                direction: Direction::Ingress,
                action,
                staged: false,
            })
        };
        // In the order of the constants of `RuleId`.
        let infos = vec![
            fixed(RuleKind::NoProfile, Action::Deny),
            fixed(RuleKind::Undecided, Action::Allow),
            fixed(RuleKind::Forward, Action::Allow),
            fixed(RuleKind::Failsafe, Action::Allow),
            fixed(RuleKind::NoEndpoint, Action::Deny),
        ];
        Self {
            infos: Arc::new(infos),
            owned: FxHashMap::default(),
            freed: VecDeque::new(),
        }
    }

    pub(super) fn infos(&self) -> Arc<Vec<Arc<RuleInfo>>> {
        self.infos.clone()
    }

    /// Numbers for the rules an owner now has: kept where they were, new at the end, freed where
    /// the list became shorter.
    pub(super) fn assign(
        &mut self,
        owner: Owner,
        direction: Direction,
        rules: Vec<RuleInfo>,
    ) -> Vec<RuleId> {
        let key = (owner, direction);
        let mut ids = self.owned.remove(&key).unwrap_or_default();
        self.freed.extend(ids.drain(rules.len().min(ids.len())..));
        if ids
            .iter()
            .zip(&rules)
            .filter(|(id, info)| *self.infos[id.index()] == **info)
            .count()
            == rules.len()
        {
            self.owned.insert(key, ids.clone());
            return ids;
        }
        let infos = Arc::make_mut(&mut self.infos);
        for (i, info) in rules.into_iter().enumerate() {
            match ids.get(i) {
                Some(id) if *infos[id.index()] == info => {}
                Some(id) => infos[id.index()] = Arc::new(info),
                None if self.freed.len() > QUARANTINE => {
                    let id = self.freed.pop_front().expect("longer than the quarantine");
                    infos[id.index()] = Arc::new(info);
                    ids.push(id);
                }
                None => {
                    let id = u32::try_from(infos.len()).expect("fewer than 2^32 rules");
                    infos.push(Arc::new(info));
                    ids.push(RuleId(id));
                }
            }
        }
        self.owned.insert(key, ids.clone());
        ids
    }

    /// The numbers of an owner's rules.
    pub(super) fn ids(&self, owner: Owner, direction: Direction) -> &[RuleId] {
        self.owned
            .get(&(owner, direction))
            .map_or(&[], Vec::as_slice)
    }

    /// Frees all numbers of an owner that is gone.
    pub(super) fn release(&mut self, owner: &Owner) {
        for direction in [Direction::Ingress, Direction::Egress] {
            if let Some(ids) = self.owned.remove(&(owner.clone(), direction)) {
                self.freed.extend(ids);
            }
        }
    }
}
