//! The CNI plugin in a lab: called as a runtime calls it, and its traces in etcd.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};
use vrouter_api::Kind;
use vrouter_datastore::ipam::Ipam;
use vrouter_datastore::{Datastore, Directory, Scope};
use vrouter_lab::names::Netns;
use vrouter_lab::spec::Store;
use vrouter_lab::{etcd, netns, vrouter};

use super::{TestLab, said};

/// The plugin's configuration for a network on node `node`, from one.
pub(crate) fn config(lab: &TestLab, node: usize, network: &str) -> Value {
    let node = lab.node(node);
    let state = lab.lab.state_directory.join(&node.name);
    let (datastore, key, place) = match lab.lab.spec.datastore {
        Store::Directory => {
            let directory = lab.lab.resource_directory.display().to_string();
            ("directory", "directory", directory)
        }
        Store::Etcd => ("etcdv3", "etcd_endpoints", etcd::endpoint()),
    };
    json!({
        "cniVersion": "1.1.0",
        "name": network,
        "type": "vrouter",
        "datastore_type": datastore,
        (key): place,
        "nodename": node.name,
        "control_socket": node.control_socket,
        "state_directory": state.join("cni"),
        "ipam_lock_file": state.join("ipam.lock"),
        "log_file_path": state.join("cni.log"),
        "policy_setup_timeout_seconds": 60,
        "ipam": { "type": "vrouter-ipam" },
    })
}

/// What a runtime of one node knows.
#[derive(Clone)]
pub(crate) struct Runtime {
    program: PathBuf,
    node: Netns,
    pub(crate) config: Value,
}

/// A container: a namespace and an identity.
#[derive(Clone)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) netns: Netns,
}

impl Container {
    /// A new namespace, removed with the lab.
    pub(crate) fn new(lab: &TestLab, node: usize, number: usize) -> Container {
        let netns = lab.lab.name.pod(node, number);
        netns::create([&netns]).unwrap();
        Container {
            // Interfaces on the node's side have an identity's first digits.
            id: format!("{node:02x}{number:08x}{:054x}", 0),
            netns,
        }
    }
}

impl Runtime {
    pub(crate) fn new(lab: &TestLab, node: usize) -> Runtime {
        Runtime {
            program: vrouter::beside_or_in_path("vrouter-cni").unwrap(),
            node: lab.node(node).namespace.clone(),
            config: config(lab, node, "net"),
        }
    }

