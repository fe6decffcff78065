//! Profile: rules and labels that endpoints inherit by naming it.

use policy::compile::Update;
use policy::model::{Action, Direction, Invalid, Name};
use std::collections::BTreeMap;

use serde::Serialize;

use crate::key::{Key, Kind};
use crate::kinds::rule::{Rule, rules};
use crate::metadata::Metadata;
use crate::model;
use crate::names::check_label_pair;
use crate::object::{Object, Read, Spec};
use crate::place::Fields;

/// Rules and labels to inherit.
pub type Profile = Object<ProfileSpec>;

/// The rules and labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileSpec {
    /// Rules for packets to the endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Rule>,
    /// Rules for packets from the endpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Rule>,
    /// Labels its endpoints inherit; their own win.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels_to_apply: BTreeMap<String, String>,
}

/// The profile that every datastore has, allowing everything.
pub const DEFAULT_ALLOW_PROFILE: &str = "projectcalico-default-allow";

/// [`DEFAULT_ALLOW_PROFILE`]: served by the node itself, never stored.
#[must_use]
pub fn default_allow_profile() -> Profile {
    let allow = vec![Rule::new(Action::Allow)];
    Profile {
        metadata: Metadata::named(DEFAULT_ALLOW_PROFILE),
        spec: ProfileSpec {
            ingress: allow.clone(),
            egress: allow,
            ..ProfileSpec::default()
        },
    }
}

impl Spec for ProfileSpec {
    const KIND: Kind = Kind::Profile;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        model::profile(object).map(|profile| Some(profile.into()))
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        Ok(Some(Update::RemoveProfile(Name::new(&key.name)?)))
    }
}

impl Read for ProfileSpec {
    fn read(fields: &Fields<'_>, metadata: &mut Metadata) -> Option<ProfileSpec> {
        if metadata.name == DEFAULT_ALLOW_PROFILE {
            fields.error(format!(
                "{DEFAULT_ALLOW_PROFILE} is built in and cannot be defined"
            ));
        }
        let labels = fields.optional("labelsToApply");
        Some(ProfileSpec {
            ingress: rules(fields, Direction::Ingress),
            egress: rules(fields, Direction::Egress),
            labels_to_apply: labels
                .and_then(|place| place.string_map(check_label_pair))
                .unwrap_or_default(),
        })
    }
}
