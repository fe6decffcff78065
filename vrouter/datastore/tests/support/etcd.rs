//! A real etcd of Debian's package, on free ports of the loopback, ended with its owner.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vrouter_datastore::{Connection, EtcdStore};

/// One member, alone.
pub(crate) struct Etcd {
    child: Option<Child>,
    folder: TempDir,
    client: u16,
    peer: u16,
    tls: Vec<String>,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

impl Etcd {
    pub(crate) fn start() -> Etcd {
        Etcd::with(Vec::new())
    }

    /// With further flags for its clients' side, such as certificates.
    pub(crate) fn with(tls: Vec<String>) -> Etcd {
        let mut etcd = Etcd {
            child: None,
            folder: tempfile::tempdir().expect("a temporary directory"),
            client: free_port(),
            peer: free_port(),
            tls,
        };
        etcd.go();
        etcd
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_empty() { "http" } else { "https" }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.client)
    }

    /// Starts it, again after [`Etcd::kill`] with the data it had.
    pub(crate) fn go(&mut self) {
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &self.endpoint()])
            .args(["--advertise-client-urls", &self.endpoint()])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args([
                "--logger",
                "zap",
                "--log-level",
                "error",
                "--unsafe-no-fsync",
            ])
            .args(&self.tls)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed: see tools/packages");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.client)).is_err() {
            assert!(Instant::now() < deadline, "etcd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it without warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
    }

    /// What `etcdctl` prints.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let output = Command::new("etcdctl")
            .env_clear()
            .env("ETCDCTL_API", "3")
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .args(["--endpoints", &self.endpoint()])
            .args(arguments)
            .output()
            .expect("etcdctl is installed: see tools/packages");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("etcdctl prints text")
    }

    pub(crate) fn clear(&self) {
        self.ctl(&["del", "--prefix", "/calico/"]);
    }

    pub(crate) fn store(&self) -> EtcdStore {
        self.cached(None)
    }

    pub(crate) fn cached(&self, cache: Option<PathBuf>) -> EtcdStore {
        self.store_with(&[], cache)
    }

    /// With further variables of the environment.
    pub(crate) fn store_with(&self, pairs: &[(&str, &str)], cache: Option<PathBuf>) -> EtcdStore {
        let endpoint = self.endpoint();
        let variable = |name: &str| match name {
            "ETCD_ENDPOINTS" => Some(endpoint.clone()),
            _ => {
                let found = pairs.iter().find(|(have, _)| *have == name);
                found.map(|(_, value)| (*value).to_owned())
            }
        };
        match Connection::of_environment(&variable).expect("endpoints") {
            Connection::Etcd(etcd) => EtcdStore::new(etcd, cache).expect("threads"),
            Connection::Directory(_) => unreachable!("endpoints mean etcd"),
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
