//! The servers of a check: nginx in every namespace that is a target, iperf3 for each of its
//! addresses. They end with the value that holds them.
//!
//! iperf3 is bound to the address it serves: without that, on a node of several addresses, its UDP
//! answers leave from another than the client asked.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::error::{LabError, Result};
use crate::names::Netns;
use crate::netns;
use crate::process::{Process, wait_until};

/// Where iperf3 listens.
pub const IPERF_PORT: u16 = 5201;
/// Where nginx listens.
pub const WEB_PORT: u16 = 8080;
/// The small page: 612 bytes, the size of nginx's own welcome page.
pub const PAGE: &str = "/page";
/// A file that spans many segments.
pub(super) const BLOB: &str = "/blob";
const BLOB_BYTES: usize = 300_000;

/// Running servers.
#[derive(Debug)]
pub struct Servers {
    children: Vec<Child>,
    directory: PathBuf,
    /// What [`BLOB`] holds.
    pub(super) blob: Vec<u8>,
}

impl Servers {
    /// Starts the servers of these namespaces and addresses, and waits until they listen. Their
    /// files are in `directory`, which is made, and removed in the end.
    ///
    /// # Errors
    /// One is not installed, or does not listen in time.
    pub fn start<'a>(
        directory: PathBuf,
        places: impl Iterator<Item = (&'a Netns, IpAddr)>,
    ) -> Result<Self> {
        let places: BTreeSet<(&Netns, IpAddr)> = places.collect();
        let namespaces: BTreeSet<&Netns> = places.iter().map(|(place, _)| *place).collect();
        let blob: Vec<u8> = (0..BLOB_BYTES)
            .map(|at| (at * 31 % 251).to_le_bytes()[0])
            .collect();
        let mut servers = Self {
            children: Vec::new(),
            directory,
            blob,
        };
        servers.write_files()?;
        for place in &namespaces {
            servers.start_nginx(place)?;
        }
        let port = IPERF_PORT.to_string();
        for (place, address) in &places {
            let address = address.to_string();
            servers.start_in(place, &["iperf3", "-s", "-B", &address, "-p", &port])?;
        }
        for place in namespaces {
            let addresses = places.iter().filter(|(other, _)| *other == place).count();
            wait_until_listening(place, addresses)?;
        }
        Ok(servers)
    }

    /// The servers as processes.
    pub fn processes(&self) -> Vec<Process> {
        self.children
            .iter()
            .filter_map(|child| Process::of("server", child.id()))
            .collect()
    }

    fn write_files(&self) -> Result<()> {
        let write = |name: &str, bytes: &[u8]| {
            fs::write(self.directory.join(name), bytes)
                .map_err(LabError::io(format!("writing {name} of the servers")))
        };
        fs::create_dir_all(&self.directory)
            .map_err(LabError::io("making the servers' directory"))?;
        write("page", &[b'.'; 612])?;
        write("blob", &self.blob)
    }

    fn start_nginx(&mut self, place: &Netns) -> Result<()> {
        let directory = self.directory.display();
        let configuration = self.directory.join(format!("{place}.conf"));
        let mut temporary = String::new();
        for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            temporary.push_str(&format!("  {kind}_temp_path {directory}/{place}-{kind};\n"));
        }
        let text = format!(
            "daemon off;\nmaster_process off;\npid {directory}/{place}.pid;\n\
             error_log {directory}/{place}.log;\nevents {{ worker_connections 4096; }}\n\
             http {{\n{temporary}  access_log off;\n  keepalive_requests 1000000;\n  \
             sendfile on;\n  server {{\n    listen [::]:{WEB_PORT} ipv6only=off backlog=4096;\n    \
             root {directory};\n  }}\n}}\n"
        );
        fs::write(&configuration, text).map_err(LabError::io("writing nginx's configuration"))?;
        let configuration = configuration.display().to_string();
        self.start_in(place, &["nginx", "-c", &configuration])
    }

    fn start_in(&mut self, place: &Netns, command: &[&str]) -> Result<()> {
        let child = netns::inside(place, || {
            Command::new(command[0])
                .args(&command[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        })?
        .map_err(LabError::io(format!("starting {} in {place}", command[0])))?;
        self.children.push(child);
        Ok(())
    }
}

fn wait_until_listening(place: &Netns, iperf_servers: usize) -> Result<()> {
    let limit = Duration::from_secs(5);
    let web = SocketAddr::from((Ipv6Addr::LOCALHOST, WEB_PORT));
    let listening = netns::inside(place, || {
        // iperf3 takes a bare connection for a broken client, so its port is looked up, not tried.
        wait_until(limit, || TcpStream::connect(web).is_ok())
            && wait_until(limit, || listeners(IPERF_PORT) == iperf_servers)
    })?;
    if listening {
        Ok(())
    } else {
        Err(LabError::Timeout {
            what: format!("nginx and iperf3 listening in {place}"),
            seconds: limit.as_secs(),
            detail: String::new(),
        })
    }
}

/// How many TCP sockets of the current namespace listen on a port (proc(5), /proc/net/tcp).
fn listeners(port: u16) -> usize {
    let local = format!(":{port:04X} ");
    let count = |file: &str| {
        fs::read_to_string(format!("/proc/thread-self/net/{file}")).map_or(0, |table| {
            table
                .lines()
                .filter(|line| line.contains(&local) && line.contains(" 0A "))
                .count()
        })
    };
    count("tcp") + count("tcp6")
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ended_already = child.kill();
            let _ended_already = child.wait();
        }
        let _left_for_down = fs::remove_dir_all(&self.directory);
    }
}
