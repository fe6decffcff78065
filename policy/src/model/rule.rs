//! One rule, and the two entities it matches.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Serialize;

use super::spec::{EntitySpec, IcmpSpec, NumberOrText, RuleSpec, ServiceAccountSpec};
use super::{IcmpMatch, Invalid, IpVersion, Name, PortMatch, Protocol, ServiceKey};
use crate::selector::{Expr, Selector, effective_entity_selector};

/// What a matching rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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

impl FromStr for Action {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "Allow" => Ok(Self::Allow),
            "Deny" => Ok(Self::Deny),
            "Log" => Ok(Self::Log),
            "Pass" => Ok(Self::Pass),
            _ => Err(Invalid::new(
                "",
                text,
                "an action is Allow, Deny, Log or Pass",
            )),
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Direction {
    /// To the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
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
    /// Parses a rule. Refused are ports by number without a protocol that has ports, ICMP types
    /// without an ICMP protocol, and a protocol that contradicts `ipVersion`.
    pub fn new(spec: &RuleSpec, context: RuleContext<'_>) -> Result<Self, Invalid> {
        let protocol = optional(spec.protocol.as_ref(), protocol, "protocol")?;
        let rule = Self {
            action: spec
                .action
                .parse()
                .map_err(|e: Invalid| e.within("action"))?,
            ip_version: spec
                .ip_version
                .map(IpVersion::try_from)
                .transpose()
                .map_err(|e| e.within("ipVersion"))?,
            protocol,
            not_protocol: optional(spec.not_protocol.as_ref(), self::protocol, "notProtocol")?,
            icmp: icmp(spec.icmp.as_ref()).map_err(|e| e.within("icmp"))?,
            not_icmp: icmp(spec.not_icmp.as_ref()).map_err(|e| e.within("notICMP"))?,
            source: EntityRule::new(&spec.source, context, Side::Source)
                .map_err(|e| e.within("source"))?,
            destination: EntityRule::new(&spec.destination, context, Side::Destination)
                .map_err(|e| e.within("destination"))?,
            unenforced: match (spec.http.is_some(), spec.has_unknown_fields) {
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
        let selector = optional_selector(spec.selector.as_deref(), "selector")?;
        let not_selector = optional_selector(spec.not_selector.as_deref(), "notSelector")?;
        let namespaces =
            optional_selector(spec.namespace_selector.as_deref(), "namespaceSelector")?;
        let none = ServiceAccountSpec::default();
        let accounts = spec.service_accounts.as_ref().unwrap_or(&none);
        // No service account has a name that is none.
        let names = accounts.names.iter();
        let account_names: Vec<Name> = names.filter_map(|name| Name::new(name).ok()).collect();
        let is_nobody = account_names.is_empty() && !accounts.names.is_empty();
        let nothing = || Expr::Not(Box::new(Expr::All));
        let selector = match (selector, is_nobody) {
            (selector, false) => selector,
            (None, true) => Some(nothing().into()),
            (Some(selector), true) => {
                Some(Expr::And(vec![selector.expr().clone(), nothing()]).into())
            }
        };
        let account_selector = optional_selector(accounts.selector.as_deref(), "selector")
            .map_err(|e| e.within("serviceAccounts"))?;
        let entity = Self {
            nets: nets(&spec.nets).map_err(|e| e.within("nets"))?,
            not_nets: nets(&spec.not_nets).map_err(|e| e.within("notNets"))?,
            selector: effective_entity_selector(
                context.namespace,
                namespaces.as_ref(),
                selector.as_ref(),
                &account_names,
                account_selector.as_ref(),
                not_selector.is_some(),
            )
            .map_err(|e| e.within("serviceAccounts"))?,
            not_selector,
            ports: each(&spec.ports, port).map_err(|e| e.within("ports"))?,
            not_ports: each(&spec.not_ports, port).map_err(|e| e.within("notPorts"))?,
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

fn protocol(text: &NumberOrText) -> Result<Protocol, Invalid> {
    match text {
        NumberOrText::Number(number) => u8::try_from(*number)
            .map_err(|_| Invalid::new("", number, "a protocol number is 1 to 255"))
            .and_then(Protocol::try_from),
        NumberOrText::Text(text) => text.parse(),
    }
}

fn port(text: &NumberOrText) -> Result<PortMatch, Invalid> {
    match text {
        NumberOrText::Number(number) => u16::try_from(*number)
            .map(PortMatch::from)
            .map_err(|_| Invalid::new("", number, "a port number is 0 to 65535")),
        NumberOrText::Text(text) => text.parse(),
    }
}

fn icmp(spec: Option<&IcmpSpec>) -> Result<Option<IcmpMatch>, Invalid> {
    let byte = |field: &str, number: i64| {
        u8::try_from(number).map_err(|_| Invalid::new(field, number, "out of range"))
    };
    match spec {
        None
        | Some(IcmpSpec {
            kind: None,
            code: None,
        }) => Ok(None),
        Some(IcmpSpec {
            kind: None,
            code: Some(code),
        }) => Err(Invalid::new("code", code, "a code needs a type")),
        Some(IcmpSpec {
            kind: Some(kind),
            code,
        }) => {
            let code = code.map(|code| byte("code", code)).transpose()?;
            IcmpMatch::new(byte("type", *kind)?, code).map(Some)
        }
    }
}

fn service(spec: &EntitySpec, own: Option<&Name>) -> Result<Option<ServiceKey>, Invalid> {
    let Some(service) = &spec.services else {
        return Ok(None);
    };
    let namespace = service.namespace.as_deref().or(own.map(Name::as_str));
    if namespace.is_none_or(str::is_empty) {
        return Err(Invalid::new(
            "services.namespace",
            "",
            "a global policy must name it",
        ));
    }
    ServiceKey::new(namespace, &service.name)
        .map(Some)
        .map_err(|e| e.within("services"))
}

/// Prefixes or plain addresses, host bits cleared.
pub(super) fn nets(texts: &[String]) -> Result<Vec<IpNet>, Invalid> {
    each(texts, |text| net(text))
}

pub(super) fn net(text: &str) -> Result<IpNet, Invalid> {
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| Invalid::new("", text, "not an address or prefix, such as 10.0.0.0/8"))
}

pub(super) fn optional_selector(
    text: Option<&str>,
    field: &str,
) -> Result<Option<Selector>, Invalid> {
    match text {
        None => Ok(None),
        Some(text) if text.trim().is_empty() => Ok(None),
        Some(text) => Selector::parse(text)
            .map(Some)
            .map_err(|e| Invalid::new(field, text, e.to_string())),
    }
}

fn optional<S, T>(
    given: Option<&S>,
    parse: impl Fn(&S) -> Result<T, Invalid>,
    field: &str,
) -> Result<Option<T>, Invalid> {
    given.map(parse).transpose().map_err(|e| e.within(field))
}

/// Parses each item; an error names its index.
pub(super) fn each<S, T>(
    items: &[S],
    parse: impl Fn(&S) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    items
        .iter()
        .enumerate()
        .map(|(i, item)| parse(item).map_err(|e| e.within(format!("[{i}]"))))
        .collect()
}
