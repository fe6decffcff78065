//! What a file's author is told: what is wrong ([`ParseError`]) and what has no effect
//! ([`Notice`]), each with the place it is about.

use std::fmt;

use crate::key::Key;

/// One problem of one resource (or of a whole file).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The file as it was named to [`parse`](crate::parse).
    pub file: String,
    /// Line of the field in the file, counted from 1; 0 when the problem is of the whole file.
    pub line: u32,
    /// The resource as shown to people, `IPPool(default)` or `NetworkPolicy(prod/web)`; empty
    /// when the problem is not inside a resource.
    pub resource: String,
    /// The resource's key when kind, namespace and name could be read.
    pub key: Option<Key>,
    /// Path of the field, `spec.ingress[2].protocol`; empty when the problem is of the whole.
    pub field: String,
    /// The offending value as written (shortened); empty when there is none.
    pub value: String,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

impl std::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(
            f,
            &self.file,
            self.line,
            &self.resource,
            &self.field,
            &self.value,
        )?;
        f.write_str(&self.reason)
    }
}

/// Something a resource asks for that is understood and kept but has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The file as it was named to [`parse`](crate::parse).
    pub file: String,
    /// Line of the field in the file, counted from 1.
    pub line: u32,
    /// The resource as shown to people.
    pub resource: String,
    /// Path of the field; empty when the notice is of the whole resource.
    pub field: String,
    /// The value as written (shortened); empty for lists and maps.
    pub value: String,
    /// What has no effect, and why: `stored, not acted on: …`.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(
            f,
            &self.file,
            self.line,
            &self.resource,
            &self.field,
            &self.value,
        )?;
        f.write_str(&self.text)
    }
}

/// Writes `file:line: resource.field: value: `, leaving out what is not known.
fn place(
    f: &mut fmt::Formatter<'_>,
    file: &str,
    line: u32,
    resource: &str,
    field: &str,
    value: &str,
) -> fmt::Result {
    f.write_str(file)?;
    if line > 0 {
        write!(f, ":{line}")?;
    }
    f.write_str(": ")?;
    let dot = if resource.is_empty() || field.is_empty() {
        ""
    } else {
        "."
    };
    if !resource.is_empty() || !field.is_empty() {
        write!(f, "{resource}{dot}{field}: ")?;
    }
    if !value.is_empty() {
        write!(f, "{value}: ")?;
    }
    Ok(())
}

/// A text of the file's author as it may stand in a one-line message: control characters
/// escaped, cut after `longest` characters.
pub(crate) fn one_line(text: &str, longest: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == longest {
            out.push('…');
            break;
        }
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}
