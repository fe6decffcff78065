//! What became of the resources.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// `show.resources`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceReport {
    /// Where they are read from.
    pub directory: String,
    /// Whether all of it has been read once.
    pub synced: bool,
    /// Why it cannot be read at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<String>,
    /// When something last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Timestamp>,
    /// The generation of the tables made of them.
    pub generation: u64,
    /// How many there are of each kind.
    pub kinds: Vec<KindCount>,
    /// What is wrong or not acted on, errors first.
    pub notices: Vec<Notice>,
}

/// How many resources there are of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KindCount {
    pub kind: String,
    /// Resources in force, last good versions included.
    pub count: u64,
}

/// Something to know about a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// How bad it is.
    pub severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in it, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The resource, `Kind/name` or `Kind/namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The path of the field, such as `spec.ingress[0].action`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    pub message: String,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Not in force; the last good version stays, where there was one.
    Error,
    /// In force, but probably not as meant.
    Warning,
    /// Stored and not acted on.
    Info,
}

impl Severity {
    /// As it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// `reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// The generation of the tables after it.
    pub generation: u64,
    /// What it found, in lines for people; empty if all is well.
    #[serde(default)]
    pub notices: Vec<Notice>,
}

/// A method that returns nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}

/// How many things were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// How many; what was not there does not count.
    pub removed: u64,
}
