//! HTTP criteria of rules: kept and printed, not inspected.

use serde::Serialize;

use crate::place::Place;

/// HTTP requests that a rule means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// Methods, one of which the request has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Paths, one of which the request has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<HttpPath>,
}

/// A path, whole or its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpPath {
    /// All of the path.
    Exact(String),
    Prefix(String),
}

impl HttpMatch {
    pub(crate) fn read(place: &Place<'_>) -> Option<HttpMatch> {
        let fields = place.fields()?;
        place.partly(
            "HTTP is not inspected here: a rule that denies matches whatever its other criteria \
             match, any other rule matches no packet",
        );
        let methods = fields.list("methods", Place::string);
        let paths = fields.list("paths", HttpPath::read);
        fields.finish();
        Some(HttpMatch { methods, paths })
    }
}

impl HttpPath {
    fn read(place: &Place<'_>) -> Option<HttpPath> {
        let fields = place.fields()?;
        let text = |name| fields.optional(name).and_then(|place| place.string());
        let path = match (text("exact"), text("prefix")) {
            (Some(path), None) => Some(HttpPath::Exact(path)),
            (None, Some(path)) => Some(HttpPath::Prefix(path)),
            (Some(_), Some(_)) | (None, None) => {
                place.error("must have exact or prefix, and one of them alone");
                None
            }
        };
        fields.finish();
        path
    }
}
