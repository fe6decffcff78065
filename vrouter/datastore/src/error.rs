//! What can go wrong between us and a store, told apart so that a client can say it in words its
//! users know.

use std::path::PathBuf;

use vrouter_api::{Key, ParseError};

/// Why a datastore did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing is there under that key.
    #[error("resource does not exist: {key}")]
    NotFound { key: Key },
    /// It was to be made and is there.
    #[error("resource already exists: {key}")]
    AlreadyExists { key: Key },
    /// Somebody else changed it since it was read.
    #[error("update conflict: {key}")]
    Conflict {
        /// What was to be changed.
        key: Key,
    },
    /// The resource, or what the store holds under its key, is faulty; the list is complete.
    #[error("{}", faults(.errors))]
    Invalid {
        /// Everything that is wrong.
        errors: Vec<ParseError>,
    },
    /// A field of the resource cannot be so in this store: because of what it was, or of what is
    /// beside it. In calicoctl's words, after the resource.
    #[error("{key}: error with field {field} = '{value}' ({reason})")]
    Refused {
        /// What was to be written.
        key: Key,
        /// The path of the field, as Calico names it.
        field: &'static str,
        /// What it was to be.
        value: String,
        reason: String,
    },
    /// The store has no such operation for that resource.
    #[error("operation {operation} is not supported on {key}: {reason}")]
    NotSupported {
        /// Name: `create`, `Delete`, ….
        operation: &'static str,
        /// On what.
        key: Key,
        reason: String,
    },
    /// No answer from the store in time; whether a change was made is not known.
    #[error("datastore {store} cannot be reached: {reason}")]
    Unreachable {
        store: String,
        /// The last thing that went wrong.
        reason: String,
    },
    /// The store does not believe who we are, or does not let us.
    #[error("connection is unauthorized: {reason}")]
    Unauthorized {
        /// The store's words.
        reason: String,
    },
    /// A setting of the connection that cannot be.
    #[error("{setting}: {reason}")]
    Setting {
        /// Name where it was found.
        setting: String,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// A file of the directory cannot be read or written.
    #[error("{path}: {source}")]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Nothing is there.
    #[error("resource directory {path}: {source}")]
    Open {
        /// The directory.
        path: PathBuf,
        source: std::io::Error,
    },
    /// Something else is there.
    #[error("resource directory {path}: is not a directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The system does not let us watch.
    #[error("resource directory {path}: cannot be watched: {source}")]
    Watch {
        /// The directory.
        path: PathBuf,
        source: notify::Error,
    },
    /// No thread could be started.
    #[error("the thread that watches resources cannot be started: {0}")]
    Thread(std::io::Error),
}

/// All faults, a line each.
fn faults(errors: &[ParseError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
