//! What the end-to-end tests share: a lab that ends with its test, commands in it, streams and
//! ping trains that tell when traffic was interrupted.
//!
//! All of them need root, so they are ignored unless asked for; `tools/test` asks.
#![allow(dead_code, reason = "each test file uses a part")]

pub(crate) mod cni;
pub(crate) mod dns;
pub(crate) mod ping;
pub(crate) mod store;
pub(crate) mod stream;
pub(crate) mod traces;

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use vrouter_control::model::CounterReport;
use vrouter_control::params::{ShowCounters, ShowDrops};
use vrouter_lab::names::LabName;
use vrouter_lab::process::wait_until;
use vrouter_lab::topology::{Lab, Node, Pod};
use vrouter_lab::{netns, state, vrouter};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_vrouter-lab");

/// A lab that is taken down with its value; a failing test prints the ends of its logs.
pub(crate) struct TestLab {
    pub(crate) lab: Lab,
}

impl TestLab {
    /// Builds a lab with these flags, under a name that no other has. `LAB_POD_LINK=tap` has the
    /// pods of every test on TAPs.
    pub(crate) fn up(flags: &str) -> Self {
        require_root();
        let name = fresh_name();
        let link = std::env::var("LAB_POD_LINK").unwrap_or_default();
        let says_more = ["--backend", "--pod-link"]
            .iter()
            .any(|it| flags.contains(it));
        let flags = match link.as_str() {
            "" => flags.to_owned(),
            _ if says_more => flags.to_owned(),
            link => format!("{flags} --pod-link {link}"),
        };
        let output = lab_command(&format!("up {name} {flags}"));
        assert!(output.status.success(), "up {flags}: {}", said(&output));
        Self {
            lab: state::load(&name).expect("up wrote it"),
        }
    }

