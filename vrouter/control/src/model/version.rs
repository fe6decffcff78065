//! Which daemon answers.

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// `version`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The daemon's version, as `vrouterd --version` prints it.
    pub version: String,
    /// [`crate::PROTOCOL`] of the daemon.
    pub protocol: u32,
    /// The node's name.
    pub node: String,
    /// The daemon's process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// For how long it has run, in milliseconds.
    pub uptime_ms: u64,
    pub workers: u32,
    /// The generation of the tables in force.
    pub generation: u64,
}
