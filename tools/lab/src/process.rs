//! Processes of a lab: remembered by pid and start time, found by namespace, ended with care.
//!
//! A pid alone may by now be somebody else's. It is trusted only together with the time at which
//! the process started, and processes are otherwise found by the network namespace they are in,
//! which nobody but the lab's own can be.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process that the lab started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// What it is: `vrouterd node1`.
    pub role: String,
    pub pid: i32,
    /// When it started, in clock ticks since the machine did (proc(5), field 22 of stat).
    pub started: u64,
}

impl Process {
    /// Remembers a running process; `None` when it has ended already.
    pub fn of(role: impl Into<String>, pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        let stat = Stat::read(pid)?;
        (!stat.ended).then(|| Self {
            role: role.into(),
            pid,
            started: stat.started,
        })
    }

    /// Whether it still runs, as the same process.
    pub fn is_alive(&self) -> bool {
        Stat::read(self.pid).is_some_and(|stat| !stat.ended && stat.started == self.started)
    }

    /// Sends a signal, if it still runs as the same process.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            let _gone_in_between = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits until it has ended; whether it did in time.
    pub fn wait_ended(&self, limit: Duration) -> bool {
        wait_until(limit, || !self.is_alive())
    }
}

/// Asks processes to end, waits `patience`, then makes them.
pub fn end(all: &[Process], patience: Duration) {
    for process in all {
        process.signal(Signal::SIGTERM);
    }
    if wait_until(patience, || !all.iter().any(Process::is_alive)) {
        return;
    }
    for process in all {
        process.signal(Signal::SIGKILL);
    }
    wait_until(Duration::from_secs(5), || {
        !all.iter().any(Process::is_alive)
    });
}

/// The processes whose network namespace is one of these inodes, this one left out.
pub fn in_namespaces(inodes: &HashSet<u64>) -> Vec<Process> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            // The link's target is only a name; its metadata is that of the namespace itself.
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|metadata| inodes.contains(&metadata.ino()))
        })
        .filter_map(|pid| Process::of("in a namespace of the lab", pid))
        .collect()
}

/// Polls a condition, first at once, then every few milliseconds; whether it came true in time.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

struct Stat {
    ended: bool,
    started: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name, in parentheses, may itself hold spaces and parentheses: fields count from the
    /// last one.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
        let ended = matches!(fields.next()?, "Z" | "X");
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { ended, started })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = Stat::parse(&format!("7 (a) b (c) S {}", fields.join(" "))).unwrap();
        assert_eq!((stat.ended, stat.started), (false, 22));
        assert!(
            Stat::parse(&format!("7 (x) Z {}", fields.join(" ")))
                .unwrap()
                .ended
        );
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn a_process_of_another_start_time_is_not_ours() {
        let me = Process::of("test", std::process::id()).unwrap();
        assert!(me.is_alive());
        let other = Process {
            started: me.started + 1,
            ..me
        };
        assert!(!other.is_alive());
        other.signal(Signal::SIGKILL);
    }
}
