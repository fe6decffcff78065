//! Where settings come from: flags over environment over file over defaults.
//!
//! Every key is in `docs/configuration.md`, with its flag and variable.

mod values;

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Parser;
use encap::Family;
use vrouter_agent::bgp;
use vrouter_agent::node_status::Sockets;
use vrouter_agent::registration::{Choice, Registration};
use vrouter_agent::settings::{Admission, PodLink, Settings, TieBreak};
use vrouter_api::names::{check_interface, check_subdomain};
use vrouter_api::{ClientAuth, Observability};
use vrouter_datastore::{Connection, StoreError};

use self::values::Values;

/// Where the configuration file is looked for when none is named; it need not exist.
const DEFAULT_FILE: &str = "/etc/vrouter/vrouterd.yaml";
const DEFAULT_CACHE: &str = "/var/lib/vrouter/etcd.cache";
const DEFAULT_CALICO_STATE: &str = "/var/lib/calico";
const DEFAULT_CNI_STATE: &str = "/var/lib/vrouter/cni";
const DEFAULT_RESOLV_CONF: &str = "/etc/resolv.conf";
const DEFAULT_SOCKET: &str = "/run/vrouter/vrouterd.sock";
const DEFAULT_TUNNEL: &str = "tunl0";
const DEFAULT_BPF: &str = "/sys/fs/bpf/vrouter";
const DEFAULT_BUSY_POLL_US: u64 = 1_500;
const DEFAULT_FLOWS: usize = 262_144;
const DEFAULT_BUFFERS: usize = 1024;

/// The vRouter of one node: forwards its pods' packets, driven by Calico's resources.
#[derive(Debug, Parser)]
#[command(name = "vrouterd", version = vrouter_cli::VERSION, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Configuration file (YAML); every key has a flag here.
    #[arg(long, env = "VROUTER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check configuration and resources, print what is wrong, and exit.
    #[arg(long)]
    pub(crate) check: bool,
    /// Remove what vrouterd leaves on the node when it ends (veths of pods, programs, routes), and
    /// exit.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Print the manual page, or write it into a directory, and exit.
    #[arg(long, value_name = "DIR")]
    pub(crate) man: Option<Option<PathBuf>>,
    #[command(flatten)]
    values: Values,
}

/// A setting that cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file is not there or cannot be read.
    #[error("{file}: {source}")]
    Read {
        file: PathBuf,
        source: std::io::Error,
    },
    /// The file is no YAML of known keys.
    #[error("{file}: {reason}")]
    Parse {
        file: PathBuf,
        /// Line, key and what is wrong.
        reason: String,
    },
    /// The datastore's part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value that makes no sense.
    #[error("{key}: {value}: {reason}")]
    Value {
        /// The key as in the file.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is wrong, and what is allowed.
        reason: String,
    },
}

/// Everything the daemon needs to know, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where the resources are.
    pub(crate) store: Connection,
    /// What is known of a shared store, to start from when it is away.
    pub(crate) cache: Option<PathBuf>,
    /// The agent's part.
    pub(crate) agent: Settings,
    /// The control socket.
    pub(crate) control_socket: PathBuf,
    /// The CNI plugin's notes.
    pub(crate) cni_state_directory: PathBuf,
    /// What to log.
    pub(crate) log_level: tracing::Level,
}

impl Arguments {
    /// Reads the file and puts the three sources together.
    ///
    /// # Errors
    /// The first thing that is wrong, with its key.
    pub(crate) fn resolve(&self) -> Result<Config, ConfigError> {
        let file = match &self.config {
            Some(file) => read(file)?,
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => Values::default(),
        };
        let mut values = self.values.clone();
        // calico/node's own name for it.
        values.node_name = values.node_name.or_else(|| std::env::var("NODENAME").ok());
        let mut values = values.over(file);
        let backend = || std::env::var("CALICO_NETWORKING_BACKEND").ok();
        values.bird = values.bird.or_else(|| whose(&backend()?));
        values.check()
    }
}

fn read(file: &Path) -> Result<Values, ConfigError> {
    let text = fs::read_to_string(file).map_err(|source| ConfigError::Read {
        file: file.to_owned(),
        source,
    })?;
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(Values::default());
    }
    serde_saphyr::from_str(&text).map_err(|error| ConfigError::Parse {
        file: file.to_owned(),
        reason: error.to_string(),
    })
}

