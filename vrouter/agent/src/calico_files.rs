//! What calico/node leaves for CNI plugins in `/var/lib/calico`: the node's name and the pods' MTU.

use std::fs;
use std::path::{Path, PathBuf};

/// The files, where their directory is there.
#[derive(Debug)]
pub(crate) struct CalicoFiles {
    directory: PathBuf,
    mtu: Option<u16>,
}

impl CalicoFiles {
    /// Leaves the node's name.
    pub(crate) fn new(directory: &Path, node: &str) -> CalicoFiles {
        let files = CalicoFiles {
            directory: directory.to_owned(),
            mtu: None,
        };
        files.write("nodename", node);
        files
    }

    /// Leaves the MTU, if it is another one.
    pub(crate) fn set_mtu(&mut self, mtu: u16) {
        if self.mtu.replace(mtu) != Some(mtu) {
            self.write("mtu", &mtu.to_string());
        }
    }

    /// A plugin never reads half of it: the file is renamed into its place.
    fn write(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        let is_same = fs::read_to_string(&path).is_ok_and(|found| found == text);
        if is_same || !self.directory.is_dir() {
            return;
        }
        let new = self.directory.join(format!(".{name}.new"));
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        if let Err(error) = written {
            tracing::warn!(%error, "{} is not written", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn name_and_mtu_are_left_where_the_directory_is() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        fs::write(file("nodename"), "earlier\n").unwrap();
        let mut files = CalicoFiles::new(directory.path(), "node1");
        assert!(!file("mtu").exists());
        for mtu in [1450, 1430] {
            files.set_mtu(mtu);
            assert_eq!(fs::read_to_string(file("mtu")).unwrap(), mtu.to_string());
        }
        assert_eq!(fs::read_to_string(file("nodename")).unwrap(), "node1");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
        CalicoFiles::new(&file("none"), "node1").set_mtu(1450);
        assert!(!file("none").exists());
    }
}
