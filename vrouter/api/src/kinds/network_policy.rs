//! NetworkPolicy and GlobalNetworkPolicy, and their staged twins.

use policy::compile::Update;
use policy::model::{Direction, Invalid, PolicyKind};
use policy::selector::Selector;
use serde::Serialize;

use crate::key::{Key, Kind};
use crate::kinds::rule::{Rule, local_selector, rules};
use crate::metadata::Metadata;
use crate::model;
use crate::names::check_label;
use crate::number;
use crate::object::{Object, Read, Spec};
use crate::place::Fields;
use crate::written::Written;

/// Rules for the endpoints of its namespace.
pub type NetworkPolicy = Object<NetworkPolicySpec>;
/// Rules for endpoints of every namespace, and hosts.
pub type GlobalNetworkPolicy = Object<GlobalNetworkPolicySpec>;
/// A NetworkPolicy whose verdicts are only reported.
pub type StagedNetworkPolicy = Object<StagedNetworkPolicySpec>;
/// A GlobalNetworkPolicy whose verdicts are only reported.
pub type StagedGlobalNetworkPolicy = Object<StagedGlobalNetworkPolicySpec>;

/// Directions as `types` and `policyTypes` write them.
pub(crate) const TYPES: &[(&str, Direction)] = &[
    ("Ingress", Direction::Ingress),
    ("Egress", Direction::Egress),
];

/// What will become of a staged policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum StagedAction {
    #[default]
    Set,
    Delete,
    Learn,
    /// It is looked away from.
    Ignore,
}

/// What NetworkPolicy and GlobalNetworkPolicy share.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// The tier it stands in.
    pub tier: String,
    /// Lower comes first; none comes last, ties go by name.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::optional"
    )]
    pub order: Option<f64>,
    /// Rules for packets to the endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Rule>,
    /// Rules for packets from the endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Rule>,
    /// Which endpoints it applies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Written<Selector>>,
    /// The directions it applies in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<Direction>,
    /// Only endpoints whose service account has such labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_selector: Option<Written<Selector>>,
    /// Hints that change no verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub performance_hints: Vec<String>,
}

/// A policy for every namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalNetworkPolicySpec {
    /// What it shares with NetworkPolicy.
    #[serde(flatten)]
    pub policy: NetworkPolicySpec,
    /// Only endpoints whose namespace has such labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<Written<Selector>>,
    /// Applied to host endpoints without connection tracking.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub do_not_track: bool,
    /// Applied to host endpoints before destination NAT.
    #[serde(rename = "preDNAT", skip_serializing_if = "std::ops::Not::not")]
    pub pre_dnat: bool,
    /// Applied to packets forwarded through host endpoints too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub apply_on_forward: bool,
}

/// A staged NetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StagedNetworkPolicySpec {
    /// What will become of it.
    pub staged_action: StagedAction,
    /// The policy it would be.
    #[serde(flatten)]
    pub policy: NetworkPolicySpec,
}

/// A staged GlobalNetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StagedGlobalNetworkPolicySpec {
    /// What will become of it.
    pub staged_action: StagedAction,
    /// The policy it would be.
    #[serde(flatten)]
    pub policy: GlobalNetworkPolicySpec,
}

impl Spec for NetworkPolicySpec {
    const KIND: Kind = Kind::NetworkPolicy;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        let spec = model::namespaced(&object.spec)?;
        model::policy(PolicyKind::NetworkPolicy, &object.metadata, &spec)
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        model::policy_removal(PolicyKind::NetworkPolicy, key)
    }
}

impl Spec for GlobalNetworkPolicySpec {
    const KIND: Kind = Kind::GlobalNetworkPolicy;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        let spec = model::global(&object.spec)?;
        model::policy(PolicyKind::GlobalNetworkPolicy, &object.metadata, &spec)
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        model::policy_removal(PolicyKind::GlobalNetworkPolicy, key)
    }
}

impl Spec for StagedNetworkPolicySpec {
    const KIND: Kind = Kind::StagedNetworkPolicy;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        if object.spec.staged_action != StagedAction::Set {
            // It may have been another policy before.
            return Self::removal(&object.key());
        }
        let spec = model::namespaced(&object.spec.policy)?;
        model::policy(PolicyKind::StagedNetworkPolicy, &object.metadata, &spec)
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        model::policy_removal(PolicyKind::StagedNetworkPolicy, key)
    }
}

impl Spec for StagedGlobalNetworkPolicySpec {
    const KIND: Kind = Kind::StagedGlobalNetworkPolicy;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        if object.spec.staged_action != StagedAction::Set {
            // It may have been another policy before.
            return Self::removal(&object.key());
        }
        let spec = model::global(&object.spec.policy)?;
        model::policy(
            PolicyKind::StagedGlobalNetworkPolicy,
            &object.metadata,
            &spec,
        )
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        model::policy_removal(PolicyKind::StagedGlobalNetworkPolicy, key)
    }
}

