//! Tier: policies in order, and what happens at their end.

use policy::compile::Update;
use policy::model::{Invalid, Name, TierDefault};
use serde::Serialize;

use crate::key::{Key, Kind};
use crate::metadata::Metadata;
use crate::model;
use crate::number;
use crate::object::{Object, Read, Spec};
use crate::place::Fields;

/// An ordered group of policies.
pub type Tier = Object<TierSpec>;

/// Where the tier stands and how it ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TierSpec {
    /// Lower comes first; none comes last, ties go by name.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "number::optional"
    )]
    pub order: Option<f64>,
    /// What happens to packets that a policy of this tier applied to and none decided.
    pub default_action: TierDefault,
}

/// The tiers Calico has built in: name, order, default action.
pub const BUILT_IN_TIERS: &[(&str, f64, TierDefault)] = &[
    ("kube-admin", 1_000.0, TierDefault::Pass),
    ("default", 1_000_000.0, TierDefault::Deny),
    ("kube-baseline", 10_000_000.0, TierDefault::Pass),
];

impl Spec for TierSpec {
    const KIND: Kind = Kind::Tier;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        model::tier(object).map(|tier| Some(tier.into()))
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        Ok(Some(Update::RemoveTier(Name::new(&key.name)?)))
    }
}

impl Read for TierSpec {
    fn read(fields: &Fields<'_>, metadata: &mut Metadata) -> Option<TierSpec> {
        let built_in = BUILT_IN_TIERS
            .iter()
            .find(|(name, ..)| *name == metadata.name);
        let order = fields.optional("order").and_then(|place| place.number());
        let action = fields.optional("defaultAction").and_then(|place| {
            place.choice(&[("Deny", TierDefault::Deny), ("Pass", TierDefault::Pass)])
        });
        if let Some((name, fixed, expected)) = built_in {
            if order.is_some_and(|order| order != *fixed) {
                fields.error_at(
                    "order",
                    format!("must be {fixed} for the built-in tier {name}"),
                );
            }
            if action.is_some_and(|action| action != *expected) {
                let reason = format!("must be {expected} for the built-in tier {name}");
                fields.error_at("defaultAction", reason);
            }
            return Some(TierSpec {
                order: Some(*fixed),
                default_action: *expected,
            });
        }
        Some(TierSpec {
            order,
            default_action: action.unwrap_or_default(),
        })
    }
}
