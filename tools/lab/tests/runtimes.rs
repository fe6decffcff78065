//! Containers of real runtimes on two nodes: podman, `ctr run --cni` and containerd's CRI reach each
//! other where a policy allows it, and leave nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::cni::{self, left, policy};
use support::store::apply;
use support::traces::Traces;
use support::{TestLab, eventually, said};
use vrouter_lab::names::Netns;
use vrouter_lab::process::wait_until;
use vrouter_lab::{netns, vrouter};

const IMAGE: &str = "localhost/busybox:1";
/// Each network's endpoints have a label `app` of its name.
const NETWORKS: [&str; 3] = ["web", "client", "other"];

/// Closes all containers; `web` answers `client` at TCP 80 alone.
fn apply_policies(lab: &TestLab) {
    let deny = "{selector: has(app), types: [Ingress, Egress], order: 2}";
    let web = "{selector: app == 'web', types: [Ingress], order: 1, ingress: [{action: Allow, \
               protocol: TCP, source: {selector: app == 'client'}, destination: {ports: [80]}}]}";
    let client = "{selector: app == 'client', types: [Ingress, Egress], order: 1, ingress: \
                  [{action: Allow, source: {selector: app == 'client'}}], egress: [{action: Allow}]}";
    for (name, spec) in [("deny", deny), ("web", web), ("client", client)] {
        apply(lab, &policy(name, spec));
    }
}

/// Plugin and network lists of one node, in directories of the lab.
struct Plugins {
    binaries: PathBuf,
    lists: PathBuf,
}

impl Plugins {
    fn install(lab: &TestLab, node: usize, networks: &[&str]) -> Plugins {
        let directory = directory(lab, node);
        let plugins = Plugins {
            binaries: directory.join("bin"),
            lists: directory.join("net.d"),
        };
        fs::create_dir_all(&plugins.binaries).unwrap();
        fs::create_dir_all(&plugins.lists).unwrap();
        let program = vrouter::beside_or_in_path("vrouter-cni").unwrap();
        symlink(program, plugins.binaries.join("vrouter")).unwrap();
        // containerd runs this one for each pod before the list's own.
        symlink("/usr/lib/cni/loopback", plugins.binaries.join("loopback")).unwrap();
        for network in networks {
            let mut plugin = cni::config(lab, node, network);
            // Those of the list that `vrouter-cni install` writes.
            plugin["capabilities"] = json!({ "aliases": true, "ips": true, "mac": true,
                "portMappings": true, "bandwidth": true });
            plugin["args"] = json!({ "cni": { "labels": [{ "key": "app", "value": network }] } });
            let list = json!({ "cniVersion": "1.0.0", "name": network, "plugins": [plugin] });
            let file = plugins.lists.join(format!("{network}.conflist"));
            fs::write(file, list.to_string()).unwrap();
        }
        plugins
    }
}

