//! Puts raw frames onto the underlay, through a TAP of its own on the bridge.
//!
//! A single-queue TAP without offloads is right here: each frame goes out exactly as it is, with
//! whatever lengths, checksums and addresses it claims.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use tun_tap::{Iface, Mode};

use crate::error::{LabError, Result};
use crate::netns;
use crate::pcap;
use crate::topology::Lab;
use crate::wiring::bridge_name;

const INTERFACE: &str = "inject0";
/// The shortest frame that has both addresses and a type.
const SHORTEST: usize = 14;

/// Sends the frames of a pcap file onto the underlay: `at` is `underlay`, which leaves them as they
/// are, or a node's name, which sets their destination address to that node's. Returns how many
/// frames were sent; those too short for an Ethernet header are left out, since a TAP refuses them.
///
/// # Errors
/// The file is no pcap file, the place does not exist, or the TAP cannot be made.
pub fn inject(lab: &Lab, at: &str, file: &Path) -> Result<usize> {
    let bytes = fs::read(file).map_err(LabError::io(format!("reading {}", file.display())))?;
    let frames = pcap::frames(&bytes)?;
    let target = lab.nodes.iter().find(|node| node.name == at);
    if target.is_none() && at != "underlay" {
        return Err(LabError::Invalid(format!(
            "--at {at}: there are underlay and node1 to node{}",
            lab.nodes.len()
        )));
    }
    let subnet = target.map_or(1, |node| node.subnet.0);
    let device = netns::inside(&lab.underlay, || {
        Iface::without_packet_info(INTERFACE, Mode::Tap)
    })?
    .map_err(LabError::io(format!("making a TAP in {}", lab.underlay)))?;
    netns::ip(
        &lab.underlay,
        &[
            format!("link set {} mtu {}", device.name(), lab.spec.mtu),
            format!(
                "link set {} master {} up",
                device.name(),
                bridge_name(subnet)
            ),
        ],
    )?;
    let mut sent = 0;
    for frame in frames.into_iter().filter(|frame| frame.len() >= SHORTEST) {
        let mut frame = frame.to_vec();
        if let Some(node) = target {
            frame[..6].copy_from_slice(&node.mac.0);
        }
        device
            .send(&frame)
            .map_err(LabError::io(format!("sending frame {}", sent + 1)))?;
        sent += 1;
        // Far below what any receiver takes: an injected frame is to be looked at, not lost.
        if sent % 64 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(sent)
}
