//! What each policy matched on this node.

use std::collections::BTreeMap;

use ::policy::compile::{RuleId, RuleInfo, RuleKind};
use vrouter_control::model::{Hits, PolicyHits};

use super::policy::policy_name;
use crate::agent::Agent;
use crate::hits::HitTotals;

pub(super) fn show(agent: &Agent) -> Vec<PolicyHits> {
    let sources = agent.node.hit_sources();
    let now = HitTotals::new(
        &sources,
        &agent.node.hits,
        &agent.node.shared.flows,
        agent.node.shared.now_ms(),
    );
    let compiled = &agent.wanted.policy;
    let mut rows = BTreeMap::new();
    for number in 0..compiled.rule_count() as u32 {
        let id = RuleId::from_index(number);
        if let Some(place) = compiled.rule(id).and_then(place) {
            let (rules, hits): &mut (u64, Hits) = rows.entry(place).or_default();
            let one = now.rule(id);
            *rules += 1;
            hits.packets += one.packets;
            hits.bytes += one.bytes;
            hits.flows += one.flows;
        }
    }
    let row = |(place, (rules, hits)): (Place, (u64, Hits))| PolicyHits {
        direction: place.direction,
        kind: place.kind,
        tier: place.tier,
        name: place.name,
        action: place.action,
        staged: place.staged,
        rules,
        hits,
    };
    rows.into_iter().map(row).collect()
}

/// Rules that are counted together, in the order of rows.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: String,
    tier: Option<String>,
    name: String,
    direction: String,
    action: String,
    staged: bool,
}

fn place(info: &RuleInfo) -> Option<Place> {
    let tier = info.tier.as_ref().map(ToString::to_string);
    let (kind, name) = match info.kind {
        RuleKind::Policy => {
            let key = info.policy.as_ref()?;
            (key.kind().to_string(), policy_name(key))
        }
        RuleKind::Profile => ("Profile".to_owned(), info.profile.as_ref()?.to_string()),
        RuleKind::TierDefault => ("Tier".to_owned(), tier.clone()?),
        RuleKind::NoProfile
        | RuleKind::Undecided
        | RuleKind::Forward
        | RuleKind::Failsafe
        | RuleKind::NoEndpoint => return None,
    };
    Some(Place {
        kind,
        tier,
        name,
        direction: info.direction.to_string(),
        action: info.action.to_string(),
        staged: info.staged,
    })
}