    pub(crate) fn with_labels(&self, labels: &[(&str, &str)]) -> Runtime {
        let labels = labels
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }));
        let mut runtime = self.clone();
        runtime.config["args"] = json!({ "cni": { "labels": labels.collect::<Vec<_>>() } });
        runtime
    }

    /// Starts a call, which waits for its config.
    fn spawn(&self, operation: &str, container: Option<&Container>) -> Child {
        netns::inside(&self.node, || {
            let mut command = Command::new(&self.program);
            command
                .env("CNI_COMMAND", operation)
                .env("CNI_PATH", "/opt/cni/bin");
            if let Some(container) = container {
                command
                    .env("CNI_CONTAINERID", &container.id)
                    .env("CNI_NETNS", container.netns.path())
                    .env("CNI_IFNAME", "eth0");
            }
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .unwrap()
    }

    fn configure(&self, call: &mut Child, more: &Value) {
        let mut config = self.config.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let mut stdin = call.stdin.take().unwrap();
        stdin.write_all(config.to_string().as_bytes()).unwrap();
    }

    pub(crate) fn start(
        &self,
        operation: &str,
        container: Option<&Container>,
        more: &Value,
    ) -> Child {
        let mut call = self.spawn(operation, container);
        self.configure(&mut call, more);
        call
    }

    /// Does a call and kills it where one of its threads enters system call number `at`, counted
    /// from the config on; how many there were.
    pub(crate) fn killed_at(&self, at: usize, operation: &str, container: &Container) -> usize {
        // A tracee's stops are told to the thread that traces it alone.
        thread::scope(|scope| {
            let traced = scope.spawn(|| {
                let mut call = self.spawn(operation, Some(container));
                let pid = Pid::from_raw(call.id() as i32);
                let options = Options::PTRACE_O_TRACESYSGOOD
                    | Options::PTRACE_O_TRACECLONE
                    | Options::PTRACE_O_EXITKILL;
                ptrace::seize(pid, options).unwrap();
                ptrace::interrupt(pid).unwrap();
                self.configure(&mut call, &json!({}));
                run_until(pid, at)
            });
            traced.join().unwrap()
        })
    }

    pub(crate) fn call(
        &self,
        operation: &str,
        container: Option<&Container>,
        more: &Value,
    ) -> Output {
        self.start(operation, container, more)
            .wait_with_output()
            .unwrap()
    }

    /// ADD; its result.
    #[track_caller]
    pub(crate) fn add(&self, container: &Container) -> Value {
        let output = self.call("ADD", Some(container), &json!({}));
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn del(&self, container: &Container) {
        let output = self.call("DEL", Some(container), &json!({}));
        assert!(output.status.success(), "{}", said(&output));
        assert!(output.stdout.is_empty(), "{}", said(&output));
    }
}

/// Lets a traced process run until it enters system call number `limit`, then kills it; how many it
/// entered.
fn run_until(process: Pid, limit: usize) -> usize {
    let mut entered = 0;
    let mut inside = HashSet::new();
    loop {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let (thread, signal) = match waitpid(Pid::from_raw(-1), Some(flags)).unwrap() {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == process => {
                return entered;
            }
            WaitStatus::PtraceSyscall(thread) => {
                if inside.insert(thread) {
                    entered += 1;
                    if entered == limit {
                        kill(process, Signal::SIGKILL).unwrap();
                    }
                } else {
                    inside.remove(&thread);
                }
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            WaitStatus::Exited(..)
            | WaitStatus::Signaled(..)
            | WaitStatus::Continued(_)
            | WaitStatus::StillAlive => continue,
        };
        match ptrace::syscall(thread, signal) {
            // It was killed meanwhile.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("{thread}: {error}"),
        }
    }
}

/// How often a test repeats something: `VROUTER_CNI_ROUNDS`, else what CI has time for.
pub(crate) fn rounds(usual: usize) -> usize {
    let more = std::env::var("VROUTER_CNI_ROUNDS").ok();
    more.and_then(|it| it.parse().ok()).unwrap_or(usual)
}

/// The address that a result says.
pub(crate) fn address(result: &Value) -> Ipv4Addr {
    let text = result["ips"][0]["address"].as_str().unwrap();
    text.strip_suffix("/32").unwrap().parse().unwrap()
}

pub(crate) fn has_device(container: &Container) -> bool {
    let find = || nix::net::if_::if_nametoindex("eth0").is_ok();
    netns::inside(&container.netns, find).unwrap()
}

/// A GlobalNetworkPolicy as YAML.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {spec}\n"
    )
}

/// All endpoints, the IPAM handles of `networks`, and the problems that `ipam check` finds.
pub(crate) fn left(lab: &TestLab, networks: &[&str]) -> Vec<String> {
    let found = |store: &Arc<dyn Datastore>| {
        let endpoints = store.list(Kind::WorkloadEndpoint, Scope::All)?.resources;
        let mut left: Vec<String> = endpoints.iter().map(|it| it.key().to_string()).collect();
        let ipam = Ipam::new(Arc::clone(store));
        let handles = ipam.handles()?.into_iter().map(|(name, _)| name);
        left.extend(handles.filter(|handle| {
            let network = handle.split_once('.').map(|(network, _)| network);
            network.is_some_and(|it| networks.contains(&it))
        }));
        let problems = ipam.check()?.problems.into_iter();
        left.extend(problems.map(|it| format!("{it:?}")));
        Ok(left)
    };
    match lab.lab.spec.datastore {
        Store::Etcd => etcd::with_store(&lab.lab, found).unwrap(),
        Store::Directory => {
            let directory = Directory::open(&lab.lab.resource_directory).unwrap();
            found(&(Arc::new(directory) as Arc<dyn Datastore>)).unwrap()
        }
    }
}