impl Values {
    /// The store that these settings name, or calicoctl's file if they name none.
    fn store(&self) -> Result<Connection, ConfigError> {
        let named = self.directory.is_some()
            || self.datastore_type.is_some()
            || self.etcd_endpoints.is_some();
        if !named && let Some(file) = Connection::default_file() {
            return Ok(Connection::of_file(file)?);
        }
        let path = |path: &Option<PathBuf>| path.as_ref().map(|it| it.display().to_string());
        let value = |name: &str| match name {
            "DATASTORE_TYPE" => self.datastore_type.clone(),
            "VROUTER_DIRECTORY" => path(&self.directory),
            "ETCD_ENDPOINTS" => self.etcd_endpoints.clone(),
            "ETCD_USERNAME" => self.etcd_username.clone(),
            "ETCD_PASSWORD" => self.etcd_password.clone(),
            "ETCD_KEY_FILE" => path(&self.etcd_key_file),
            "ETCD_CERT_FILE" => path(&self.etcd_cert_file),
            "ETCD_CA_CERT_FILE" => path(&self.etcd_ca_cert_file),
            _ => None,
        };
        Ok(Connection::of_environment(&value)?)
    }

    /// What is done about BGP, for a node with this name and control socket.
    fn bgp(&self, node: &str, control_socket: &Path) -> Result<bgp::Settings, ConfigError> {
        let directory = control_socket.with_file_name("bird");
        let mode = match (self.bird.as_deref(), &self.bird_socket) {
            (None | Some("off"), _) => bgp::Mode::Off,
            (Some("managed"), None) => bgp::Mode::Managed { directory },
            (Some("managed"), Some(socket)) => {
                let reason = "means nothing with bird: managed".to_owned();
                return Err(bad("birdSocket", &socket.display().to_string())(reason));
            }
            (Some("external"), socket) => bgp::Mode::External {
                directory,
                sockets: match socket {
                    Some(socket) => vec![socket.clone()],
                    None => Sockets::default().v4,
                },
            },
            (Some(other), _) => {
                let reason = "must be managed, external or off".to_owned();
                return Err(bad("bird", other)(reason));
            }
        };
        let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let router_id = set(&self.router_id);
        let router_id = router_id.map(|text| text.parse().map_err(bad("routerId", &text)));
        let cluster_ips = set(&self.advertise_cluster_ips).map(|text| {
            let reason = |_| "must be a prefix such as 10.96.0.0/12".to_owned();
            let net = text.parse().map_err(reason);
            net.map_err(bad("advertiseClusterIps", &text))
        });
        Ok(bgp::Settings {
            mode,
            node: vrouter_bgp::Settings {
                node: node.to_owned(),
                router_id: router_id.transpose()?,
                advertise_cluster_ips: cluster_ips.transpose()?,
                namespace: set(&self.secret_namespace).unwrap_or_default(),
            },
        })
    }

    /// What is served to those who watch the node, as far as the process decides it.
    fn observability(&self) -> Result<Observability, ConfigError> {
        let auth = self.prometheus_metrics_client_auth.as_deref();
        let auth = auth.map(|text| {
            let mut names = ClientAuth::NAMES.iter();
            let found = names.find(|(name, _)| *name == text);
            let names = ClientAuth::NAMES.map(|(name, _)| name).join(", ");
            let fault = bad("prometheusMetricsClientAuth", text);
            found.map_or_else(
                || Err(fault(format!("must be one of {names}"))),
                |it| Ok(it.1),
            )
        });
        let file =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let settings = Observability {
            prometheus_metrics_enabled: self.prometheus_metrics_enabled,
            prometheus_metrics_host: self.prometheus_metrics_host.clone(),
            prometheus_metrics_port: self.prometheus_metrics_port,
            prometheus_metrics_cert_file: file(&self.prometheus_metrics_cert_file),
            prometheus_metrics_key_file: file(&self.prometheus_metrics_key_file),
            prometheus_metrics_ca_file: file(&self.prometheus_metrics_ca_file),
            prometheus_metrics_client_auth: auth.transpose()?,
            health_enabled: self.health_enabled,
            health_host: self.health_host.clone(),
            health_port: self.health_port,
            ..Observability::default()
        };
        for (key, port) in [
            ("prometheusMetricsPort", settings.prometheus_metrics_port),
            ("healthPort", settings.health_port),
        ] {
            if let Some(port) = port.filter(|port| !(1..=65_535).contains(port)) {
                return Err(bad(key, &port.to_string())("must be 1–65535".into()));
            }
        }
        Ok(settings)
    }

