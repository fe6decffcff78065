//! The references: two pods on one veth (`direct`), or on the plain TAP copy loop (`tap-loop`).
//!
//! The pods have the addresses and /32 shape of a real pod, but find each other by static
//! neighbours; nothing routes, filters or answers between them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::error::{LabError, Result};
use crate::names::POD_INTERFACE;
use crate::netns;
use crate::process::{Process, wait_until};
use crate::spec::Backend;
use crate::topology::{Lab, Pod};
use crate::vrouter::beside_or_in_path;

/// Joins the lab's two pods.
///
/// # Errors
/// The kernel refuses a part, or the loop does not start.
pub fn pods(lab: &mut Lab, backend: Backend) -> Result<()> {
    let [one, two] = match &lab.nodes[..] {
        [node] => match &node.pods[..] {
            [one, two] => [one.clone(), two.clone()],
            _ => unreachable!("Spec::check asks for two pods"),
        },
        _ => unreachable!("Spec::check asks for one node"),
    };
    match backend {
        Backend::Direct => veth(lab, &one, &two)?,
        Backend::TapLoop => tap_loop(lab, &one, &two)?,
        Backend::Vrouter | Backend::Kernel => unreachable!("these have modules of their own"),
    }
    addresses(&one, &two)?;
    addresses(&two, &one)
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

fn tap_loop(lab: &mut Lab, one: &Pod, two: &Pod) -> Result<()> {
    let program = beside_or_in_path("tap-loop")?;
    let log_path: PathBuf = lab.state_directory.join("tap-loop.log");
    let log = File::create(&log_path).map_err(LabError::io("making tap-loop's log"))?;
    let mut command = Command::new(&program);
    command
        .arg(one.namespace.path())
        .arg(two.namespace.path())
        .args(["--interface", POD_INTERFACE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    if lab.spec.spin {
        command.arg("--spin");
    }
    if lab.spec.burden > 0 {
        command.args(["--burden", &lab.spec.burden.to_string()]);
    }
    command.args(&lab.spec.tap_loop_args);
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    // In the namespace of the lab, so that whoever takes the lab down finds it whatever happens
    // before it is written down.
    let child = netns::inside(&one.namespace, || command.spawn())?
        .map_err(LabError::io(format!("starting {}", program.display())))?;
    let Some(process) = Process::of("tap-loop", child.id()) else {
        return Err(failed(&log_path));
    };
    lab.processes.push(process.clone());
    crate::state::save(lab)?;
    let there = |pod: &Pod| {
        netns::inside(&pod.namespace, || {
            nix::net::if_::if_nametoindex(POD_INTERFACE).is_ok()
        })
        .unwrap_or(false)
    };
    let limit = Duration::from_secs(5);
    if !wait_until(limit, || !process.is_alive() || (there(one) && there(two)))
        || !process.is_alive()
    {
        return Err(failed(&log_path));
    }
    for pod in [one, two] {
        let (mac, mtu) = (pod.mac, lab.pod_mtu);
        netns::ip(
            &pod.namespace,
            &[format!("link set {POD_INTERFACE} address {mac} mtu {mtu}")],
        )?;
    }
    Ok(())
}

fn failed(log: &std::path::Path) -> LabError {
    LabError::Command {
        what: "tap-loop".to_owned(),
        detail: fs::read_to_string(log)
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

fn addresses(pod: &Pod, peer: &Pod) -> Result<()> {
    let mut lines = vec![format!("link set {POD_INTERFACE} up")];
    for (v6, length) in [(false, 32), (true, 128)] {
        let (Some(own), Some(other)) = (pod.address(v6), peer.address(v6)) else {
            continue;
        };
        let nodad = if v6 { " nodad" } else { "" };
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
