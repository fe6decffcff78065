//! The envelopes: requests, responses and errors, as they stand in a line.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::method::Method;

/// A request whose envelope was understood; its method may still be unknown.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the client; the response carries the same.
    pub id: u64,
    /// The method's name, such as `show.routes`.
    pub method: String,
    /// The method's parameters; missing means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Box<RawValue>>,
}

impl Request {
    /// Parses one line.
    ///
    /// # Errors
    /// [`ErrorCode::BadRequest`] with the request's id where one could be read.
    pub fn parse(line: &[u8]) -> Result<Self, (Option<u64>, ErrorBody)> {
        serde_json::from_slice(line).map_err(|e| {
            #[derive(Deserialize)]
            struct OnlyId {
                id: u64,
            }
            let id = serde_json::from_slice::<OnlyId>(line)
                .ok()
                .map(|only| only.id);
            (
                id,
                ErrorBody::new(ErrorCode::BadRequest, format!("not a request: {e}")),
            )
        })
    }

    /// The method with its parameters.
    ///
    /// # Errors
    /// [`ErrorCode::UnknownMethod`] or [`ErrorCode::BadParams`].
    pub fn method(&self) -> Result<Method, ErrorBody> {
        let params = self.params.as_deref().map_or("{}", RawValue::get);
        Method::parse(&self.method, params)
    }
}

/// The answer to one request. Exactly one of `result` and `error` is there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Response {
    /// The request's id; none where it could not be read.
    pub id: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

impl Response {
    /// The answer that carries the outcome of a method.
    pub fn new(id: Option<u64>, outcome: Result<Box<RawValue>, ErrorBody>) -> Self {
        match outcome {
            Ok(result) => Self {
                id,
                result: Some(result),
                error: None,
            },
            Err(error) => Self {
                id,
                result: None,
                error: Some(error),
            },
        }
    }
}

/// The class of an error, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The line is no request: not JSON, not an object with `id` and `method`, or too long.
    BadRequest,
    /// There is no method of this name.
    UnknownMethod,
    /// A parameter is unknown, missing or has an impossible value.
    BadParams,
    /// What was asked about does not exist.
    NotFound,
    /// Not possible now: starting, stopping, too many connections.
    Unavailable,
    /// The daemon's fault.
    Internal,
}

impl ErrorCode {
    /// As it stands in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownMethod => "unknown_method",
            Self::BadParams => "bad_params",
            Self::NotFound => "not_found",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: one line without a full stop.
    pub message: String,
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code.name())
    }
}

impl ErrorBody {
    /// An error of any class.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A parameter that cannot be.
    pub fn bad_params(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadParams, message)
    }

    /// Something that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// Something not possible now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// A fault of the daemon.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes() {
        let request = Request::parse(br#"{"id":7,"method":"version"}"#).unwrap();
        assert_eq!((request.id, request.method.as_str()), (7, "version"));
        assert!(request.params.is_none());

        let (id, error) = Request::parse(br#"{"id":7,"method":"version","x":1}"#).unwrap_err();
        assert_eq!((id, error.code), (Some(7), ErrorCode::BadRequest));
        let (id, error) = Request::parse(br#"{"id":9}"#).unwrap_err();
        assert_eq!((id, error.code), (Some(9), ErrorCode::BadRequest));
        for garbage in [
            &b""[..],
            b"{",
            b"[]",
            b"\xff\xfe",
            b"GET / HTTP/1.1",
            b"null",
        ] {
            let (id, error) = Request::parse(garbage).unwrap_err();
            assert_eq!((id, error.code), (None, ErrorCode::BadRequest));
        }
    }

    #[test]
    fn an_error_says_its_code() {
        let response = Response::new(Some(1), Err(ErrorBody::not_found("no such interface")));
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"id":1,"error":{"code":"not_found","message":"no such interface"}}"#
        );
    }

    #[test]
    fn code_names_are_the_wire_names() {
        for code in [
            ErrorCode::BadRequest,
            ErrorCode::UnknownMethod,
            ErrorCode::BadParams,
            ErrorCode::NotFound,
            ErrorCode::Unavailable,
            ErrorCode::Internal,
        ] {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }
}
