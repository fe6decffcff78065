//! Installing: binaries, config list, certificates, in an order in which no runtime ever finds a
//! list without its plugin.
//!
//! Variables and paths are those of Calico's install-cni.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::{Map, Value};
use vrouter_cli::ManOptions;

use crate::config::{Config, decode};
use crate::store;

/// The names the plugin is called by.
const NAMES: [&str; 4] = ["vrouter", "vrouter-ipam", "calico", "calico-ipam"];
/// Where a pod of Kubernetes finds its own token.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What is installed when no template is given.
const TEMPLATE: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "__CNI_NETWORK_NAME__",
  "plugins": [
    {
      "type": "calico",
      "log_level": "__LOG_LEVEL__",
      "log_file_path": "__LOG_FILE_PATH__",
      "datastore_type": "__DATASTORE_TYPE__",
      "directory": "__VROUTER_DIRECTORY__",
      "etcd_endpoints": "__ETCD_ENDPOINTS__",
      "etcd_key_file": "__ETCD_KEY_FILE__",
      "etcd_cert_file": "__ETCD_CERT_FILE__",
      "etcd_ca_cert_file": "__ETCD_CA_CERT_FILE__",
      "nodename": "__KUBERNETES_NODE_NAME__",
      "control_socket": "__VROUTER_CONTROL_SOCKET__",
      "mtu": __CNI_MTU__,
      "capabilities": {
        "aliases": true, "ips": true, "mac": true, "portMappings": true, "bandwidth": true
      },
      "ipam": { "type": "calico-ipam" }
    }
  ]
}
"#;

/// The CNI plugin of the vRouter. Runtimes call it without arguments.
#[derive(Debug, Parser)]
#[command(
    name = "vrouter-cni",
    version = vrouter_cli::VERSION,
    max_term_width = 100
)]
struct Arguments {
    /// Print the version alone, as Calico's plugin does.
    #[arg(short = 'v')]
    bare_version: bool,
    /// Read the config on stdin and test its datastore.
    #[arg(short = 't', long)]
    test: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put binaries and config list in place.
    Install(Places),
    /// Remove what install put there.
    Uninstall(Places),
    /// Write the manual, a page a command.
    Man(ManOptions),
}

/// Where things go.
#[derive(Debug, Args)]
struct Places {
    /// Directory of the binaries.
    #[arg(
        long,
        env = "CNI_BIN_DIR",
        default_value = "/opt/cni/bin",
        value_name = "DIR"
    )]
    bin_dir: PathBuf,
    /// Directory of the config list.
    #[arg(
        long,
        env = "CNI_NET_DIR",
        default_value = "/etc/cni/net.d",
        value_name = "DIR"
    )]
    net_dir: PathBuf,
    /// Name of the config list.
    #[arg(
        long,
        env = "CNI_CONF_NAME",
        default_value = "10-calico.conflist",
        value_name = "NAME"
    )]
    conf_name: String,
    /// An earlier list to remove.
    #[arg(long, env = "CNI_OLD_CONF_NAME", value_name = "NAME")]
    old_conf_name: Option<String>,
    /// Template of the list: text with `__NAME__` for variables.
    #[arg(long, env = "CNI_NETWORK_CONFIG", value_name = "TEXT")]
    network_config: Option<String>,
    /// File with the template.
    #[arg(long, env = "CNI_NETWORK_CONFIG_FILE", value_name = "FILE")]
    network_config_file: Option<PathBuf>,
    /// Directory with etcd-ca, etcd-cert and etcd-key.
    #[arg(
        long,
        env = "TLS_ASSETS_DIR",
        default_value = "/calico-secrets",
        value_name = "DIR"
    )]
    tls_assets_dir: PathBuf,
    /// Binaries to leave out, joined by commas.
    #[arg(
        long,
        env = "SKIP_CNI_BINARIES",
        default_value = "",
        value_name = "NAMES"
    )]
    skip_cni_binaries: String,
    /// Replace binaries that are there: true or false.
    #[arg(
        long,
        env = "UPDATE_CNI_BINARIES",
        default_value = "true",
        value_name = "BOOL"
    )]
    update_cni_binaries: String,
}

/// Why it was not installed.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error("{what}: {source}")]
    File { what: String, source: io::Error },
    #[error("{0}")]
    Config(String),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError + '_ {
    move |source| InstallError::File {
        what: path.display().to_string(),
        source,
    }
}

