//! Tiers, policies and profiles.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::invalid::each;
use super::spec::{PolicySpec, ProfileSpec, RuleSpec, TierSpec};
use super::{Action, Direction, Invalid, Name, PolicyKey, PolicyKind, Rule, RuleContext};
use crate::selector::{Labels, Selector, effective_policy_selector};

/// Calico's limit on the rules of one direction of a policy.
pub const MAX_RULES: usize = 1024;

/// Place of a tier or policy among its peers: a finite number, or last.
#[derive(Clone, Copy, PartialEq)]
pub struct Order(f64);

impl Order {
    /// No order given: after all that have one.
    pub const LAST: Self = Self(f64::INFINITY);

    /// An order; none means [`Self::LAST`]. NaN and infinities are refused.
    pub fn new(order: Option<f64>) -> Result<Self, Invalid> {
        match order {
            None => Ok(Self::LAST),
            // Adding zero turns -0.0 into 0.0, so that equal orders are also identical.
            Some(order) if order.is_finite() => Ok(Self(order + 0.0)),
            Some(order) => Err(Invalid::new("order", order, "an order is a finite number")),
        }
    }

    /// The number, if one was given.
    #[must_use]
    pub fn value(self) -> Option<f64> {
        self.0.is_finite().then_some(self.0)
    }
}

impl Eq for Order {}

impl PartialOrd for Order {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Order {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Some(order) => order.fmt(f),
            None => f.write_str("last"),
        }
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value().serialize(serializer)
    }
}

/// What happens at the end of a tier that has policies for a packet's endpoint and direction
/// none of whose rules decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TierDefault {
    /// Drop the packet.
    #[default]
    Deny,
    /// Go on with the next tier.
    Pass,
}

impl fmt::Display for TierDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deny => "Deny",
            Self::Pass => "Pass",
        })
    }
}

/// A tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Tier {
    name: Name,
    order: Order,
    default_action: TierDefault,
}

impl Tier {
    /// A tier from its resource.
    pub fn new(name: &str, spec: &TierSpec) -> Result<Self, Invalid> {
        Ok(Self {
            name: Name::new(name).map_err(|e| e.within("metadata.name"))?,
            order: Order::new(spec.order).map_err(|e| e.within("spec"))?,
            default_action: spec.default_action,
        })
    }

    /// The tiers every cluster has: `kube-admin` 1,000, `default` 1,000,000 and `kube-baseline`
    /// 10,000,000. In the `kube-` tiers what no rule decides passes on.
    #[must_use]
    pub fn built_in() -> [Self; 3] {
        let tier = |name: &str, order: f64, default_action| Self {
            name: Name::new(name).expect("the built-in names are legal"),
            order: Order(order),
            default_action,
        };
        [
            tier("kube-admin", 1_000.0, TierDefault::Pass),
            tier("default", 1_000_000.0, TierDefault::Deny),
            tier("kube-baseline", 10_000_000.0, TierDefault::Pass),
        ]
    }

    /// The tier's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Its place among the tiers; ties are broken by name.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// What happens at its end.
    #[must_use]
    pub fn default_action(&self) -> TierDefault {
        self.default_action
    }
}

/// The text that decides between policies of one tier and order: the lesser, byte by byte, is met
/// first. Calico changed it once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum TieBreak {
    /// Since Calico 3.32: `name/namespace/kind`.
    #[default]
    NameFirst,
    /// Up to Calico 3.31: `namespace/tier.name`.
    NamespaceFirst,
}

/// Which hook of a host endpoint a policy belongs to. Workloads know only `Normal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Hook {
    /// After connection tracking.
    Normal,
    /// `doNotTrack`: before connection tracking.
    Untracked,
    /// `preDNAT`: before destination NAT.
    PreDnat,
}

/// A policy of any kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    key: PolicyKey,
    tier: Name,
    order: Order,
    selector: Selector,
    ingress: Option<Vec<Rule>>,
    egress: Option<Vec<Rule>>,
    hook: Hook,
    apply_on_forward: bool,
}