/// Of a node's runtime.
fn directory(lab: &TestLab, node: usize) -> PathBuf {
    let of_node = lab.lab.state_directory.join(&lab.node(node).name);
    let directory = of_node.join("runtime");
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Runs a program in a namespace, for a minute at most.
fn run(namespace: &Netns, command: &mut Command) -> Output {
    let mut limited = Command::new("timeout");
    limited.arg("60").arg(command.get_program());
    limited.args(command.get_args());
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    netns::inside(namespace, || limited.output().unwrap()).unwrap()
}

/// The first line of the file that the image serves.
const SERVED: &str = "root:x:0:0";

#[track_caller]
fn assert_served(fetched: &str, why: &str) {
    assert!(fetched.contains(SERVED), "{why}: {fetched}");
}

#[track_caller]
fn assert_refused(fetched: &str, why: &str) {
    assert!(!fetched.contains(SERVED), "{why}: {fetched}");
}

/// A shell's command that asks a server for the file. (Debian's static `wget` crashes.)
fn fetch(from: &str) -> String {
    format!("printf 'GET /passwd HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {from} 80")
}

/// podman with a store of its own, on one node.
struct Podman {
    namespace: Netns,
    directory: PathBuf,
}

impl Podman {
    fn new(lab: &TestLab, node: usize, networks: &[&str]) -> Podman {
        let plugins = Plugins::install(lab, node, networks);
        let directory = directory(lab, node);
        // runc may not raise a limit here, and there is no systemd to ask for cgroups and events.
        let config = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [{:?}]\n\
             network_config_dir = {:?}\n[engine]\ncgroup_manager = \"cgroupfs\"\n\
             events_logger = \"file\"\nruntime = \"runc\"\n",
            plugins.binaries, plugins.lists
        );
        fs::write(directory.join("containers.conf"), config).unwrap();
        let podman = Podman {
            namespace: lab.node(node).namespace.clone(),
            directory,
        };
        podman.import();
        podman
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", self.directory.join("containers.conf"))
            .arg("--root")
            .arg(self.directory.join("storage"))
            .arg("--runroot")
            .arg(self.directory.join("run"))
            .arg("--tmpdir")
            .arg(self.directory.join("tmp"))
            .args(["--storage-driver", "vfs", "--runtime", "runc"])
            .args(arguments);
        command
    }

    /// The image: busybox, serving files at port 80 if nothing else is asked for.
    fn import(&self) {
        let root = self.directory.join("image");
        for directory in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "nc", "httpd", "nslookup"] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        // One that asks the C library for names, which a static program cannot.
        let script =
            "cp --parents $(ldd /bin/ping | grep -o '/[^ ]*') \"$0\" && cp /bin/ping \"$0/bin\"";
        let mut copy = Command::new("sh");
        copy.args(["-c", script]).arg(&root);
        let output = copy.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        let archive = self.directory.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".");
        let output = tar.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let serve = r#"CMD ["/bin/httpd", "-f", "-p", "80", "-h", "/etc"]"#;
        let archive = archive.to_str().unwrap();
        self.ok(&["import", "--change", serve, archive, IMAGE]);
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = run(&self.namespace, &mut self.command(arguments));
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[track_caller]
    fn start(&self, name: &str, network: &str, command: &[&str]) {
        let arguments = ["run", "-d", "--name", name, "--network", network, IMAGE];
        self.ok(&[&arguments[..], command].concat());
    }

    #[track_caller]
    fn address(&self, name: &str, network: &str) -> String {
        let format = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
        self.ok(&["inspect", "-f", &format, name])
    }

    /// The answer that a container gets from a server.
    fn fetch(&self, name: &str, from: &str) -> String {
        let fetch = fetch(from);
        let arguments = ["exec", name, "/bin/sh", "-c", &fetch];
        said(&run(&self.namespace, &mut self.command(&arguments)))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let mut all = self.command(&["rm", "-f", "-a", "-t", "0"]);
        let _ended_with_the_lab = run(&self.namespace, &mut all);
    }
}

#[test]
#[ignore = "needs root"]
fn podman_containers_reach_whom_policy_allows_and_leave_nothing() {
    let _traces = Traces::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "nameserver 127.0.0.9\n").unwrap();
    let resolv_conf = file.path().display();
    let lab = TestLab::up(&format!(
        "--datastore etcd --pods 1 --vrouterd-arg --names --vrouterd-arg \
         --resolv-conf={resolv_conf}"
    ));
    let before = left(&lab, &NETWORKS);
    apply_policies(&lab);
    let one = Podman::new(&lab, 1, &["client", "other"]);
    let two = Podman::new(&lab, 2, &["web", "client"]);
    two.start("web", "web", &[]);
    one.start("client", "client", &["/bin/sleep", "1000"]);
    one.start("other", "other", &["/bin/sleep", "1000"]);
    let web = two.address("web", "web");
    assert_served(&one.fetch("client", &web), "allowed by label");
    assert_refused(&one.fetch("other", &web), "denied by default");

    // Containers of one network have names for each other, and the others have none.
    let named = ["run", "-d", "--name", "db", "--network", "client"];
    let alias = ["--network-alias", "data", IMAGE, "/bin/sleep", "1000"];
    let id = two.ok(&[&named[..], &alias].concat());
    for name in ["db", "data", &id[..12]] {
        let ping = ["exec", "client", "/bin/ping", "-c", "1", "-W", "2", name];
        one.ok(&ping);
    }
    let web_by_name = ["exec", "client", "/bin/nslookup", "web"];
    let output = run(&one.namespace, &mut one.command(&web_by_name));
    assert!(!said(&output).contains(&web), "{}", said(&output));
    two.ok(&["rm", "-f", "-t", "0", "db"]);

    one.ok(&["restart", "-t", "0", "client"]);
    assert_served(&one.fetch("client", &web), "after a restart");
    two.ok(&["restart", "-t", "0", "web"]);
    let web = two.address("web", "web");
    assert_served(&one.fetch("client", &web), "after the server's restart");
    assert_refused(&one.fetch("other", &web), "still denied");

    two.ok(&["rm", "-f", "-t", "0", "web"]);
    one.ok(&["rm", "-f", "-t", "0", "client", "other"]);
    assert_eq!(left(&lab, &NETWORKS), before);
    lab.assert_conserved(1);
    lab.assert_conserved(2);
}

