//! Reading an etcd, with the options of etcdctl.

use std::fs;
use std::path::Path;
use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, GetOptions, Identity, TlsOptions};
use tokio::runtime::{Builder, Runtime};

use crate::args::kube::EtcdArgs;
use crate::failure::Failure;

/// Keys asked for at once: values of a large cluster are not all in memory.
const PAGE: i64 = 500;

/// A key and its value.
pub(crate) struct Pair {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) revision: i64,
}

/// A connection that waits for its answers.
pub(crate) struct Etcd {
    runtime: Runtime,
    client: Client,
    timeout: Duration,
    endpoints: String,
}

impl Etcd {
    /// Connects, and logs in if a user is given.
    pub(crate) fn connect(args: &EtcdArgs, timeout: Duration) -> Result<Self, Failure> {
        let tls = tls(args)?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoints: Vec<String> = args
            .endpoints
            .iter()
            .map(|endpoint| {
                if endpoint.contains("://") {
                    endpoint.clone()
                } else {
                    format!("{scheme}://{endpoint}")
                }
            })
            .collect();
        if tls.is_none() && endpoints.iter().any(|url| url.starts_with("https://")) {
            return Err(Failure::Usage(
                "an https endpoint needs --cacert, the authority that signed its certificate"
                    .to_owned(),
            ));
        }
        let mut options = ConnectOptions::new()
            .with_connect_timeout(timeout)
            .with_timeout(timeout);
        if let Some(tls) = tls {
            options = options.with_tls(tls);
        }
        if let Some(user) = &args.user {
            let (name, password) = match (user.split_once(':'), &args.password) {
                (Some((name, password)), None) => (name, password),
                (None, Some(password)) => (user.as_str(), password.as_str()),
                (Some(_), Some(_)) => {
                    return Err(Failure::Usage(
                        "the password stands in --user or in --password, not in both".to_owned(),
                    ));
                }
                (None, None) => {
                    return Err(Failure::Usage(
                        "--user needs a password: NAME:PASSWORD, or --password".to_owned(),
                    ));
                }
            };
            options = options.with_user(name, password);
        }
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Etcd(format!("cannot start: {error}")))?;
        let shown = endpoints.join(",");
        let connecting = async {
            tokio::time::timeout(timeout, Client::connect(&endpoints, Some(options))).await
        };
        let client = match runtime.block_on(connecting) {
            Ok(connected) => connected.map_err(|error| fault(&shown, &error))?,
            Err(_) => return Err(late(&shown, timeout)),
        };
        Ok(Self {
            runtime,
            client,
            timeout,
            endpoints: shown,
        })
    }

    /// The value under a key.
    pub(crate) fn get(&mut self, key: &str) -> Result<Option<Pair>, Failure> {
        Ok(self.range(key, None)?.pairs.pop())
    }

    /// Gives every key under a prefix to `each`, in order and as of one revision.
    pub(crate) fn list(
        &mut self,
        prefix: &str,
        keys_only: bool,
        mut each: impl FnMut(Pair) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let end = after(prefix.as_bytes());
        let mut from = prefix.as_bytes().to_vec();
        let mut revision = 0;
        loop {
            let mut options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(PAGE)
                .with_revision(revision);
            if keys_only {
                options = options.with_keys_only();
            }
            let page = self.range(from, Some(options))?;
            revision = page.revision;
            let Some(last) = page.pairs.last() else {
                return Ok(());
            };
            from = last.key.clone().into_bytes();
            // The smallest key after the last.
            from.push(0);
            for pair in page.pairs {
                each(pair)?;
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    fn range(
        &mut self,
        key: impl Into<Vec<u8>>,
        options: Option<GetOptions>,
    ) -> Result<Page, Failure> {
        let (client, timeout) = (&mut self.client, self.timeout);
        let asking = async { tokio::time::timeout(timeout, client.get(key, options)).await };
        let mut answer = match self.runtime.block_on(asking) {
            Ok(answer) => answer.map_err(|error| fault(&self.endpoints, &error))?,
            Err(_) => return Err(late(&self.endpoints, timeout)),
        };
        let revision = answer
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision);
        Ok(Page {
            more: answer.more(),
            revision,
            pairs: answer
                .take_kvs()
                .into_iter()
                .map(|pair| {
                    let revision = pair.mod_revision();
                    let (key, value) = pair.into_key_value();
                    Pair {
                        key: String::from_utf8_lossy(&key).into_owned(),
                        value,
                        revision,
                    }
                })
                .collect(),
        })
    }
}

/// A part of a range.
struct Page {
    pairs: Vec<Pair>,
    more: bool,
    revision: i64,
}

/// The end of the range of keys that start with `prefix`.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // All keys.
    vec![0]
}

fn tls(args: &EtcdArgs) -> Result<Option<TlsOptions>, Failure> {
    let read = |path: &Path| {
        fs::read(path).map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
    };
    if args.cacert.is_none() && args.cert.is_none() {
        return Ok(None);
    }
    let mut tls = TlsOptions::new();
    match &args.cacert {
        Some(path) => tls = tls.ca_certificate(Certificate::from_pem(read(path)?)),
        None => {
            return Err(Failure::Usage(
                "--cert needs --cacert, the authority that signed the server's certificate"
                    .to_owned(),
            ));
        }
    }
    if let (Some(cert), Some(key)) = (&args.cert, &args.key) {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(Some(tls))
}

fn late(endpoints: &str, timeout: Duration) -> Failure {
    Failure::Etcd(format!(
        "etcd at {endpoints} does not answer within {} s",
        timeout.as_secs()
    ))
}

/// The innermost reason is the one that says something.
fn fault(endpoints: &str, error: &etcd_client::Error) -> Failure {
    use std::error::Error;
    let (mut reason, mut inner) = match error {
        etcd_client::Error::GRpcStatus(status) => (status.message().to_owned(), status.source()),
        other => (other.to_string(), other.source()),
    };
    while let Some(error) = inner {
        reason = error.to_string();
        inner = error.source();
    }
    // Not the number that std adds: the words say it.
    let reason = reason.split(" (os error").next().unwrap_or(&reason);
    Failure::Etcd(format!("etcd at {endpoints}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn a_range_ends_after_its_prefix() {
        assert_eq!(after(b"/registry/"), b"/registry0");
        assert_eq!(after(b"a\xff"), b"b");
        assert_eq!(after(b""), [0]);
        assert_eq!(after(b"\xff\xff"), [0]);
    }
}
