//! The one error of construction: which field, which value, why.
//!
//! Callers that know the resource put its kind and name in front with [`Invalid::within`].

use std::fmt;

/// A value that the model cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// Path from the resource's root: `spec.ingress[2].source.ports[0]`.
    pub field: String,
    /// The value as it was given.
    pub value: String,
    /// What is wrong with it, in a sentence without a full stop.
    pub reason: String,
}

impl Invalid {
    /// An error about `value` at `field`.
    pub fn new(
        field: impl Into<String>,
        value: impl fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.to_string(),
            reason: reason.into(),
        }
    }

    /// The same error seen from one level further out: `ports[0]` within `source` is
    /// `source.ports[0]`.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        let outer = outer.to_string();
        if self.field.is_empty() {
            self.field = outer;
        } else if !outer.is_empty() {
            self.field = if self.field.starts_with('[') {
                format!("{outer}{}", self.field)
            } else {
                format!("{outer}.{}", self.field)
            };
        }
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        if self.value.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "\"{}\": {}", self.value, self.reason)
        }
    }
}

/// Parses each item; an error names its index.
pub(super) fn each<S, T>(
    items: &[S],
    parse: impl Fn(&S) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    items
        .iter()
        .enumerate()
        .map(|(i, item)| parse(item).map_err(|e| e.within(format!("[{i}]"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_grow_outwards() {
        let e = Invalid::new("ports[0]", "0", "out of range")
            .within("source")
            .within("spec.ingress[1]");
        assert_eq!(
            e.to_string(),
            "spec.ingress[1].source.ports[0]: \"0\": out of range"
        );
        assert_eq!(Invalid::new("", "x", "bad").within("name").field, "name");
        assert_eq!(
            Invalid::new("[3]", "x", "bad").within("nets").field,
            "nets[3]"
        );
    }
}