impl Policy {
    /// A policy from its resource. Errors name fields from the resource's root.
    pub fn new(key: PolicyKey, spec: &PolicySpec) -> Result<Self, Invalid> {
        Self::parse(key, spec).map_err(|e| {
            if e.field.starts_with("metadata") {
                e
            } else {
                e.within("spec")
            }
        })
    }

    fn parse(key: PolicyKey, spec: &PolicySpec) -> Result<Self, Invalid> {
        let (ingress, egress) = types(spec);
        if let (Some(selector), Some(_)) = (&spec.namespace_selector, key.namespace()) {
            return Err(Invalid::new(
                "namespaceSelector",
                selector,
                "only global policies select namespaces",
            ));
        }
        let rules = |direction, specs: &[RuleSpec]| {
            rules(
                specs,
                RuleContext {
                    namespace: key.namespace(),
                    direction,
                },
            )
        };
        let ingress_rules =
            rules(Direction::Ingress, &spec.ingress).map_err(|e| e.within("ingress"))?;
        let egress_rules =
            rules(Direction::Egress, &spec.egress).map_err(|e| e.within("egress"))?;
        let default = || Name::new("default").expect("the built-in names are legal");
        Ok(Self {
            tier: spec.tier.clone().unwrap_or_else(default),
            order: Order::new(spec.order)?,
            selector: effective_policy_selector(
                key.namespace(),
                spec.selector.as_ref(),
                spec.namespace_selector.as_ref(),
                spec.service_account_selector.as_ref(),
            ),
            ingress: ingress.then_some(ingress_rules),
            egress: egress.then_some(egress_rules),
            hook: hook(&key, spec, egress)?,
            // Calico hands namespaced policies to forwarded host traffic too.
            apply_on_forward: spec.apply_on_forward || key.namespace().is_some(),
            key,
        })
    }

    /// The policy's identity.
    #[must_use]
    pub fn key(&self) -> &PolicyKey {
        &self.key
    }

    /// Whether it is evaluated without being enforced.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.key.kind().is_staged()
    }

    /// The tier it belongs to.
    #[must_use]
    pub fn tier(&self) -> &Name {
        &self.tier
    }

    /// The text that decides between this policy and others of its tier and order.
    #[must_use]
    pub fn tie_break(&self, by: TieBreak) -> String {
        let (name, kind) = (self.key.name().as_str(), self.key.kind());
        let namespace = self.key.namespace().map_or("", Name::as_str);
        match by {
            TieBreak::NameFirst => {
                let name = match kind {
                    PolicyKind::KubernetesNetworkPolicy
                    | PolicyKind::StagedKubernetesNetworkPolicy => {
                        name.strip_prefix("knp.default.").unwrap_or(name)
                    }
                    PolicyKind::NetworkPolicy
                    | PolicyKind::GlobalNetworkPolicy
                    | PolicyKind::StagedNetworkPolicy
                    | PolicyKind::StagedGlobalNetworkPolicy => name,
                };
                format!("{name}/{namespace}/{kind}")
            }
            TieBreak::NamespaceFirst => {
                let slash = if namespace.is_empty() { "" } else { "/" };
                let staged = if kind.is_staged() { "staged:" } else { "" };
                let prefix = format!("{}.", self.tier);
                let has_tier = name.starts_with(&prefix) || name.starts_with("knp.default.");
                let tier = if has_tier { "" } else { &prefix };
                format!("{namespace}{slash}{staged}{tier}{name}")
            }
        }
    }

    /// Its place in the tier; see [`Self::tie_break`] for ties.
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Which endpoints it applies to, namespace and service accounts included.
    #[must_use]
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The rules of a direction, none when the policy's types leave that direction out.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    /// Which hook of a host endpoint it belongs to.
    #[must_use]
    pub fn hook(&self) -> Hook {
        self.hook
    }

    /// Whether it also applies to traffic that a host endpoint forwards.
    #[must_use]
    pub fn apply_on_forward(&self) -> bool {
        self.apply_on_forward
    }
}

