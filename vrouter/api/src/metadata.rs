//! The metadata every resource carries.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::key::{Key, Kind};
use crate::names::{check_label, check_label_pair, check_policy, check_subdomain};
use crate::place::Fields;

/// Annotation naming the network namespace of a local pod: a path, or a bare name meaning
/// `/run/netns/<name>`.
pub(crate) const NETNS: &str = "vrouter.io/netns";

/// The label that sets of networks have by themselves.
const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";

/// Fields that Kubernetes' API machinery adds; they say nothing to a node and are not kept.
const MACHINERY: &[&str] = &[
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "selfLink",
];

/// Name, namespace, labels and annotations of a resource, and its versions in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The name, unique within kind and namespace.
    pub name: String,
    /// The namespace; empty for kinds that have none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free text by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Identity across renames, when a store gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The store's version of the resource, opaque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// When the store created it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
}

/// What a kind asks of names beyond what all do.
fn check_name_of(kind: Kind, name: &str) -> Result<(), String> {
    match kind {
        Kind::NetworkPolicy | Kind::StagedNetworkPolicy => check_policy(name, true),
        Kind::GlobalNetworkPolicy | Kind::StagedGlobalNetworkPolicy => check_policy(name, false),
        Kind::Tier => check_label(name),
        _ => Ok(()),
    }
}

impl Metadata {
    /// Metadata of that name and nothing else.
    #[must_use]
    pub fn named(name: &str) -> Metadata {
        Metadata {
            name: name.to_owned(),
            ..Metadata::default()
        }
    }

    /// The pod's network namespace from the annotation `vrouter.io/netns`.
    #[must_use]
    pub fn netns(&self) -> Option<&str> {
        self.annotations
            .get(NETNS)
            .map(String::as_str)
            .filter(|path| !path.is_empty())
    }

    /// The key under that kind.
    #[must_use]
    pub fn key(&self, kind: Kind) -> Key {
        Key::namespaced(kind, &self.namespace, &self.name)
    }

    /// Name and namespace only, unchecked, so that everything else can be reported under them.
    pub(crate) fn identity(kind: Kind, fields: &Fields<'_>) -> (Option<String>, Option<String>) {
        let name = fields.string("name");
        let namespace = fields.string("namespace").filter(|_| kind.namespaced());
        (name, namespace)
    }

    /// Reads and checks everything. A missing name is left empty and not reported when the kind
    /// can do without (a WorkloadEndpoint's follows from its spec). A missing namespace is the
    /// default one, if there is one.
    pub(crate) fn read(
        kind: Kind,
        default_namespace: Option<&str>,
        fields: &Fields<'_>,
    ) -> Metadata {
        let name = match fields.optional("name") {
            Some(place) => {
                let name = place.checked(check_subdomain).unwrap_or_default();
                if !name.is_empty()
                    && let Err(reason) = check_name_of(kind, &name)
                {
                    place.fault(reason);
                }
                name
            }
            None if kind == Kind::WorkloadEndpoint => String::new(),
            None => {
                fields.error_at("name", "must be set");
                String::new()
            }
        };
        let namespace = match (kind.namespaced(), fields.optional("namespace")) {
            (true, Some(place)) => place.checked(check_label).unwrap_or_default(),
            (true, None) if default_namespace.is_some() => {
                default_namespace.unwrap_or_default().to_owned()
            }
            (true, None) => {
                fields.error_at("namespace", format!("must be set: {kind} is namespaced"));
                String::new()
            }
            (false, Some(place)) if place.text() != Some("") => {
                place.error(format!("must not be set: {kind} has no namespace"));
                String::new()
            }
            (false, _) => String::new(),
        };
        let labels = fields.optional("labels").and_then(|place| {
            let reserved = matches!(kind, Kind::NetworkSet | Kind::GlobalNetworkSet);
            let labels = place.string_map(check_label_pair);
            if reserved
                && labels
                    .as_ref()
                    .is_some_and(|it| it.contains_key(NAMESPACE_LABEL))
            {
                place.fault(format!("{NAMESPACE_LABEL} is not a valid label name"));
            }
            labels
        });
        let annotations = fields
            .optional("annotations")
            .and_then(|place| place.string_map(|_, _| Ok(())));
        for name in MACHINERY {
            fields.ignore(name);
        }
        Metadata {
            name,
            namespace,
            labels: labels.unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
            uid: fields.string("uid"),
            resource_version: fields.string("resourceVersion"),
            creation_timestamp: fields.string("creationTimestamp"),
        }
    }
}
