//! Policies, rules, profiles and tiers by Calico's field names, each field legal by its type.
//!
//! [`super::Policy::new`], [`super::Rule::new`] and [`super::Profile::new`] compare the fields with
//! each other and with the resource's namespace, and name the field that cannot stand.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::endpoint::net;
use super::{Action, Direction, IpVersion, Name, PortMatch, Protocol, TierDefault};
use crate::selector::Selector;

/// `spec` of `NetworkPolicy`, `GlobalNetworkPolicy` and their staged forms.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicySpec {
    /// Tier the policy belongs to; `default` when missing.
    pub tier: Option<Name>,
    /// Place in the tier; missing means last.
    pub order: Option<f64>,
    /// Endpoints the policy applies to; missing means all.
    pub selector: Option<Selector>,
    /// Global policies: namespaces of those endpoints.
    pub namespace_selector: Option<Selector>,
    /// Service accounts of those endpoints.
    pub service_account_selector: Option<Selector>,
    /// Directions the policy applies in; empty means by the rules present.
    pub types: Vec<Direction>,
    /// Rules for packets to the endpoint.
    pub ingress: Vec<RuleSpec>,
    /// Rules for packets from the endpoint.
    pub egress: Vec<RuleSpec>,
    /// Global policies on host endpoints: before connection tracking.
    pub do_not_track: bool,
    /// Global policies on host endpoints: before destination NAT.
    #[serde(rename = "preDNAT")]
    pub pre_dnat: bool,
    /// Global policies on host endpoints: for forwarded traffic too.
    pub apply_on_forward: bool,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSpec {
    /// Action on a packet that matches.
    pub action: Action,
    /// IP version of the packet.
    pub ip_version: Option<IpVersion>,
    /// Protocol of the packet.
    pub protocol: Option<Protocol>,
    /// ICMP type and code of the packet.
    #[serde(default)]
    pub icmp: IcmpSpec,
    /// Protocol that must not be.
    pub not_protocol: Option<Protocol>,
    /// ICMP type and code that must not be.
    #[serde(default, rename = "notICMP")]
    pub not_icmp: IcmpSpec,
    /// Whether the rule has a layer 7 match, which is not inspected here: see [`super::Unenforced`].
    #[serde(default, rename = "http", deserialize_with = "present")]
    pub has_http: bool,
    /// Where packets come from.
    #[serde(default)]
    pub source: EntitySpec,
    /// Where packets go.
    #[serde(default)]
    pub destination: EntitySpec,
    /// Whether the resource had fields in this rule that the reader did not know.
    #[serde(skip)]
    pub has_unknown_fields: bool,
}

impl RuleSpec {
    /// A rule that every packet matches.
    #[must_use]
    pub fn new(action: Action) -> Self {
        Self {
            action,
            ip_version: None,
            protocol: None,
            icmp: IcmpSpec::default(),
            not_protocol: None,
            not_icmp: IcmpSpec::default(),
            has_http: false,
            source: EntitySpec::default(),
            destination: EntitySpec::default(),
            has_unknown_fields: false,
        }
    }
}

/// ICMP type and code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IcmpSpec {
    /// ICMP type; missing means any.
    #[serde(rename = "type")]
    pub kind: Option<u8>,
    /// ICMP code; needs a type.
    pub code: Option<u8>,
}

/// One side of a rule. All given fields must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EntitySpec {
    /// Any of these prefixes.
    #[serde(deserialize_with = "nets")]
    pub nets: Vec<IpNet>,
    /// None of these prefixes.
    #[serde(deserialize_with = "nets")]
    pub not_nets: Vec<IpNet>,
    /// Endpoints and network sets with such labels.
    pub selector: Option<Selector>,
    /// Everything but endpoints and network sets with such labels.
    pub not_selector: Option<Selector>,
    /// Namespaces with such labels; `global()` means no namespace.
    pub namespace_selector: Option<Selector>,
    /// Any of these ports.
    pub ports: Vec<PortMatch>,
    /// None of these ports.
    pub not_ports: Vec<PortMatch>,
    /// Service accounts by name and by label.
    pub service_accounts: ServiceAccountSpec,
    /// The endpoints of a Kubernetes service.
    pub services: Option<ServiceSpec>,
}

/// Service accounts by name and by label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceAccountSpec {
    /// Any of these names; an empty list matches no account, a missing one all.
    #[serde(deserialize_with = "account_names")]
    pub names: Option<Vec<Name>>,
    /// Selector over the service accounts' labels.
    pub selector: Option<Selector>,
}

impl ServiceAccountSpec {
    /// The accounts with these names. Texts that no account can have as its name are left out.
    #[must_use]
    pub fn new<T: AsRef<str>>(names: &[T], selector: Option<Selector>) -> Self {
        let legal = names
            .iter()
            .filter_map(|name| Name::new(name.as_ref()).ok());
        Self {
            names: (!names.is_empty()).then(|| legal.collect()),
            selector,
        }
    }
}

/// A Kubernetes service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Name of the service.
    pub name: Name,
    /// Namespace; the policy's own when missing.
    pub namespace: Option<Name>,
}

/// `spec` of a `Profile`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProfileSpec {
    /// Rules for packets to the endpoint.
    pub ingress: Vec<RuleSpec>,
    /// Rules for packets from the endpoint.
    pub egress: Vec<RuleSpec>,
    /// Labels that endpoints with this profile inherit.
    pub labels_to_apply: BTreeMap<String, String>,
}

/// `spec` of a `Tier`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TierSpec {
    /// Place among the tiers; missing means last.
    pub order: Option<f64>,
    /// What happens at the tier's end.
    pub default_action: TierDefault,
}

/// A prefix or a plain address.
struct Net(IpNet);

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        net(&text).map(Self).map_err(D::Error::custom)
    }
}

fn nets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let nets = Vec::<Net>::deserialize(deserializer)?;
    Ok(nets.into_iter().map(|Net(net)| net).collect())
}

fn account_names<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<Name>>, D::Error> {
    let names = Vec::<String>::deserialize(d)?;
    Ok(ServiceAccountSpec::new(&names, None).names)
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}