/// The program with arguments.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        _ if arguments.bare_version => {
            println!("{}", vrouter_cli::VERSION);
            Ok(())
        }
        _ if arguments.test => test(),
        Some(Command::Install(places)) => install(&places),
        Some(Command::Uninstall(places)) => uninstall(&places),
        Some(Command::Man(options)) => options
            .write(Arguments::command(), &mut io::stdout())
            .map_err(|error| InstallError::Config(format!("the manual: {error}"))),
        None => Err(InstallError::Config(
            "nothing to do: see vrouter-cni --help".to_owned(),
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vrouter-cni: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Reads a config and asks its datastore.
fn test() -> Result<(), InstallError> {
    let mut stdin = Vec::new();
    io::Read::read_to_end(&mut io::stdin(), &mut stdin).map_err(at(Path::new("stdin")))?;
    let config = decode(&stdin).map(config_of_list).and_then(Config::read);
    let outcome = config.and_then(|config| {
        config.accept()?;
        store::expect_ready(&*store::open(&config)?)
    });
    outcome.map_err(|error| InstallError::Config(error.to_string()))?;
    println!("config and datastore are in order");
    Ok(())
}

/// What a runtime makes of a list for this plugin; a config as it is.
fn config_of_list(mut given: Map<String, Value>) -> Map<String, Value> {
    let plugins = given.get("plugins").and_then(Value::as_array);
    let ours = |it: &&Value| it["type"] == "calico" || it["type"] == "vrouter";
    let ours = plugins.and_then(|all| all.iter().find(ours)?.as_object().cloned());
    let Some(mut config) = ours else {
        return given;
    };
    for key in ["name", "cniVersion"] {
        config.extend(given.remove_entry(key));
    }
    config
}

fn install(places: &Places) -> Result<(), InstallError> {
    install_binaries(places)?;
    fs::create_dir_all(&places.net_dir).map_err(at(&places.net_dir))?;
    let certificates = install_certificates(places)?;
    let kubeconfig = install_kubeconfig(places)?;
    let list = list(places, &|name| {
        let own = certificates.iter().find(|(it, _)| *it == name);
        match name {
            "KUBECONFIG_FILEPATH" => Some(kubeconfig.display().to_string()),
            "KUBECONFIG_FILENAME" => Some("calico-kubeconfig".to_owned()),
            _ => own.map(|(_, path)| path.display().to_string()),
        }
    })?;
    // The list comes last: with it the runtime says that it is ready.
    let path = places.net_dir.join(&places.conf_name);
    put(&path, list.as_bytes(), 0o600)?;
    if let Some(old) = &places.old_conf_name
        && *old != places.conf_name
    {
        remove(&places.net_dir.join(old))?;
    }
    println!("{}", path.display());
    Ok(())
}

fn install_binaries(places: &Places) -> Result<(), InstallError> {
    let own = Path::new("/proc/self/exe");
    let bytes = fs::read(own).map_err(at(own))?;
    fs::create_dir_all(&places.bin_dir).map_err(at(&places.bin_dir))?;
    let skipped: Vec<&str> = places.skip_cni_binaries.split(',').map(str::trim).collect();
    for name in NAMES.into_iter().filter(|it| !skipped.contains(it)) {
        let path = places.bin_dir.join(name);
        if path.exists() && places.update_cni_binaries == "false" {
            continue;
        }
        put(&path, &bytes, 0o755)?;
    }
    Ok(())
}

/// Copies etcd's certificates, with the variables that name them.
fn install_certificates(places: &Places) -> Result<Vec<(&'static str, PathBuf)>, InstallError> {
    let mut installed = Vec::new();
    for (file, variable) in [
        ("etcd-ca", "ETCD_CA_CERT_FILE"),
        ("etcd-cert", "ETCD_CERT_FILE"),
        ("etcd-key", "ETCD_KEY_FILE"),
    ] {
        let source = places.tls_assets_dir.join(file);
        if let Ok(bytes) = fs::read(&source) {
            let directory = places.net_dir.join("calico-tls");
            fs::create_dir_all(&directory).map_err(at(&directory))?;
            let path = directory.join(file);
            put(&path, &bytes, 0o600)?;
            installed.push((variable, path));
        }
    }
    Ok(installed)
}

/// The kubeconfig, where this runs as a pod of Kubernetes'.
fn install_kubeconfig(places: &Places) -> Result<PathBuf, InstallError> {
    let path = places.net_dir.join("calico-kubeconfig");
    let variable = |name: &str, default: &str| {
        let value = std::env::var(name).ok().filter(|it| !it.is_empty());
        value.unwrap_or_else(|| default.to_owned())
    };
    let host = variable("KUBERNETES_SERVICE_HOST", "");
    let token = fs::read_to_string(Path::new(ACCOUNT).join("token")).unwrap_or_default();
    if host.is_empty() || token.is_empty() {
        return Ok(path);
    }
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host
    };
    let authority = if variable("SKIP_TLS_VERIFY", "false") == "true" {
        "insecure-skip-tls-verify: true".to_owned()
    } else {
        format!("certificate-authority: {ACCOUNT}/ca.crt")
    };
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    server: \
         {}://{host}:{}\n    {authority}\nusers:\n- name: calico\n  user:\n    token: {}\n\
         contexts:\n- name: calico-context\n  context:\n    cluster: local\n    user: calico\n\
         current-context: calico-context\n",
        variable("KUBERNETES_SERVICE_PROTOCOL", "https"),
        variable("KUBERNETES_SERVICE_PORT", "443"),
        token.trim(),
    );
    put(&path, text.as_bytes(), 0o600)?;
    Ok(path)
}

