//! `show policy`: a table for each endpoint, a line for each rule, in the order of evaluation.

use std::io::Write;

use vrouter_control::model::{EndpointPolicy, Hits, PolicyDirection, PolicyRule};

use super::optional;
use crate::failure::Failure;
use crate::output::Output;
use crate::table::Table;

pub(super) fn print<W: Write>(
    out: &mut Output<W>,
    endpoint: &EndpointPolicy,
) -> Result<(), Failure> {
    let interface = endpoint
        .interface
        .as_ref()
        .map(|name| format!(" on {name}"));
    out.text(&format!(
        "{}{}\n",
        endpoint.endpoint,
        interface.unwrap_or_default()
    ))?;
    let mut table = Table::new(if out.is_wide() {
        &[
            "DIR", "TIER", "POLICY", "RULE", "ACTION", "FLOWS", "PACKETS", "MATCH", "BYTES",
            "ORDER",
        ]
    } else {
        &[
            "DIR", "TIER", "POLICY", "RULE", "ACTION", "FLOWS", "PACKETS", "MATCH",
        ]
    });
    direction(&mut table, "ingress", &endpoint.ingress);
    direction(&mut table, "egress", &endpoint.egress);
    out.table(&mut table)
}

/// Where in the order a line stands.
struct Place<'a> {
    direction: &'a str,
    tier: &'a str,
    policy: &'a str,
    order: Option<f64>,
}

impl Place<'_> {
    fn line(&self, table: &mut Table, rule: &str, action: &str, matches: &str, hits: &Hits) {
        table.row([
            self.direction.to_owned(),
            self.tier.to_owned(),
            self.policy.to_owned(),
            rule.to_owned(),
            action.to_owned(),
            hits.flows.to_string(),
            hits.packets.to_string(),
            matches.to_owned(),
            hits.bytes.to_string(),
            optional(self.order.as_ref()),
        ]);
    }

    fn rules(&self, table: &mut Table, rules: &[PolicyRule], staged: bool) {
        for rule in rules {
            let action = if staged {
                format!("({})", rule.action)
            } else {
                rule.action.clone()
            };
            let matches = if rule.matches.is_empty() {
                "all"
            } else {
                &rule.matches
            };
            self.line(table, &rule.index.to_string(), &action, matches, &rule.hits);
        }
        if rules.is_empty() {
            self.line(table, "", "", "", &Hits::default());
        }
    }
}

fn direction(table: &mut Table, name: &str, direction: &PolicyDirection) {
    for tier in &direction.tiers {
        for policy in &tier.policies {
            let place = Place {
                direction: name,
                tier: &tier.name,
                policy: &policy.name,
                order: policy.order,
            };
            place.rules(table, &policy.rules, policy.staged);
        }
        let place = Place {
            direction: name,
            tier: &tier.name,
            policy: "",
            order: tier.order,
        };
        place.line(
            table,
            "end",
            &tier.default_action,
            "no rule above",
            &tier.default_hits,
        );
    }
    for profile in &direction.profiles {
        let policy = format!("profile {}", profile.name);
        let place = Place {
            direction: name,
            tier: "",
            policy: &policy,
            order: None,
        };
        place.rules(table, &profile.rules, false);
    }
    let place = Place {
        direction: name,
        tier: "",
        policy: "",
        order: None,
    };
    place.line(table, "end", "Deny", "nothing above", &direction.no_match);
}