    fn check(self) -> Result<Config, ConfigError> {
        let observability = self.observability()?;
        let store = self.store()?;
        let method = |key, value: &Option<String>, default: &str| {
            let text = value.as_deref().unwrap_or(default);
            text.parse().map_err(bad(key, text))
        };
        let choice = |key, value: &Option<String>, v6| {
            let text = value.as_deref().unwrap_or_default();
            let choice: Choice = text.parse().map_err(bad(key, text))?;
            if choice.is_of_other_family(v6) {
                return Err(bad(key, text)("is of the other address family".into()));
            }
            Ok(choice)
        };
        let (ip, ip6) = (
            choice("ip", &self.ip, Family::V4)?,
            choice("ip6", &self.ip6, Family::V6)?,
        );
        let registration = Registration {
            ip,
            ip6,
            register: self.register_node.unwrap_or(store.is_shared()),
            v4: method(
                "ipAutodetectionMethod",
                &self.ip_autodetection_method,
                "first-found",
            )?,
            v6: method(
                "ip6AutodetectionMethod",
                &self.ip6_autodetection_method,
                // As in Calico: who asks for it does not have to say how.
                if ip6 == Choice::Found {
                    "first-found"
                } else {
                    "none"
                },
            )?,
        };
        let node = match &self.node_name {
            Some(name) => name.clone(),
            None => fs::read_to_string("/proc/sys/kernel/hostname")
                .map_err(|source| ConfigError::Read {
                    file: "/proc/sys/kernel/hostname".into(),
                    source,
                })?
                .trim()
                .to_lowercase(),
        };
        check_subdomain(&node).map_err(bad("nodeName", &node))?;
        let control_socket = self.control_socket.clone();
        let control_socket = control_socket.unwrap_or_else(|| DEFAULT_SOCKET.into());
        let bgp = self.bgp(&node, &control_socket)?;
        let tunnel = self
            .tunnel_interface
            .unwrap_or_else(|| DEFAULT_TUNNEL.to_owned());
        check_interface(&tunnel).map_err(bad("tunnelInterface", &tunnel))?;
        if let Some(underlay) = &self.underlay_interface {
            check_interface(underlay).map_err(bad("underlayInterface", underlay))?;
            if *underlay == tunnel {
                return Err(bad("underlayInterface", underlay)(
                    "is also the tunnelInterface".into(),
                ));
            }
        }
        let pod_link = self.pod_link.as_deref().unwrap_or_default();
        let pod_link = match pod_link {
            "" => PodLink::default(),
            text => text.parse().map_err(bad("podLink", text))?,
        };
        let flow_offload = match self.flow_offload.as_deref() {
            None | Some("" | "Enabled") => true,
            Some("Disabled") => false,
            Some(other) => {
                let reason = "must be Enabled or Disabled".to_owned();
                return Err(bad("flowOffload", other)(reason));
            }
        };
        let bpf_directory = self.bpf_directory.unwrap_or_else(default_bpf_directory);
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = self.workers.unwrap_or(cores.saturating_sub(1).max(1));
        range("workers", workers, 1, 64)?;
        let pin_workers = self.pin_workers.unwrap_or(false);
        if pin_workers && workers > cores {
            let reason = format!("pinWorkers wants a core for each worker; there are {cores}");
            return Err(bad("workers", &workers.to_string())(reason));
        }
        let busy_poll_us = self.busy_poll_microseconds.unwrap_or(DEFAULT_BUSY_POLL_US);
        range(
            "busyPollMicroseconds",
            busy_poll_us as usize,
            0,
            1_000_000_000,
        )?;
        let policy_tie_break = match self.policy_tie_break.as_deref() {
            None | Some("name-first") => TieBreak::NameFirst,
            Some("namespace-first") => TieBreak::NamespaceFirst,
            Some(other) => {
                let reason = "must be name-first or namespace-first".into();
                return Err(bad("policyTieBreak", other)(reason));
            }
        };
        let flow_table_size = self.flow_table_size.unwrap_or(DEFAULT_FLOWS);
        range("flowTableSize", flow_table_size, 64, 1 << 28)?;
        let new_flows = admission(self.new_flows_per_second, self.new_flows_burst)?;
        let buffers = self.buffers.unwrap_or(DEFAULT_BUFFERS);
        range("buffers", buffers, 128, 65_536)?;
        let level = self.log_level.unwrap_or_else(|| "info".to_owned());
        let log_level = level
            .parse()
            .map_err(|_| bad("logLevel", &level)("trace, debug, info, warn or error".into()))?;
        let cache = self.cache_file.unwrap_or_else(|| DEFAULT_CACHE.into());
        let mut sysctl_record = control_socket.clone().into_os_string();
        sysctl_record.push(".sysctls");
        Ok(Config {
            cache: store.is_shared().then_some(cache),
            store,
            agent: Settings {
                node,
                registration,
                bird: match &bgp.mode {
                    bgp::Mode::Managed { directory } => Some(directory.join("bird.ctl")),
                    bgp::Mode::External { .. } | bgp::Mode::Off => self.bird_socket,
                }
                .map_or_else(Sockets::default, |path| Sockets {
                    v4: vec![path],
                    v6: Vec::new(),
                }),
                bgp,
                workers,
                pin_workers,
                busy_poll_us,
                pod_link,
                flow_offload,
                bpf_directory,
                tunnel_interface: tunnel,
                sysctl_record: sysctl_record.into(),
                underlay_interface: self.underlay_interface,
                policy_tie_break,
                flow_table_size,
                flows_per_endpoint: self.flows_per_endpoint.filter(|limit| *limit > 0),
                new_flows,
                calico_state_directory: self
                    .calico_state_directory
                    .unwrap_or_else(|| DEFAULT_CALICO_STATE.into()),
                names: self.names.unwrap_or(false).then(|| {
                    let file = self.resolv_conf;
                    file.unwrap_or_else(|| DEFAULT_RESOLV_CONF.into())
                }),
                reset_cut_connections: self.reset_cut_connections.unwrap_or(false),
                observability,
                buffers,
            },
            control_socket,
            cni_state_directory: self
                .cni_state_directory
                .unwrap_or_else(|| DEFAULT_CNI_STATE.into()),
            log_level,
        })
    }
}

