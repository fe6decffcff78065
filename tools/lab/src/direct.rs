//! The references: two pods on one veth (`direct`), or on the plain copy loop (`tap-loop`), on one
//! node or one on each of two.
//!
//! The pods have the addresses and /32 shape of a real pod, but find each other by static
//! neighbours; nothing routes, filters or answers between them. (Between two nodes without
//! encapsulation their kernels route, as they do for the vRouter.)

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{LabError, Result};
use crate::names::{Netns, POD_INTERFACE, UNDERLAY_INTERFACE};
use crate::netns;
use crate::process::{Process, wait_until};
use crate::spec::Backend;
use crate::topology::{Lab, Node, Pod};
use crate::vrouter::beside_or_in_path;
use encap::{Family, Tunnel};

/// The TUN of a node whose kernel routes for the loop.
const TUN: &str = "tunl0";

/// Joins the lab's two pods.
///
/// # Errors
/// The kernel refuses a part, or the loop does not start.
pub fn pods(lab: &mut Lab) -> Result<()> {
    let all: Vec<Pod> = lab.pods().cloned().collect();
    let [one, two] = &all[..] else {
        unreachable!("Spec::check asks for two pods")
    };
    match (lab.spec.backend, &lab.nodes[..]) {
        (Backend::Direct, _) => veth(lab, one, two)?,
        (Backend::TapLoop, [there, back]) => {
            let (there, back) = (there.clone(), back.clone());
            tunnel_loop(lab, (&there, one), (&back, two))?;
            tunnel_loop(lab, (&back, two), (&there, one))?;
        }
        (Backend::TapLoop, _) => tap_loop(lab, one, two)?,
        (Backend::Vrouter | Backend::Kernel, _) => {
            unreachable!("these have modules of their own")
        }
    }
    addresses(one, two)?;
    addresses(two, one)
}

fn veth(lab: &Lab, one: &Pod, two: &Pod) -> Result<()> {
    let mtu = lab.pod_mtu;
    netns::ip(
        &one.namespace,
        &[format!(
            "link add {POD_INTERFACE} mtu {mtu} address {} type veth \
             peer name {POD_INTERFACE} mtu {mtu} address {} netns {}",
            one.mac, two.mac, two.namespace
        )],
    )
}

/// One loop between two pods of one node.
fn tap_loop(lab: &mut Lab, one: &Pod, two: &Pod) -> Result<()> {
    let mut command = Command::new(beside_or_in_path("tap-loop")?);
    command
        .arg(one.namespace.path())
        .arg(two.namespace.path())
        .args(["--interface", POD_INTERFACE]);
    if lab.spec.spin {
        command.arg("--spin");
    }
    if lab.spec.burden > 0 {
        command.args(["--burden", &lab.spec.burden.to_string()]);
    }
    start(lab, "tap-loop", command, &one.namespace, &[one, two])?;
    for pod in [one, two] {
        let (mac, mtu) = (pod.mac, lab.pod_mtu);
        netns::ip(
            &pod.namespace,
            &[format!("link set {POD_INTERFACE} address {mac} mtu {mtu}")],
        )?;
    }
    Ok(())
}

/// The loop of one node, between its pod and the underlay, for packets from and to a peer.
fn tunnel_loop(lab: &mut Lab, (node, pod): (&Node, &Pod), peer: (&Node, &Pod)) -> Result<()> {
    let (Some(local), Some(remote)) = (node.address(Family::V4), peer.0.address(Family::V4)) else {
        unreachable!("Spec::check asks for IPv4")
    };
    let tunnel = lab.tunnel_between(node, peer.0, Family::V4);
    let mut command = Command::new(beside_or_in_path("tap-loop-tunnel")?);
    command
        .arg(pod.namespace.path())
        .arg(node.namespace.path())
        .args(["--interface", POD_INTERFACE])
        .args(["--mac", &pod.mac.to_string()])
        .args(["--mtu", &lab.pod_mtu.to_string()]);
    match tunnel {
        Some(Tunnel::Vxlan(_)) => command
            .args(["--encap", "vxlan", "--underlay", UNDERLAY_INTERFACE])
            .args(["--local", &local.to_string(), "--peer", &remote.to_string()]),
        Some(Tunnel::Ipip) => unreachable!("Spec::check refuses it"),
        None => command.args(["--encap", "none", "--tun", TUN]),
    };
    let role = format!("tap-loop {}", node.name);
    start(lab, &role, command, &node.namespace, &[pod])?;
    let mut lines = vec![format!(
        "neigh replace {remote} lladdr {} dev {UNDERLAY_INTERFACE} nud permanent",
        peer.0.mac
    )];
    if let (None, Some(here), Some(there)) = (tunnel, pod.ipv4, peer.1.ipv4) {
        let forwarding = ("ipv4/ip_forward".to_owned(), "1");
        netns::sysctl(&node.namespace, &[forwarding])?;
        lines.extend([
            format!("link set {TUN} up"),
            format!("route add {here}/32 dev {TUN} scope link"),
            format!("route add {there}/32 via {remote} dev {UNDERLAY_INTERFACE} onlink"),
        ]);
    }
    netns::ip(&node.namespace, &lines)
}

/// Starts a loop and waits until it has made the interfaces of its pods.
fn start(
    lab: &mut Lab,
    role: &str,
    mut command: Command,
    namespace: &Netns,
    pods: &[&Pod],
) -> Result<()> {
    let log_path = lab
        .state_directory
        .join(format!("{}.log", role.replace(' ', "-")));
    let log = File::create(&log_path).map_err(LabError::io(format!("making {role}'s log")))?;
    command
        .args(&lab.spec.tap_loop_args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // In a namespace of the lab, so that whoever takes the lab down finds it whatever happens
    // before it is written down.
    let child = netns::inside(namespace, || command.spawn())?
        .map_err(LabError::io(format!("starting {role}")))?;
    let Some(process) = Process::of(role, child.id()) else {
        return Err(failed(role, &log_path));
    };
    lab.processes.push(process.clone());
    crate::state::save(lab)?;
    let there = |pod: &&Pod| {
        netns::inside(&pod.namespace, || {
            nix::net::if_::if_nametoindex(POD_INTERFACE).is_ok()
        })
        .unwrap_or(false)
    };
    let limit = Duration::from_secs(5);
    if !wait_until(limit, || !process.is_alive() || pods.iter().all(there)) || !process.is_alive() {
        return Err(failed(role, &log_path));
    }
    Ok(())
}

fn failed(role: &str, log: &Path) -> LabError {
    LabError::Command {
        what: role.to_owned(),
        detail: fs::read_to_string(log)
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

fn addresses(pod: &Pod, peer: &Pod) -> Result<()> {
    let mut lines = vec![format!("link set {POD_INTERFACE} up")];
    for (family, length) in [(Family::V4, 32), (Family::V6, 128)] {
        let (Some(own), Some(other)) = (pod.address(family), peer.address(family)) else {
            continue;
        };
        let nodad = if family.is_v6() { " nodad" } else { "" };
        lines.push(format!(
            "address add {own}/{length} dev {POD_INTERFACE}{nodad}"
        ));
        lines.push(format!(
            "route add {other}/{length} dev {POD_INTERFACE} scope link"
        ));
        let mac = peer.mac;
        lines.push(format!(
            "neigh add {other} lladdr {mac} dev {POD_INTERFACE} nud permanent"
        ));
    }
    netns::ip(&pod.namespace, &lines)
}
