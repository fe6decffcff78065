//! Calico's selector language: parse, print, evaluate.
//!
//! Grammar: `==`, `!=`, `in {…}`, `not in {…}`, `contains`, `starts with`, `ends with`,
//! `has(label)`, `all()`, `global()`, `!`, `&&`, `||`, parentheses. `&&` binds tighter than `||`.
//! `!=` and `not in` match a missing label too. The canonical form, which [`fmt::Display`] prints,
//! puts each `&&` and `||` in parentheses, quotes values with `"` where it can and sorts sets; it
//! parses to the same selector. The empty text is `all()`.

#![forbid(unsafe_code)]

mod labels;
mod parse;
mod rewrite;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use labels::{Inherited, LabelKey, LabelSource, Labels};
pub use rewrite::{
    LABEL_NAMESPACE, LABEL_ORCHESTRATOR, LABEL_SERVICE_ACCOUNT, NAMESPACE_PREFIX,
    SERVICE_ACCOUNT_PREFIX, effective_entity_selector, effective_policy_selector,
};

/// A parsed selector; cheap to clone, equal when the canonical forms are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Arc<Expr>);

/// The syntax tree of a selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expr {
    /// `all()`: everything.
    All,
    /// `global()`: as a namespace selector, what has no namespace; elsewhere, like Calico, everything.
    Global,
    /// `has(key)`.
    Has(LabelKey),
    /// `key == "value"`.
    Equal(LabelKey, Value),
    /// `key != "value"`; matches a missing label.
    NotEqual(LabelKey, Value),
    /// `key in {…}`; the values are sorted and distinct.
    In(LabelKey, Vec<Value>),
    /// `key not in {…}`; matches a missing label. The values are sorted and distinct.
    NotIn(LabelKey, Vec<Value>),
    /// `key contains "part"`.
    Contains(LabelKey, Value),
    /// `key starts with "part"`.
    StartsWith(LabelKey, Value),
    /// `key ends with "part"`.
    EndsWith(LabelKey, Value),
    /// `!operand`.
    Not(Box<Expr>),
    /// All of the operands, of which there are at least two.
    And(Vec<Expr>),
    /// Any of the operands, of which there are at least two.
    Or(Vec<Expr>),
}

/// A quoted value: it holds `'` or `"` but not both, for no selector could say it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Arc<str>);

impl Value {
    /// A value, unless it holds both kinds of quotes.
    pub fn new(text: &str) -> Option<Self> {
        (!(text.contains('\'') && text.contains('"'))).then(|| Self(text.into()))
    }

    /// The text without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('"') { '\'' } else { '"' };
        write!(f, "{quote}{}{quote}", self.0)
    }
}

/// Why a text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at character {position}: {reason}")]
pub struct SelectorError {
    /// Byte offset in the text.
    pub position: usize,
    /// What was expected or found there.
    pub reason: String,
}

impl Selector {
    /// `all()`.
    #[must_use]
    pub fn all() -> Self {
        Self(Arc::new(Expr::All))
    }

    /// Parses a selector; the empty text is `all()`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(Self::from)
    }

    /// The syntax tree.
    #[must_use]
    pub fn expr(&self) -> &Expr {
        &self.0
    }

    /// Whether the selector matches these labels.
    pub fn matches<L: LabelSource + ?Sized>(&self, labels: &L) -> bool {
        self.0.matches(labels)
    }
}

impl From<Expr> for Selector {
    fn from(expr: Expr) -> Self {
        Self(Arc::new(expr))
    }
}

impl FromStr for Selector {
    type Err = SelectorError;
    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({})", self.0)
    }
}

impl serde::Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Expr {
    /// Whether the expression matches these labels.
    pub fn matches<L: LabelSource + ?Sized>(&self, labels: &L) -> bool {
        let value = |key: &LabelKey| labels.value(key.as_str());
        match self {
            Self::All | Self::Global => true,
            Self::Has(key) => value(key).is_some(),
            Self::Equal(key, wanted) => value(key) == Some(wanted.as_str()),
            Self::NotEqual(key, refused) => value(key) != Some(refused.as_str()),
            Self::In(key, set) => value(key).is_some_and(|v| contains(set, v)),
            Self::NotIn(key, set) => value(key).is_none_or(|v| !contains(set, v)),
            Self::Contains(key, part) => value(key).is_some_and(|v| v.contains(part.as_str())),
            Self::StartsWith(key, part) => value(key).is_some_and(|v| v.starts_with(part.as_str())),
            Self::EndsWith(key, part) => value(key).is_some_and(|v| v.ends_with(part.as_str())),
            Self::Not(operand) => !operand.matches(labels),
            Self::And(operands) => operands.iter().all(|o| o.matches(labels)),
            Self::Or(operands) => operands.iter().any(|o| o.matches(labels)),
        }
    }
}

fn contains(sorted: &[Value], value: &str) -> bool {
    sorted
        .binary_search_by(|probe| probe.as_str().cmp(value))
        .is_ok()
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all()"),
            Self::Global => f.write_str("global()"),
            Self::Has(key) => write!(f, "has({key})"),
            Self::Equal(key, value) => write!(f, "{key} == {value}"),
            Self::NotEqual(key, value) => write!(f, "{key} != {value}"),
            Self::In(key, set) => write!(f, "{key} in {}", Set(set)),
            Self::NotIn(key, set) => write!(f, "{key} not in {}", Set(set)),
            Self::Contains(key, part) => write!(f, "{key} contains {part}"),
            Self::StartsWith(key, part) => write!(f, "{key} starts with {part}"),
            Self::EndsWith(key, part) => write!(f, "{key} ends with {part}"),
            Self::Not(operand) => write!(f, "!{operand}"),
            Self::And(operands) => write!(f, "({})", Joined(operands, " && ")),
            Self::Or(operands) => write!(f, "({})", Joined(operands, " || ")),
        }
    }
}

struct Set<'a>(&'a [Value]);

impl fmt::Display for Set<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, value) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            value.fmt(f)?;
        }
        f.write_str("}")
    }
}

struct Joined<'a>(&'a [Expr], &'static str);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, operand) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(self.1)?;
            }
            operand.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
