//! NetworkSet and GlobalNetworkSet: labelled prefixes for rules to select.

use ipnet::IpNet;
use serde::Serialize;

use crate::key::Kind;
use crate::metadata::Metadata;
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
}

impl Read for NetworkSetSpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<NetworkSetSpec> {
        Some(NetworkSetSpec { nets: nets(fields) })
    }
}

impl Spec for GlobalNetworkSetSpec {
    const KIND: Kind = Kind::GlobalNetworkSet;
}

impl Read for GlobalNetworkSetSpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<GlobalNetworkSetSpec> {
        Some(GlobalNetworkSetSpec { nets: nets(fields) })
    }
}
