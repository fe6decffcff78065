//! Which store: what Calico's tools read from the environment and from
//! `/etc/calico/calicoctl.cfg`, and a directory beside.
//!
//! As with calicoctl, a configuration file that is there says everything and the environment
//! nothing; the default file need not be there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::directory::Directory;
use crate::error::StoreError;
use crate::etcd::EtcdStore;
use crate::store::Datastore;

/// Where calicoctl looks.
const DEFAULT_FILE: &str = "/etc/calico/calicoctl.cfg";
/// Where resource files are when nobody says otherwise.
const DEFAULT_DIRECTORY: &str = "/etc/vrouter/resources";
/// Where etcd listens when nobody says otherwise.
const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:2379";

/// A store and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Resource files.
    Directory(PathBuf),
    /// etcd v3, in Calico's layout.
    Etcd(EtcdSettings),
}

/// How an etcd is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EtcdSettings {
    /// `http://host:port` or `https://host:port`; any of them will do.
    pub endpoints: Vec<String>,
    /// Name and password.
    pub user: Option<(String, String)>,
    /// PEM of the authority that signed the servers' certificates.
    pub ca: Option<Vec<u8>>,
    /// PEM of our certificate and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Looks up a variable of the environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A `CalicoAPIConfig`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    spec: Settings,
}

/// Everything that can be said of a connection, as texts.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    datastore_type: Option<String>,
    /// Ours: Calico has no such store.
    directory: Option<PathBuf>,
    etcd_endpoints: Option<String>,
    etcd_discovery_srv: Option<String>,
    etcd_username: Option<String>,
    etcd_password: Option<String>,
    etcd_key_file: Option<PathBuf>,
    etcd_cert_file: Option<PathBuf>,
    #[serde(rename = "etcdCACertFile")]
    etcd_ca_cert_file: Option<PathBuf>,
    etcd_key: Option<String>,
    etcd_cert: Option<String>,
    #[serde(rename = "etcdCACert")]
    etcd_ca_cert: Option<String>,
    // Of the store that is refused; a file that has them besides is no error.
    kubeconfig: Option<String>,
    #[serde(rename = "k8sAPIEndpoint")]
    k8s_api_endpoint: Option<String>,
    k8s_key_file: Option<String>,
    k8s_cert_file: Option<String>,
    #[serde(rename = "k8sCAFile")]
    k8s_ca_file: Option<String>,
    #[serde(rename = "k8sAPIToken")]
    k8s_api_token: Option<String>,
    k8s_insecure_skip_tls_verify: Option<bool>,
}

