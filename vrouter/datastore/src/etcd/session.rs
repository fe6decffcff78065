//! One endpoint of several at a time, and the next one when it fails.
//!
//! The client library would balance over all endpoints; one that hangs would then delay every
//! other call. Here a call that fails or takes too long moves everybody to the next endpoint.

use std::future::Future;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::connection::EtcdSettings;
use crate::error::StoreError;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);
/// How long calls are tried again, over all endpoints.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries of all endpoints.
const PAUSE: Duration = Duration::from_millis(200);
/// A connection nothing is heard of for these two together is dead.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(3));
/// Answers of a page of large resources.
pub(super) const LARGEST_ANSWER: usize = 1 << 30;

/// Why a call failed.
pub(super) enum Failure {
    /// The store said no, and would say so again.
    Final(StoreError),
    /// Another endpoint or another time may do.
    Passing(String),
}

/// The endpoints and who talks to one of them.
pub(super) struct Session {
    settings: EtcdSettings,
    /// Which endpoint is in use; whoever finds it failing moves on.
    current: AtomicUsize,
    client: Mutex<Option<(usize, Client)>>,
}

impl Session {
    pub(super) fn new(settings: EtcdSettings) -> Session {
        Session {
            settings,
            current: AtomicUsize::new(0),
            client: Mutex::new(None),
        }
    }

    /// The endpoints, for people.
    pub(super) fn name(&self) -> String {
        self.settings.endpoints.join(",")
    }

    /// Calls until an endpoint answers: each is tried once, and again for as long as `patience`
    /// says. `call` learns which try it is: a change that was tried
    /// before may have been made.
    pub(super) async fn call<T, F>(
        &self,
        patience: Duration,
        call: impl Fn(Client, usize) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let deadline = Instant::now() + patience;
        let (mut tries, mut calls, mut distrusts) = (0, 0, 0);
        loop {
            let reason = match self.client().await {
                Ok((index, client)) => {
                    calls += 1;
                    match timeout(CALL, call(client, calls - 1)).await {
                        Ok(Ok(answer)) => return Ok(answer),
                        Ok(Err(error)) => match classify(&error) {
                            Failure::Final(error) => return Err(error),
                            Failure::Passing(reason) => {
                                self.failed(index);
                                reason
                            }
                        },
                        Err(_) => {
                            self.failed(index);
                            format!("no answer in {} s", CALL.as_secs())
                        }
                    }
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(reason)) => reason,
            };
            tries += 1;
            distrusts = if is_distrust(&reason) {
                distrusts + 1
            } else {
                0
            };
            // Certificates do not become right by waiting, and no endpoint has others.
            if distrusts >= self.settings.endpoints.len() {
                return Err(StoreError::Unauthorized { reason });
            }
            if tries >= self.settings.endpoints.len() && Instant::now() >= deadline {
                return Err(StoreError::Unreachable {
                    store: self.name(),
                    reason,
                });
            }
            if tries % self.settings.endpoints.len() == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    /// A client of the current endpoint, and which that is.
    pub(super) async fn client(&self) -> Result<(usize, Client), Failure> {
        let index = self.current.load(Ordering::Relaxed) % self.settings.endpoints.len();
        if let Some((of, client)) = &*self.lock()
            && *of == index
        {
            return Ok((index, client.clone()));
        }
        match self.connect(index).await {
            Ok(client) => {
                *self.lock() = Some((index, client.clone()));
                Ok((index, client))
            }
            Err(failure) => {
                self.failed(index);
                Err(failure)
            }
        }
    }

    /// Moves on from an endpoint, unless somebody did already.
    pub(super) fn failed(&self, index: usize) {
        let next = (index + 1) % self.settings.endpoints.len();
        // Only a hint: who reads the old index tries once more in vain.
        let _ = self
            .current
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
        let mut client = self.lock();
        if client.as_ref().is_some_and(|(of, _)| *of == index) {
            *client = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(usize, Client)>> {
        self.client
            .lock()
            .expect("nothing panics while it holds this")
    }

    async fn connect(&self, index: usize) -> Result<Client, Failure> {
        let endpoint = &self.settings.endpoints[index];
        let passing = |reason: String| Failure::Passing(format!("{endpoint}: {reason}"));
        let address = endpoint
            .split_once("://")
            .map_or(&**endpoint, |(_, rest)| rest);
        // The library would go on trying in the background where nobody listens.
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(passing(error.to_string())),
            Err(_) => return Err(passing("no connection in time".to_owned())),
        }
        let connecting = Client::connect([endpoint.as_str()], Some(self.options(endpoint)));
        match timeout(CALL, connecting).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => match classify(&error) {
                Failure::Final(error) => Err(Failure::Final(error)),
                Failure::Passing(reason) => Err(passing(reason)),
            },
            Err(_) => Err(passing("no answer in time".to_owned())),
        }
    }

    fn options(&self, endpoint: &str) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some((name, password)) = &self.settings.user {
            options = options.with_user(name.clone(), password.clone());
        }
        if endpoint.starts_with("https://") {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &self.settings.ca {
                tls = tls.ca_certificate(Certificate::from_pem(ca));
            }
            if let Some((certificate, key)) = &self.settings.identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
        options
    }
}

/// What an error means to us.
pub(super) fn classify(error: &Error) -> Failure {
    let Error::GRpcStatus(status) = error else {
        return match error {
            Error::InvalidArgs(reason) => Failure::Final(StoreError::Setting {
                setting: "etcd".to_owned(),
                reason: reason.clone(),
            }),
            Error::TransportError(cause) => Failure::Passing(causes(cause)),
            _ => Failure::Passing(error.to_string()),
        };
    };
    let message = status.message();
    // A token outlives neither etcd nor its own time: another connection gets another one.
    if message.contains("invalid auth token") {
        return Failure::Passing(message.to_owned());
    }
    // etcd has codes of gRPC's for these only in part.
    let denied = [
        "authentication failed",
        "permission denied",
        "user name is empty",
        "authentication is not enabled",
    ];
    if denied.iter().any(|text| message.contains(text)) {
        return Failure::Final(StoreError::Unauthorized {
            reason: message.to_owned(),
        });
    }
    let unauthorized = ["Unauthenticated", "PermissionDenied"];
    let code = format!("{:?}", status.code());
    if unauthorized.contains(&&*code) {
        return Failure::Final(StoreError::Unauthorized {
            reason: message.to_owned(),
        });
    }
    if code == "InvalidArgument" || code == "OutOfRange" || code == "FailedPrecondition" {
        return Failure::Final(StoreError::Setting {
            setting: "etcd".to_owned(),
            reason: message.to_owned(),
        });
    }
    let reason = std::error::Error::source(status).map_or_else(|| message.to_owned(), causes);
    Failure::Passing(format!("{code}: {reason}"))
}

/// An error and what lies behind it, each said once.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !said.iter().any(|before| before.contains(&text)) {
            said.push(text);
        }
        next = error.source();
    }
    said.join(": ")
}

/// Whether one side does not believe the other's certificate, in the words of the TLS library.
fn is_distrust(reason: &str) -> bool {
    const ALERTS: [&str; 5] = [
        "CertificateRequired",
        "BadCertificate",
        "CertificateUnknown",
        "CertificateExpired",
        "UnknownCA",
    ];
    let alert = |it: &str| reason.contains(&format!("received fatal alert: {it}"));
    reason.contains("invalid peer certificate") || ALERTS.iter().any(|it| alert(it))
}
