//! What can go wrong, in one line that says what to do.

use std::io;
use std::process::ExitCode;

use vrouter_control::{ClientError, DEFAULT_SOCKET};

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The daemon cannot be reached or says no.
    #[error("{}", advice(.0))]
    Daemon(#[from] ClientError),
    /// Nobody takes our output.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// In calicoctl's words, which have no name before them.
    #[error("{0}")]
    Calico(String),
    /// An etcd cannot be reached or says no.
    #[error("{0}")]
    Etcd(String),
    /// What was to be changed is not there.
    #[error("{0}")]
    Missing(String),
    /// Policy is not as expected.
    #[error("{0}")]
    Differs(String),
    /// The command line is wrong in a way that only shows now.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Daemon(_)
            | Self::Output(_)
            | Self::Calico(_)
            | Self::Etcd(_)
            | Self::Missing(_)
            | Self::Differs(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
        }
    }
}

fn advice(error: &ClientError) -> String {
    match error {
        ClientError::Connect { path, source } => {
            let what = match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    let elsewhere = if path.as_os_str() == DEFAULT_SOCKET {
                        "; --socket or VROUTER_CONTROL_SOCKET names another socket"
                    } else {
                        ""
                    };
                    format!("is it running?{elsewhere}")
                }
                io::ErrorKind::PermissionDenied => "run as root, who owns the socket".to_owned(),
                _ => "is this the control socket?".to_owned(),
            };
            // Not the number that std adds: the words say it.
            let why = source.to_string();
            let why = why.split(" (os error").next().unwrap_or(&why);
            format!("cannot reach vrouterd at {}: {why}: {what}", path.display())
        }
        ClientError::Broken(_) | ClientError::Protocol(_) | ClientError::Refused(_) => {
            error.to_string()
        }
    }
}

/// A daemon that contradicts the protocol.
pub(crate) fn nonsense(what: &str) -> Failure {
    Failure::Daemon(ClientError::Protocol(what.to_owned()))
}
