//! What can go wrong when an interface is set up. The packet path uses `io::Error` and counts.

use std::io;

/// The result of setting something up.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure with what was tried: every text names the device, namespace or value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{action}: {source}")]
    System {
        /// What was tried, e.g. `open the TAP eth0 in /run/netns/a`.
        action: String,
        source: io::Error,
    },
    /// An interface of this name exists already.
    #[error("{action}: an interface {name} exists already{hint}")]
    NameTaken {
        action: String,
        /// The name.
        name: String,
        /// How to get out of it, or empty.
        hint: &'static str,
    },
    /// A value the kernel could not take.
    #[error("{action}: {reason}")]
    Invalid {
        action: String,
        /// Which value, and what of it.
        reason: String,
    },
    /// What was asked for is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// The interface, route, address or namespace.
        what: String,
    },
}

impl Error {
    /// The kernel's error number, if the kernel said no.
    pub fn os_error(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            Self::NameTaken { .. } => Some(libc::EEXIST),
            Self::Invalid { .. } => None,
            Self::NotFound { .. } => Some(libc::ENOENT),
        }
    }

    pub(crate) fn invalid(action: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid {
            action: action.into(),
            reason: reason.into(),
        }
    }
}

/// Adds what was tried to a system call's result.
pub(crate) trait Context<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::System {
            action: action(),
            source: source.into(),
        })
    }
}
