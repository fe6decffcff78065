//! Canonical printing: the same resource always gives the same text, defaults filled in, and
//! [`parse`](crate::parse) gives the same resource back.

use crate::resource::Resource;

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
