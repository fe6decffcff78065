//! The plugin's config: Calico's keys, and a few of ours.
//!
//! What cannot be read at all is an error at once. What can be read but asks for something there is
//! not is kept as a refusal: ADD, CHECK and STATUS stop at it, DEL and GC go on, because what was
//! made before the config changed must still be removable.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};
use vrouter_api::names::check_subdomain;
use vrouter_datastore::Connection;

use crate::error::{CniError, Code};
use crate::json::Fields;
use crate::log::{Level, LogSettings};
use crate::version::Version;

/// How long ADD waits for vrouterd when the config does not say.
const SETUP_LIMIT: i64 = 10;
/// The longest such wait.
const LONGEST_SETUP: i64 = 600;

/// Who gives addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IpamKind {
    /// We do, from Calico's pools.
    Own,
    /// That plugin does.
    Delegated(String),
}

/// The config of one call.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) version: Version,
    pub(crate) network: String,
    pub(crate) ipam: Option<IpamKind>,
    pub(crate) assign: [bool; 2],
    pub(crate) pools: [Vec<String>; 2],
    pub(crate) ipam_lock_file: PathBuf,
    pub(crate) mtu: Option<u32>,
    pub(crate) mtu_file_required: bool,
    pub(crate) node_name: Option<String>,
    pub(crate) node_name_file: PathBuf,
    pub(crate) node_name_file_optional: bool,
    pub(crate) host_name: Option<String>,
    pub(crate) control_socket: PathBuf,
    pub(crate) state_directory: PathBuf,
    pub(crate) setup_limit: Duration,
    pub(crate) endpoint_status_directory: Option<PathBuf>,
    pub(crate) readiness_gates: Vec<String>,
    pub(crate) allow_ip_forwarding: bool,
    pub(crate) include_default_routes: bool,
    pub(crate) addresses_without_ipam: bool,
    pub(crate) log: LogSettings,
    /// Everything as it came.
    pub(crate) raw: Map<String, Value>,
    /// What is asked for and refused.
    pub(crate) refusals: Vec<CniError>,
}

/// stdin as an object.
pub(crate) fn decode(bytes: &[u8]) -> Result<Map<String, Value>, CniError> {
    let decoded: Result<Value, _> = serde_json::from_slice(bytes);
    match decoded {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(
            CniError::new(Code::Decode, "the config on stdin is not a JSON object")
                .with_details(other.to_string()),
        ),
        Err(error) => Err(
            CniError::new(Code::Decode, "the config on stdin is not JSON")
                .with_details(error.to_string()),
        ),
    }
}

/// The version that a config names, as it stands there.
pub(crate) fn named_version(raw: &Map<String, Value>) -> Option<&str> {
    Fields::root(raw)
        .value("cniVersion")
        .and_then(Value::as_str)
}

