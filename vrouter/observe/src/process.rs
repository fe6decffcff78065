//! The process as the kernel sees it, from `/proc/self`.

use std::fs;

/// Ticks a second in `/proc`: `USER_HZ`, the same on every architecture that runs this.
const TICKS: f64 = 100.0;

/// What `/proc/self` says; `None` where it says nothing.
pub(crate) struct Process {
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
}

impl Process {
    pub(crate) fn read() -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        let status = text("status").unwrap_or_default();
        let limits = text("limits").unwrap_or_default();
        let fds = fs::read_dir("/proc/self/fd").ok();
        Self {
            cpu_seconds: text("stat").as_deref().and_then(cpu_seconds),
            resident_bytes: row(&status, "VmRSS:").map(|kib| kib * 1024),
            virtual_bytes: row(&status, "VmSize:").map(|kib| kib * 1024),
            threads: row(&status, "Threads:"),
            // The descriptor that reads the directory is one of them.
            open_fds: fds.map(|entries| entries.count().saturating_sub(1) as u64),
            max_fds: row(&limits, "Max open files"),
        }
    }
}

/// The first number of the row that begins so.
fn row(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time of a `stat`; the name in parentheses may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        let process = Process::read();
        assert!(process.cpu_seconds.is_some());
        assert!(process.resident_bytes < process.virtual_bytes);
        assert!(process.threads >= Some(1) && process.open_fds >= Some(3));
        assert!(process.max_fds > process.open_fds);
    }
}