/// Whether a policy has ingress and egress: as `types` says; else ingress, but egress alone when
/// there are only egress rules, and both when there are both.
fn types(spec: &PolicySpec) -> (bool, bool) {
    let has = |direction| spec.types.contains(&direction);
    if spec.types.is_empty() {
        let egress = !spec.egress.is_empty();
        (!egress || !spec.ingress.is_empty(), egress)
    } else {
        (has(Direction::Ingress), has(Direction::Egress))
    }
}

fn hook(key: &PolicyKey, spec: &PolicySpec, egress: bool) -> Result<Hook, Invalid> {
    let (hook, field) = match (spec.do_not_track, spec.pre_dnat) {
        (false, false) => {
            if spec.apply_on_forward && key.namespace().is_some() {
                return Err(Invalid::new(
                    "applyOnForward",
                    true,
                    "only global policies have it",
                ));
            }
            return Ok(Hook::Normal);
        }
        (true, true) => {
            return Err(Invalid::new(
                "preDNAT",
                true,
                "cannot stand beside doNotTrack",
            ));
        }
        (true, false) => (Hook::Untracked, "doNotTrack"),
        (false, true) => (Hook::PreDnat, "preDNAT"),
    };
    if key.namespace().is_some() {
        return Err(Invalid::new(field, true, "only global policies have it"));
    }
    if !spec.apply_on_forward {
        return Err(Invalid::new(
            "applyOnForward",
            false,
            format!("{field} needs it to be true"),
        ));
    }
    if hook == Hook::PreDnat && (egress || !spec.egress.is_empty()) {
        return Err(Invalid::new(
            field,
            true,
            "such policies cannot have egress rules",
        ));
    }
    Ok(hook)
}

fn rules(specs: &[RuleSpec], context: RuleContext<'_>) -> Result<Vec<Rule>, Invalid> {
    if specs.len() > MAX_RULES {
        return Err(Invalid::new(
            "",
            specs.len(),
            "at most 1024 rules in a direction",
        ));
    }
    each(specs, |spec| Rule::new(spec, context))
}

/// A profile: rules that decide when no tier did, and labels its endpoints inherit.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    name: Name,
    labels: Labels,
    ingress: Vec<Rule>,
    egress: Vec<Rule>,
}

impl Profile {
    /// A profile from its resource.
    pub fn new(name: &str, spec: &ProfileSpec) -> Result<Self, Invalid> {
        let parse = |direction, specs: &[RuleSpec]| {
            rules(
                specs,
                RuleContext {
                    namespace: None,
                    direction,
                },
            )
        };
        Ok(Self {
            name: Name::new(name).map_err(|e| e.within("metadata.name"))?,
            labels: Labels::from_pairs(&spec.labels_to_apply)
                .map_err(|e| e.within("spec.labelsToApply"))?,
            ingress: parse(Direction::Ingress, &spec.ingress)
                .map_err(|e| e.within("spec.ingress"))?,
            egress: parse(Direction::Egress, &spec.egress).map_err(|e| e.within("spec.egress"))?,
        })
    }

    /// A profile that allows everything both ways, as `projectcalico-default-allow` and the
    /// `kns.` profiles do, with the labels it hands on.
    pub fn allowing(name: &str, labels: Labels) -> Result<Self, Invalid> {
        let allow = RuleSpec::new(Action::Allow);
        let spec = ProfileSpec {
            ingress: vec![allow.clone()],
            egress: vec![allow],
            ..ProfileSpec::default()
        };
        Ok(Self {
            labels,
            ..Self::new(name, &spec)?
        })
    }

    /// The profile's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The labels its endpoints inherit.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The rules of a direction.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &[Rule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}