impl Config {
    /// Reads a config.
    pub(crate) fn read(raw: Map<String, Value>) -> Result<Config, CniError> {
        let version = Version::parse(named_version(&raw))?;
        let fields = Fields::root(&raw);
        let mut refusals = Vec::new();
        let name_byte = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let network = match fields.text("name")? {
            Some(name) if name.bytes().all(name_byte) => name.to_owned(),
            _ => return Err(fields.error("name", "letters, digits, '_', '.' and '-'")),
        };
        let ipam = fields.fields("ipam")?;
        let kind = match ipam.text("type")? {
            None => {
                let wanted = "calico-ipam, vrouter-ipam or the name of another IPAM plugin";
                refusals.push(ipam.error("type", wanted));
                None
            }
            Some("calico-ipam" | "vrouter-ipam") => Some(IpamKind::Own),
            Some(name) if name.contains('/') => {
                return Err(ipam.error("type", "a name without '/'"));
            }
            Some(name) => Some(IpamKind::Delegated(name.to_owned())),
        };
        let texts = |key: &str| -> Result<Vec<String>, CniError> {
            let texts = ipam.texts(key)?;
            Ok(texts.into_iter().map(str::to_owned).collect())
        };
        let log = log(&fields)?;
        refuse(&fields, &mut refusals)?;
        let seconds = fields.number("policy_setup_timeout_seconds")?.unwrap_or(0);
        let seconds = match seconds {
            0 => SETUP_LIMIT,
            1..=LONGEST_SETUP => seconds,
            _ => {
                let wanted = "0-600: seconds to wait for policy, 0 for the usual 10";
                return Err(fields.error("policy_setup_timeout_seconds", wanted));
            }
        };
        let path = |key: &str, default: &str| -> Result<PathBuf, CniError> {
            Ok(fields.text(key)?.unwrap_or(default).into())
        };
        let mtu = match fields.number("mtu")? {
            None | Some(0) => None,
            Some(mtu @ 68..=65_535) => u32::try_from(mtu).ok(),
            Some(_) => return Err(fields.error("mtu", "0 or 68-65535")),
        };
        let node_name = node_name(&fields, "nodename")?;
        let host_name = node_name_of_host(&fields)?;
        let kubernetes_node = fields.fields("kubernetes")?.text("node_name")?;
        let features = fields.fields("feature_control")?;
        let container = fields.fields("container_settings")?;
        Ok(Config {
            version,
            network,
            assign: [
                ipam.boolean("assign_ipv4")?.unwrap_or(true),
                ipam.boolean("assign_ipv6")?.unwrap_or(false),
            ],
            pools: [texts("ipv4_pools")?, texts("ipv6_pools")?],
            ipam: kind,
            ipam_lock_file: path("ipam_lock_file", "/var/run/calico/ipam.lock")?,
            mtu,
            mtu_file_required: fields.boolean("require_mtu_file")?.unwrap_or(false),
            node_name: node_name.or_else(|| kubernetes_node.map(str::to_owned)),
            node_name_file: path("nodename_file", "/var/lib/calico/nodename")?,
            node_name_file_optional: fields.boolean("nodename_file_optional")?.unwrap_or(false),
            host_name,
            control_socket: path("control_socket", vrouter_control::DEFAULT_SOCKET)?,
            state_directory: path("state_directory", "/var/lib/vrouter/cni")?,
            setup_limit: Duration::from_secs(seconds.unsigned_abs()),
            endpoint_status_directory: fields.text("endpoint_status_dir")?.map(PathBuf::from),
            readiness_gates: fields
                .texts("readiness_gates")?
                .into_iter()
                .map(str::to_owned)
                .collect(),
            allow_ip_forwarding: container.boolean("allow_ip_forwarding")?.unwrap_or(false),
            include_default_routes: fields.boolean("include_default_routes")?.unwrap_or(false),
            addresses_without_ipam: features.boolean("ip_addrs_no_ipam")?.unwrap_or(false),
            log,
            refusals,
            raw,
        })
    }

    /// Stops at the first thing that is refused.
    pub(crate) fn accept(&self) -> Result<(), CniError> {
        match self.refusals.first() {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(()),
        }
    }

    /// The datastore that the config names; what it leaves open, the environment may say.
    pub(crate) fn connection(&self) -> Result<Connection, CniError> {
        let fields = Fields::root(&self.raw);
        if let Some(directory) = fields.text("directory")?
            && matches!(fields.text("datastore_type")?, None | Some("directory"))
        {
            return Ok(Connection::Directory(directory.into()));
        }
        let lookup = |name: &str| {
            let key = name.to_ascii_lowercase();
            let of_config = fields.text(&key).ok().flatten().map(str::to_owned);
            of_config.or_else(|| std::env::var(name).ok().filter(|it| !it.is_empty()))
        };
        Connection::of_environment(&lookup).map_err(|error| CniError::store("datastore", &error))
    }
}

fn node_name(fields: &Fields<'_>, key: &str) -> Result<Option<String>, CniError> {
    let Some(name) = fields.text(key)? else {
        return Ok(None);
    };
    let name = name.trim();
    match check_subdomain(name) {
        Ok(()) => Ok(Some(name.to_owned())),
        Err(_) => Err(fields.error(
            key,
            "a node's name: lower case letters, digits, '-' and '.'",
        )),
    }
}

