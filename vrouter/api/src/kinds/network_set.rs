//! NetworkSet and GlobalNetworkSet: labelled prefixes for rules to select.

use ipnet::IpNet;
use policy::compile::Update;
use policy::model::{Invalid, NetworkSetKey};
use serde::Serialize;

use crate::key::{Key, Kind};
use crate::metadata::Metadata;
use crate::model;
use crate::object::{Object, Read, Spec};
use crate::place::{Fields, Place};
use crate::written::Written;

/// Prefixes for the rules of one namespace.
pub type NetworkSet = Object<NetworkSetSpec>;
/// Prefixes for the rules of every namespace.
pub type GlobalNetworkSet = Object<GlobalNetworkSetSpec>;

/// The prefixes of a NetworkSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkSetSpec {
    /// The prefixes; host bits are in their texts alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<Written<IpNet>>,
}

/// The prefixes of a GlobalNetworkSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalNetworkSetSpec {
    /// The prefixes; host bits are in their texts alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<Written<IpNet>>,
}

fn nets(fields: &Fields<'_>) -> Vec<Written<IpNet>> {
    fields.list("nets", Place::written_net)
}

impl Spec for NetworkSetSpec {
    const KIND: Kind = Kind::NetworkSet;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        let set = model::network_set(
            Some(object.metadata.namespace.as_str()),
            &object.metadata,
            &object.spec.nets,
        )?;
        Ok(Some(set.into()))
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        let key = NetworkSetKey::new(Some(key.namespace.as_str()), &key.name)?;
        Ok(Some(Update::RemoveNetworkSet(key)))
    }
}

impl Read for NetworkSetSpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<NetworkSetSpec> {
        Some(NetworkSetSpec { nets: nets(fields) })
    }
}

impl Spec for GlobalNetworkSetSpec {
    const KIND: Kind = Kind::GlobalNetworkSet;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        let set = model::network_set(None, &object.metadata, &object.spec.nets)?;
        Ok(Some(set.into()))
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        let key = NetworkSetKey::new(None, &key.name)?;
        Ok(Some(Update::RemoveNetworkSet(key)))
    }
}

impl Read for GlobalNetworkSetSpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<GlobalNetworkSetSpec> {
        Some(GlobalNetworkSetSpec { nets: nets(fields) })
    }
}
