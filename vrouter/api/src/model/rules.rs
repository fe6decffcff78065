//! Rules into the model's text form.

use policy::model::spec::{
    EntitySpec, HttpSpec, IcmpSpec, NumberOrText, RuleSpec, ServiceAccountSpec, ServiceSpec,
};

use crate::kinds::{
    Action, Entity, HttpMatch, HttpPath, Icmp, IpVersion, PortMatch, Protocol, Rule,
};
use crate::written::Written;

pub(super) fn specs(rules: &[Rule]) -> Vec<RuleSpec> {
    rules.iter().map(spec).collect()
}

fn spec(rule: &Rule) -> RuleSpec {
    RuleSpec {
        action: action(rule.action),
        ip_version: rule.ip_version.map(|version| match version {
            IpVersion::V4 => 4,
            IpVersion::V6 => 6,
        }),
        protocol: rule.protocol.map(protocol),
        icmp: rule.icmp.map(icmp),
        not_protocol: rule.not_protocol.map(protocol),
        not_icmp: rule.not_icmp.map(icmp),
        http: rule.http.as_ref().map(http),
        source: entity(&rule.source, rule.action),
        destination: entity(&rule.destination, rule.action),
        metadata: None,
        has_unknown_fields: rule.has_unknown_fields,
    }
}

fn http(http: &HttpMatch) -> HttpSpec {
    let path = |path: &HttpPath| {
        let (kind, text) = match path {
            HttpPath::Exact(text) => ("exact", text),
            HttpPath::Prefix(text) => ("prefix", text),
        };
        [(kind.to_owned(), text.clone())].into()
    };
    HttpSpec {
        methods: http.methods.clone(),
        paths: http.paths.iter().map(path).collect(),
    }
}

fn action(action: Action) -> String {
    match action {
        Action::Allow => "Allow",
        Action::Deny => "Deny",
        Action::Log => "Log",
        Action::Pass => "Pass",
    }
    .to_owned()
}

pub(super) fn protocol(protocol: Protocol) -> NumberOrText {
    NumberOrText::Number(protocol.number().into())
}

pub(super) fn port(port: &PortMatch) -> NumberOrText {
    match port {
        PortMatch::Range(low, high) if low == high => NumberOrText::from(*low),
        PortMatch::Range(low, high) => NumberOrText::Text(format!("{low}:{high}")),
        PortMatch::Named(name) => NumberOrText::Text(name.clone()),
    }
}

fn icmp(icmp: Icmp) -> IcmpSpec {
    IcmpSpec {
        kind: icmp.kind.map(Into::into),
        code: icmp.code.map(Into::into),
    }
}

fn entity(entity: &Entity, action: Action) -> EntitySpec {
    // Nobody tells the compiler of Services yet, so that one has no members: right for a rule
    // that allows, but one that denies must not match less than its author means.
    let services = match action {
        Action::Deny => None,
        Action::Allow | Action::Pass | Action::Log => entity.services.as_ref(),
    };
    let nets =
        |nets: &[Written<ipnet::IpNet>]| nets.iter().map(|net| (**net).to_string()).collect();
    EntitySpec {
        nets: nets(&entity.nets),
        not_nets: nets(&entity.not_nets),
        selector: entity.selector.clone(),
        not_selector: entity.not_selector.clone(),
        namespace_selector: entity.namespace_selector.clone(),
        ports: entity.ports.iter().map(port).collect(),
        not_ports: entity.not_ports.iter().map(port).collect(),
        service_accounts: entity
            .service_accounts
            .as_ref()
            .map(|accounts| ServiceAccountSpec {
                names: accounts.names.clone(),
                selector: accounts.selector.clone(),
            }),
        services: services.map(|service| ServiceSpec {
            name: service.name.clone(),
            namespace: service.namespace.clone(),
        }),
    }
}
