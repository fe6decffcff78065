//! One rule, and the two entities it matches.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::spec::{EntitySpec, IcmpSpec, RuleSpec};
use super::{IcmpMatch, Invalid, IpVersion, Name, PortMatch, Protocol, ServiceKey};
use crate::selector::{Expr, Selector, effective_entity_selector};

/// What a matching rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Accept the packet; in a tier this ends all policy.
    Allow,
    /// Drop the packet.
    Deny,
    /// Note the packet and go on with the next rule.
    Log,
    /// Leave this tier, go on with the next one, or with the profiles.
    Pass,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
            Self::Log => "Log",
            Self::Pass => "Pass",
        })
    }
}

/// Where a rule stands, which decides what its entities may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleContext<'a> {
    /// Namespace of the policy, none in global policies and profiles.
    pub namespace: Option<&'a Name>,
    /// Packets to the endpoint, or from it.
    pub direction: Direction,
}

/// Packets to an endpoint or from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// To the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

impl Direction {
    /// The direction in small letters, as the field of its rules is named.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A rule: every part that is given must match.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    action: Action,
    ip_version: Option<IpVersion>,
    protocol: Option<Protocol>,
    not_protocol: Option<Protocol>,
    icmp: Option<IcmpMatch>,
    not_icmp: Option<IcmpMatch>,
    source: EntityRule,
    destination: EntityRule,
    unenforced: Option<Unenforced>,
}

/// Criteria of a rule that no packet is compared with. The rule errs on the closed side: one that
/// denies matches whatever its other criteria match, any other matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unenforced {
    /// HTTP, which takes a layer 7 proxy.
    Http,
    /// Fields that the reader of the resource did not know.
    UnknownFields,
}

impl fmt::Display for Unenforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP is not inspected here",
            Self::UnknownFields => "it has fields that are not understood here",
        })
    }
}

impl Rule {
    /// A rule. Refused are ports by number without a protocol that has ports, ICMP types
    /// without an ICMP protocol, and a protocol that contradicts `ipVersion`.
    pub fn new(spec: &RuleSpec, context: RuleContext<'_>) -> Result<Self, Invalid> {
        let rule = Self {
            action: spec.action,
            ip_version: spec.ip_version,
            protocol: spec.protocol,
            not_protocol: spec.not_protocol,
            icmp: icmp(spec.icmp).map_err(|e| e.within("icmp"))?,
            not_icmp: icmp(spec.not_icmp).map_err(|e| e.within("notICMP"))?,
            source: EntityRule::new(&spec.source, context, Side::Source)
                .map_err(|e| e.within("source"))?,
            destination: EntityRule::new(&spec.destination, context, Side::Destination)
                .map_err(|e| e.within("destination"))?,
            unenforced: match (spec.has_http, spec.has_unknown_fields) {
                (true, _) => Some(Unenforced::Http),
                (false, true) => Some(Unenforced::UnknownFields),
                (false, false) => None,
            },
        };
        rule.consistent()
    }

    fn consistent(self) -> Result<Self, Invalid> {
        let protocol_text = self.protocol.map(|p| p.to_string()).unwrap_or_default();
        for (field, ports) in [
            ("source.ports", &self.source.ports),
            ("source.notPorts", &self.source.not_ports),
            ("destination.ports", &self.destination.ports),
            ("destination.notPorts", &self.destination.not_ports),
        ] {
            let by_number = |port: &PortMatch| match port {
                PortMatch::Range(_) => true,
                PortMatch::Named(_) => false,
            };
            let refused = match self.protocol {
                None => ports.iter().any(by_number),
                Some(protocol) => !ports.is_empty() && !protocol.has_ports(),
            };
            if refused {
                return Err(Invalid::new(
                    field,
                    protocol_text,
                    "rules that name ports must have protocol TCP, UDP or SCTP",
                ));
            }
        }
        if self.icmp.is_some() && !self.protocol.is_some_and(Protocol::is_icmp) {
            return Err(Invalid::new(
                "icmp",
                protocol_text,
                "rules that name ICMP types must have protocol ICMP or ICMPv6",
            ));
        }
        match (self.protocol, self.ip_version) {
            (Some(Protocol::ICMP), Some(IpVersion::V6)) => Err(Invalid::new(
                "protocol",
                "ICMP",
                "ICMP belongs to ipVersion 4",
            )),
            (Some(Protocol::ICMPV6), Some(IpVersion::V4)) => Err(Invalid::new(
                "protocol",
                "ICMPv6",
                "ICMPv6 belongs to ipVersion 6",
            )),
            _ => Ok(self),
        }
    }

    /// What the rule does when it matches.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// IP version the rule is limited to.
    #[must_use]
    pub fn ip_version(&self) -> Option<IpVersion> {
        self.ip_version
    }

    /// Protocol the packet must have.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// Protocol the packet must not have.
    #[must_use]
    pub fn not_protocol(&self) -> Option<Protocol> {
        self.not_protocol
    }

    /// ICMP type and code the packet must have.
    #[must_use]
    pub fn icmp(&self) -> Option<IcmpMatch> {
        self.icmp
    }

    /// ICMP type and code the packet must not have.
    #[must_use]
    pub fn not_icmp(&self) -> Option<IcmpMatch> {
        self.not_icmp
    }

