//! The etcd of a lab: one member in a namespace of its own, behind the nodes' router, filled with
//! the lab's resources in Calico's layout.

use std::fs::{self, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use encap::Family;
use vrouter_api::{AllowedUse, parse};
use vrouter_datastore::ipam::{Ipam, Request};
use vrouter_datastore::{Connection, Datastore, StoreError};

use crate::error::{LabError, Result};
use crate::netns;
use crate::process::{Process, wait_until};
use crate::topology::Lab;

/// Where it listens; the router has the address before.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 31, 255, 1);
/// Its interface, and the router's towards it.
const INTERFACE: &str = "eth0";
const PORT_OF_ROUTER: &str = "etcd";
/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What nodes are told.
#[must_use]
pub fn endpoint() -> String {
    format!("http://{ADDRESS}:2379")
}

/// Joins the namespace to the router, starts etcd and fills it.
///
/// # Errors
/// The kernel refuses a part, etcd does not start, or does not take a resource.
pub fn build(lab: &Lab) -> Result<Process> {
    let namespace = lab.name.etcd();
    netns::ip(
        &lab.underlay,
        &[
            format!("link add {PORT_OF_ROUTER} type veth peer name {INTERFACE} netns {namespace}"),
            format!("address add {ROUTER}/30 dev {PORT_OF_ROUTER}"),
            format!("link set {PORT_OF_ROUTER} up"),
        ],
    )?;
    netns::ip(
        &namespace,
        &[
            format!("address add {ADDRESS}/30 dev {INTERFACE}"),
            format!("link set {INTERFACE} up"),
            format!("route add default via {ROUTER}"),
        ],
    )?;
    let process = start(lab)?;
    fill(lab)?;
    Ok(process)
}

/// Starts etcd on the data it has, and waits until it listens.
///
/// # Errors
/// It cannot be started or does not answer.
pub fn start(lab: &Lab) -> Result<Process> {
    let folder = lab.state_directory.join("etcd");
    fs::create_dir_all(&folder).map_err(LabError::io(format!("making {}", folder.display())))?;
    let path = folder.join("log");
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.map_err(LabError::io(format!("opening {}", path.display())))?;
    let also = log
        .try_clone()
        .map_err(LabError::io("opening the log once more"))?;
    let mut child = Command::new("ip")
        .args(["netns", "exec", lab.name.etcd().as_str(), "etcd"])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .args(["--listen-client-urls", &endpoint()])
        .args(["--advertise-client-urls", &endpoint()])
        .args(["--listen-peer-urls", "http://127.0.0.1:2380"])
        .args([
            "--logger",
            "zap",
            "--log-level",
            "warn",
            "--unsafe-no-fsync",
        ])
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(also)
        .process_group(0)
        .spawn()
        .map_err(LabError::io("starting etcd"))?;
    let pid = child.id();
    // Reaped when it ends, so that it is not taken for running; it outlives us otherwise.
    std::thread::spawn(move || child.wait());
    let process = Process::of("etcd", pid);
    let failed = |detail: &str| LabError::Command {
        what: "etcd".to_owned(),
        detail: format!(
            "{detail}; see {} (tools/packages installs it)",
            path.display()
        ),
    };
    let Some(process) = process else {
        return Err(failed("it ended at once"));
    };
    let listens = || {
        std::net::TcpStream::connect_timeout(&(ADDRESS, 2379).into(), Duration::from_secs(1))
            .is_ok()
    };
    let ready = wait_until(START_LIMIT, || {
        !process.is_alive() || netns::inside(&lab.name.etcd(), listens).unwrap_or(false)
    });
    if !process.is_alive() {
        return Err(failed("it ended"));
    }
    if !ready {
        return Err(failed("it does not listen"));
    }
    Ok(process)
}

/// Works with the lab's etcd from inside its namespace.
///
/// # Errors
/// The namespace is gone, or what the work itself says.
pub fn with_store<T: Send>(
    lab: &Lab,
    work: impl FnOnce(&Arc<dyn Datastore>) -> std::result::Result<T, StoreError> + Send,
) -> Result<T> {
    // The client's thread is started in there, and so speaks from there.
    let outcome = netns::inside(&lab.name.etcd(), || {
        let variable = |name: &str| (name == "ETCD_ENDPOINTS").then(endpoint);
        let store = Connection::of_environment(&variable)?.open()?;
        work(&store)
    })?;
    outcome.map_err(|error| LabError::Command {
        what: "asking etcd".to_owned(),
        detail: error.to_string(),
    })
}

/// Puts the lab's resource files into etcd.
fn fill(lab: &Lab) -> Result<()> {
    let directory = &lab.resource_directory;
    let entries = fs::read_dir(directory);
    let entries = entries.map_err(LabError::io(format!("listing {}", directory.display())))?;
    let mut resources = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let text = fs::read(&path).map_err(LabError::io(format!("reading {}", path.display())))?;
        let parsed = parse(&text, &path.display().to_string());
        if let Some(error) = parsed.errors.first() {
            return Err(LabError::Invalid(error.to_string()));
        }
        resources.extend(parsed.resources.into_iter().map(|located| located.value));
    }
    with_store(lab, |store| {
        for resource in &resources {
            store.create(resource)?;
        }
        take_addresses(lab, store)
    })
}

/// Takes the pods' addresses as a CNI plugin would have.
fn take_addresses(lab: &Lab, store: &Arc<dyn Datastore>) -> std::result::Result<(), StoreError> {
    let ipam = Ipam::new(Arc::clone(store));
    for node in &lab.nodes {
        for pod in &node.pods {
            let handle = format!("lab.{}", pod.name);
            let mut request = Request::new(&node.name, AllowedUse::Workload, &handle);
            let secondary = [("pod", &*pod.name), ("namespace", "default")];
            let secondary = secondary.map(|(name, value)| (name.to_owned(), value.to_owned()));
            request.secondary.extend(secondary);
            for address in [pod.address(Family::V4), pod.address(Family::V6)]
                .into_iter()
                .flatten()
            {
                ipam.assign_address(&request, address)?;
            }
        }
    }
    Ok(())
}
