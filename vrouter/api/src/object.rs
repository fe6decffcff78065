//! A resource as Kubernetes shapes it: kind, metadata, spec.

use policy::compile::Update;
use policy::model::Invalid;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::key::{Key, Kind};
use crate::metadata::Metadata;
use crate::place::Fields;

/// The part of a resource that differs from kind to kind.
pub trait Spec: Serialize + Sized {
    /// The kind whose spec this is.
    const KIND: Kind;

    /// What the policy compiler is to be told of a resource; `None` for kinds that are no part of
    /// policy.
    ///
    /// # Errors
    /// What the model cannot hold, with its path from the resource's root.
    fn update(_: &Object<Self>) -> Result<Option<Update>, Invalid> {
        Ok(None)
    }

    /// What it is to be told when the resource of a key goes.
    ///
    /// # Errors
    /// A name that the model cannot hold; no parsed resource has one.
    fn removal(_: &Key) -> Result<Option<Update>, Invalid> {
        Ok(None)
    }
}

/// Reading a spec out of a file.
pub(crate) trait Read: Spec + Sized {
    /// Reads every field, reporting each problem; `None` when one made the spec impossible.
    /// May complete or contradict the metadata. The caller reports what was left unread.
    fn read(fields: &Fields<'_>, metadata: &mut Metadata) -> Option<Self>;
}

/// A resource of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<S> {
    /// Name, namespace, labels, annotations.
    pub metadata: Metadata,
    pub spec: S,
}

impl<S: Spec> Object<S> {
    /// The resource's key.
    #[must_use]
    pub fn key(&self) -> Key {
        self.metadata.key(S::KIND)
    }
}

/// In the order people write: apiVersion, kind, metadata, spec.
impl<S: Spec> Serialize for Object<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut object = serializer.serialize_struct("Object", 4)?;
        object.serialize_field("apiVersion", S::KIND.api_version())?;
        object.serialize_field("kind", S::KIND.name())?;
        object.serialize_field("metadata", &self.metadata)?;
        object.serialize_field("spec", &self.spec)?;
        object.end()
    }
}