impl Connection {
    /// What this process was told: `file` as named on the command line, else calicoctl's default
    /// file if it is there, else the environment.
    ///
    /// # Errors
    /// [`StoreError::Setting`] or [`StoreError::File`].
    pub fn of_process(file: Option<&Path>) -> Result<Connection, StoreError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        match file {
            Some(file) => Connection::of_file(file),
            None => match Connection::default_file() {
                Some(file) => Connection::of_file(file),
                None => Connection::of_environment(&variable),
            },
        }
    }

    /// calicoctl's default file, if it is there.
    #[must_use]
    pub fn default_file() -> Option<&'static Path> {
        let file = Path::new(DEFAULT_FILE);
        file.exists().then_some(file)
    }

    /// What a file of calicoctl's says.
    ///
    /// # Errors
    /// [`StoreError::Setting`] or [`StoreError::File`].
    pub fn of_file(file: &Path) -> Result<Connection, StoreError> {
        let shown = file.display().to_string();
        let setting = |reason: String| StoreError::Setting {
            setting: shown.clone(),
            reason,
        };
        let text = fs::read_to_string(file).map_err(|source| StoreError::File {
            path: file.to_owned(),
            source,
        })?;
        let file: File =
            serde_saphyr::from_str(&text).map_err(|error| setting(error.to_string()))?;
        let _ = file.metadata;
        if file.api_version != "projectcalico.org/v3" {
            return Err(setting(format!(
                "invalid apiVersion {:?}: must be projectcalico.org/v3",
                file.api_version
            )));
        }
        if file.kind != "CalicoAPIConfig" {
            return Err(setting(format!(
                "invalid kind {:?}: must be CalicoAPIConfig",
                file.kind
            )));
        }
        file.spec.connection()
    }

    /// What the environment says.
    ///
    /// # Errors
    /// [`StoreError::Setting`].
    pub fn of_environment(variable: Lookup<'_>) -> Result<Connection, StoreError> {
        // calicoctl takes its variables with the prefix CALICO_ too.
        let text = |name: &str| variable(name).or_else(|| variable(&format!("CALICO_{name}")));
        let path = |name: &str| text(name).map(PathBuf::from);
        Settings {
            datastore_type: text("DATASTORE_TYPE"),
            directory: variable("VROUTER_DIRECTORY").map(PathBuf::from),
            etcd_endpoints: text("ETCD_ENDPOINTS"),
            etcd_discovery_srv: text("ETCD_DISCOVERY_SRV"),
            etcd_username: text("ETCD_USERNAME"),
            etcd_password: text("ETCD_PASSWORD"),
            etcd_key_file: path("ETCD_KEY_FILE"),
            etcd_cert_file: path("ETCD_CERT_FILE"),
            etcd_ca_cert_file: path("ETCD_CA_CERT_FILE"),
            etcd_key: text("ETCD_KEY"),
            etcd_cert: text("ETCD_CERT"),
            etcd_ca_cert: text("ETCD_CA_CERT"),
            ..Settings::default()
        }
        .connection()
    }

    /// Where it is, for people.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Connection::Directory(path) => path.display().to_string(),
            Connection::Etcd(etcd) => etcd.endpoints.join(","),
        }
    }

    /// Whether all nodes share the store over the network, so that each writes its own part of it
    /// and keeps what it knows for when the store is away.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        match self {
            Connection::Directory(_) => false,
            Connection::Etcd(_) => true,
        }
    }

    /// Opens the store; an etcd is not asked yet.
    ///
    /// # Errors
    /// When the directory is not there, or no thread can be started.
    pub fn open(&self) -> Result<Arc<dyn Datastore>, StoreError> {
        self.open_cached(None)
    }

    /// The same; what watches of an etcd know is also kept in a file, to start from when etcd is
    /// away.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open_cached(&self, cache: Option<&Path>) -> Result<Arc<dyn Datastore>, StoreError> {
        match self {
            Connection::Directory(path) => Ok(Arc::new(Directory::open(path)?)),
            Connection::Etcd(etcd) => {
                let cache = cache.map(Path::to_owned);
                Ok(Arc::new(EtcdStore::new(etcd.clone(), cache)?))
            }
        }
    }
}

impl Settings {
    fn connection(self) -> Result<Connection, StoreError> {
        let etcd_named = self.etcd_endpoints.is_some() || self.etcd_discovery_srv.is_some();
        match self.datastore_type.as_deref() {
            Some("directory") => Ok(self.directory()),
            Some("etcdv3") => self.etcd().map(Connection::Etcd),
            // Calico's default is etcd: who names one means it.
            None | Some("") if etcd_named => self.etcd().map(Connection::Etcd),
            None | Some("") => Ok(self.directory()),
            Some("kubernetes") => Err(StoreError::Setting {
                setting: "DATASTORE_TYPE".to_owned(),
                reason: "kubernetes is not supported yet: use etcdv3 or directory".to_owned(),
            }),
            Some(other) => Err(StoreError::Setting {
                setting: "DATASTORE_TYPE".to_owned(),
                reason: format!("unknown datastore type {other:?}: must be directory or etcdv3"),
            }),
        }
    }

    fn directory(self) -> Connection {
        let path = self.directory.unwrap_or_else(|| DEFAULT_DIRECTORY.into());
        Connection::Directory(path)
    }

    fn etcd(self) -> Result<EtcdSettings, StoreError> {
        let refuse = |setting: &str, reason: String| {
            Err(StoreError::Setting {
                setting: setting.to_owned(),
                reason,
            })
        };
        if self.etcd_discovery_srv.is_some() {
            return refuse(
                "ETCD_DISCOVERY_SRV",
                "is not supported: list the endpoints in ETCD_ENDPOINTS".to_owned(),
            );
        }
        let listed = self
            .etcd_endpoints
            .unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        let mut endpoints = Vec::new();
        for endpoint in listed.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let address = endpoint
                .strip_prefix("http://")
                .or_else(|| endpoint.strip_prefix("https://"))
                .map(|rest| rest.trim_end_matches('/'));
            if !address.is_some_and(|rest| rest.contains(':') && !rest.contains('/')) {
                return refuse(
                    "ETCD_ENDPOINTS",
                    format!("{endpoint:?} must be http(s)://host:port"),
                );
            }
            endpoints.push(endpoint.trim_end_matches('/').to_owned());
        }
        if endpoints.is_empty() {
            return refuse("ETCD_ENDPOINTS", "names no endpoint".to_owned());
        }
        let ca = pem("ETCD_CA_CERT", self.etcd_ca_cert, self.etcd_ca_cert_file)?;
        let certificate = pem("ETCD_CERT", self.etcd_cert, self.etcd_cert_file)?;
        let key = pem("ETCD_KEY", self.etcd_key, self.etcd_key_file)?;
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => {
                return refuse("ETCD_KEY_FILE", "must be set beside ETCD_CERT_FILE".into());
            }
            (None, Some(_)) => {
                return refuse("ETCD_CERT_FILE", "must be set beside ETCD_KEY_FILE".into());
            }
        };
        let user = match (self.etcd_username, self.etcd_password) {
            (Some(name), password) => Some((name, password.unwrap_or_default())),
            (None, None) => None,
            (None, Some(_)) => {
                return refuse("ETCD_USERNAME", "must be set beside ETCD_PASSWORD".into());
            }
        };
        Ok(EtcdSettings {
            endpoints,
            user,
            ca,
            identity,
        })
    }
}

