//! BlockAffinity: which node owns which block of addresses, so who routes it.

use ipnet::IpNet;
use serde::Serialize;

use crate::key::Kind;
use crate::metadata::Metadata;
use crate::object::{Object, Read, Spec};
use crate::place::Fields;

/// A node's claim on a block.
pub type BlockAffinity = Object<BlockAffinitySpec>;

/// Which block, whose, and how far the claim is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockAffinitySpec {
    /// How far the claim is; routes follow confirmed ones.
    pub state: AffinityState,
    /// The node.
    pub node: String,
    /// `host` (a node) or `virtual`.
    #[serde(rename = "type")]
    pub kind: AffinityKind,
    /// The block, no host bits.
    pub cidr: IpNet,
    /// Being removed: counts as absent.
    #[serde(serialize_with = "as_string")]
    pub deleted: bool,
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AffinityState {
    /// Claimed, the block is not written yet.
    Pending,
    /// The block is the node's.
    Confirmed,
    /// Being given up.
    PendingDeletion,
}

/// Who holds a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AffinityKind {
    /// A node.
    #[default]
    Host,
    /// Something without a node, such as `load-balancer`.
    Virtual,
}

/// Calico writes this boolean as a string.
fn as_string<S: serde::Serializer>(value: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Spec for BlockAffinitySpec {
    const KIND: Kind = Kind::BlockAffinity;
}

impl Read for BlockAffinitySpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<BlockAffinitySpec> {
        let state = fields.required("state").and_then(|place| {
            place.choice(&[
                ("pending", AffinityState::Pending),
                ("confirmed", AffinityState::Confirmed),
                ("pendingDeletion", AffinityState::PendingDeletion),
            ])
        });
        // A virtual affinity's holder is a name of ours too: load-balancer.
        let check = crate::names::check_subdomain;
        let node = fields
            .required("node")
            .and_then(|place| place.checked(check));
        let kind = fields.optional("type").and_then(|place| {
            place.choice(&[
                ("host", AffinityKind::Host),
                ("virtual", AffinityKind::Virtual),
                ("", AffinityKind::Host),
            ])
        });
        let cidr = fields.required("cidr").and_then(|place| {
            let cidr = place.prefix()?;
            if cidr.trunc() != cidr {
                place.error(format!("must have no host bits: {}", cidr.trunc()));
                return None;
            }
            Some(cidr)
        });
        let deleted = fields
            .optional("deleted")
            .and_then(|place| place.choice(&[("true", true), ("false", false), ("", false)]));
        Some(BlockAffinitySpec {
            state: state?,
            node: node?,
            kind: kind.unwrap_or_default(),
            cidr: cidr?,
            deleted: deleted.unwrap_or(false),
        })
    }
}
