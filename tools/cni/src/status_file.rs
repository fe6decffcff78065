//! Calico's sign that an endpoint's policy is in force: a file in `endpoint_status_dir`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::identity::Identity;

fn path(directory: &Path, identity: &Identity) -> PathBuf {
    let workload = identity.pod.as_ref().unwrap_or(&identity.container_id);
    let escaped = |text: &str| text.replace('%', "%25").replace('/', "%2F");
    let parts = [
        escaped(identity.orchestrator),
        escaped(&format!("{}/{workload}", identity.namespace)),
        escaped(&identity.interface),
    ];
    directory.join(parts.join(" "))
}

/// Writes it.
pub(crate) fn write(directory: &Path, identity: &Identity) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let value = serde_json::json!({
        "ifaceName": identity.host_interface(),
        "status": "up",
    });
    fs::write(path(directory, identity), value.to_string())
}

/// Removes it, if it is there.
pub(crate) fn remove(directory: &Path, identity: &Identity) -> io::Result<()> {
    match fs::remove_file(path(directory, identity)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
