//! The client: one connection, one request at a time.

use std::io::{self, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::value::RawValue;

use crate::line::{self, Line, RESPONSE_LIMIT};
use crate::message::{ErrorBody, Request, Response};
use crate::method::Call;

/// How long a client waits for an answer when nobody says otherwise.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
    last_id: u64,
}

/// Why a call brought no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    /// The connection broke or was closed, or no answer came in time.
    #[error("the connection to the daemon broke: {0}")]
    Broken(#[from] io::Error),
    /// What came is not an answer to the request.
    #[error("the daemon's answer cannot be understood: {0}")]
    Protocol(String),
    /// The daemon says no.
    #[error(transparent)]
    Refused(ErrorBody),
}

impl Client {
    /// Connects, with [`TIMEOUT`].
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        Self::connect_with_timeout(path, TIMEOUT)
    }

    /// Connects; each call may take as long as `timeout`.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub fn connect_with_timeout(
        path: impl AsRef<Path>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let open = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            Ok(stream)
        };
        match open() {
            Ok(stream) => Ok(Self {
                stream: BufReader::new(stream),
                line: Vec::new(),
                last_id: 0,
            }),
            Err(source) => Err(ClientError::Connect {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Calls the method that belongs to `params`.
    ///
    /// # Errors
    /// Any [`ClientError`] but `Connect`. After any but `Refused` the connection is of no use.
    pub fn call<P: Call>(&mut self, params: &P) -> Result<P::Output, ClientError> {
        let params = serde_json::value::to_raw_value(params)
            .map_err(|e| ClientError::Protocol(e.to_string()))?;
        let result = self.call_raw(P::METHOD, Some(params))?;
        serde_json::from_str(result.get())
            .map_err(|e| ClientError::Protocol(format!("{}: {e}", P::METHOD)))
    }

    /// Calls any method with any parameters.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub fn call_raw(
        &mut self,
        method: &str,
        params: Option<Box<RawValue>>,
    ) -> Result<Box<RawValue>, ClientError> {
        self.last_id += 1;
        let request = Request {
            id: self.last_id,
            method: method.to_owned(),
            params,
        };
        let mut bytes =
            serde_json::to_vec(&request).map_err(|e| ClientError::Protocol(e.to_string()))?;
        bytes.push(b'\n');
        // A daemon that refuses connections says why before it closes: a failed write is no
        // reason not to read.
        let written = self.stream.get_mut().write_all(&bytes);
        match line::read(&mut self.stream, &mut self.line, RESPONSE_LIMIT).map_err(in_time)? {
            Line::Full => {}
            Line::TooLong => return Err(ClientError::Protocol("it is too long".into())),
            Line::End => {
                written?;
                let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed");
                return Err(closed.into());
            }
        }
        let response: Response =
            serde_json::from_slice(&self.line).map_err(|e| ClientError::Protocol(e.to_string()))?;
        match (response.id, response.result, response.error) {
            (Some(id), ..) if id != self.last_id => {
                Err(ClientError::Protocol(format!("it is for request {id}")))
            }
            (_, None, Some(error)) => Err(ClientError::Refused(error)),
            (Some(_), Some(result), None) => Ok(result),
            (None, Some(_), None) | (_, Some(_), Some(_)) | (_, None, None) => {
                Err(ClientError::Protocol("it has no result".into()))
            }
        }
    }
}

/// A read that took too long fails with `WouldBlock`, which tells nobody anything.
fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            io::Error::new(io::ErrorKind::TimedOut, "no answer came in time")
        }
        _ => error,
    }
}
