//! How a resource's several selectors become one over endpoint labels, as libcalico does it.
//!
//! Endpoints carry `projectcalico.org/namespace` and `projectcalico.org/serviceaccount`, and
//! inherit the labels of their namespace under `pcns.` and of their service account under `pcsa.`.
//! Source of the rules: libcalico-go `syncersv1/updateprocessors` (`rules`, `networkpolicyprocessor`,
//! `globalnetworkpolicyprocessor`).

use super::{Expr, LabelKey, Selector, Value};
use crate::model::Name;

/// Label that holds the namespace of workloads and namespaced network sets.
pub const LABEL_NAMESPACE: &str = "projectcalico.org/namespace";
/// Label that holds the service account's name.
pub const LABEL_SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount";
/// Label that holds the orchestrator, `k8s` for pods.
pub const LABEL_ORCHESTRATOR: &str = "projectcalico.org/orchestrator";
/// Prefix under which a namespace's labels are inherited.
pub const NAMESPACE_PREFIX: &str = "pcns.";
/// Prefix under which a service account's labels are inherited.
pub const SERVICE_ACCOUNT_PREFIX: &str = "pcsa.";

/// The selector that says which endpoints a policy applies to.
///
/// `namespace` is that of a namespaced policy. As in Calico, a global policy's
/// `namespaceSelector` turns every `all()` of the selector so far into "has a namespace", and its
/// `serviceAccountSelector` every remaining one into "has a service account".
#[must_use]
pub fn effective_policy_selector(
    namespace: Option<&Name>,
    selector: Option<&Selector>,
    namespace_selector: Option<&Selector>,
    service_account_selector: Option<&Selector>,
) -> Selector {
    let mut parts: Vec<Expr> = selector.map(|s| s.expr().clone()).into_iter().collect();
    if let Some(namespace) = namespace {
        parts.push(in_namespace(namespace));
    }
    if let Some(ns) = namespace_selector {
        parts.push(ns.expr().prefixed(NAMESPACE_PREFIX));
        for part in &mut parts {
            *part = part.scoped(LABEL_NAMESPACE);
        }
    }
    if let Some(sa) = service_account_selector {
        parts.push(sa.expr().prefixed(SERVICE_ACCOUNT_PREFIX));
        if namespace.is_none() {
            for part in &mut parts {
                *part = part.scoped(LABEL_SERVICE_ACCOUNT);
            }
        }
    }
    all_of(parts).into()
}

/// The selector that says which endpoints and network sets a rule's `source` or `destination`
/// means, or none when it does not ask for any.
///
/// In a namespaced policy the entity is limited to the policy's namespace as soon as any selector
/// field is used, `notSelector` included, unless `namespaceSelector` says otherwise.
pub fn effective_entity_selector(
    namespace: Option<&Name>,
    namespace_selector: Option<&Selector>,
    selector: Option<&Selector>,
    service_account_names: &[Name],
    service_account_selector: Option<&Selector>,
    has_not_selector: bool,
) -> Option<Selector> {
    let mut parts = Vec::new();
    if let Some(sa) = service_account_selector {
        parts.push(sa.expr().prefixed(SERVICE_ACCOUNT_PREFIX));
    }
    if !service_account_names.is_empty() {
        let mut names: Vec<Value> = service_account_names.iter().map(value).collect();
        names.sort();
        names.dedup();
        parts.push(Expr::In(well_known(LABEL_SERVICE_ACCOUNT), names));
    }
    parts.extend(selector.map(|s| s.expr().clone()));
    if parts.is_empty() && !has_not_selector && namespace_selector.is_none() {
        return None;
    }
    let scope = match (namespace_selector, namespace) {
        (Some(ns), _) => Some(ns.expr().prefixed(NAMESPACE_PREFIX).scoped(LABEL_NAMESPACE)),
        (None, Some(namespace)) => Some(in_namespace(namespace)),
        (None, None) => None,
    };
    parts.splice(0..0, scope);
    (!parts.is_empty()).then(|| all_of(parts).into())
}

fn in_namespace(namespace: &Name) -> Expr {
    Expr::Equal(well_known(LABEL_NAMESPACE), value(namespace))
}

fn value(name: &Name) -> Value {
    Value::new(name).expect("a name has no quotes")
}

fn well_known(label: &str) -> LabelKey {
    LabelKey::new(label).expect("the well-known labels are legal")
}

fn all_of(mut parts: Vec<Expr>) -> Expr {
    match parts.len() {
        0 => Expr::All,
        1 => parts.remove(0),
        _ => Expr::And(parts),
    }
}

impl Expr {
    /// The expression over labels that carry `prefix` before their names.
    fn prefixed(&self, prefix: &str) -> Self {
        self.mapped(&|key| key.prefixed(prefix), &|leaf| leaf)
    }

    /// `all()` limited to what has `label`, `global()` to what has it not.
    fn scoped(&self, label: &str) -> Self {
        self.mapped(&LabelKey::clone, &|leaf| match leaf {
            Expr::All => Expr::Has(well_known(label)),
            Expr::Global => Expr::Not(Box::new(Expr::Has(well_known(label)))),
            other => other,
        })
    }

    fn mapped(&self, key: &dyn Fn(&LabelKey) -> LabelKey, leaf: &dyn Fn(Expr) -> Expr) -> Self {
        let all = |operands: &[Expr]| operands.iter().map(|o| o.mapped(key, leaf)).collect();
        match self {
            Self::All => leaf(Self::All),
            Self::Global => leaf(Self::Global),
            Self::Has(k) => Self::Has(key(k)),
            Self::Equal(k, v) => Self::Equal(key(k), v.clone()),
            Self::NotEqual(k, v) => Self::NotEqual(key(k), v.clone()),
            Self::In(k, v) => Self::In(key(k), v.clone()),
            Self::NotIn(k, v) => Self::NotIn(key(k), v.clone()),
            Self::Contains(k, v) => Self::Contains(key(k), v.clone()),
            Self::StartsWith(k, v) => Self::StartsWith(key(k), v.clone()),
            Self::EndsWith(k, v) => Self::EndsWith(key(k), v.clone()),
            Self::Not(operand) => match operand.mapped(key, leaf) {
                // `!global()` would become a double negation, which does not reparse to itself.
                Self::Not(inner) => *inner,
                other => Self::Not(Box::new(other)),
            },
            Self::And(operands) => Self::And(all(operands)),
            Self::Or(operands) => Self::Or(all(operands)),
        }
    }
}
