//! vrouterctl with a directory or a real etcd behind it.

#![allow(dead_code)] // Each test file uses a part.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use vrouter_datastore::Connection;

use crate::etcd::Server;

/// Where the resources are.
pub(crate) enum Store {
    Directory(tempfile::TempDir),
    Etcd(Box<Server>),
}

impl Store {
    pub(crate) fn directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    pub(crate) fn both() -> [Self; 2] {
        [Self::directory(), Self::etcd()]
    }

    /// An etcd in which what the first write of a client makes is made.
    pub(crate) fn etcd() -> Self {
        let store = Self::Etcd(Box::new(Server::start()));
        vrouter_datastore::initialize(&*store.open()).unwrap();
        store
    }

    /// What golden files of what differs from store to store are called.
    pub(crate) fn suffix(&self) -> &'static str {
        match self {
            Self::Directory(_) => "",
            Self::Etcd(_) => "-etcd",
        }
    }

    /// The same store for a test that writes what no command does.
    pub(crate) fn open(&self) -> std::sync::Arc<dyn vrouter_datastore::Datastore> {
        let connection = match self {
            Self::Directory(folder) => Connection::Directory(folder.path().to_owned()),
            Self::Etcd(server) => Connection::Etcd(vrouter_datastore::EtcdSettings {
                endpoints: vec![server.url()],
                ..Default::default()
            }),
        };
        connection.open().unwrap()
    }

    pub(crate) fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vrouterctl"));
        command.env_clear().args(line).stdin(Stdio::piped());
        match self {
            Self::Directory(folder) => command
                .env("DATASTORE_TYPE", "directory")
                .env("VROUTER_DIRECTORY", folder.path()),
            Self::Etcd(server) => command
                .env("DATASTORE_TYPE", "etcdv3")
                .env("ETCD_ENDPOINTS", server.url()),
        };
        command
    }

    pub(crate) fn feed(&self, line: &[&str], input: &str) -> Output {
        let mut child = self
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Who refuses the command line reads nothing.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// What a command prints that must succeed without a word on standard error.
    pub(crate) fn ok(&self, line: &str, input: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.feed(&words, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && errors.is_empty(),
            "{line}: {} {errors}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that must fail with calicoctl's code, and leave the store as it was.
    pub(crate) fn fails(&self, line: &[&str], input: &str) -> String {
        let before = self.everything();
        let output = self.feed(line, input);
        assert_eq!(output.status.code(), Some(1), "{line:?}");
        assert_eq!(self.everything(), before, "{line:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!errors.contains("panicked"), "{errors}");
        errors
    }

    pub(crate) fn everything(&self) -> String {
        match self {
            Self::Directory(folder) => files(folder.path()),
            Self::Etcd(server) => server.ask(&["get", "--prefix", "/"]),
        }
    }
}

pub(crate) fn files(folder: &Path) -> String {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let mut all = String::new();
    for name in names.iter().filter(|name| name.is_file()) {
        all += &format!(
            "{}\n{}\n",
            name.display(),
            fs::read_to_string(name).unwrap()
        );
    }
    all
}
