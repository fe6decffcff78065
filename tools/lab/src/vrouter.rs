//! The vRouter backend: one vrouterd per node, started, waited for and found again.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use vrouter_control::params::GetVersion;
use vrouter_control::{Call, Client};

use crate::error::{LabError, Result};
use crate::names::{POD_INTERFACE, UNDERLAY_INTERFACE};
use crate::process::{Process, wait_until};
use crate::spec::{PodLink, Store};
use crate::topology::{Lab, Node, Pod};
use crate::{bpffs, etcd, netns};

/// How long a vRouter may take from its start to an answer on its control socket.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The vrouterd that a lab runs: the one asked for, the one beside this program (or beside the
/// directory of a test), the one in PATH.
///
/// # Errors
/// There is none.
pub fn program(lab: &Lab) -> Result<PathBuf> {
    match &lab.spec.vrouterd {
        Some(path) if path.is_file() => Ok(path.clone()),
        Some(path) => Err(LabError::Invalid(format!(
            "--vrouterd {}: no such file",
            path.display()
        ))),
        None => beside_or_in_path("vrouterd"),
    }
}

/// Finds one of our programs beside this one, one directory up, or in PATH.
///
/// # Errors
/// There is none.
pub fn beside_or_in_path(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().ok();
    let beside = own
        .iter()
        .flat_map(|exe| exe.ancestors().skip(1).take(2))
        .map(Path::to_path_buf);
    let path = env::var_os("PATH").unwrap_or_default();
    beside
        .chain(env::split_paths(&path))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            LabError::Invalid(format!(
                "{name} is neither beside vrouter-lab nor in PATH: build it with \
                 `cargo build --release`{}",
                if name == "vrouterd" {
                    ", or name it with --vrouterd"
                } else {
                    ""
                }
            ))
        })
}

/// Starts the vRouter of a node and waits until it answers.
///
/// # Errors
/// It cannot be started, ends early (with the end of its log), or does not answer in time.
pub fn start(lab: &Lab, node: &Node) -> Result<Process> {
    let process = spawn(lab, node)?;
    let ready = wait_until(START_LIMIT, || {
        !process.is_alive() || ask(node, &GetVersion {}).is_ok()
    });
    if !process.is_alive() {
        return Err(LabError::Command {
            what: process.role,
            detail: log_end(node),
        });
    }
    if !ready {
        process.signal(nix::sys::signal::Signal::SIGKILL);
        return Err(LabError::Timeout {
            what: format!("an answer of {} on its control socket", process.role),
            seconds: START_LIMIT.as_secs(),
            detail: format!(":\n{}", log_end(node)),
        });
    }
    Ok(process)
}

/// Starts the vRouter of a node without waiting for it.
///
/// # Errors
/// It cannot be started.
pub fn spawn(lab: &Lab, node: &Node) -> Result<Process> {
    let program = program(lab)?;
    let (socket, log_path) = files(node)?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log_path)
        .map_err(LabError::io(format!("opening {}", log_path.display())))?;
    let also = log
        .try_clone()
        .map_err(LabError::io("opening the log once more"))?;
    // `ip netns exec` gives it a /sys of its own namespace, as a container runtime would, and
    // becomes it: the pid stays.
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", node.namespace.as_str()])
        .arg(&program)
        .args(["--node-name", &node.name])
        .arg("--control-socket")
        .arg(socket)
        .arg("--cni-state-directory")
        .arg(lab.state_directory.join(&node.name).join("cni"))
        .args(["--underlay-interface", UNDERLAY_INTERFACE]);
    match lab.spec.datastore {
        Store::Directory => command.arg("--directory").arg(&lab.resource_directory),
        Store::Etcd => command
            .args(["--etcd-endpoints", &etcd::endpoint()])
            .arg("--cache-file")
            .arg(lab.state_directory.join(&node.name).join("etcd.cache")),
    };
    match lab.spec.pod_link {
        Some(PodLink::Tap) => {
            command.args(["--pod-link", "tap"]);
        }
        None | Some(PodLink::Veth) => {
            let named = "--bpf-directory";
            if !lab
                .spec
                .vrouterd_args
                .iter()
                .any(|it| it.starts_with(named))
            {
                let directory = bpffs::mounted(&lab.state_directory.join(&node.name))?;
                command.arg(named).arg(directory.join("vrouter"));
            }
        }
    }
    if let Some(workers) = lab.spec.workers {
        command.args(["--workers", &workers.to_string()]);
    }
    command
        .args(&lab.spec.vrouterd_args)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(also)
        .process_group(0);
    let role = format!("vrouterd {}", node.name);
    let mut child = command
        .spawn()
        .map_err(LabError::io(format!("starting {role}")))?;
    let pid = child.id();
    // Reaped when it ends, so that it is not taken for running; it outlives us otherwise.
    std::thread::spawn(move || child.wait());
    Process::of(&role, pid).ok_or_else(|| LabError::Command {
        what: role,
        detail: log_end(node),
    })
}

/// Waits until a pod has the interface and default route that its vRouter gives it.
///
/// # Errors
/// They do not come in time.
pub fn wait_for_pod(node: &Node, pod: &Pod) -> Result<()> {
    let limit = Duration::from_secs(10);
    let ready = wait_until(limit, || {
        netns::inside(&pod.namespace, || usable(pod)).unwrap_or(false)
    });
    if ready {
        Ok(())
    } else {
        Err(LabError::Timeout {
            what: format!("the interface and default route of {}", pod.name),
            seconds: limit.as_secs(),
            detail: format!("; {} logged:\n{}", node.name, log_end(node)),
        })
    }
}

/// Whether the pod of the current namespace has its default routes.
fn usable(pod: &Pod) -> bool {
    if nix::net::if_::if_nametoindex(POD_INTERFACE).is_err() {
        return false;
    }
    let has_route = |file: &str, is_default: fn(&str) -> bool| {
        fs::read_to_string(format!("/proc/thread-self/net/{file}"))
            .is_ok_and(|table| table.lines().any(is_default))
    };
    let v4 = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        fields.next() == Some(POD_INTERFACE) && fields.next() == Some("00000000")
    };
    let v6 = |line: &str| {
        line.starts_with("00000000000000000000000000000000 00 ") && line.ends_with(POD_INTERFACE)
    };
    (pod.ipv4.is_none() || has_route("route", v4))
        && (pod.ipv6.is_none() || has_route("ipv6_route", v6))
}

/// Asks a node's vRouter over its control socket.
///
/// # Errors
/// There is none, it does not answer, or it answers with an error.
pub fn ask<P: Call>(node: &Node, params: &P) -> Result<P::Output> {
    let (socket, _) = files(node)?;
    Client::connect_with_timeout(socket, Duration::from_secs(5))
        .and_then(|mut client| client.call(params))
        .map_err(|error| LabError::Command {
            what: format!("asking {} for {}", node.name, P::METHOD),
            detail: error.to_string(),
        })
}

/// The last lines of a node's log.
pub fn log_end(node: &Node) -> String {
    let Some(path) = &node.log else {
        return String::new();
    };
    let Ok(file) = File::open(path) else {
        return "(no log)".to_owned();
    };
    let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

fn files(node: &Node) -> Result<(&Path, &Path)> {
    match (&node.control_socket, &node.log) {
        (Some(socket), Some(log)) => Ok((socket, log)),
        (None, _) | (_, None) => Err(LabError::Invalid(format!(
            "{} does not run the vRouter",
            node.name
        ))),
    }
}