/// The list: the template with its variables, found to be JSON; keys without a value are left out.
fn list(places: &Places, own: &dyn Fn(&str) -> Option<String>) -> Result<String, InstallError> {
    let template = match (&places.network_config, &places.network_config_file) {
        (Some(text), _) if !text.is_empty() => text.clone(),
        (_, Some(file)) => fs::read_to_string(file).map_err(at(file))?,
        (_, None) => TEMPLATE.to_owned(),
    };
    let text = fill(&template, &|name| {
        let of_environment = || std::env::var(name).ok().filter(|it| !it.is_empty());
        let default = || match name {
            "CNI_MTU" => Some("0".to_owned()),
            "LOG_LEVEL" => Some("info".to_owned()),
            "LOG_FILE_PATH" => Some("/var/log/calico/cni/cni.log".to_owned()),
            "CNI_NETWORK_NAME" => Some("k8s-pod-network".to_owned()),
            _ => None,
        };
        own(name)
            .or_else(of_environment)
            .or_else(default)
            .unwrap_or_default()
    });
    let mut value: Value = serde_json::from_str(&text)
        .map_err(|error| InstallError::Config(format!("the config list is not JSON: {error}")))?;
    let plugins = value.get_mut("plugins").and_then(Value::as_array_mut);
    let Some(plugins) = plugins.filter(|it| !it.is_empty()) else {
        let message = "the config list has no plugins: CNI_NETWORK_CONFIG must be a list";
        return Err(InstallError::Config(message.to_owned()));
    };
    for plugin in plugins.iter_mut().filter_map(Value::as_object_mut) {
        plugin.retain(|_, it| it.as_str() != Some(""));
    }
    let text = serde_json::to_string_pretty(&value)
        .map_err(|error| InstallError::Config(error.to_string()))?;
    Ok(text + "\n")
}

/// Every `__NAME__` of capital letters, digits and single underscores replaced.
fn fill(template: &str, variable: &dyn Fn(&str) -> String) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some(start) = rest.find("__") {
        let (before, after) = rest.split_at(start);
        text.push_str(before);
        let inner = &after[2..];
        let end = inner.find("__");
        let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        match end.map(|end| &inner[..end]) {
            Some(name) if !name.is_empty() && name.chars().all(allowed) => {
                text.push_str(&variable(name));
                rest = &inner[name.len() + 2..];
            }
            _ => {
                text.push_str("__");
                rest = inner;
            }
        }
    }
    text + rest
}

fn uninstall(places: &Places) -> Result<(), InstallError> {
    // The list first: nothing may call a plugin that is gone.
    remove(&places.net_dir.join(&places.conf_name))?;
    remove(&places.net_dir.join("calico-kubeconfig"))?;
    let certificates = places.net_dir.join("calico-tls");
    for file in ["etcd-ca", "etcd-cert", "etcd-key"] {
        remove(&certificates.join(file))?;
    }
    match fs::remove_dir(&certificates) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(at(&certificates)(error));
        }
        Ok(()) | Err(_) => {}
    }
    let own = fs::read("/proc/self/exe").map_err(at(Path::new("/proc/self/exe")))?;
    for name in NAMES {
        let path = places.bin_dir.join(name);
        match fs::read(&path) {
            Ok(bytes) if bytes == own => remove(&path)?,
            Ok(_) => println!("{}: not this program, left there", path.display()),
            Err(_) => {}
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), InstallError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a file beside and renames it: a binary that runs stays whole, a list is never half.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), InstallError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Runtimes read `*.conf`, `*.conflist` and `*.json` alone.
    let beside = path.with_file_name(format!(".{name}.new"));
    let write = || {
        let mut file: File = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(mode)
            .open(&beside)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&beside, path)
    };
    write().map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let variable = |name: &str| format!("<{name}>");
        for (template, text) in [
            ("a __LOG_LEVEL__ b", "a <LOG_LEVEL> b"),
            ("__A____B__", "<A><B>"),
            ("__lower__ __", "__lower__ __"),
            ("", ""),
        ] {
            assert_eq!(fill(template, &variable), text, "{template}");
        }
    }
}
