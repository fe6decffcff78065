//! CPU time spent: by the whole machine (proc(5), /proc/stat), by processes (/proc/PID/stat), by
//! ended children (getrusage(2)).

use std::fs;

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrouter_lab::process::Process;

/// Seconds of CPU time spent during a measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// By the whole machine, idle, waiting and stolen time left out.
    pub machine: f64,
    /// Of that, in soft and hard interrupts.
    pub interrupts: f64,
    /// By the processes that forward: vrouterd, tap-loop.
    pub forwarders: f64,
    /// By servers that outlive the test: iperf3, nginx.
    pub servers: f64,
    /// By the clients, and servers that end with the test.
    pub clients: f64,
}

/// A reading of the clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clocks(Cpu);

impl Clocks {
    /// Reads them all.
    pub fn read(forwarders: &[Process], servers: &[Process]) -> Self {
        let (machine, interrupts) = machine();
        Self(Cpu {
            machine,
            interrupts,
            forwarders: forwarders.iter().map(of_process).sum(),
            servers: servers.iter().map(of_process).sum(),
            clients: of_children(),
        })
    }

    /// What was spent between two readings.
    pub fn until(self, later: Self) -> Cpu {
        let (a, b) = (self.0, later.0);
        Cpu {
            machine: b.machine - a.machine,
            interrupts: b.interrupts - a.interrupts,
            forwarders: b.forwarders - a.forwarders,
            servers: b.servers - a.servers,
            clients: b.clients - a.clients,
        }
    }
}

fn tick() -> f64 {
    match sysconf(SysconfVar::CLK_TCK) {
        Ok(Some(ticks)) if ticks > 0 => 1.0 / ticks as f64,
        Ok(_) | Err(_) => 0.01,
    }
}

/// Busy seconds since the machine started, and those of them in interrupts.
pub fn machine() -> (f64, f64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let (busy, interrupts) = parse_machine(&text);
    (busy * tick(), interrupts * tick())
}

fn parse_machine(text: &str) -> (f64, f64) {
    let fields: Vec<f64> = text
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))
        .unwrap_or("")
        .split_ascii_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal
    let at = |index: usize| fields.get(index).copied().unwrap_or(0.0);
    let interrupts = at(5) + at(6);
    (at(0) + at(1) + at(2) + interrupts, interrupts)
}

fn of_process(process: &Process) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    parse_process(&stat) * tick()
}

fn parse_process(stat: &str) -> f64 {
    // The name may hold spaces and parentheses; utime and stime are fields 14 and 15.
    stat.rsplit_once(')').map_or(0.0, |(_, rest)| {
        rest.split_ascii_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<f64>().ok())
            .sum()
    })
}

fn of_children() -> f64 {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0.0, |usage| {
        [usage.user_time(), usage.system_time()]
            .iter()
            .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
            .sum()
    })
}

/// How much of the machine was busy over a while, from 0 to 1, with nothing of ours running.
pub fn load(watch: std::time::Duration) -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let (before, _) = machine();
    std::thread::sleep(watch);
    let (after, _) = machine();
    (after - before) / (watch.as_secs_f64() * cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_waiting_and_stolen_time_is_not_busy() {
        let stat = "cpu  10 1 5 1000 50 2 3 99 0 0\ncpu0 1 1 1\n";
        assert_eq!(parse_machine(stat), (21.0, 5.0));
    }

    #[test]
    fn a_process_is_read_past_its_name() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("7 (a) b (c) S {}", fields.join(" "));
        assert_eq!(parse_process(&stat), 29.0);
        assert_eq!(parse_process(""), 0.0);
    }

    #[test]
    fn time_passes() {
        let before = Clocks::read(&[], &[]);
        let end = std::time::Instant::now() + std::time::Duration::from_millis(60);
        while std::time::Instant::now() < end {
            std::hint::spin_loop();
        }
        assert!(before.until(Clocks::read(&[], &[])).machine > 0.0);
    }
}
