//! Rules in Calico's shape: an action and what a packet must match for it.

mod entity;
mod http;
mod protocol;

use std::collections::BTreeMap;

use ipnet::IpNet;
use policy::model::{Action, Direction, IpVersion, Protocol};
use serde::Serialize;

use crate::place::{Fields, Place};
use crate::written::Written;

pub use entity::*;
pub use http::*;
pub use protocol::*;

/// Most rules a policy may have in one direction.
pub(crate) const MAX_RULES: usize = 1024;

/// One rule of a policy or profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// What happens on a match.
    pub action: Action,
    /// Only packets of that family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_version: Option<IpVersion>,
    /// Only packets of that protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Only ICMP packets of that type and code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// Only packets of another protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_protocol: Option<Protocol>,
    /// Only ICMP packets of another type and code.
    #[serde(rename = "notICMP", skip_serializing_if = "Option::is_none")]
    pub not_icmp: Option<Icmp>,
    /// Only HTTP requests like these, which are not inspected here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpMatch>,
    /// Only packets from there.
    #[serde(skip_serializing_if = "Entity::is_any")]
    pub source: Entity,
    /// Only packets to there.
    #[serde(skip_serializing_if = "Entity::is_any")]
    pub destination: Entity,
    /// Annotations of the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<RuleMetadata>,
    /// Whether the rule has fields that a newer Calico knows and we do not.
    #[serde(skip)]
    pub has_unknown_fields: bool,
}

/// Annotations of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleMetadata {
    /// Free text by name.
    pub annotations: BTreeMap<String, String>,
}

/// Reads the rules of one direction.
pub(crate) fn rules(fields: &Fields<'_>, direction: Direction) -> Vec<Rule> {
    let Some(place) = fields.optional(direction.name()) else {
        return Vec::new();
    };
    let items = place.items();
    if items.len() > MAX_RULES {
        place.error(format!(
            "must be at most {MAX_RULES} rules, has {}",
            items.len()
        ));
    }
    items
        .iter()
        .filter_map(|item| Rule::read(item, direction))
        .collect()
}

impl Rule {
    /// A rule that matches every packet.
    #[must_use]
    pub fn new(action: Action) -> Rule {
        Rule {
            action,
            ip_version: None,
            protocol: None,
            icmp: None,
            not_protocol: None,
            not_icmp: None,
            http: None,
            source: Entity::default(),
            destination: Entity::default(),
            metadata: None,
            has_unknown_fields: false,
        }
    }

    fn read(place: &Place<'_>, direction: Direction) -> Option<Rule> {
        let fields = place.fields()?;
        let metadata = fields.optional("metadata");
        let metadata = metadata.and_then(|place| RuleMetadata::read(&place));
        let unknown_before = fields.unknown_so_far();
        let action = fields.required("action").and_then(|place| {
            place.choice(&[
                ("Allow", Action::Allow),
                ("Deny", Action::Deny),
                ("Log", Action::Log),
                ("Pass", Action::Pass),
            ])
        });
        let ip_version = fields
            .optional("ipVersion")
            .and_then(|place| place.choice(&[("4", IpVersion::V4), ("6", IpVersion::V6)]));
        let protocol = fields
            .optional("protocol")
            .and_then(|p| protocol::protocol(&p));
        let not_protocol = fields
            .optional("notProtocol")
            .and_then(|p| protocol::protocol(&p));
        let icmp = fields.optional("icmp").and_then(|p| Icmp::read(&p));
        let not_icmp = fields.optional("notICMP").and_then(|p| Icmp::read(&p));
        let http = fields.optional("http");
        let source = fields.optional("source");
        let destination = fields.optional("destination");
        let mut rule = Rule {
            // With a faulty action the rule is lost, but its other faults are still to be found.
            action: action.unwrap_or(Action::Deny),
            ip_version,
            protocol,
            icmp,
            not_protocol,
            not_icmp,
            http: http.as_ref().and_then(HttpMatch::read),
            source: source.as_ref().and_then(Entity::read).unwrap_or_default(),
            destination: destination
                .as_ref()
                .and_then(Entity::read)
                .unwrap_or_default(),
            metadata,
            has_unknown_fields: false,
        };
        rule.check(&fields, direction);
        fields.finish();
        if fields.unknown_so_far() > unknown_before {
            place.partly(
                "a field of this rule is not understood: a rule that denies matches whatever the \
                 other fields match, any other rule matches no packet",
            );
            rule.has_unknown_fields = true;
        }
        action.map(|_| rule)
    }

    /// What no single field can know.
    fn check(&self, fields: &Fields<'_>, direction: Direction) {
        self.check_icmp(fields);
        self.check_families(fields);
        let ported = self.protocol.is_some_and(Protocol::has_ports);
        for (name, entity) in [("source", &self.source), ("destination", &self.destination)] {
            // Named ports bring their protocol with them.
            let needs_protocol = match self.protocol {
                None => entity.numbers_ports(),
                Some(_) => entity.names_ports() && !ported,
            };
            if needs_protocol {
                let reason = "ports need protocol TCP, UDP or SCTP in the same rule";
                fields.error_at(name, reason);
            }
        }
        let (peer, own) = match direction {
            Direction::Ingress => (("source", &self.source), ("destination", &self.destination)),
            Direction::Egress => (("destination", &self.destination), ("source", &self.source)),
        };
        if own.1.services.is_some() {
            let reason = format!("services are allowed in {} only", peer.0);
            fields.error_at(own.0, reason);
        }
    }

    fn check_icmp(&self, fields: &Fields<'_>) {
        let is_icmp = self.protocol.is_some_and(Protocol::is_icmp);
        if self.icmp.is_some() && !is_icmp {
            fields.error_at("icmp", "needs protocol ICMP or ICMPv6 in the same rule");
        }
        let wrong = match self.protocol {
            Some(Protocol::ICMP) => self.ip_version == Some(IpVersion::V6),
            Some(Protocol::ICMPV6) => self.ip_version == Some(IpVersion::V4),
            Some(_) | None => false,
        };
        if wrong {
            fields.error_at(
                "ipVersion",
                "contradicts the protocol: ICMP is 4, ICMPv6 is 6",
            );
        }
    }

    fn check_families(&self, fields: &Fields<'_>) {
        for (name, entity) in [("source", &self.source), ("destination", &self.destination)] {
            let nets = entity.nets.iter().chain(&entity.not_nets);
            let (v4, v6): (Vec<&Written<IpNet>>, Vec<&Written<IpNet>>) =
                nets.partition(|net| net.addr().is_ipv4());
            if !v4.is_empty() && !v6.is_empty() {
                fields.error_at(name, "must not mix IPv4 and IPv6 nets in one rule");
            }
            let wrong = match self.ip_version {
                Some(IpVersion::V4) => !v6.is_empty(),
                Some(IpVersion::V6) => !v4.is_empty(),
                None => false,
            };
            if wrong {
                fields.error_at(name, "has nets of another family than ipVersion");
            }
        }
    }
}

impl RuleMetadata {
    fn read(place: &Place<'_>) -> Option<RuleMetadata> {
        let fields = place.fields()?;
        let annotations = fields.optional("annotations");
        let annotations = annotations.and_then(|place| place.string_map(|_, _| Ok(())));
        fields.finish();
        Some(RuleMetadata {
            annotations: annotations.unwrap_or_default(),
        })
    }
}