/// containerd with a store of its own, on one node.
struct Containerd {
    namespace: Netns,
    directory: PathBuf,
    plugins: Plugins,
    process: Child,
}

impl Containerd {
    fn start(lab: &TestLab, node: usize, network: &str) -> Containerd {
        let plugins = Plugins::install(lab, node, &[network]);
        let directory = directory(lab, node);
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n[grpc]\naddress = {socket:?}\n\
             [plugins.\"io.containerd.internal.v1.opt\"]\npath = {opt:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {IMAGE:?}\n\
             restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {binaries:?}\n\
             conf_dir = {lists:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n",
            root = directory.join("root"),
            state = directory.join("run"),
            socket = socket(&directory),
            opt = directory.join("opt"),
            binaries = plugins.binaries,
            lists = plugins.lists,
        );
        let file = directory.join("config.toml");
        fs::write(&file, config).unwrap();
        let log = fs::File::create(directory.join("containerd.log")).unwrap();
        let namespace = lab.node(node).namespace.clone();
        let process = netns::inside(&namespace, || {
            let mut command = Command::new("containerd");
            command.arg("--config").arg(&file).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
        })
        .unwrap();
        let containerd = Containerd {
            namespace,
            directory,
            plugins,
            process,
        };
        let answers = || containerd.ctr(&["version"]).status.success();
        let log = || fs::read_to_string(containerd.directory.join("containerd.log")).unwrap();
        assert!(wait_until(Duration::from_secs(20), answers), "{}", log());
        containerd
    }

    fn import(&self, archive: &Path) {
        let archive = archive.to_str().unwrap();
        for of in ["k8s.io", "default"] {
            let import = [
                "-n",
                of,
                "images",
                "import",
                "--snapshotter",
                "native",
                archive,
            ];
            let output = self.ctr(&import);
            assert!(output.status.success(), "{}", said(&output));
        }
    }

    fn ctr(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ctr");
        command
            .arg("--address")
            .arg(socket(&self.directory))
            .args(arguments);
        run(&self.namespace, &mut command)
    }

    /// `ctr run --cni` knows two directories, and no flag for others: ours are mounted over them, for
    /// this one process.
    fn run_with_cni(&self, name: &str, command: &[&str]) -> Output {
        let script = "mkdir -p /etc/cni/net.d /opt/cni/bin && mount --bind \"$1\" /etc/cni/net.d && \
                      mount --bind \"$2\" /opt/cni/bin && shift 2 && exec \"$@\"";
        let mut unshare = Command::new("unshare");
        unshare
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(&self.plugins.lists)
            .arg(&self.plugins.binaries)
            .arg("ctr")
            .arg("--address")
            .arg(socket(&self.directory))
            .args([
                "run",
                "--rm",
                "--cni",
                "--snapshotter",
                "native",
                IMAGE,
                name,
            ])
            .args(command);
        run(&self.namespace, &mut unshare)
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("containerd.sock")
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for of in ["k8s.io", "default"] {
            let tasks = self.ctr(&["-n", of, "tasks", "list", "-q"]).stdout;
            for task in String::from_utf8_lossy(&tasks).lines() {
                self.ctr(&["-n", of, "tasks", "delete", "--force", task]);
            }
        }
        let _was_running = self.process.kill();
        let _status = self.process.wait();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for point in points.filter(|it| Path::new(it).starts_with(&self.directory)) {
            let _unmounted = Command::new("umount").args(["--lazy", point]).status();
        }
    }
}

/// The part of the Container Runtime Interface, `runtime.v1`, that makes and removes a pod.
mod cri {
    use std::collections::HashMap;
    use std::path::Path;
    use std::time::Duration;

