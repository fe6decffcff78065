//! Policy as it is enforced: in the order of evaluation, with hits.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The walk of a packet through the policies. Its shape is the policy crate's, and the order of
/// its members is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Explanation(Box<RawValue>);

impl Explanation {
    /// From whatever explains.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn new(explanation: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::value::to_raw_value(explanation).map(Self)
    }

    /// As it came.
    pub fn json(&self) -> &RawValue {
        &self.0
    }
}

/// Everything enforced for one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPolicy {
    /// The workload's `namespace/name`, or the host endpoint's name.
    pub endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// For packets to the endpoint.
    pub ingress: PolicyDirection,
    /// For packets from the endpoint.
    pub egress: PolicyDirection,
}

/// One direction of one endpoint: tiers first; profiles where no policy selects the endpoint, or
/// every tier passed the packet on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDirection {
    /// Tiers with at least one policy that selects the endpoint in this direction.
    #[serde(default)]
    pub tiers: Vec<PolicyTier>,
    /// Profiles in the order of the endpoint.
    #[serde(default)]
    pub profiles: Vec<PolicyProfile>,
    /// Packets that nothing allowed and that were dropped for it.
    #[serde(default)]
    pub no_match: Hits,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTier {
    pub name: String,
    /// Order; none is last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// What happens to packets that no rule of it decided: `Deny` or `Pass`.
    pub default_action: String,
    /// Packets to which that happened.
    #[serde(default)]
    pub default_hits: Hits,
    /// Policies in the order of evaluation.
    pub policies: Vec<PolicyPolicy>,
}

/// One policy in a tier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPolicy {
    /// Kind, such as `NetworkPolicy` or `StagedGlobalNetworkPolicy`.
    pub kind: String,
    /// `namespace/name` or `name`.
    pub name: String,
    /// Order; none is last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// Evaluated and counted, but not enforced.
    #[serde(default)]
    pub staged: bool,
    /// Rules of this direction.
    pub rules: Vec<PolicyRule>,
}

/// One profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyProfile {
    pub name: String,
    /// Rules of this direction.
    pub rules: Vec<PolicyRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// Place in the resource's list, from 0.
    pub index: u32,
    /// `Allow`, `Deny`, `Log` or `Pass`.
    pub action: String,
    /// What it matches, in one line; empty matches everything.
    #[serde(default, rename = "match")]
    pub matches: String,
    #[serde(default)]
    pub hits: Hits,
}

/// What a rule matched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// Packets, those of established flows included.
    pub packets: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// New flows.
    pub flows: u64,
}

/// What the rules of one policy, profile or end of a tier matched on this node: those of one direction
/// and action together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyHits {
    /// `ingress` or `egress`.
    pub direction: String,
    /// Kind, such as `NetworkPolicy`; `Profile`, `Tier` for the deny at a tier's end.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// `namespace/name` or `name`.
    pub name: String,
    /// `Allow`, `Deny`, `Log` or `Pass`.
    pub action: String,
    /// Evaluated and counted, but not enforced.
    #[serde(default)]
    pub staged: bool,
    /// How many rules these are.
    pub rules: u64,
    pub hits: Hits,
}
