//! A verdict with all that led to it, as data and as text.

use std::fmt;

use serde::Serialize;

use super::Resources;
use crate::compile::{Chain, RuleInfo, RuleKind};
use crate::model::{Action, Direction, EndpointKey, Name, PacketTuple, Policy, PolicyKey};

/// How one endpoint's policy, in one direction, came to its verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The endpoint whose policy this is.
    pub endpoint: EndpointKey,
    pub chain: Chain,
    /// To it or from it.
    pub direction: Direction,
    /// The packet.
    pub packet: PacketTuple,
    /// Whether the packet may pass.
    pub allow: bool,
    pub by: RuleInfo,
    /// Tiers and profiles, in the order the packet met them, up to the one that decided.
    pub stages: Vec<Stage>,
    /// Rules of staged policies that matched.
    pub staged: Vec<RuleInfo>,
    /// `Log` rules that matched.
    pub logged: Vec<RuleInfo>,
}

/// What a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StageKind {
    /// A tier.
    Tier,
    /// A profile.
    Profile,
}

/// One tier or profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Tier or profile.
    pub kind: StageKind,
    pub name: Name,
    /// Policies of a tier that apply, in order, up to the one that ended the tier.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyTrace>,
    /// Rules of a profile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleTrace>,
    /// Policies of a tier that do not apply, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skipped>,
    /// How the stage ended.
    pub end: String,
}

/// A policy that does not apply.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// The policy.
    pub policy: PolicyKey,
    pub because: String,
}

/// What one policy did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTrace {
    /// The policy.
    pub policy: PolicyKey,
    /// Order, none for last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<f64>,
    /// Whether it is staged.
    pub staged: bool,
    /// Rules, up to the one that ended it.
    pub rules: Vec<RuleTrace>,
    pub outcome: String,
}

/// What one rule did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleTrace {
    /// Index in its direction, from 0.
    pub index: usize,
    pub action: Action,
    /// Whether it matched.
    pub matched: bool,
    /// What matched, or the first thing that did not.
    pub because: String,
}

impl RuleTrace {
    pub(super) fn new(index: usize, action: Action, matched: &Result<String, String>) -> Self {
        let (Ok(because) | Err(because)) = matched;
        Self {
            index,
            action,
            matched: matched.is_ok(),
            because: because.clone(),
        }
    }
}

impl PolicyTrace {
    pub(super) fn new(policy: PolicyKey, order: Option<f64>) -> Self {
        let staged = policy.kind().is_staged();
        Self {
            policy,
            order,
            staged,
            rules: Vec::new(),
            outcome: String::new(),
        }
    }

    pub(super) fn conclude(&mut self, staged: bool) {
        let last = self
            .rules
            .last()
            .filter(|r| r.matched && r.action != Action::Log);
        self.outcome = match (last, staged) {
            (Some(rule), false) => rule.action.to_string(),
            (Some(rule), true) => format!("staged: would {}", rule.action),
            (None, false) => "no rule matched".into(),
            (None, true) => "staged: no rule matched".into(),
        };
    }
}

impl Stage {
    pub(super) fn new(kind: StageKind, name: Name) -> Self {
        Self {
            kind,
            name,
            policies: Vec::new(),
            rules: Vec::new(),
            skipped: Vec::new(),
            end: String::new(),
        }
    }

    pub(super) fn skip(&mut self, policy: &Policy, because: String) {
        self.skipped.push(Skipped {
            policy: policy.key().clone(),
            because,
        });
    }
}

impl Explanation {
    pub(super) fn new(
        endpoint: EndpointKey,
        chain: Chain,
        direction: Direction,
        packet: PacketTuple,
    ) -> Self {
        Self {
            endpoint,
            chain,
            direction,
            packet,
            allow: false,
            by: super::fixed(RuleKind::NoProfile, Action::Deny),
            stages: Vec::new(),
            staged: Vec::new(),
            logged: Vec::new(),
        }
    }

    pub(super) fn decide(&mut self, allow: bool, by: RuleInfo) {
        (self.allow, self.by) = (allow, by);
    }
}

impl fmt::Display for RuleInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let index = |f: &mut fmt::Formatter<'_>| match self.index {
            Some(index) => write!(f, " {} rule {index} ({})", self.direction, self.action),
            None => Ok(()),
        };
        match self.kind {
            RuleKind::Policy => {
                if let (Some(tier), Some(policy)) = (&self.tier, &self.policy) {
                    write!(f, "tier {tier}, {policy},")?;
                }
                index(f)
            }
            RuleKind::TierDefault => match &self.tier {
                Some(tier) => write!(f, "default deny of tier {tier}, {}", self.direction),
                None => f.write_str("default deny of a tier"),
            },
            RuleKind::Profile => {
                if let Some(profile) = &self.profile {
                    write!(f, "profile {profile},")?;
                }
                index(f)
            }
            RuleKind::NoProfile => f.write_str("no profile allows it"),
            RuleKind::Undecided => f.write_str("no policy of this chain decides"),
            RuleKind::Forward => f.write_str("no applyOnForward policy decides"),
            RuleKind::Failsafe => f.write_str("failsafe port"),
            RuleKind::NoEndpoint => f.write_str("unknown endpoint"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} of {}", self.direction, self.endpoint)?;
        for stage in &self.stages {
            match stage.kind {
                StageKind::Tier if stage.policies.is_empty() => continue,
                StageKind::Tier => writeln!(f, "  tier {}", stage.name)?,
                StageKind::Profile => writeln!(f, "  profile {}", stage.name)?,
            }
            for policy in &stage.policies {
                writeln!(f, "    {}: {}", policy.policy, policy.outcome)?;
                for rule in &policy.rules {
                    writeln!(f, "      {rule}")?;
                }
            }
            for rule in &stage.rules {
                writeln!(f, "    {rule}")?;
            }
            writeln!(f, "    end: {}", stage.end)?;
        }
        write!(
            f,
            "  {}: {}",
            if self.allow { "ALLOW" } else { "DENY" },
            self.by
        )
    }
}

impl fmt::Display for RuleTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.matched { "matches" } else { "no" };
        write!(
            f,
            "rule {} {}: {sign}: {}",
            self.index, self.action, self.because
        )
    }
}

/// A packet's whole way between workloads: the source's egress, then the destination's ingress.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlowExplanation {
    /// The packet.
    pub packet: PacketTuple,
    /// Egress of the workload at the source address; none when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Explanation>,
    /// Ingress of the workload at the destination address; none when there is none or egress
    /// already dropped the packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Explanation>,
    /// Whether the packet arrives, as far as workload policy has a say.
    pub allow: bool,
}

impl Resources {
    /// Explains a packet end to end.
    #[must_use]
    pub fn explain_flow(&self, tuple: &PacketTuple) -> FlowExplanation {
        let one = |address, direction| {
            let endpoint = self.workloads_at(address).next()?;
            self.explain(endpoint.key(), Chain::Normal, direction, tuple)
        };
        let egress = one(tuple.source, Direction::Egress);
        let left = egress.as_ref().is_none_or(|e| e.allow);
        let ingress = if left {
            one(tuple.destination, Direction::Ingress)
        } else {
            None
        };
        let allow = left && ingress.as_ref().is_none_or(|i| i.allow);
        FlowExplanation {
            packet: *tuple,
            egress,
            ingress,
            allow,
        }
    }
}

impl fmt::Display for FlowExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.packet)?;
        for stage in [&self.egress, &self.ingress].into_iter().flatten() {
            writeln!(f, "{stage}")?;
        }
        write!(f, "verdict: {}", if self.allow { "ALLOW" } else { "DENY" })
    }
}
