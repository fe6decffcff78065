//! Kubernetes' own NetworkPolicy (`networking.k8s.io/v1`) and Calico's staged copy of it.

use policy::compile::Update;
use policy::model::{Direction, Invalid, PolicyKind, PortMatch, Protocol};
use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Serialize;

use crate::key::{Key, Kind};
use crate::kinds::network_policy::{StagedAction, TYPES, staged_action};
use crate::kinds::rule::{port, protocol};
use crate::metadata::Metadata;
use crate::model;
use crate::object::{Object, Read, Spec};
use crate::place::{Fields, Place};

/// A NetworkPolicy of Kubernetes.
pub type KubernetesNetworkPolicy = Object<KubernetesNetworkPolicySpec>;
/// One whose verdicts are only reported.
pub type StagedKubernetesNetworkPolicy = Object<StagedKubernetesNetworkPolicySpec>;

/// What it allows; everything else in its directions is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesNetworkPolicySpec {
    /// The pods of its namespace it applies to.
    pub pod_selector: LabelSelector,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<IngressRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressRule>,
    /// The directions it applies in.
    pub policy_types: Vec<Direction>,
}

/// A staged one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StagedKubernetesNetworkPolicySpec {
    /// What will become of it.
    pub staged_action: StagedAction,
    /// The policy it would be.
    #[serde(flatten)]
    pub policy: KubernetesNetworkPolicySpec,
}

/// Allows packets from peers to ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IngressRule {
    /// From one of these; none: from anybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<Peer>,
    /// To one of these; none: to every port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PolicyPort>,
}

/// Allows packets to ports of peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EgressRule {
    /// To one of these; none: to anybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Peer>,
    /// To one of these; none: to every port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PolicyPort>,
}

/// Somebody a rule allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Peer {
    /// Addresses.
    IpBlock(IpBlock),
    /// Pods.
    #[serde(untagged)]
    Pods(PodPeer),
}

/// Pods by labels and namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPeer {
    /// Labels of the pods; none: all pods of the namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Labels of the namespaces; none: the policy's own namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}

/// A prefix with holes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IpBlock {
    /// The prefix.
    pub cidr: IpNet,
    /// The holes, each within the prefix.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<IpNet>,
}

/// Ports of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PolicyPort {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The port; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortMatch>,
    /// The last port of a range that starts at `port`.
    #[serde(rename = "endPort", skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
}

/// Kubernetes' selector: every label and every expression must hold; empty selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels and their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// A condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what; none for Exists and DoesNotExist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Operator {
    /// It is one of the values.
    In,
    /// It is missing or none of the values.
    NotIn,
    Exists,
    DoesNotExist,
}

impl Spec for KubernetesNetworkPolicySpec {
    const KIND: Kind = Kind::KubernetesNetworkPolicy;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        let spec = model::kubernetes(&object.spec)?;
        model::policy(PolicyKind::KubernetesNetworkPolicy, &object.metadata, &spec)
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        model::policy_removal(PolicyKind::KubernetesNetworkPolicy, key)
    }
}

impl Read for KubernetesNetworkPolicySpec {
    fn read(fields: &Fields<'_>, _: &mut Metadata) -> Option<KubernetesNetworkPolicySpec> {
        read_policy(fields)
    }
}

impl Spec for StagedKubernetesNetworkPolicySpec {
    const KIND: Kind = Kind::StagedKubernetesNetworkPolicy;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        if object.spec.staged_action != StagedAction::Set {
            // It may have been another policy before.
            return Self::removal(&object.key());
        }
        let spec = model::kubernetes(&object.spec.policy)?;
        model::policy(
            PolicyKind::StagedKubernetesNetworkPolicy,
            &object.metadata,
            &spec,
        )
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        model::policy_removal(PolicyKind::StagedKubernetesNetworkPolicy, key)
    }
}

impl Read for StagedKubernetesNetworkPolicySpec {
    fn read(fields: &Fields<'_>, _: &mut Metadata) -> Option<StagedKubernetesNetworkPolicySpec> {
        let staged_action = staged_action(fields);
        Some(StagedKubernetesNetworkPolicySpec {
            staged_action,
            policy: read_policy(fields)?,
        })
    }
}

fn read_policy(fields: &Fields<'_>) -> Option<KubernetesNetworkPolicySpec> {
    let pod_selector = fields
        .optional("podSelector")
        .map(|place| LabelSelector::read(&place));
    let ingress = fields.list("ingress", |place| {
        let fields = place.fields()?;
        let rule = IngressRule {
            from: fields.list("from", Peer::read),
            ports: fields.list("ports", PolicyPort::read),
        };
        fields.finish();
        Some(rule)
    });
    let egress = fields.list("egress", |place| {
        let fields = place.fields()?;
        let rule = EgressRule {
            to: fields.list("to", Peer::read),
            ports: fields.list("ports", PolicyPort::read),
        };
        fields.finish();
        Some(rule)
    });
    let mut policy_types = fields.list("policyTypes", |place| place.choice(TYPES));
    if policy_types.is_empty() {
        policy_types.push(Direction::Ingress);
        if !egress.is_empty() {
            policy_types.push(Direction::Egress);
        }
    }
    Some(KubernetesNetworkPolicySpec {
        pod_selector: pod_selector.unwrap_or_else(|| Some(LabelSelector::default()))?,
        ingress,
        egress,
        policy_types,
    })
}

