//! Names of resources and the keys made of them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Invalid;

/// The name of a resource, namespace, node, tier, profile or service account: 1 to 253 visible
/// characters without whitespace or quotes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Parses a name; the error's field is empty, see [`Invalid::within`].
    pub fn new(name: &str) -> Result<Self, Invalid> {
        if name.is_empty() {
            return Err(Invalid::new("", name, "a name is needed"));
        }
        if name.len() > 253 {
            return Err(Invalid::new("", name, "a name has at most 253 characters"));
        }
        if name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || c == '\'' || c == '"')
        {
            return Err(Invalid::new(
                "",
                name,
                "a name has no whitespace, quotes or control characters",
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl TryFrom<&str> for Name {
    type Error = Invalid;
    fn try_from(name: &str) -> Result<Self, Invalid> {
        Self::new(name)
    }
}

/// Kinds of policy resources: three scopes, each enforced or staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum PolicyKind {
    /// `NetworkPolicy`, in a namespace.
    NetworkPolicy,
    /// `GlobalNetworkPolicy`.
    GlobalNetworkPolicy,
    /// A converted Kubernetes `NetworkPolicy`, in a namespace.
    KubernetesNetworkPolicy,
    /// `StagedNetworkPolicy`: evaluated and counted, never enforced.
    StagedNetworkPolicy,
    /// `StagedGlobalNetworkPolicy`.
    StagedGlobalNetworkPolicy,
    /// `StagedKubernetesNetworkPolicy`.
    StagedKubernetesNetworkPolicy,
}

impl PolicyKind {
    /// Whether policies of this kind are evaluated without being enforced.
    #[must_use]
    pub fn is_staged(self) -> bool {
        match self {
            Self::NetworkPolicy | Self::GlobalNetworkPolicy | Self::KubernetesNetworkPolicy => {
                false
            }
            Self::StagedNetworkPolicy
            | Self::StagedGlobalNetworkPolicy
            | Self::StagedKubernetesNetworkPolicy => true,
        }
    }

    /// Whether policies of this kind belong to a namespace.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        match self {
            Self::GlobalNetworkPolicy | Self::StagedGlobalNetworkPolicy => false,
            Self::NetworkPolicy
            | Self::KubernetesNetworkPolicy
            | Self::StagedNetworkPolicy
            | Self::StagedKubernetesNetworkPolicy => true,
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::GlobalNetworkPolicy => "GlobalNetworkPolicy",
            Self::KubernetesNetworkPolicy => "KubernetesNetworkPolicy",
            Self::StagedNetworkPolicy => "StagedNetworkPolicy",
            Self::StagedGlobalNetworkPolicy => "StagedGlobalNetworkPolicy",
            Self::StagedKubernetesNetworkPolicy => "StagedKubernetesNetworkPolicy",
        })
    }
}

/// Identifies a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PolicyKey {
    name: Name,
    namespace: Option<Name>,
    kind: PolicyKind,
}

impl PolicyKey {
    /// A key; `namespace` must be given exactly for the namespaced kinds.
    pub fn new(kind: PolicyKind, namespace: Option<&str>, name: &str) -> Result<Self, Invalid> {
        let key = Self {
            name: Name::new(name).map_err(|e| e.within("metadata.name"))?,
            namespace: optional_name(namespace).map_err(|e| e.within("metadata.namespace"))?,
            kind,
        };
        match (kind.is_namespaced(), &key.namespace) {
            (true, None) => Err(Invalid::new(
                "metadata.namespace",
                "",
                format!("{kind} needs a namespace"),
            )),
            (false, Some(ns)) => Err(Invalid::new(
                "metadata.namespace",
                ns,
                format!("{kind} has no namespace"),
            )),
            (true, Some(_)) | (false, None) => Ok(key),
        }
    }

    /// The resource's kind.
    #[must_use]
    pub fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// The namespace of a namespaced policy.
    #[must_use]
    pub fn namespace(&self) -> Option<&Name> {
        self.namespace.as_ref()
    }

    /// The resource's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(ns) => write!(f, "{} {ns}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// Identifies an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum EndpointKey {
    /// A workload endpoint (a pod's interface).
    Workload {
        /// Kubernetes namespace.
        namespace: Name,
        /// Name of the `WorkloadEndpoint` resource.
        name: Name,
    },
    /// A host endpoint.
    Host {
        /// Name of the `HostEndpoint` resource.
        name: Name,
    },
}

impl EndpointKey {
    /// The key of a workload endpoint.
    pub fn workload(namespace: &str, name: &str) -> Result<Self, Invalid> {
        Ok(Self::Workload {
            namespace: Name::new(namespace).map_err(|e| e.within("metadata.namespace"))?,
            name: Name::new(name).map_err(|e| e.within("metadata.name"))?,
        })
    }

    /// The key of a host endpoint.
    pub fn host(name: &str) -> Result<Self, Invalid> {
        Ok(Self::Host {
            name: Name::new(name).map_err(|e| e.within("metadata.name"))?,
        })
    }

    /// The namespace of a workload endpoint.
    #[must_use]
    pub fn namespace(&self) -> Option<&Name> {
        match self {
            Self::Workload { namespace, .. } => Some(namespace),
            Self::Host { .. } => None,
        }
    }

    /// The resource's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Self::Workload { name, .. } | Self::Host { name } => name,
        }
    }

    /// Whether this is a host endpoint.
    #[must_use]
    pub fn is_host(&self) -> bool {
        matches!(self, Self::Host { .. })
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, name } => write!(f, "WorkloadEndpoint {namespace}/{name}"),
            Self::Host { name } => write!(f, "HostEndpoint {name}"),
        }
    }
}

/// Identifies a `NetworkSet` (with a namespace) or a `GlobalNetworkSet` (without), or a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ScopedName {
    namespace: Option<Name>,
    name: Name,
}

/// Identifies a network set.
pub type NetworkSetKey = ScopedName;
/// Identifies a Kubernetes service.
pub type ServiceKey = ScopedName;

impl ScopedName {
    /// A key; an empty or missing namespace means a global resource.
    pub fn new(namespace: Option<&str>, name: &str) -> Result<Self, Invalid> {
        Ok(Self {
            namespace: optional_name(namespace).map_err(|e| e.within("metadata.namespace"))?,
            name: Name::new(name).map_err(|e| e.within("metadata.name"))?,
        })
    }

    /// The namespace, none for a global resource.
    #[must_use]
    pub fn namespace(&self) -> Option<&Name> {
        self.namespace.as_ref()
    }

    /// The resource's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }
}

impl fmt::Display for ScopedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(ns) => write!(f, "{ns}/{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

fn optional_name(name: Option<&str>) -> Result<Option<Name>, Invalid> {
    match name {
        None | Some("") => Ok(None),
        Some(name) => Name::new(name).map(Some),
    }
}
