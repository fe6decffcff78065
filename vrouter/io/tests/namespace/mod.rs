//! Network namespaces of a test: unique names, removed also when the test fails.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "only tests call these")]

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use vrouter_io::netns::Netns;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A namespace made by `ip netns add`.
pub struct Namespace {
    pub name: String,
    pub netns: Netns,
}

impl Namespace {
    pub fn new(role: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vio-{role}-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name]);
        let namespace = Self {
            netns: Netns::open(&name).unwrap(),
            name,
        };
        namespace.exec("ip link set lo up");
        namespace
    }

    /// Runs a command in it, for at most 60 seconds; it must succeed.
    pub fn exec(&self, command: &str) -> String {
        let output = self.try_exec(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {text}{errors}");
        text
    }

    /// Runs a command in it, for at most 60 seconds.
    pub fn try_exec(&self, command: &str) -> Output {
        Command::new("timeout")
            .args(["60", "ip", "netns", "exec", &self.name])
            .args(command.split_whitespace())
            .output()
            .unwrap()
    }

    /// A veth from here to `other`, named `name` on both sides, with an address on each.
    pub fn connect(&self, other: &Self, name: &str, here: &str, there: &str) {
        let peer = &other.name;
        self.exec(&format!(
            "ip link add {name} type veth peer name {name} netns {peer}"
        ));
        for (side, address) in [(self, here), (other, there)] {
            side.exec(&format!("ip addr add {address} dev {name} nodad"));
            side.exec(&format!("ip link set {name} up"));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
