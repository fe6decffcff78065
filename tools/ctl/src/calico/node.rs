//! `node status` and `node checksystem`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use encap::Family;
use serde::Serialize;
use serde_json::json;
use vrouter_bgp::bird::{Bird, Origin, Protocol, SOCKETS, SOCKETS_V6};
use vrouter_control::Client;

use super::boxed::boxed;
use crate::failure::Failure;
use crate::output::Output;

/// A BGP session.
#[derive(Serialize)]
struct Peer {
    address: String,
    #[serde(rename = "type")]
    kind: &'static str,
    state: String,
    since: String,
    info: String,
    #[serde(skip)]
    family: Family,
}

/// A protocol of BIRD's that is a session.
fn peer(protocol: Protocol) -> Option<Peer> {
    let session = protocol.session()?;
    Some(Peer {
        address: session.address,
        kind: match session.origin {
            Origin::Mesh => "node-to-node mesh",
            Origin::Node => "node specific",
            Origin::Global => "global",
            Origin::Other => "unknown",
        },
        state: protocol.state,
        since: protocol.since,
        info: protocol.info,
        family: session.family,
    })
}

/// `node status`.
pub(super) fn status<W: Write>(
    out: &mut Output<W>,
    daemon: &Path,
    sockets: &[PathBuf],
) -> Result<(), Failure> {
    let running = Client::connect_with_timeout(daemon, Duration::from_secs(3)).is_ok();
    let sockets = match sockets {
        [] => {
            let known = SOCKETS.iter().chain(SOCKETS_V6);
            known.map(PathBuf::from).collect()
        }
        named => named.to_vec(),
    };
    let mut peers: Option<Vec<Peer>> = None;
    let mut faults = Vec::new();
    for socket in &sockets {
        match Bird::connect(socket).and_then(|mut bird| bird.protocols()) {
            Ok(found) => {
                let found = found.into_iter().filter_map(peer);
                peers.get_or_insert_default().extend(found);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => faults.push(format!("{}: {error}", socket.display())),
        }
    }
    let of = |family| -> Vec<&Peer> {
        let peers = peers.iter().flatten();
        peers.filter(|peer| peer.family == family).collect()
    };
    let whole = json!({
        "running": running,
        "bgp": {"running": peers.is_some(), "ipv4": of(Family::V4), "ipv6": of(Family::V6), "faults": faults},
    });
    if !out.structured(&whole)? {
        out.text(if running {
            "Calico process is running.\n"
        } else {
            "Calico process is not running.\n"
        })?;
        if peers.is_none() {
            out.text("\nBGP is not running: no BIRD answers.\n")?;
        } else {
            for family in Family::ALL {
                out.text(&format!("\n{family} BGP status\n"))?;
                match &of(family)[..] {
                    [] => out.text(&format!("No {family} peers found.\n"))?,
                    peers => out.text(&sessions(peers))?,
                }
            }
        }
        for fault in &faults {
            out.text(&format!("{fault}\n"))?;
        }
    }
    if running {
        Ok(())
    } else {
        Err(Failure::Calico(format!(
            "vrouterd does not answer at {}",
            daemon.display()
        )))
    }
}

fn sessions(peers: &[&Peer]) -> String {
    let rows = peers.iter().map(|peer| {
        vec![
            peer.address.clone(),
            peer.kind.to_owned(),
            peer.state.clone(),
            peer.since.clone(),
            peer.info.clone(),
        ]
    });
    let header = ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"];
    boxed(&header, &rows.collect::<Vec<_>>())
}

/// The defaults of `tunnelInterface` and `vxlanPort`.
const TUNNEL_INTERFACE: &str = "tunl0";
const VXLAN_PORT: u16 = 4789;

/// What vrouterd needs of its host.
struct Need {
    what: &'static str,
    met: bool,
    seen: String,
}

/// `node checksystem`.
pub(super) fn check<W: Write>(out: &mut Output<W>) -> Result<(), Failure> {
    let read = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let kernel = read("/proc/sys/kernel/osrelease");
    let mut numbers = kernel
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let status = read("/proc/self/status");
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0);
    // Numbers of linux/capability.h.
    let able = |number: u32| capabilities >> number & 1 == 1;
    let missing: Vec<&str> = [
        ("CAP_NET_ADMIN", 12),
        ("CAP_NET_RAW", 13),
        ("CAP_SYS_ADMIN", 21),
    ]
    .iter()
    .filter(|(_, number)| !able(*number))
    .map(|(name, _)| *name)
    .collect();
    let tun = Path::new("/dev/net/tun").exists();
    let forwarding = read("/proc/sys/net/ipv4/ip_forward");
    let needs = [
        Need {
            what: "kernel version 5.10 or later",
            met: version >= (5, 10),
            seen: kernel,
        },
        Need {
            what: "device /dev/net/tun",
            met: tun,
            seen: if tun { "there" } else { "missing" }.to_owned(),
        },
        Need {
            what: "network namespaces",
            met: Path::new("/proc/self/ns/net").exists(),
            seen: String::new(),
        },
        Need {
            what: "capabilities",
            met: missing.is_empty(),
            seen: if missing.is_empty() {
                String::new()
            } else {
                format!("without {}", missing.join(", "))
            },
        },
        Need {
            what: "net.ipv4.ip_forward is readable",
            met: !forwarding.is_empty(),
            seen: forwarding,
        },
    ];
    let well = needs.iter().all(|need| need.met);
    // Not for every node: what the host may block, as long as no pool needs it.
    let blocks = vrouter_host::blocks(TUNNEL_INTERFACE, VXLAN_PORT);
    let list: Vec<_> = needs
        .iter()
        .map(|need| json!({"need": need.what, "met": need.met, "seen": need.seen}))
        .collect();
    if !out.structured(&json!({"met": well, "needs": list, "blocks": blocks}))? {
        out.text("Checking this system\n")?;
        for need in &needs {
            let verdict = if need.met { "OK" } else { "FAIL" };
            let line = format!("    {:<36}{verdict:<6}{}", need.what, need.seen);
            out.text(&format!("{}\n", line.trim_end()))?;
        }
        for block in &blocks {
            out.text(&format!("    WARN  {block}\n"))?;
        }
        if well {
            out.text("System meets minimum system requirements to run Calico!\n")?;
        }
    }
    if well {
        Ok(())
    } else {
        Err(Failure::Calico(
            "System doesn't meet minimum system requirements to run Calico".to_owned(),
        ))
    }
}
