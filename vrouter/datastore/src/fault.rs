//! A fault of a whole file or value.

use vrouter_api::ParseError;

/// A fault of which no line or field can be named.
pub(crate) fn whole_file(name: &str, reason: &str) -> ParseError {
    ParseError {
        file: name.to_owned(),
        line: 0,
        resource: String::new(),
        key: None,
        field: String::new(),
        value: String::new(),
        reason: reason.to_owned(),
    }
}