impl Peer {
    fn read(place: &Place<'_>) -> Option<Peer> {
        let fields = place.fields()?;
        let block = fields.optional("ipBlock");
        let selector = |name| {
            fields
                .optional(name)
                .map(|place| LabelSelector::read(&place))
        };
        let (pods, namespaces) = (selector("podSelector"), selector("namespaceSelector"));
        fields.finish();
        match block {
            Some(_) if pods.is_some() || namespaces.is_some() => {
                fields.error("must be an ipBlock or selectors, not both");
                None
            }
            Some(block) => IpBlock::read(&block).map(Peer::IpBlock),
            None if pods.is_none() && namespaces.is_none() => {
                fields.error("ipBlock, podSelector or namespaceSelector must be set");
                None
            }
            None => Some(Peer::Pods(PodPeer {
                pod_selector: pods.map_or(Some(None), |read| read.map(Some))?,
                namespace_selector: namespaces.map_or(Some(None), |read| read.map(Some))?,
            })),
        }
    }
}

impl IpBlock {
    fn read(place: &Place<'_>) -> Option<IpBlock> {
        let fields = place.fields()?;
        let cidr = fields
            .required("cidr")
            .and_then(|place| place.prefix())
            .map(|net| net.trunc());
        let except = fields.list("except", |place| {
            let hole = place.prefix()?.trunc();
            if cidr.is_some_and(|cidr| !cidr.contains(&hole)) {
                place.error("must lie within the cidr");
            }
            Some(hole)
        });
        fields.finish();
        Some(IpBlock {
            cidr: cidr?,
            except,
        })
    }
}

impl PolicyPort {
    fn read(place: &Place<'_>) -> Option<PolicyPort> {
        let fields = place.fields()?;
        let protocol = match fields.optional("protocol") {
            Some(place) => protocol(&place).filter(|protocol| {
                let good = protocol.has_ports();
                if !good {
                    place.error("must be TCP, UDP or SCTP");
                }
                good
            }),
            None => Some(Protocol::TCP),
        };
        let port = fields.optional("port").map(|place| {
            let port = port(&place)?;
            let is_port = match &port {
                PortMatch::Range(range) => range.first() == range.last() && range.first() != 0,
                PortMatch::Named(_) => true,
            };
            if !is_port {
                place.error("must be a port in 1–65535 or a port's name");
                return None;
            }
            Some(port)
        });
        let end_port = fields.optional("endPort").and_then(|place| {
            let end = place.integer(1..=u16::MAX)?;
            match &port {
                Some(Some(PortMatch::Range(start))) if start.first() <= end => {}
                Some(None) => {}
                _ => place.error("needs a port number beside it that is not larger"),
            }
            Some(end)
        });
        fields.finish();
        Some(PolicyPort {
            protocol: protocol?,
            port: port.map_or(Some(None), |p| p.map(Some))?,
            end_port,
        })
    }
}

impl LabelSelector {
    fn read(place: &Place<'_>) -> Option<LabelSelector> {
        let fields = place.fields()?;
        let labels = fields.optional("matchLabels");
        let labels = labels.and_then(|place| place.string_map(crate::names::check_label_pair));
        let match_expressions = fields.list("matchExpressions", Requirement::read);
        fields.finish();
        Some(LabelSelector {
            match_labels: labels.unwrap_or_default(),
            match_expressions,
        })
    }
}

impl Requirement {
    fn read(place: &Place<'_>) -> Option<Requirement> {
        let fields = place.fields()?;
        let key = fields
            .required("key")
            .and_then(|place| place.checked(|key| crate::names::check_label_pair(key, "")));
        let operator = fields.required("operator").and_then(|place| {
            place.choice(&[
                ("In", Operator::In),
                ("NotIn", Operator::NotIn),
                ("Exists", Operator::Exists),
                ("DoesNotExist", Operator::DoesNotExist),
            ])
        });
        let values: Vec<String> = fields.list("values", |place| {
            place.checked(|value| crate::names::check_label_pair("a", value))
        });
        match operator {
            Some(Operator::In | Operator::NotIn) if values.is_empty() => {
                fields.error_at("values", "must not be empty for In and NotIn");
            }
            Some(Operator::Exists | Operator::DoesNotExist) if !values.is_empty() => {
                fields.error_at("values", "must be empty for Exists and DoesNotExist");
            }
            Some(_) | None => {}
        }
        fields.finish();
        Some(Requirement {
            key: key?,
            operator: operator?,
            values,
        })
    }
}
