//! An etcd of the test's own, on loopback, with its data in a directory that goes with it.

#![allow(dead_code)] // Each test file uses a part.

pub(crate) mod certificates;

use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running etcd; ends with its owner.
pub(crate) struct Server {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
    tls: bool,
}

/// A port nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With more arguments; `--cert-file` among them makes it speak TLS.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        // Between choosing a port and listening on it somebody else may take it: try again.
        for _ in 0..5 {
            if let Some(server) = Self::attempt(arguments) {
                return server;
            }
        }
        panic!("etcd (Debian package etcd-server, see tools/packages) did not start");
    }

    fn attempt(arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (port, peer) = (free_port(), free_port());
        let tls = arguments.contains(&"--cert-file");
        let scheme = if tls { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer}");
        let process = Command::new("etcd")
            .env_clear()
            .args(["--data-dir", folder.path().join("data").to_str().unwrap()])
            .args(["--name", "test", "--log-level", "error", "--logger", "zap"])
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--initial-cluster",
                &format!("test={peer}"),
                "--unsafe-no-fsync",
            ])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed: tools/packages has it as etcd-server");
        let mut server = Self {
            process,
            port,
            folder,
            tls,
        };
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if server.process.try_wait().unwrap().is_some() {
                return None;
            }
            let listening = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            if listening && (tls || server.try_ctl(&["endpoint", "health"], b"")) {
                return Some(server);
            }
            thread::sleep(Duration::from_millis(50));
        }
        None
    }

    /// As `--endpoints` takes it.
    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As ETCD_ENDPOINTS takes it.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.endpoint())
    }

    pub(crate) fn put(&self, key: &str, value: &[u8]) {
        // An empty value cannot come from standard input.
        let empty = if value.is_empty() { &[""][..] } else { &[] };
        assert!(
            self.try_ctl(&[&["put", key], empty].concat(), value),
            "{key}"
        );
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) {
        assert!(self.try_ctl(arguments, b""), "{arguments:?}");
    }

    /// etcdctl with this on its standard input.
    pub(crate) fn feed(&self, arguments: &[&str], input: &str) {
        assert!(self.try_ctl(arguments, input.as_bytes()), "{input}");
    }

    /// Standard output of etcdctl.
    pub(crate) fn ask(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command
            .env_clear()
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint()])
            .args(arguments);
        command
    }

    fn try_ctl(&self, arguments: &[&str], input: &[u8]) -> bool {
        let mut process = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcdctl is installed: tools/packages has it as etcd-client");
        process.stdin.take().unwrap().write_all(input).unwrap();
        process.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
