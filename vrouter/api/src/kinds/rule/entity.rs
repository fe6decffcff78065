//! Who a packet is from or to, in a rule.

use ipnet::IpNet;
use policy::model::PortMatch;
use policy::selector::Selector;
use serde::Serialize;

use crate::kinds::rule::port;
use crate::names::{check_label, check_subdomain};
use crate::place::Place;
use crate::written::Written;

/// How selectors name what is in no namespace.
const GLOBAL: &str = "global(";
/// Calico's limits.
const LONGEST_SELECTOR: usize = 1024;

/// Criteria on one side of a packet; all of them must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entity {
    /// The address is in one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<Written<IpNet>>,
    /// It is an endpoint or network set with such labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Written<Selector>>,
    /// Namespace has such labels; `global()` means no namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Written<Selector>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceMatch>,
    /// The port is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMatch>,
    /// The address is in none of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_nets: Vec<Written<IpNet>>,
    /// It is no endpoint or network set with such labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_selector: Option<Written<Selector>>,
    /// The port is none of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_ports: Vec<PortMatch>,
    /// It runs under one of these service accounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccountMatch>,
}

/// A Service of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceMatch {
    pub name: String,
    /// Namespace; absent: the policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Service accounts by name, labels or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceAccountMatch {
    /// The account is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// The account has such labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Written<Selector>>,
}

/// Reads a selector; an empty text is none.
pub(crate) fn selector(place: &Place<'_>) -> Option<Written<Selector>> {
    let text = place.text().filter(|text| !text.is_empty())?;
    match Selector::parse(text) {
        Ok(selector) => Some(Written::new(selector, text)),
        Err(error) => {
            place.error(format!("is not a selector: {error}"));
            None
        }
    }
}

/// A selector in which `global()` has no meaning.
pub(crate) fn local_selector(place: &Place<'_>) -> Option<Written<Selector>> {
    let selector = selector(place)?;
    let text = selector.to_string();
    if text.contains(GLOBAL) {
        place.fault("global() can only be used in an EntityRule namespaceSelector");
    } else if text.chars().count() > LONGEST_SELECTOR {
        place.fault(format!("must be at most {LONGEST_SELECTOR} characters"));
    }
    Some(selector)
}

/// The selector of a rule's namespaces, in which `global()` stands alone.
fn namespaces(place: &Place<'_>) -> Option<Written<Selector>> {
    let selector = selector(place)?;
    let text = selector.to_string();
    if text.contains(GLOBAL) && text.trim() != "global()" {
        place.fault("global() cannot be combined with other selectors");
    }
    Some(selector)
}

/// A prefix that a rule's packets must not be in: not all of them.
fn excluded(place: &Place<'_>) -> Option<Written<IpNet>> {
    let net = place.written_net()?;
    if place.written() == "0.0.0.0/0" || net.prefix_len() == 0 && net.addr().is_ipv6() {
        place
            .fault("catch-all CIDR in negation creates logical contradiction (matches no traffic)");
    }
    Some(net)
}

impl Entity {
    /// Whether every packet matches.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Entity::default()
    }

    pub(crate) fn names_ports(&self) -> bool {
        !self.ports.is_empty() || !self.not_ports.is_empty()
    }

    /// Whether a port stands there by number.
    pub(crate) fn numbers_ports(&self) -> bool {
        let by_number = |port: &PortMatch| match port {
            PortMatch::Range(_) => true,
            PortMatch::Named(_) => false,
        };
        self.ports.iter().chain(&self.not_ports).any(by_number)
    }

    pub(crate) fn read(place: &Place<'_>) -> Option<Entity> {
        let fields = place.fields()?;
        let services = fields.optional("services");
        let entity = Entity {
            nets: fields.list("nets", Place::written_net),
            selector: fields
                .optional("selector")
                .and_then(|place| local_selector(&place)),
            namespace_selector: fields
                .optional("namespaceSelector")
                .and_then(|place| namespaces(&place)),
            services: services.as_ref().and_then(ServiceMatch::read),
            ports: fields.list("ports", port),
            not_nets: fields.list("notNets", excluded),
            not_selector: fields
                .optional("notSelector")
                .and_then(|place| selector(&place)),
            not_ports: fields.list("notPorts", port),
            service_accounts: fields
                .optional("serviceAccounts")
                .and_then(|place| ServiceAccountMatch::read(&place)),
        };
        if let Some(place) = services
            && entity.services.is_some()
            && (entity
                != Entity {
                    services: entity.services.clone(),
                    ..Entity::default()
                })
        {
            place.error("must be the only criterion of its side");
        }
        fields.finish();
        Some(entity)
    }
}

impl ServiceMatch {
    fn read(place: &Place<'_>) -> Option<ServiceMatch> {
        let fields = place.fields()?;
        place.partly(
            "there are no Services yet: a rule that denies matches whatever its other criteria \
             match, any other rule matches no packet",
        );
        let name = fields
            .required("name")
            .and_then(|place| place.checked(check_label));
        let namespace = fields
            .optional("namespace")
            .and_then(|place| place.checked(check_label));
        fields.finish();
        Some(ServiceMatch {
            name: name?,
            namespace,
        })
    }
}

impl ServiceAccountMatch {
    fn read(place: &Place<'_>) -> Option<ServiceAccountMatch> {
        let fields = place.fields()?;
        let names = fields.list("names", |place| {
            let name = place.string()?;
            if check_subdomain(&name).is_err() {
                place.not_acted_on("no service account can have this name");
            }
            Some(name)
        });
        let selector = fields
            .optional("selector")
            .and_then(|place| selector(&place));
        fields.finish();
        Some(ServiceAccountMatch { names, selector })
    }
}