/// A namespace's interfaces have numbers of their own, so that programs of two must not meet.
fn default_bpf_directory() -> PathBuf {
    let inode = |path: &str| fs::metadata(path).ok().map(|file| file.ino());
    match (inode("/proc/self/ns/net"), inode("/proc/1/ns/net")) {
        (Some(ours), Some(hosts)) if ours != hosts => format!("{DEFAULT_BPF}-{ours}").into(),
        _ => DEFAULT_BPF.into(),
    }
}

/// Whose BIRD calico/node would run with a value of `CALICO_NETWORKING_BACKEND`.
fn whose(backend: &str) -> Option<String> {
    match backend {
        "" => None,
        "none" | "vxlan" => Some("off".to_owned()),
        _ => Some("managed".to_owned()),
    }
}

/// The rate of new sessions, if there is to be one.
fn admission(
    per_second: Option<u32>,
    burst: Option<u32>,
) -> Result<Option<Admission>, ConfigError> {
    const MOST: usize = 1_000_000_000;
    let per_second = per_second.unwrap_or(0);
    range("newFlowsPerSecond", per_second as usize, 0, MOST)?;
    if per_second == 0 {
        return match burst {
            Some(burst) => Err(bad("newFlowsBurst", &burst.to_string())(
                "means nothing without newFlowsPerSecond".into(),
            )),
            None => Ok(None),
        };
    }
    let burst = burst.unwrap_or(per_second);
    range("newFlowsBurst", burst as usize, 1, MOST)?;
    Ok(Some(Admission { per_second, burst }))
}

fn bad<'a>(key: &'static str, value: &'a str) -> impl Fn(String) -> ConfigError + 'a {
    move |reason| ConfigError::Value {
        key,
        value: value.to_owned(),
        reason,
    }
}

fn range(key: &'static str, value: usize, least: usize, most: usize) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(bad(key, &value.to_string())(format!(
        "must be {least}–{most}"
    )))
}

#[cfg(test)]
mod tests;
