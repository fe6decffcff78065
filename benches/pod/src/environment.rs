//! What a run ran on: figures without it cannot be compared with others.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrouter_lab::names::{Netns, POD_INTERFACE};
use vrouter_lab::netns;

use crate::error::{BenchError, Result};

/// The machine and the programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Environment {
    /// The kernel's release.
    pub kernel: String,
    /// The processor's model.
    pub processor: String,
    /// How many cores there are.
    pub cores: usize,
    /// Memory in MiB.
    pub memory: u64,
    /// The frequency governor of the first core, where there is one.
    pub governor: Option<String>,
    /// TCP's congestion control, in new namespaces if none was asked for: what paces delays the path
    /// as well.
    #[serde(default)]
    pub congestion_control: Option<String>,
    /// What part of the machine was busy before the start, in per cent.
    pub load_before: u64,
    /// The version of this program.
    pub version: String,
    /// The commit of the working tree it was started from or beside, if there is one.
    pub commit: Option<String>,
    /// The versions of the tools.
    pub tools: BTreeMap<String, String>,
    /// The offloads of the client's interface, by subject (`ethtool -k`).
    pub offloads: BTreeMap<String, String>,
}

const TOOLS: &[(&str, &str)] = &[
    ("iperf3", "--version"),
    ("fping", "-v"),
    ("ab", "-V"),
    ("nginx", "-v"),
    ("iptables", "--version"),
    ("nft", "--version"),
    ("ip", "-V"),
];

impl Environment {
    /// Looks around, for a run with this congestion control or the kernel's.
    pub fn read(load_before: u64, congestion: Option<&str>) -> Self {
        let of_file = |path: &str| {
            fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let field = |path: &str, label: &str| {
            of_file(path)?.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                (name.trim() == label).then(|| value.trim().to_owned())
            })
        };
        let memory = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Self {
            kernel: of_file("/proc/sys/kernel/osrelease").unwrap_or_default(),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory.unwrap_or(0) / 1024,
            governor: of_file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            congestion_control: congestion
                .map(str::to_owned)
                .or_else(|| of_file("/proc/sys/net/ipv4/tcp_congestion_control")),
            load_before,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit(),
            tools: TOOLS
                .iter()
                .filter_map(|(tool, flag)| Some(((*tool).to_owned(), version(tool, flag)?)))
                .collect(),
            offloads: BTreeMap::new(),
        }
    }
}

/// Whether the kernel has this congestion control, and namespaces may be given it.
///
/// # Errors
/// It has not, or they may not; the error names those that are there.
pub fn require_congestion_control(name: &str) -> Result<()> {
    let list = |which: &str| -> Result<Vec<String>> {
        let path = format!("/proc/sys/net/ipv4/tcp_{which}_congestion_control");
        let text = fs::read_to_string(&path).map_err(BenchError::io(format!("reading {path}")))?;
        let names = text.split_ascii_whitespace().map(str::to_owned);
        Ok(names.collect())
    };
    let refuse = |reason| {
        Err(BenchError::Invalid(format!(
            "--congestion {name}: {reason}"
        )))
    };
    let has = |list: &[String]| list.iter().any(|one| one == name);
    let available = list("available")?;
    if !has(&available) {
        return refuse(format!(
            "the kernel has {}; others need their module, tcp_{name}",
            available.join(", ")
        ));
    }
    let allowed = list("allowed")?;
    if !has(&allowed) {
        let allowed = allowed.join(" ");
        return refuse(format!(
            "namespaces may have {allowed} alone; allow it by sysctl -w \
             net.ipv4.tcp_allowed_congestion_control=\"{allowed} {name}\""
        ));
    }
    Ok(())
}

fn version(tool: &str, flag: &str) -> Option<String> {
    let output = Command::new(tool)
        .arg(flag)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(60).collect())
}

/// Of the working tree that this program lies in, or that it is started in.
fn commit() -> Option<String> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(std::path::Path::to_path_buf));
    let here = std::env::current_dir().ok();
    [beside, here].into_iter().flatten().find_map(|directory| {
        let output = Command::new("git")
            .arg("-C")
            .arg(directory)
            .args([
                "-c",
                "safe.directory=*",
                "describe",
                "--always",
                "--dirty",
                "--exclude=*",
            ])
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    })
}

/// The offloads of a pod's interface that matter here: those that are on.
pub fn offloads(place: &Netns) -> Option<String> {
    const NAMES: &[(&str, &str)] = &[
        ("tx-checksumming", "tx checksum"),
        ("rx-checksumming", "rx checksum"),
        ("tcp-segmentation-offload", "TSO"),
        ("generic-segmentation-offload", "GSO"),
        ("generic-receive-offload", "GRO"),
        ("tx-udp-segmentation", "USO"),
    ];
    let text = netns::run(place, &["ethtool", "-k", POD_INTERFACE], "").ok()?;
    let on: Vec<&str> = NAMES
        .iter()
        .filter(|(name, _)| {
            text.lines()
                .any(|line| line.trim().starts_with(&format!("{name}: on")))
        })
        .map(|(_, short)| *short)
        .collect();
    Some(on.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_congestion_control_is_one_of_the_kernel_s() {
        // Every kernel has Reno's.
        require_congestion_control("reno").unwrap();
        let error = require_congestion_control("none-such").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("none-such") && text.contains("reno"),
            "{text}"
        );
    }

    #[test]
    fn this_machine_has_a_kernel_and_cores() {
        let here = Environment::read(0, None);
        assert!(!here.kernel.is_empty() && here.cores > 0 && here.memory > 0);
    }
}
