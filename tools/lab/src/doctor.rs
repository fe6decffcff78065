//! Looks whether this machine can hold a lab, and names the Debian package of what is missing.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, unshare};
use tun_tap::{Iface, Mode};

use crate::status::plain_table;

/// A tool, its Debian package, how to ask for its version, and what needs it.
struct Tool {
    name: &'static str,
    package: &'static str,
    version: &'static [&'static str],
    needed_for: &'static str,
}

const fn tool(
    name: &'static str,
    package: &'static str,
    version: &'static [&'static str],
    needed_for: &'static str,
) -> Tool {
    Tool {
        name,
        package,
        version,
        needed_for,
    }
}

const TOOLS: &[Tool] = &[
    tool("ip", "iproute2", &["-V"], "every lab"),
    tool("bridge", "iproute2", &["-V"], "kernel VXLAN"),
    tool(
        "ethtool",
        "ethtool",
        &["--version"],
        "--underlay-offload off",
    ),
    tool(
        "iptables-restore",
        "iptables",
        &["--version"],
        "--kernel-rules iptables",
    ),
    tool("ipset", "ipset", &["--version"], "--kernel-rules iptables"),
    tool("nft", "nftables", &["--version"], "--kernel-rules nft"),
    tool("ping", "iputils-ping", &["-V"], "check"),
    tool("iperf3", "iperf3", &["--version"], "check"),
    tool("curl", "curl", &["--version"], "check"),
    tool("nginx", "nginx-light", &["-v"], "check"),
    tool("traceroute", "traceroute", &["--version"], "check"),
    tool("ab", "apache2-utils", &["-V"], "quickstart, vrouter-bench"),
    tool("fping", "fping", &["-v"], "vrouter-bench"),
    tool("tcpdump", "tcpdump", &["--version"], "tests"),
    tool("tshark", "tshark", &["--version"], "tests"),
];

/// What was found: a text, and whether a lab can be built.
pub fn report() -> (String, bool) {
    let mut table = plain_table(&["what", "state", "needed for"]);
    let mut can_build = true;
    let root = nix::unistd::geteuid().is_root();
    can_build &= root;
    table.add_row([
        "root",
        if root { "yes" } else { "NO: start with sudo" },
        "every lab",
    ]);
    let kernel = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    table.add_row(["kernel", &kernel, ""]);
    for (what, result) in [
        ("network namespace", namespace()),
        ("TUN device", device(Mode::Tun)),
        ("TAP device", device(Mode::Tap)),
    ] {
        can_build &= result.is_ok();
        let state = result.unwrap_or_else(|error| format!("NO: {error}"));
        table.add_row([what, &state, "every lab"]);
    }
    for tool in TOOLS {
        let state = match find(tool.name) {
            Some(path) => version(&path, tool.version),
            None => {
                can_build &= tool.needed_for != "every lab";
                format!("MISSING: apt-get install {}", tool.package)
            }
        };
        table.add_row([tool.name, &state, tool.needed_for]);
    }
    (table.to_string(), can_build)
}

fn namespace() -> Result<String, String> {
    in_fresh_namespace(|| Ok("ok".to_owned()))
}

/// Makes a device in a namespace that nobody else sees and that ends with its thread.
fn device(mode: Mode) -> Result<String, String> {
    in_fresh_namespace(move || {
        Iface::without_packet_info("probe%d", mode)
            .map(|device| format!("ok ({})", device.name()))
            .map_err(|error| error.to_string())
    })
}

fn in_fresh_namespace(
    work: impl FnOnce() -> Result<String, String> + Send + 'static,
) -> Result<String, String> {
    let probe = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| error.to_string())?;
        work()
    });
    probe
        .join()
        .unwrap_or_else(|_| Err("the probe panicked".to_owned()))
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}

fn version(path: &std::path::Path, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(path).args(arguments).output() else {
        return "does not start".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("ok")
        .trim()
        .chars()
        .take(48)
        .collect()
}
