//! vrouterd, asked over its control socket.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vrouter_control::model::{EndpointState, Mac, Version};
use vrouter_control::params::{AwaitEndpoint, GetVersion};
use vrouter_control::{Call, Client, ClientError, ErrorCode};

use crate::error::{CniError, Code};

/// How long an answer that needs no waiting may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The daemon of this node.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    pub(crate) fn new(socket: impl Into<PathBuf>) -> Daemon {
        Daemon {
            socket: socket.into(),
        }
    }

    fn ask<P: Call>(&self, params: &P, limit: Duration) -> Result<P::Output, ClientError> {
        Client::connect_with_timeout(&self.socket, limit)?.call(params)
    }

    /// Which node it is, if it answers.
    pub(crate) fn node_name(&self) -> Option<String> {
        let version = self.ask(&GetVersion {}, ANSWER).ok()?;
        Some(version.node)
    }

    /// Asks for its version, again until it answers or time is up.
    pub(crate) fn version(&self, limit: Duration) -> Result<Version, CniError> {
        self.patiently(limit, || self.ask(&GetVersion {}, ANSWER))
    }

    /// Waits until an endpoint is live.
    pub(crate) fn await_live(
        &self,
        endpoint: &str,
        netns: &str,
        mac: Mac,
        limit: Duration,
    ) -> Result<EndpointState, CniError> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let params = AwaitEndpoint {
                endpoint: endpoint.to_owned(),
                netns: Some(netns.to_owned()),
                mac: Some(mac),
                gone: false,
                timeout_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
            };
            let state = self.patiently(left, || self.ask(&params, left + ANSWER))?;
            if state.live {
                return Ok(state);
            }
            if Instant::now() >= deadline {
                let message = format!(
                    "endpoint {endpoint} is not live within {} s (policy_setup_timeout_seconds)",
                    limit.as_secs()
                );
                return Err(CniError::new(Code::TryAgain, message)
                    .with_details(state.reason.unwrap_or_default()));
            }
        }
    }

    /// Whether an endpoint is live now.
    pub(crate) fn state(&self, endpoint: &str) -> Result<EndpointState, CniError> {
        let params = AwaitEndpoint {
            endpoint: endpoint.to_owned(),
            ..AwaitEndpoint::default()
        };
        self.patiently(ANSWER, || self.ask(&params, ANSWER))
    }

    /// Waits until an endpoint has no device any more. `false` when it still has one at the end;
    /// a daemon that is not there holds none.
    pub(crate) fn await_gone(&self, endpoint: &str, limit: Duration) -> bool {
        let params = AwaitEndpoint {
            endpoint: endpoint.to_owned(),
            gone: true,
            timeout_ms: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
            ..AwaitEndpoint::default()
        };
        match self.ask(&params, limit + ANSWER) {
            Ok(state) => state.interface.is_none(),
            Err(_) => true,
        }
    }

    /// Does something again while the daemon is not there or too busy.
    fn patiently<T>(
        &self,
        limit: Duration,
        ask: impl Fn() -> Result<T, ClientError>,
    ) -> Result<T, CniError> {
        let deadline = Instant::now() + limit;
        loop {
            let error = match ask() {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let passing = match &error {
                ClientError::Connect { source, .. } => {
                    source.kind() != std::io::ErrorKind::PermissionDenied
                }
                ClientError::Broken(_) => true,
                ClientError::Protocol(_) => false,
                ClientError::Refused(body) => body.code == ErrorCode::Unavailable,
            };
            if !passing || Instant::now() >= deadline {
                let message = format!(
                    "vrouterd does not answer on {} (control_socket): start it, or name its socket",
                    self.socket.display()
                );
                let code = if passing { Code::TryAgain } else { Code::Io };
                return Err(CniError::new(code, message).with_details(error.to_string()));
            }
            sleep(PAUSE);
        }
    }
}
