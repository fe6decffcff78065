//! One variant a kind, so that a `match` over resources cannot forget one.

use serde::{Serialize, Serializer};

use crate::key::{Key, Kind};
use crate::kinds::{
    BlockAffinity, FelixConfiguration, GlobalNetworkPolicy, GlobalNetworkSet, HostEndpoint, IpPool,
    KubernetesNetworkPolicy, NetworkPolicy, NetworkSet, Node, Profile, StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy, StagedNetworkPolicy, Tier, WorkloadEndpoint,
};
use crate::metadata::Metadata;

macro_rules! resources {
    ($($kind:ident),*) => {
        /// A resource of any kind.
        #[derive(Clone, Debug, PartialEq)]
        // A node holds each resource once, in a map; moving them about is rare.
        #[allow(clippy::large_enum_variant)]
        pub enum Resource {
            $(#[doc = concat!("A ", stringify!($kind), ".")] $kind($kind),)*
            /// A kind that is known and kept, but not acted on.
            Other(Other),
        }

        impl Resource {
            /// Name, namespace, labels, annotations.
            #[must_use]
            pub fn metadata(&self) -> &Metadata {
                match self {
                    $(Resource::$kind(object) => &object.metadata,)*
                    Resource::Other(other) => &other.metadata,
                }
            }

            /// The same, to be changed.
            #[must_use]
            pub fn metadata_mut(&mut self) -> &mut Metadata {
                match self {
                    $(Resource::$kind(object) => &mut object.metadata,)*
                    Resource::Other(other) => &mut other.metadata,
                }
            }

            /// The kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self {
                    $(Resource::$kind(_) => Kind::$kind,)*
                    Resource::Other(other) => other.kind,
                }
            }
        }

        impl Serialize for Resource {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Resource::$kind(object) => object.serialize(serializer),)*
                    Resource::Other(other) => other.serialize(serializer),
                }
            }
        }

        $(impl From<$kind> for Resource {
            fn from(object: $kind) -> Resource {
                Resource::$kind(object)
            }
        })*
    };
}

resources!(
    Node,
    IpPool,
    WorkloadEndpoint,
    HostEndpoint,
    BlockAffinity,
    Tier,
    NetworkPolicy,
    GlobalNetworkPolicy,
    StagedNetworkPolicy,
    StagedGlobalNetworkPolicy,
    StagedKubernetesNetworkPolicy,
    KubernetesNetworkPolicy,
    NetworkSet,
    GlobalNetworkSet,
    Profile,
    FelixConfiguration
);

impl Resource {
    /// The resource's key.
    #[must_use]
    pub fn key(&self) -> Key {
        self.metadata().key(self.kind())
    }
}

/// A resource of a kind that is known but not acted on: metadata checked, the rest verbatim.
#[derive(Clone, Debug, PartialEq)]
pub struct Other {
    /// Which kind.
    pub kind: Kind,
    /// Name, namespace, labels, annotations.
    pub metadata: Metadata,
    /// Every other top-level field as written (`spec`, `status`).
    pub content: serde_json::Map<String, serde_json::Value>,
}

impl Serialize for Other {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("apiVersion", self.kind.api_version())?;
        map.serialize_entry("kind", self.kind.name())?;
        map.serialize_entry("metadata", &self.metadata)?;
        for (name, value) in &self.content {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
