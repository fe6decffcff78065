//! Whether the node is well.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// `show.health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthReport {
    /// Whether the process works: `false` asks for a restart.
    pub live: bool,
    /// Whether packets are forwarded by all that the datastore says.
    pub ready: bool,
    pub components: Vec<ComponentHealth>,
    pub applies: Applies,
}

/// One part of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentHealth {
    pub name: String,
    /// How long it may be silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Missing: liveness does not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
    /// Missing: readiness does not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How often the node was brought to what the resources say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applies {
    pub count: u64,
    /// Those that left problems, which are tried again.
    pub failures: u64,
    /// The time all of them took.
    pub microseconds: u64,
    /// The end of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// Times the datastore came back after it could not be read, and the first time.
    pub resyncs: u64,
}
