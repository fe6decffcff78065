//! Policy as it is enforced.

use ::policy::compile::{Applied, AppliedTier, RuleId, RuleInfo};
use ::policy::model::{Direction, PolicyKey, Rule, TierDefault};
use vrouter_control::ErrorBody;
use vrouter_control::model::{
    self, EndpointPolicy, Hits, Page, PolicyDirection, PolicyPolicy, PolicyProfile, PolicyRule,
    PolicyTier, RuleReference,
};
use vrouter_control::params::{self, Explain, ShowPolicy};
use vrouter_dataplane::events::Whose;
use vrouter_dataplane::id::InterfaceId;

use super::{Outcome, known, rules};
use crate::agent::Agent;
use crate::hits::HitTotals;
use vrouter_core::observed::Endpoint;
use vrouter_core::policies::endpoint_key;
use vrouter_explain::Question;

/// A policy as tables name it.
pub(super) fn policy_name(key: &PolicyKey) -> String {
    match key.namespace() {
        Some(namespace) => format!("{namespace}/{}", key.name()),
        None => key.name().to_string(),
    }
}

/// A rule as tables name it.
pub(super) fn rule_reference(agent: &Agent, direction: Direction, id: RuleId) -> RuleReference {
    reference(direction, agent.wanted.policy.rule(id))
}

/// A rule that refused a packet, with the host endpoint it stood for.
pub(super) fn refusing_rule(
    agent: &Agent,
    (whose, direction, id): (Whose, Direction, RuleId),
) -> RuleReference {
    let host_endpoint = match whose {
        Whose::Workload(_) => None,
        Whose::Host(index) => agent
            .wanted
            .policy
            .endpoints()
            .find(|(endpoint, _)| *endpoint == index)
            .map(|(_, key)| key.name().to_string()),
    };
    RuleReference {
        host_endpoint,
        ..rule_reference(agent, direction, id)
    }
}

fn reference(direction: Direction, info: Option<&RuleInfo>) -> RuleReference {
    let policy = info.and_then(|info| match (&info.policy, &info.profile) {
        (Some(policy), _) => Some(policy_name(policy)),
        (None, Some(profile)) => Some(profile.to_string()),
        (None, None) => None,
    });
    let tier = info.and_then(|info| info.tier.as_ref());
    RuleReference {
        direction: direction.to_string(),
        host_endpoint: None,
        tier: tier.map(ToString::to_string),
        policy,
        rule: info.and_then(|info| info.index).map(|index| index as u32),
        action: info.map_or_else(|| "Deny".to_owned(), |info| info.action.to_string()),
    }
}

pub(super) fn show(agent: &Agent, params: &ShowPolicy) -> Outcome<Page<EndpointPolicy>> {
    known(agent, params.endpoint.as_deref())?;
    let sources = agent.node.hit_sources();
    let now = HitTotals::new(
        &sources,
        &agent.node.hits,
        &agent.node.shared.flows,
        agent.node.shared.now_ms(),
    );
    let after = params.after.as_deref();
    let rest = agent.observed.endpoints.iter().filter(|endpoint| {
        let local = &endpoint.local;
        let called = |name: &String| local.is_called(name);
        after.is_none_or(|after| cursor(endpoint).as_str() > after)
            && params.endpoint.as_ref().is_none_or(called)
    });
    let mut keyed: Vec<(String, &Endpoint)> = rest.map(|e| (cursor(e), e)).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    let page = Page::collect(params::rows(params.limit), keyed, |(cursor, _)| {
        cursor.clone()
    });
    let items = page.items.into_iter();
    Ok(Page {
        items: items.map(|(_, e)| row(agent, e, &now)).collect(),
        next: page.next,
        total: Some(agent.observed.endpoints.iter().count() as u64),
    })
}

/// Where an endpoint stands in the list: by its key, so that others coming and going move nothing.
fn cursor(endpoint: &Endpoint) -> String {
    let key = &endpoint.local.key;
    format!("{}/{}", key.namespace, key.name)
}

fn row(agent: &Agent, endpoint: &Endpoint, now: &HitTotals<'_>) -> EndpointPolicy {
    let local = &endpoint.local;
    let interface = endpoint.attached.as_ref().map(|attached| attached.id);
    let side = |direction| {
        let key = endpoint_key(&local.key).ok()?;
        let applied = agent.state.policies.applied(&key, direction)?;
        Some(direction_of(&applied, direction, interface, now))
    };
    EndpointPolicy {
        endpoint: local.name(),
        interface: Some(local.interface.clone()),
        ingress: side(Direction::Ingress).unwrap_or_default(),
        egress: side(Direction::Egress).unwrap_or_default(),
    }
}

fn direction_of(
    applied: &Applied,
    direction: Direction,
    interface: Option<InterfaceId>,
    now: &HitTotals<'_>,
) -> PolicyDirection {
    let profiles = applied.profiles.iter().map(|profile| PolicyProfile {
        name: profile.name.to_string(),
        rules: profile.profile.as_ref().map_or_else(Vec::new, |defined| {
            rows(defined.rules(direction), &profile.ids, now)
        }),
    });
    let unmatched = interface.map(|id| now.unmatched(id, direction));
    PolicyDirection {
        tiers: applied
            .tiers
            .iter()
            .map(|tier| tier_of(tier, direction, now))
            .collect(),
        profiles: profiles.collect(),
        no_match: unmatched.unwrap_or_default(),
    }
}

