//! The process that has a TUN device or a UDP port, found in `/proc`.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub name: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = if self.name == "vrouterd" {
            "another "
        } else {
            ""
        };
        write!(f, "{article}{} (pid {})", self.name, self.pid)
    }
}

/// Another `vrouterd` of this network namespace.
pub fn other_vrouterd() -> Option<Process> {
    find(|process| {
        fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim_end() == "vrouterd")
    })
}

/// The other process that has the TUN or TAP `device` of this network namespace open.
pub fn of_tun(device: &str) -> Option<Process> {
    find(|process| {
        let files = fs::read_dir(process.join("fdinfo"))
            .into_iter()
            .flatten()
            .flatten();
        files.into_iter().any(|file| {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            text.lines()
                .filter_map(|line| line.strip_prefix("iff:"))
                .any(|name| name.trim() == device)
        })
    })
}

/// The other process with a UDP socket of this network namespace on `port`.
pub fn of_udp_port(port: u16) -> Option<Process> {
    let tables = ["/proc/thread-self/net/udp", "/proc/self/net/udp6"];
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<String> = tables
        .iter()
        .flat_map(|table| inodes(table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    find(|process| {
        let files = fs::read_dir(process.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        files.into_iter().any(|file| {
            let target = fs::read_link(file.path()).unwrap_or_default();
            inodes
                .iter()
                .any(|inode| target.as_os_str() == inode.as_str())
        })
    })
}

/// Whether `device` is a tunnel that the kernel's module `ipip` made.
pub fn is_kernel_tunnel(device: &str) -> bool {
    let path = Path::new("/sys/class/net").join(device);
    // ARPHRD_TUNNEL of linux/if_arp.h.
    fs::read_to_string(path.join("type")).is_ok_and(|kind| kind.trim() == "768")
}

/// The inodes of sockets on a port, out of a table of `/proc/net`.
fn inodes(table: &str, port: u16) -> impl Iterator<Item = &str> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace();
        let is_local = fields.nth(1)?.ends_with(&suffix);
        is_local.then(|| fields.nth(7)).flatten()
    })
}

/// The first other process of this network namespace of which `is_holder` is true.
fn find(is_holder: impl Fn(&Path) -> bool) -> Option<Process> {
    let own = fs::read_link("/proc/thread-self/ns/net").ok()?;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let process = entry.path();
        let is_here = fs::read_link(process.join("ns/net")).is_ok_and(|net| net == own);
        if pid == std::process::id() || !is_here || !is_holder(&process) {
            continue;
        }
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        return Some(Process {
            pid,
            name: name.trim_end().to_owned(),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  141: 010010AC:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
  142: 010010AC:0035 00000000:12B5 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
  143: 00000000:12B5";

    #[test]
    fn the_local_port_counts() {
        assert_eq!(inodes(TABLE, 4789).collect::<Vec<_>>(), ["4711"]);
        assert_eq!(inodes(TABLE, 53).collect::<Vec<_>>(), ["4712"]);
        assert_eq!(inodes("", 53).count(), 0);
    }
}
