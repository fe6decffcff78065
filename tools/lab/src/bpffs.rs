//! A bpffs for each node whose pods are on veths: `ip netns exec` hides the machine's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::error::{LabError, Result};

fn place(node: &Path) -> PathBuf {
    node.join("bpf")
}

/// The bpffs in a node's directory, mounted if it is not yet.
///
/// # Errors
/// It cannot be mounted.
pub fn mounted(node: &Path) -> Result<PathBuf> {
    let place = place(node);
    fs::create_dir_all(&place).map_err(LabError::io(format!("making {}", place.display())))?;
    if statfs(&place).is_ok_and(|kind| kind.filesystem_type() == BPF_FS_MAGIC) {
        return Ok(place);
    }
    let mut mount = Command::new("mount");
    let mount = mount.args(["-t", "bpf", "bpf"]).arg(&place).output();
    let output = mount.map_err(LabError::io("starting mount"))?;
    if output.status.success() {
        return Ok(place);
    }
    Err(LabError::Command {
        what: format!("mounting a bpffs on {}", place.display()),
        detail: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Unmounts it, if there is one.
pub fn unmount(node: &Path) {
    let place = place(node);
    if place.is_dir() {
        let mut umount = Command::new("umount");
        let umount = umount.arg("-l").arg(place).stderr(Stdio::null());
        // What stays mounted is told when its directory cannot be removed.
        let _not_mounted = umount.status();
    }
}