fn tier_of(applied: &AppliedTier, direction: Direction, now: &HitTotals<'_>) -> PolicyTier {
    let policies = applied.policies.iter().map(|one| {
        let policy = &one.policy;
        PolicyPolicy {
            kind: policy.key().kind().to_string(),
            name: policy_name(policy.key()),
            order: policy.order().value(),
            staged: policy.is_staged(),
            rules: rows(policy.rules(direction).unwrap_or_default(), &one.ids, now),
        }
    });
    // Where only staged policies select the endpoint the tier has no end: packets go on.
    let enforced = applied.policies.iter().any(|one| !one.policy.is_staged());
    let denies = enforced && applied.tier.default_action() == TierDefault::Deny;
    let default = applied.default.filter(|_| denies);
    PolicyTier {
        name: applied.tier.name().to_string(),
        order: applied.tier.order().value(),
        default_action: if denies { "Deny" } else { "Pass" }.to_owned(),
        default_hits: default.map(|id| now.rule(id)).unwrap_or_default(),
        policies: policies.collect(),
    }
}

fn rows(rules: &[Rule], ids: &[RuleId], now: &HitTotals<'_>) -> Vec<PolicyRule> {
    let row = |(index, rule): (u32, &Rule)| PolicyRule {
        index,
        action: rule.action().to_string(),
        matches: rules::text(rule),
        hits: ids
            .get(index as usize)
            .map_or_else(Hits::default, |id| now.rule(*id)),
    };
    (0..).zip(rules).map(row).collect()
}

pub(super) fn explain(agent: &mut Agent, params: &Explain) -> Outcome<model::Explanation> {
    let host_addresses = agent
        .observed
        .host
        .addresses
        .iter()
        .copied()
        .collect::<Vec<_>>();
    let underlay = agent.observed.host.underlay.clone();
    let walk = Question {
        resources: &agent.state.resources,
        reference: agent.state.policies.reference(&agent.state.resources),
        node: Some(&agent.settings.node),
        host_addresses: &host_addresses,
        underlay: underlay.as_ref(),
        names: Some(agent.wanted.options.resolver),
    }
    .explain(params)?;
    model::Explanation::new(&walk).map_err(|error| ErrorBody::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::policy::flow::{Config, FlowTable};
    use vrouter_dataplane::counters::Counters;
    use vrouter_dataplane::hits::Hits as Counts;

    use crate::hits::{RetiredHits, Sources};
    use vrouter_core::policies::Policies;

    const RESOURCES: &str = "
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n1-k8s-web-eth0, namespace: default, labels: {app: web, projectcalico.org/namespace: default}}
spec: {node: n1, orchestrator: k8s, pod: web, endpoint: eth0, ipNetworks: [10.0.0.1/32], profiles: [kns.default]}
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: kns.default}
spec: {ingress: [{action: Allow}], egress: [{action: Allow}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  order: 5
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]
---
apiVersion: projectcalico.org/v3
kind: StagedNetworkPolicy
metadata: {name: later, namespace: default}
spec: {types: [Egress], egress: [{action: Deny, protocol: UDP}]}
";

    #[test]
    fn tiers_profiles_and_hits() {
        let mut policies = Policies::new("n1").unwrap();
        let parsed = vrouter_api::parse(RESOURCES.as_bytes(), "t.yaml");
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        for resource in parsed.resources {
            policies.upsert(&resource.value);
        }
        let compiled = policies.compile();
        let (worker, expired) = (Counters::default(), Counts::default());
        let sources = Sources {
            workers: vec![&worker],
            others: vec![&expired],
        };
        sources.reserve(&compiled);
        let key = ::policy::model::EndpointKey::workload("default", "n1-k8s-web-eth0").unwrap();
        let ingress = policies.applied(&key, Direction::Ingress).unwrap();
        let rule = ingress.tiers[0].policies[0].ids[0];
        let hit = worker.rules.of(rule.index() as u32).unwrap();
        hit.flows.add(1);
        hit.add(3, 180);
        let end = ingress.tiers[0].default.unwrap();
        worker.rules.of(end.index() as u32).unwrap().add(2, 120);
        worker
            .unmatched(InterfaceId(4), Direction::Egress)
            .add(1, 60);

        let before = RetiredHits::default();
        let flows = FlowTable::new(Config {
            capacity: 64,
            ..Config::default()
        });
        let now = HitTotals::new(&sources, &before, &flows, 0);
        let id = Some(InterfaceId(4));
        let shown = direction_of(&ingress, Direction::Ingress, id, &now);
        assert_eq!(shown.tiers.len(), 1);
        let tier = &shown.tiers[0];
        assert_eq!(
            (tier.name.as_str(), tier.default_action.as_str()),
            ("default", "Deny")
        );
        assert_eq!(tier.default_hits.packets, 2);
        let policy = &tier.policies[0];
        assert_eq!(
            (policy.kind.as_str(), policy.order),
            ("NetworkPolicy", Some(5.0))
        );
        assert_eq!(policy.name, "default/web");
        assert_eq!(policy.rules[0].matches, "tcp, destination ports 80");
        let hits = Hits {
            packets: 3,
            bytes: 180,
            flows: 1,
        };
        assert_eq!(policy.rules[0].hits, hits);
        assert_eq!(shown.no_match, Hits::default());

        let egress = policies.applied(&key, Direction::Egress).unwrap();
        let shown = direction_of(&egress, Direction::Egress, id, &now);
        assert_eq!(shown.tiers[0].default_action, "Pass");
        assert!(shown.tiers[0].policies[0].staged);
        assert_eq!(shown.profiles[0].name, "kns.default");
        assert_eq!(shown.profiles[0].rules[0].matches, "");
        assert_eq!(shown.no_match.packets, 1);
        let named = reference(Direction::Ingress, compiled.rule(rule));
        assert_eq!(named.to_string(), "ingress default/default/web[0] Allow");
    }
}