/// Calico's old key for the same.
fn node_name_of_host(fields: &Fields<'_>) -> Result<Option<String>, CniError> {
    node_name(fields, "hostname")
}

fn log(fields: &Fields<'_>) -> Result<LogSettings, CniError> {
    let mut log = LogSettings::default();
    if let Some(name) = fields.text("log_level")? {
        log.level = Level::parse(name)
            .ok_or_else(|| fields.error("log_level", "debug, info, warning, error or fatal"))?;
    }
    if let Some(path) = fields.text("log_file_path")? {
        log.path = path.into();
    }
    for (key, place) in [
        ("log_file_max_size", &mut log.max_megabytes),
        ("log_file_max_age", &mut log.max_days),
        ("log_file_max_count", &mut log.max_files),
    ] {
        match fields.number(key)? {
            None | Some(0) => {}
            Some(number @ 1..=1_000_000) => *place = number.unsigned_abs(),
            Some(_) => return Err(fields.error(key, "1-1000000")),
        }
    }
    Ok(log)
}

/// Keys that ask for what there is not; each error names key, value and cure.
fn refuse(fields: &Fields<'_>, refusals: &mut Vec<CniError>) -> Result<(), CniError> {
    let mut refusal = |key: &str, value: &str, cure: &str| {
        let message = format!("unsupported value of {key}: {value:?}");
        refusals.push(CniError::new(Code::UnsupportedField, message).with_details(cure));
    };
    if let Some(kind @ "kubernetes") = fields.text("datastore_type")? {
        let cure = "Kubernetes is not read as a datastore yet: use etcdv3 with etcd_endpoints, or \
                    directory with directory";
        refusal("datastore_type", kind, cure);
    }
    let policy = fields.fields("policy")?;
    if let Some(kind) = policy.text("type")? {
        let cure = "pods and namespaces are not read from Kubernetes yet: leave policy.type out, \
                    and the profile named as the network decides";
        if kind == "k8s" {
            refusal("policy.type", kind, cure);
        }
    }
    if let Some(kind) = fields.text("device_type")?
        && !["tap", "veth"].contains(&kind)
    {
        let cure = "vrouterd makes taps or veths, as its podLink says: leave device_type out";
        refusal("device_type", kind, cure);
    }
    let options = fields.fields("dataplane_options")?;
    if let Some(kind) = options.text("type")?
        && kind != "linux"
    {
        let cure = "this plugin asks vrouterd itself: leave dataplane_options out";
        refusal("dataplane_options.type", kind, cure);
    }
    if fields
        .fields("feature_control")?
        .boolean("floating_ips")?
        .unwrap_or(false)
    {
        let cure = "there is no address translation yet: leave it out";
        refusal("feature_control.floating_ips", "true", cure);
    }
    let runtime = fields.fields("runtimeConfig")?;
    if matches!(runtime.value("portMappings"), Some(Value::Array(all)) if !all.is_empty()) {
        let cure = "there is no address translation yet: take portMappings out of this plugin's \
                    capabilities, or publish no port";
        let value = runtime.value("portMappings").map(Value::to_string);
        refusal(
            "runtimeConfig.portMappings",
            &value.unwrap_or_default(),
            cure,
        );
    }
    if matches!(runtime.value("bandwidth"), Some(Value::Object(all)) if !all.is_empty()) {
        let cure = "there are no rate limits yet: take bandwidth out of this plugin's \
                    capabilities and chain the bandwidth plugin";
        let value = runtime.value("bandwidth").map(Value::to_string);
        refusal("runtimeConfig.bandwidth", &value.unwrap_or_default(), cure);
    }
    for key in ["num_queues", "qps", "burst"] {
        // Ours to decide, and of Kubernetes' client: read, so that nonsense is named.
        fields.number(key)?;
    }
    fields.text("calico_api_group")?;
    fields.text("etcd_authority")?;
    Ok(())
}
