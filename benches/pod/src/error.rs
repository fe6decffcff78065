//! Why a benchmark could not be run, read or compared.

use std::io;

use vrouter_lab::LabError;

/// The result of everything that can fail as a whole.
pub type Result<T, E = BenchError> = std::result::Result<T, E>;

/// A failure that ends the program. What a single test has to say stays with its sample.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The options contradict each other, or what was read is not what this program writes.
    #[error("{0}")]
    Invalid(String),
    /// A lab, or something inside it.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A system call or file operation.
    #[error("{what}: {source}")]
    Io {
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A signal asked for the end.
    #[error("interrupted; what was measured is kept, and --resume goes on from there")]
    Interrupted,
}

impl BenchError {
    /// Wraps an I/O error with what was attempted.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
