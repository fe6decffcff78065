//! The state directory: `/run/vrouter-lab/NAME` with `lab.json`, resources, logs and sockets.
//!
//! Making the directory is what claims the name: of two `up NAME` at the same time one fails.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::bpffs;
use crate::error::{LabError, Result};
use crate::names::LabName;
use crate::topology::Lab;

const ROOT: &str = "/run/vrouter-lab";

/// Where a lab keeps its files.
pub fn directory(name: &LabName) -> PathBuf {
    Path::new(ROOT).join(name.as_str())
}

/// Claims the lab's name by making its directories.
///
/// # Errors
/// [`LabError::Exists`], or the directories could not be made.
pub fn claim(lab: &Lab) -> Result<()> {
    let make = || {
        fs::create_dir_all(ROOT)?;
        fs::create_dir(&lab.state_directory)
    };
    // The last lab to go takes the common directory away, perhaps between our two steps.
    let made = make().or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => make(),
        _ => Err(error),
    });
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => LabError::Exists(lab.name.to_string()),
        _ => LabError::io(format!("making {}", lab.state_directory.display()))(error),
    })?;
    let inner = std::iter::once(lab.resource_directory.clone()).chain(
        lab.nodes
            .iter()
            .map(|node| lab.state_directory.join(&node.name)),
    );
    for directory in inner {
        fs::create_dir(&directory)
            .map_err(LabError::io(format!("making {}", directory.display())))?;
    }
    save(lab)
}

/// Writes `lab.json`, whole or not at all.
///
/// # Errors
/// It could not be written.
pub fn save(lab: &Lab) -> Result<()> {
    let path = lab.state_directory.join("lab.json");
    let text = serde_json::to_string_pretty(lab).expect("a lab has only string keys");
    write_whole(&path, &text)
}

/// Writes a file beside its final name and moves it there, so that a watcher never reads a half.
///
/// # Errors
/// It could not be written.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(LabError::io(format!("writing {}", path.display())))
}

/// Reads a lab.
///
/// # Errors
/// [`LabError::NotFound`], or its file is not what this version writes.
pub fn load(name: &LabName) -> Result<Lab> {
    let path = directory(name).join("lab.json");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LabError::NotFound(name.to_string()));
        }
        Err(error) => return Err(LabError::io(format!("reading {}", path.display()))(error)),
    };
    serde_json::from_str(&text)
        .map_err(|error| LabError::Invalid(format!("{}: {error}", path.display())))
}

/// Removes a lab's files.
///
/// # Errors
/// They could not be removed.
pub fn remove(name: &LabName) -> Result<()> {
    let directory = directory(name);
    let members = fs::read_dir(&directory).into_iter().flatten().flatten();
    members.for_each(|member| bpffs::unmount(&member.path()));
    match fs::remove_dir_all(&directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(LabError::io(format!("removing {}", directory.display()))(
                error,
            ));
        }
    }
    // The last lab takes the common directory with it; another's presence keeps it.
    let _others_are_up = fs::remove_dir(ROOT);
    Ok(())
}

/// The names of the labs that have files.
///
/// # Errors
/// The directory exists and cannot be read.
pub fn names() -> Result<Vec<LabName>> {
    let entries = match fs::read_dir(ROOT) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LabError::io(format!("listing {ROOT}"))(error)),
    };
    let mut names: Vec<LabName> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    names.sort();
    Ok(names)
}
