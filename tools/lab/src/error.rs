//! Why a lab could not be built, used or taken down.

use std::io;

/// The result of everything that touches the system.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// A failure, with what was attempted and the cause.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The options contradict each other or name something that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A lab of this name exists, or namespaces of such names do.
    #[error("lab {0} exists already; take it down with `vrouter-lab down {0}`")]
    Exists(String),
    /// No lab of this name.
    #[error("no lab named {0}; `vrouter-lab list` shows those that are up")]
    NotFound(String),
    /// A command could not be started or said no.
    #[error("{what} failed: {detail}")]
    Command {
        /// The command, and its namespace.
        what: String,
        /// Standard error, or how it ended.
        detail: String,
    },
    /// A system call or file operation failed.
    #[error("{what}: {source}")]
    Io {
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// Something did not happen in time.
    #[error("{what} did not happen within {seconds} s{detail}")]
    Timeout {
        what: String,
        /// For how long.
        seconds: u64,
        /// What is known about the reason.
        detail: String,
    },
    /// The check of a lab's connectivity found failures.
    #[error("{failed} of {total} checks failed")]
    ChecksFailed {
        /// How many.
        failed: usize,
        /// Of how many.
        total: usize,
    },
}

impl LabError {
    /// Wraps an I/O error with what was attempted.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Wraps an error number of a system call with what was attempted.
    pub fn errno(what: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let what = what.into();
        move |errno| Self::Io {
            what,
            source: errno.into(),
        }
    }
}