    use prost::Message;
    use tonic::codegen::http::uri::PathAndQuery;
    use tonic::transport::Endpoint;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Metadata {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) uid: String,
        #[prost(string, tag = "3")]
        pub(super) namespace: String,
        #[prost(uint32, tag = "4")]
        pub(super) attempt: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct SandboxConfig {
        #[prost(message, tag = "1")]
        pub(super) metadata: Option<Metadata>,
        #[prost(string, tag = "2")]
        pub(super) hostname: String,
        #[prost(string, tag = "3")]
        pub(super) log_directory: String,
        #[prost(map = "string, string", tag = "6")]
        pub(super) labels: HashMap<String, String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct RunPodSandbox {
        #[prost(message, tag = "1")]
        pub(super) config: Option<SandboxConfig>,
    }

    /// Asked of a sandbox by `PodSandboxStatus`, `StopPodSandbox`, `RemovePodSandbox`; the answer of
    /// `RunPodSandbox`.
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Sandbox {
        #[prost(string, tag = "1")]
        pub(super) id: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Network {
        #[prost(string, tag = "1")]
        pub(super) ip: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Status {
        #[prost(string, tag = "1")]
        pub(super) id: String,
        #[prost(message, tag = "5")]
        pub(super) network: Option<Network>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct StatusAnswer {
        #[prost(message, tag = "1")]
        pub(super) status: Option<Status>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Nothing {}

    /// Calls a method of `RuntimeService` at a socket.
    pub(super) fn call<Q, A>(socket: &Path, method: &str, request: Q) -> Result<A, tonic::Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap();
            let endpoint = endpoint.timeout(Duration::from_secs(60));
            let channel = endpoint.connect().await.unwrap();
            let mut client = tonic::client::Grpc::new(channel);
            client.ready().await.unwrap();
            let path = format!("/runtime.v1.RuntimeService/{method}");
            let path = PathAndQuery::try_from(path).unwrap();
            let codec = tonic_prost::ProstCodec::<Q, A>::default();
            let answer = client
                .unary(tonic::Request::new(request), path, codec)
                .await;
            Ok(answer?.into_inner())
        })
    }
}

#[test]
#[ignore = "needs root"]
fn containerd_pods_reach_whom_policy_allows_and_leave_nothing() {
    let _traces = Traces::new();
    let lab = TestLab::up("--datastore etcd --pods 1");
    let before = left(&lab, &NETWORKS);
    apply_policies(&lab);
    let podman = Podman::new(&lab, 1, &[]);
    let archive = lab.lab.state_directory.join("image.docker");
    podman.ok(&["save", "-o", archive.to_str().unwrap(), IMAGE]);
    fs::remove_dir_all(podman.directory.join("bin")).unwrap();
    let client = Containerd::start(&lab, 1, "client");
    let web = Containerd::start(&lab, 2, "web");
    client.import(&archive);
    web.import(&archive);

    let config = cri::SandboxConfig {
        metadata: Some(cri::Metadata {
            name: "web".to_owned(),
            uid: "0b5c".to_owned(),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: "web".to_owned(),
        log_directory: web.directory.join("pods").display().to_string(),
        labels: Default::default(),
    };
    let at = socket(&web.directory);
    let request = cri::RunPodSandbox {
        config: Some(config),
    };
    let sandbox: cri::Sandbox = cri::call(&at, "RunPodSandbox", request).unwrap();
    let answer: cri::StatusAnswer = cri::call(&at, "PodSandboxStatus", sandbox.clone()).unwrap();
    let address = answer.status.unwrap().network.unwrap().ip;
    let named = left(&lab, &NETWORKS);
    assert!(
        named.iter().any(|it| it.contains("node2-k8s-web-eth0")),
        "a pod's endpoint has its pod's name: {named:?}"
    );

    let fetch = fetch(&address);
    let fetch = ["/bin/sh", "-c", &fetch];
    let fetched = client.run_with_cni("client", &fetch);
    assert_served(&said(&fetched), "allowed by label");
    // The same containers of another network may not.
    let list = client.plugins.lists.join("client.conflist");
    let text = fs::read_to_string(&list).unwrap();
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["name"] = "other".into();
    other["plugins"][0]["args"]["cni"]["labels"][0]["value"] = "other".into();
    fs::write(&list, other.to_string()).unwrap();
    let fetched = client.run_with_cni("other", &fetch);
    assert_refused(&said(&fetched), "denied by default");

    for _twice in 0..2 {
        let _: cri::Nothing = cri::call(&at, "StopPodSandbox", sandbox.clone()).unwrap();
    }
    let _: cri::Nothing = cri::call(&at, "RemovePodSandbox", sandbox).unwrap();
    eventually(5, "nothing is left", || left(&lab, &NETWORKS) == before);
    lab.assert_conserved(1);
    lab.assert_conserved(2);
}
