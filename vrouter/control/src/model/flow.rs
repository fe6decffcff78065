//! Sessions of the flow table.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Protocol, Traffic};

/// One connection, both directions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    pub protocol: Protocol,
    /// Packets of the side that began.
    pub original: Tuple,
    /// Packets of the other side; differs from the reverse of `original` under NAT.
    pub reply: Tuple,
    /// The state of its protocol: `syn-sent`, `established`, `unreplied`, …
    pub state: String,
    /// How long ago it began, in milliseconds.
    pub age_ms: u64,
    /// How long ago its last packet came, in milliseconds.
    pub idle_ms: u64,
    /// It ends when it has been idle for as long, in milliseconds.
    pub timeout_ms: u64,
    /// What `original` carried.
    pub original_traffic: Traffic,
    /// What `reply` carried.
    pub reply_traffic: Traffic,
    /// The tables under which it was last allowed; older than the current ones means that the
    /// next packet is judged again.
    pub generation: u64,
    /// How the kernel sends its packets on by itself: `pod`, between pods of this node, `vxlan`, `ipip`,
    /// `host` (its own, and what it routes); left out where user space does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offload: Option<String>,
    /// The local workload that sent the first packet, `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_endpoint: Option<String>,
    /// The local workload that received it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_endpoint: Option<String>,
    /// The rules that allowed it: of the source's egress, then of the destination's ingress.
    #[serde(default)]
    pub rules: Vec<RuleReference>,
}

/// The ends of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tuple {
    /// From.
    pub source: IpAddr,
    /// From port; for ICMP echo the identifier, here and there; left out where there is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// To.
    pub destination: IpAddr,
    /// To port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
}

/// A rule, named so that it can be found in the resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleReference {
    /// `ingress` or `egress`.
    pub direction: String,
    /// The host endpoint whose policy it is; none for workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_endpoint: Option<String>,
    /// The tier; none for a profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// The policy or profile, `namespace/name` or `name`; none where a tier ended or no profile
    /// decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The rule's place in its list, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// What it did: `Allow`, `Deny`, …
    pub action: String,
}

impl std::fmt::Display for RuleReference {
    /// `egress default/default.web[0] Allow`: direction, tier/policy, rule, action.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(endpoint) = &self.host_endpoint {
            write!(f, "host endpoint {endpoint} ")?;
        }
        write!(f, "{} ", self.direction)?;
        match (&self.tier, &self.policy) {
            (Some(tier), Some(policy)) => write!(f, "{tier}/{policy}")?,
            (Some(tier), None) => write!(f, "end of tier {tier}")?,
            (None, Some(profile)) => write!(f, "profile {profile}")?,
            (None, None) => write!(f, "no policy")?,
        }
        if let Some(rule) = self.rule {
            write!(f, "[{rule}]")?;
        }
        write!(f, " {}", self.action)
    }
}
