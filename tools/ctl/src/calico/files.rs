//! Resources of `-f`: a file, a directory of files, or standard input.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use vrouter_api::{MAX_FILE_BYTES, Notice, Resource, parse_in};

use crate::args::calico::FileOptions;
use crate::failure::Failure;

/// What files say.
pub(super) struct Loaded {
    pub(super) resources: Vec<Resource>,
    pub(super) notices: Vec<Notice>,
}

/// Reads everything; one fault and nothing is done with any of it.
pub(super) fn load(
    path: &Path,
    how: FileOptions,
    namespace: Option<&str>,
) -> Result<Loaded, Failure> {
    let refuse = |reason: String| Failure::Calico(format!("failed to execute command: {reason}"));
    let mut files = Vec::new();
    if path.as_os_str() == "-" {
        files.push(path.to_owned());
    } else {
        collect(path, how.recursive, true, &mut files).map_err(&refuse)?;
    }
    let mut loaded = Loaded {
        resources: Vec::new(),
        notices: Vec::new(),
    };
    let mut errors = Vec::new();
    for file in files {
        let name = file.display().to_string();
        let bytes = read(&file).map_err(|error| refuse(format!("{name}: {error}")))?;
        let parsed = parse_in(&bytes, &name, namespace.unwrap_or("default"));
        if parsed.resources.is_empty() && parsed.errors.is_empty() && !how.skip_empty {
            errors.push(format!("{name}: no resources specified"));
        }
        errors.extend(parsed.errors.iter().map(ToString::to_string));
        loaded.notices.extend(parsed.notices);
        let resources = parsed.resources.into_iter().map(|located| located.value);
        loaded.resources.extend(resources);
    }
    if errors.is_empty() {
        Ok(loaded)
    } else {
        Err(refuse(errors.join("\n")))
    }
}

/// Why a resource of a file cannot be in the namespace of the command line.
pub(super) fn misplaced(resources: &[Resource], namespace: Option<&str>) -> Option<String> {
    let namespace = namespace?;
    resources.iter().find_map(|resource| {
        let (kind, own) = (resource.kind(), &resource.metadata().namespace);
        if !kind.namespaced() {
            return Some(format!("{kind} is not namespaced"));
        }
        (own != namespace).then(|| {
            format!("resource namespace does not match client namespace. {own} != {namespace}")
        })
    })
}

/// The files of a directory by name, those of its directories after them.
fn collect(
    path: &Path,
    recursive: bool,
    named: bool,
    files: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let fault = |error: io::Error| format!("{}: {error}", path.display());
    if !fs::metadata(path).map_err(fault)?.is_dir() {
        let wanted = path.extension().and_then(|it| it.to_str());
        if named || matches!(wanted, Some("yaml" | "yml" | "json")) {
            files.push(path.to_owned());
        }
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(fault)? {
        entries.push(entry.map_err(fault)?.path());
    }
    entries.sort();
    let (folders, plain): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    for file in plain {
        collect(&file, recursive, false, files)?;
    }
    if recursive {
        for folder in folders.iter().filter(|path| !path.is_symlink()) {
            collect(folder, recursive, false, files)?;
        }
    }
    Ok(())
}

/// Not more than is parsed, and one byte that says so.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    let limit = MAX_FILE_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    if file.as_os_str() == "-" {
        io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
