//! Labels: keys, a set of them, and inheritance from profiles.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::model::Invalid;

/// The name of a label: 1 to 512 of `[a-zA-Z0-9_./-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey(Arc<str>);

impl LabelKey {
    /// Parses a label name.
    pub fn new(key: &str) -> Result<Self, Invalid> {
        if key.is_empty() || key.len() > 512 || !key.chars().all(Self::is_legal) {
            return Err(Invalid::new(
                "",
                key,
                "a label is 1 to 512 of [a-zA-Z0-9_./-]",
            ));
        }
        Ok(Self(key.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_legal(c: char) -> bool {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-')
    }

    /// The key with `prefix` (such as `pcns.`) before it. Prefixes are legal text, and the result
    /// may pass 512 characters as it may in Calico.
    pub(super) fn prefixed(&self, prefix: &str) -> Self {
        Self(format!("{prefix}{}", self.0).into())
    }
}

impl Borrow<str> for LabelKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LabelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Anything a selector can be evaluated over.
pub trait LabelSource {
    /// The value of the label, if there is one.
    fn value(&self, key: &str) -> Option<&str>;
}

/// A set of labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(BTreeMap<LabelKey, Arc<str>>);

impl Labels {
    /// No labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a label; an error when `key` is no label name.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), Invalid> {
        self.0.insert(LabelKey::new(key)?, value.into());
        Ok(())
    }

    /// Labels from pairs of text: the first illegal key is the error.
    pub fn from_pairs<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Invalid> {
        let mut labels = Self::new();
        for (key, value) in pairs {
            labels.insert(key.as_ref(), value.as_ref())?;
        }
        Ok(labels)
    }

    /// The labels in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), &**v))
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl LabelSource for Labels {
    fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|v| &**v)
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// An item's own labels before those of its profiles' `labelsToApply`: own labels win, then the
/// first profile that has the label.
pub struct Inherited<'a> {
    own: &'a Labels,
    parents: Vec<&'a Labels>,
}

impl<'a> Inherited<'a> {
    /// `own` labels, and those of the profiles in the order the item lists them.
    pub fn new(own: &'a Labels, parents: impl IntoIterator<Item = &'a Labels>) -> Self {
        Self {
            own,
            parents: parents.into_iter().collect(),
        }
    }
}

impl LabelSource for Inherited<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        self.own
            .value(key)
            .or_else(|| self.parents.iter().find_map(|p| p.value(key)))
    }
}
