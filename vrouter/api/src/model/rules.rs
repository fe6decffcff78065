//! Rules into the model's form.

use policy::model::spec::{EntitySpec, IcmpSpec, RuleSpec, ServiceAccountSpec, ServiceSpec};
use policy::model::{Action, Invalid, Name};
use policy::selector::Selector;

use crate::kinds::{Entity, Icmp, Rule, ServiceMatch};
use crate::written::Written;

/// The rules of one direction; `field` is its name.
pub(super) fn specs(rules: &[Rule], field: &str) -> Result<Vec<RuleSpec>, Invalid> {
    let specs = rules.iter().enumerate().map(|(index, rule)| {
        spec(rule).map_err(|error| error.within(format!("spec.{field}[{index}]")))
    });
    specs.collect()
}

fn spec(rule: &Rule) -> Result<RuleSpec, Invalid> {
    Ok(RuleSpec {
        action: rule.action,
        ip_version: rule.ip_version,
        protocol: rule.protocol,
        icmp: rule.icmp.map(icmp).unwrap_or_default(),
        not_protocol: rule.not_protocol,
        not_icmp: rule.not_icmp.map(icmp).unwrap_or_default(),
        has_http: rule.http.is_some(),
        source: entity(&rule.source, rule.action).map_err(|error| error.within("source"))?,
        destination: entity(&rule.destination, rule.action)
            .map_err(|error| error.within("destination"))?,
        has_unknown_fields: rule.has_unknown_fields,
    })
}

fn icmp(icmp: Icmp) -> IcmpSpec {
    IcmpSpec {
        kind: icmp.kind,
        code: icmp.code,
    }
}

fn entity(entity: &Entity, action: Action) -> Result<EntitySpec, Invalid> {
    // Nobody tells the compiler of Services yet, so that one has no members: right for a rule
    // that allows, but one that denies must not match less than its author means.
    let services = match action {
        Action::Deny => None,
        Action::Allow | Action::Pass | Action::Log => entity.services.as_ref(),
    };
    let accounts = entity.service_accounts.as_ref();
    let nets = |nets: &[Written<ipnet::IpNet>]| nets.iter().map(|net| **net).collect();
    Ok(EntitySpec {
        nets: nets(&entity.nets),
        not_nets: nets(&entity.not_nets),
        selector: selector(entity.selector.as_ref()),
        not_selector: selector(entity.not_selector.as_ref()),
        namespace_selector: selector(entity.namespace_selector.as_ref()),
        ports: entity.ports.clone(),
        not_ports: entity.not_ports.clone(),
        service_accounts: accounts.map_or_else(ServiceAccountSpec::default, |accounts| {
            ServiceAccountSpec::new(&accounts.names, selector(accounts.selector.as_ref()))
        }),
        services: services
            .map(service)
            .transpose()
            .map_err(|error| error.within("services"))?,
    })
}

fn service(service: &ServiceMatch) -> Result<ServiceSpec, Invalid> {
    let namespace = service.namespace.as_deref().map(Name::new).transpose();
    Ok(ServiceSpec {
        name: Name::new(&service.name).map_err(|error| error.within("name"))?,
        namespace: namespace.map_err(|error| error.within("namespace"))?,
    })
}

/// A selector; one of blanks alone is none, as in Calico.
pub(super) fn selector(written: Option<&Written<Selector>>) -> Option<Selector> {
    written
        .filter(|selector| !selector.is_blank())
        .map(|selector| (**selector).clone())
}
