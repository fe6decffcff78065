//! Canonical printing: the same resource always gives the same text, defaults filled in, and
//! [`parse`](crate::parse) gives the same resource back.

use serde_json::{Value, json};

use crate::key::Kind;
use crate::resource::Resource;

/// The resource as Calico's clients store and show it: a spec is always there, and a status where
/// the kind has one that is never left out.
#[must_use]
pub fn to_value(resource: &Resource) -> Value {
    let mut value = serde_json::to_value(resource)
        .expect("resources hold strings, numbers and string-keyed maps, which JSON can express");
    if let Some(fields) = value.as_object_mut() {
        let always = match resource.kind() {
            Kind::Tier | Kind::Node | Kind::KubeControllersConfiguration => &["spec", "status"][..],
            // Kubernetes gives them none.
            Kind::EndpointSlice | Kind::Secret => &[],
            _ => &["spec"],
        };
        for name in always {
            fields.entry(*name).or_insert_with(|| json!({}));
        }
    }
    value
}

/// The resource as one JSON object, indented by two spaces, ending in a line feed.
#[must_use]
pub fn to_json(resource: &Resource) -> String {
    let mut text = serde_json::to_string_pretty(resource)
        .expect("resources hold strings, numbers and string-keyed maps, which JSON can express");
    text.push('\n');
    text
}

/// The resource as one YAML document without `---`, ending in a line feed.
#[must_use]
pub fn to_yaml(resource: &Resource) -> String {
    serde_saphyr::to_string(resource)
        .expect("resources hold strings, numbers and string-keyed maps, which YAML can express")
}
