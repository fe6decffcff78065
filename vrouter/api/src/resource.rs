//! One variant a kind, so that a `match` over resources cannot forget one.

use policy::compile::Update;
use policy::model::Invalid;
use serde::{Serialize, Serializer};

use crate::key::{Key, Kind, kinds_table};
use crate::kinds::*;
use crate::metadata::Metadata;
use crate::object::{Object, Spec};

macro_rules! resources {
    (
        typed { $($(#[$doc:meta])* $kind:ident $name:literal $plural:literal $api:ident $scope:ident;)* }
        stored { $($(#[$stored_doc:meta])* $stored:ident $n:literal $p:literal $a:ident $s:ident;)* }
    ) => {
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

        impl Resource {
            /// What the policy compiler is to be told of the resource.
            ///
            /// # Errors
            /// What the model cannot hold; no parsed resource has it.
            pub fn update(&self) -> Result<Option<Update>, Invalid> {
                match self {
                    $(Resource::$kind(object) => Spec::update(object),)*
                    Resource::Other(_) => Ok(None),
                }
            }
        }

        impl Key {
            /// What the policy compiler is to be told when the resource of this key goes.
            ///
            /// # Errors
            /// A name that the model cannot hold; no parsed resource has one.
            pub fn removal(&self) -> Result<Option<Update>, Invalid> {
                match self.kind {
                    $(Kind::$kind => removal_of::<$kind>(self),)*
                    $(Kind::$stored)|* => Ok(None),
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

kinds_table!(resources);

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

/// A type whose spec says what the compiler is told.
trait Removed {
    fn removal(key: &Key) -> Result<Option<Update>, Invalid>;
}

impl<S: Spec> Removed for Object<S> {
    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        S::removal(key)
    }
}

fn removal_of<T: Removed>(key: &Key) -> Result<Option<Update>, Invalid> {
    T::removal(key)
}
