//! Errors as the CNI specification has them: a code for the runtime, a message for people.

use serde::Serialize;
use vrouter_datastore::StoreError;

/// The class of an error; the number is the specification's, from 100 on it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The config's version is not one of ours.
    IncompatibleVersion,
    /// A field of the config asks for what there is not.
    UnsupportedField,
    /// The container is not known; nothing needs to be deleted.
    UnknownContainer,
    /// A variable of the environment is missing or impossible.
    Environment,
    /// A file, a socket or a program.
    Io,
    /// The config is not JSON of the expected shape.
    Decode,
    /// A value of the config cannot be.
    Config,
    /// The network namespace cannot be used.
    Namespace,
    TryAgain,
    /// No ADD would work now.
    NotAvailable,
    /// No ADD would work now, and containers that are there lack connectivity.
    LimitedConnectivity,
    /// The interface is there already.
    InterfaceExists,
    /// What is there is not what the result of ADD said.
    Differs,
    /// No address is free, or not the one that was asked for.
    NoAddress,
    /// A route of the host leads to the address by another interface.
    ForeignRoute,
}

impl Code {
    pub(crate) fn number(self) -> u32 {
        match self {
            Code::IncompatibleVersion => 1,
            Code::UnsupportedField => 2,
            Code::UnknownContainer => 3,
            Code::Environment => 4,
            Code::Io => 5,
            Code::Decode => 6,
            Code::Config => 7,
            Code::Namespace => 8,
            Code::TryAgain => 11,
            Code::NotAvailable => 50,
            Code::LimitedConnectivity => 51,
            Code::InterfaceExists => 100,
            Code::Differs => 101,
            Code::NoAddress => 102,
            Code::ForeignRoute => 103,
        }
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", .details.as_deref().map(|it| format!(": {it}")).unwrap_or_default())]
pub(crate) struct CniError {
    pub(crate) code: u32,
    pub(crate) message: String,
    pub(crate) details: Option<String>,
}

/// An error on stdout.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed<'a> {
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a str>,
}

impl CniError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> CniError {
        CniError {
            code: code.number(),
            message: message.into(),
            details: None,
        }
    }

    pub(crate) fn with_details(self, details: impl Into<String>) -> CniError {
        CniError {
            details: Some(details.into()),
            ..self
        }
    }

    pub(crate) fn environment(message: impl Into<String>) -> CniError {
        CniError::new(Code::Environment, message)
    }

    pub(crate) fn config(message: impl Into<String>) -> CniError {
        CniError::new(Code::Config, message)
    }

    pub(crate) fn io(what: &str, error: impl std::fmt::Display) -> CniError {
        CniError::new(Code::Io, what).with_details(error.to_string())
    }

    /// A failure of the datastore; settings go by the names they have in the config.
    pub(crate) fn store(what: &str, error: &StoreError) -> CniError {
        let code = match error {
            StoreError::Unreachable { .. } | StoreError::Conflict { .. } => Code::TryAgain,
            StoreError::Setting { setting, reason } => {
                let key = setting.to_ascii_lowercase();
                return CniError::config(format!("{key}: {reason}"));
            }
            StoreError::Open { .. }
            | StoreError::NotADirectory { .. }
            | StoreError::Unauthorized { .. } => Code::Config,
            StoreError::NotFound { .. }
            | StoreError::AlreadyExists { .. }
            | StoreError::Invalid { .. }
            | StoreError::Refused { .. }
            | StoreError::NotSupported { .. }
            | StoreError::File { .. }
            | StoreError::Watch { .. }
            | StoreError::Thread(_) => Code::Io,
        };
        CniError::new(code, what).with_details(error.to_string())
    }

    /// As it stands on stdout.
    pub(crate) fn json(&self, version: &str) -> String {
        let printed = Printed {
            cni_version: version,
            code: self.code,
            msg: &self.message,
            details: self.details.as_deref(),
        };
        serde_json::to_string_pretty(&printed).expect("an error holds texts and a number")
    }
}