impl Read for NetworkPolicySpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<NetworkPolicySpec> {
        Some(policy(fields))
    }
}

impl Read for GlobalNetworkPolicySpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<GlobalNetworkPolicySpec> {
        Some(global_policy(fields))
    }
}

impl Read for StagedNetworkPolicySpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<StagedNetworkPolicySpec> {
        Some(StagedNetworkPolicySpec {
            staged_action: staged_action(fields),
            policy: policy(fields),
        })
    }
}

impl Read for StagedGlobalNetworkPolicySpec {
    fn read(
        fields: &Fields<'_>,
        _metadata: &mut Metadata,
    ) -> Option<StagedGlobalNetworkPolicySpec> {
        Some(StagedGlobalNetworkPolicySpec {
            staged_action: staged_action(fields),
            policy: global_policy(fields),
        })
    }
}

pub(crate) fn staged_action(fields: &Fields<'_>) -> StagedAction {
    let place = fields.optional("stagedAction");
    let action = place.and_then(|place| {
        place.choice(&[
            ("Set", StagedAction::Set),
            ("Delete", StagedAction::Delete),
            ("Learn", StagedAction::Learn),
            ("Ignore", StagedAction::Ignore),
        ])
    });
    action.unwrap_or_default()
}

fn policy(fields: &Fields<'_>) -> NetworkPolicySpec {
    let tier = fields
        .optional("tier")
        .filter(|place| place.text() != Some(""));
    let tier = tier.and_then(|place| place.checked(check_label));
    let ingress = rules(fields, Direction::Ingress);
    let egress = rules(fields, Direction::Egress);
    let types = fields.optional("types").map(|place| {
        let types = place.list(|item| item.choice(TYPES));
        for (name, direction) in TYPES {
            if types.iter().filter(|other| *other == direction).count() > 1 {
                place.error(format!("has {name} twice"));
            }
        }
        types
    });
    let types = match types.filter(|types| !types.is_empty()) {
        Some(types) => types,
        // Calico's default: ingress, unless there are egress rules alone; both if both.
        None => match (ingress.is_empty(), egress.is_empty()) {
            (_, true) => vec![Direction::Ingress],
            (true, false) => vec![Direction::Egress],
            (false, false) => vec![Direction::Ingress, Direction::Egress],
        },
    };
    for (name, direction) in TYPES {
        let rules = match direction {
            Direction::Ingress => &ingress,
            Direction::Egress => &egress,
        };
        if !types.contains(direction)
            && !rules.is_empty()
            && let Some(place) = fields.optional(direction.name())
        {
            place.not_acted_on(&format!("types lacks {name}"));
        }
    }
    let selecting = |name| {
        fields
            .optional(name)
            .and_then(|place| local_selector(&place))
    };
    let accounts = selecting("serviceAccountSelector");
    NetworkPolicySpec {
        tier: tier.unwrap_or_else(|| "default".to_owned()),
        order: fields.optional("order").and_then(|place| place.number()),
        ingress,
        egress,
        selector: selecting("selector"),
        types,
        service_account_selector: accounts,
        performance_hints: fields.list("performanceHints", |place| {
            let known = "AssumeNeededOnEveryNode";
            place.choice(&[(known, known)]).map(str::to_owned)
        }),
    }
}

fn global_policy(fields: &Fields<'_>) -> GlobalNetworkPolicySpec {
    const BEFORE: &str = "asked for packets that pass vrouterd alone, not for those the host sends \
                          and receives by its own interfaces";
    let policy = policy(fields);
    let flag = |name: &'static str| {
        let Some(place) = fields.optional(name) else {
            return false;
        };
        let value = place.boolean() == Some(true);
        if value && name != "applyOnForward" {
            place.partly(BEFORE);
        }
        value
    };
    let (do_not_track, pre_dnat) = (flag("doNotTrack"), flag("preDNAT"));
    let apply_on_forward = flag("applyOnForward");
    if do_not_track && pre_dnat {
        fields.error_at("preDNAT", "must not be set beside doNotTrack");
    }
    if (do_not_track || pre_dnat) && !apply_on_forward {
        fields.error_at(
            "applyOnForward",
            "must be true when doNotTrack or preDNAT is",
        );
    }
    if pre_dnat && policy.types.contains(&Direction::Egress) {
        fields.error_at("types", "must not have Egress when preDNAT is set");
    }
    let namespaces = fields
        .optional("namespaceSelector")
        .and_then(|place| local_selector(&place));
    GlobalNetworkPolicySpec {
        policy,
        namespace_selector: namespaces,
        do_not_track,
        pre_dnat,
        apply_on_forward,
    }
}