    /// Node `index`, from one.
    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.lab.nodes[index - 1]
    }

    /// Pod `pod` of node `node`, both from one.
    pub(crate) fn pod(&self, node: usize, pod: usize) -> &Pod {
        &self.node(node).pods[pod - 1]
    }

    /// Runs a command (split at spaces) in `pod1-1`, `node1` or `net`; ended after a minute.
    pub(crate) fn run(&self, member: &str, command: &str) -> Output {
        let namespace = self.lab.namespace(member).expect("the lab has it");
        let words: Vec<&str> = "timeout 60".split(' ').chain(command.split(' ')).collect();
        netns::output(namespace, &words, "").expect("timeout starts")
    }

    /// Runs a command that must succeed; gives its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, member: &str, command: &str) -> String {
        let output = self.run(member, command);
        assert!(
            output.status.success(),
            "{member}: {command}: {}",
            said(&output)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a command in the background, ended with the value.
    pub(crate) fn start(&self, member: &str, command: &str) -> Background {
        let namespace = self.lab.namespace(member).expect("the lab has it");
        let words: Vec<&str> = command.split(' ').collect();
        let child = netns::inside(namespace, || {
            Command::new(words[0])
                .args(&words[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
        });
        let mut child = child
            .expect("the namespace exists")
            .expect("the command starts");
        // Read as it comes: a command that says much would wait for ever once the pipe is full.
        let mut out = child.stdout.take().expect("it is a pipe");
        let reader = thread::spawn(move || {
            let mut said = Vec::new();
            let _what_came = out.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Background {
            child,
            reader: Some(reader),
        }
    }

    /// Three answers to `ping`, with a second for each.
    pub(crate) fn pings(&self, from: &str, to: &str) -> bool {
        self.run(from, &format!("ping -n -q -c 3 -i 0.05 -W 1 {to}"))
            .status
            .success()
    }

    /// The connectivity check with these flags.
    #[track_caller]
    pub(crate) fn check(&self, flags: &str) {
        let output = lab_command(&format!("check {} {flags}", self.lab.name));
        assert!(output.status.success(), "check {flags}: {}", said(&output));
    }

    /// Writes a resource file, at once as a whole.
    pub(crate) fn write_resource(&self, file: &str, text: &str) {
        state::write_whole(&self.lab.resource_directory.join(file), text).expect("it is writable");
    }

    /// Removes a resource file.
    pub(crate) fn remove_resource(&self, file: &str) {
        fs::remove_file(self.lab.resource_directory.join(file)).expect("it was there");
    }

    /// The counters of a node's vRouter.
    pub(crate) fn counters(&self, node: usize) -> CounterReport {
        vrouter::ask(self.node(node), &ShowCounters {}).expect("the vRouter answers")
    }

    /// How many packets a node dropped, for all reasons with `part` in their names.
    pub(crate) fn drops(&self, node: usize, part: &str) -> u64 {
        let report = vrouter::ask(self.node(node), &ShowDrops::default()).expect("it answers");
        report
            .reasons
            .iter()
            .filter(|r| r.reason.contains(part))
            .map(|r| r.packets)
            .sum()
    }

    /// The conservation law, once traffic has come to rest.
    #[track_caller]
    pub(crate) fn assert_conserved(&self, node: usize) {
        let mut last = CounterReport::default();
        let holds = wait_until(Duration::from_secs(3), || {
            last = self.counters(node);
            last.balance.difference() == 0
        });
        assert!(
            holds,
            "node {node}: {:?} differs by {}",
            last.balance,
            last.balance.difference()
        );
        assert!(last.balance.received > 0, "node {node} saw nothing");
    }

    /// No netfilter rule in the namespaces of nodes.
    #[track_caller]
    pub(crate) fn assert_no_netfilter(&self) {
        for node in &self.lab.nodes {
            for tool in [
                "iptables-save",
                "ip6tables-save",
                "iptables-legacy-save",
                "nft list ruleset",
            ] {
                let rules = self.ok(&node.name, tool);
                let rules: Vec<&str> = rules
                    .lines()
                    .filter(|line| !line.starts_with('#'))
                    .collect();
                assert!(rules.is_empty(), "{}: {tool}: {rules:?}", node.name);
            }
        }
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in self.lab.nodes.iter().filter(|node| node.log.is_some()) {
                eprintln!(
                    "--- the end of {}'s log:\n{}",
                    node.name,
                    vrouter::log_end(node)
                );
            }
        }
        let output = lab_command(&format!("down {}", self.lab.name));
        if !output.status.success() {
            eprintln!("down {}: {}", self.lab.name, said(&output));
        }
    }
}

/// A command in the background.
pub(crate) struct Background {
    child: Child,
    /// Gives its standard output; taken once.
    reader: Option<JoinHandle<String>>,
}

impl Background {
    /// Waits for it and gives its standard output.
    pub(crate) fn finish(mut self) -> String {
        let reader = self.reader.take().expect("finished once");
        self.child.wait().expect("it can be waited for");
        reader.join().expect("reading does not panic")
    }

    /// Asks it to end with SIGINT, waits, and gives its standard output.
    pub(crate) fn interrupt(self) -> String {
        let pid = self.child.id();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid fits"));
        let _ended_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        self.finish()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

/// Runs `vrouter-lab` with these arguments, split at spaces.
pub(crate) fn lab_command(arguments: &str) -> Output {
    Command::new("timeout")
        .args(["300", PROGRAM])
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("timeout starts")
}

/// All that a command printed.
pub(crate) fn said(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    format!("{}: {}", output.status, String::from_utf8_lossy(&all))
}

/// A name for a lab that no other test has, of this run or another at the same time.
pub(crate) fn fresh_name() -> LabName {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("e2e{}-{next}", std::process::id())
        .parse()
        .expect("it is a name")
}

/// Fails loudly where a test would otherwise have to be skipped.
pub(crate) fn require_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "the end-to-end tests need root"
    );
}

/// Runs frames.py, the scapy side of the tests, with these arguments.
pub(crate) fn scapy(arguments: &[&str]) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/frames.py");
    // Debian's python3-scapy belongs to Debian's python3.
    Command::new("timeout")
        .args(["60", "/usr/bin/python3"])
        .arg(script)
        .args(arguments)
        .output()
        .expect("timeout starts")
}

/// Polls until it is true, for `seconds`.
#[track_caller]
pub(crate) fn eventually(seconds: u64, what: &str, condition: impl FnMut() -> bool) {
    assert!(
        wait_until(Duration::from_secs(seconds), condition),
        "not within {seconds} s: {what}"
    );
}