/// PEM given in place or in a file.
fn pem(
    name: &str,
    inline: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<Vec<u8>>, StoreError> {
    match (inline, file) {
        (Some(_), Some(_)) => Err(StoreError::Setting {
            setting: name.to_owned(),
            reason: format!("must not be set beside {name}_FILE"),
        }),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(path)) => match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(StoreError::Setting {
                setting: format!("{name}_FILE"),
                reason: format!("{}: {error}", path.display()),
            }),
        },
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Result<Connection, StoreError> {
        Connection::of_environment(&|name| {
            let found = pairs.iter().find(|(have, _)| *have == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_says_which() {
        let directory = environment(&[]).expect("the default");
        assert_eq!(directory, Connection::Directory(DEFAULT_DIRECTORY.into()));
        let Ok(Connection::Etcd(etcd)) = environment(&[
            ("ETCD_ENDPOINTS", "http://a:1, https://b:2/"),
            ("ETCD_USERNAME", "root"),
        ]) else {
            panic!("endpoints mean etcd");
        };
        assert_eq!(etcd.endpoints, ["http://a:1", "https://b:2"]);
        assert_eq!(etcd.user, Some(("root".to_owned(), String::new())));
        let etcd = environment(&[("CALICO_DATASTORE_TYPE", "etcdv3")]);
        assert!(matches!(etcd, Ok(Connection::Etcd(etcd)) if etcd.endpoints == [DEFAULT_ENDPOINT]));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (pairs, name) in [
            (&[("DATASTORE_TYPE", "kubernetes")][..], "DATASTORE_TYPE"),
            (&[("DATASTORE_TYPE", "etcdv2")], "etcdv2"),
            (&[("ETCD_ENDPOINTS", "a:1")], "ETCD_ENDPOINTS"),
            (&[("ETCD_ENDPOINTS", ",")], "ETCD_ENDPOINTS"),
            (&[("ETCD_DISCOVERY_SRV", "x")], "ETCD_DISCOVERY_SRV"),
            (
                &[("DATASTORE_TYPE", "etcdv3"), ("ETCD_CERT", "x")],
                "ETCD_KEY_FILE",
            ),
            (
                &[("DATASTORE_TYPE", "etcdv3"), ("ETCD_PASSWORD", "x")],
                "ETCD_USERNAME",
            ),
            (
                &[("DATASTORE_TYPE", "etcdv3"), ("ETCD_KEY_FILE", "/nowhere")],
                "/nowhere",
            ),
        ] {
            let error = environment(pairs).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_file_says_all() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("calicoctl.cfg");
        let read = |text: &str| {
            fs::write(&file, text).expect("the file is ours");
            Connection::of_file(&file)
        };
        let head = "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\n";
        let etcd = read(&format!(
            "{head}metadata:\nspec:\n  datastoreType: etcdv3\n  etcdEndpoints: \"https://a:1\"\n  \
             etcdCACert: pem\n"
        ));
        let Ok(Connection::Etcd(etcd)) = etcd else {
            panic!("{etcd:?}");
        };
        assert_eq!(etcd.ca.as_deref(), Some(&b"pem"[..]));
        for (text, reason) in [
            (format!("{head}spec: {{etcdEndpoint: x}}\n"), "etcdEndpoint"),
            (
                "apiVersion: v1\nkind: CalicoAPIConfig\n".into(),
                "apiVersion",
            ),
            (
                "apiVersion: projectcalico.org/v3\nkind: Pod\n".into(),
                "kind",
            ),
            (String::new(), "calicoctl.cfg"),
        ] {
            let error = read(&text).expect_err(reason).to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