    /// The protocol of ports by name: the rule's, or TCP as in Felix.
    #[must_use]
    pub fn named_port_protocol(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol::TCP)
    }

    /// Criteria that are not compared.
    #[must_use]
    pub fn unenforced(&self) -> Option<Unenforced> {
        self.unenforced
    }

    /// Whether no packet matches, because of criteria that are not compared.
    #[must_use]
    pub fn matches_nothing(&self) -> bool {
        match self.action {
            Action::Deny => false,
            Action::Allow | Action::Pass | Action::Log => self.unenforced.is_some(),
        }
    }

    /// What the packet's source must be.
    #[must_use]
    pub fn source(&self) -> &EntityRule {
        &self.source
    }

    /// What the packet's destination must be.
    #[must_use]
    pub fn destination(&self) -> &EntityRule {
        &self.destination
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// One side of a rule: every part that is given must match.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntityRule {
    nets: Vec<IpNet>,
    not_nets: Vec<IpNet>,
    selector: Option<Selector>,
    not_selector: Option<Selector>,
    ports: Vec<PortMatch>,
    not_ports: Vec<PortMatch>,
    service: Option<ServiceKey>,
}

impl EntityRule {
    fn new(spec: &EntitySpec, context: RuleContext<'_>, side: Side) -> Result<Self, Invalid> {
        let accounts = &spec.service_accounts;
        let names = accounts.names.as_deref();
        let nobody = || Expr::Not(Box::new(Expr::All));
        let selector = match (&spec.selector, names.is_some_and(<[Name]>::is_empty)) {
            (selector, false) => selector.clone(),
            (None, true) => Some(nobody().into()),
            (Some(selector), true) => {
                Some(Expr::And(vec![selector.expr().clone(), nobody()]).into())
            }
        };
        let entity = Self {
            nets: spec.nets.iter().map(IpNet::trunc).collect(),
            not_nets: spec.not_nets.iter().map(IpNet::trunc).collect(),
            selector: effective_entity_selector(
                context.namespace,
                spec.namespace_selector.as_ref(),
                selector.as_ref(),
                names.unwrap_or_default(),
                accounts.selector.as_ref(),
                spec.not_selector.is_some(),
            ),
            not_selector: spec.not_selector.clone(),
            ports: spec.ports.clone(),
            not_ports: spec.not_ports.clone(),
            service: service(spec, context.namespace)?,
        };
        entity.consistent(context.direction, side)
    }

    fn consistent(self, direction: Direction, side: Side) -> Result<Self, Invalid> {
        let Some(service) = &self.service else {
            return Ok(self);
        };
        let refuse = |reason: &str| Err(Invalid::new("services", service, reason));
        match (direction, side) {
            (Direction::Ingress, Side::Source) | (Direction::Egress, Side::Destination) => {}
            (Direction::Ingress, Side::Destination) | (Direction::Egress, Side::Source) => {
                return refuse("services stand in an ingress source or an egress destination");
            }
        }
        if self.selector.is_some() || self.not_selector.is_some() {
            return refuse("services cannot stand beside selectors or service accounts");
        }
        if !self.nets.is_empty() || !self.not_nets.is_empty() {
            return refuse("services cannot stand beside nets");
        }
        if side == Side::Destination && !(self.ports.is_empty() && self.not_ports.is_empty()) {
            return refuse("services name the ports themselves and cannot stand beside ports");
        }
        Ok(self)
    }

    /// Prefixes, one of which must contain the address; empty means any address.
    #[must_use]
    pub fn nets(&self) -> &[IpNet] {
        &self.nets
    }

    /// Prefixes, none of which may contain the address.
    #[must_use]
    pub fn not_nets(&self) -> &[IpNet] {
        &self.not_nets
    }

    /// The address must be of an endpoint or network set that this selects. Namespace selectors,
    /// service accounts and the policy's own namespace are already part of it.
    #[must_use]
    pub fn selector(&self) -> Option<&Selector> {
        self.selector.as_ref()
    }

    /// The address must not be of an endpoint or network set that this selects.
    #[must_use]
    pub fn not_selector(&self) -> Option<&Selector> {
        self.not_selector.as_ref()
    }

    /// Ports, one of which must be the packet's; empty means any.
    #[must_use]
    pub fn ports(&self) -> &[PortMatch] {
        &self.ports
    }

    /// Ports, none of which may be the packet's.
    #[must_use]
    pub fn not_ports(&self) -> &[PortMatch] {
        &self.not_ports
    }

    /// The service whose endpoints are meant: as a source by address, as a destination by
    /// address, protocol and port.
    #[must_use]
    pub fn service(&self) -> Option<&ServiceKey> {
        self.service.as_ref()
    }
}

fn icmp(spec: IcmpSpec) -> Result<Option<IcmpMatch>, Invalid> {
    match (spec.kind, spec.code) {
        (None, None) => Ok(None),
        (None, Some(code)) => Err(Invalid::new("code", code, "a code needs a type")),
        (Some(kind), code) => IcmpMatch::new(kind, code).map(Some),
    }
}

fn service(spec: &EntitySpec, own: Option<&Name>) -> Result<Option<ServiceKey>, Invalid> {
    let Some(service) = &spec.services else {
        return Ok(None);
    };
    match service.namespace.as_ref().or(own) {
        Some(namespace) => ServiceKey::new(Some(namespace), &service.name)
            .map(Some)
            .map_err(|e| e.within("services")),
        None => Err(Invalid::new(
            "services.namespace",
            "",
            "a global policy must name it",
        )),
    }
}
