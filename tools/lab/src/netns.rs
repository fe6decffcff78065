//! Network namespaces: entering one on a thread of its own, `ip` in batches, kernel settings.
//!
//! A namespace is entered with setns(2) on a thread that ends afterwards, so no other part of the
//! process ever sees it; a child process started on such a thread begins its life there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns};

use crate::error::{LabError, Result};
use crate::names::Netns;

/// Does `work` inside a namespace, on a thread of its own.
///
/// # Errors
/// The namespace's file cannot be opened or entered.
///
/// # Panics
/// When `work` does.
pub fn inside<T: Send>(netns: &Netns, work: impl FnOnce() -> T + Send) -> Result<T> {
    inside_path(&netns.path(), work)
}

/// As [`inside`], with the namespace given by its file.
///
/// # Errors
/// The file cannot be opened or entered.
///
/// # Panics
/// When `work` does.
pub fn inside_path<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    let what = || format!("entering namespace {}", path.display());
    let file = File::open(path).map_err(LabError::io(what()))?;
    thread::scope(|scope| {
        let entered = scope.spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).map_err(LabError::errno(what()))?;
            Ok(work())
        });
        match entered.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Runs a command inside a namespace, with `input` on its standard input, and gives its standard
/// output.
///
/// # Errors
/// [`LabError::Command`] with its standard error when it fails.
pub fn run(netns: &Netns, command: &[&str], input: &str) -> Result<String> {
    let output = output(netns, command, input)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(LabError::Command {
            what: format!("`{}` in {netns}", command.join(" ")),
            detail: failure_text(&output),
        })
    }
}

/// Runs a command inside a namespace and gives all of its outcome.
///
/// # Errors
/// It could not be started.
pub fn output(netns: &Netns, command: &[&str], input: &str) -> Result<Output> {
    inside(netns, || feed(command, input))?.map_err(|source| LabError::Io {
        what: format!("starting `{}` in {netns}", command.join(" ")),
        source,
    })
}

/// Runs `ip -batch` with these lines inside a namespace.
///
/// # Errors
/// [`LabError::Command`] with the first line that failed.
pub fn ip(netns: &Netns, lines: &[String]) -> Result<()> {
    batch("ip", netns, lines)
}

/// Runs `bridge -batch` with these lines inside a namespace.
///
/// # Errors
/// [`LabError::Command`] with the first line that failed.
pub fn bridge(netns: &Netns, lines: &[String]) -> Result<()> {
    batch("bridge", netns, lines)
}

fn batch(tool: &str, netns: &Netns, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let input = lines.join("\n") + "\n";
    let output = feed(&[tool, "-n", netns.as_str(), "-batch", "-"], &input)
        .map_err(LabError::io(format!("starting {tool}")))?;
    checked_batch(tool, Some(netns), lines, &output)
}

/// Creates namespaces, all or none.
///
/// # Errors
/// One could not be created, for example because one of its name exists.
pub fn create<'a>(all: impl IntoIterator<Item = &'a Netns>) -> Result<()> {
    let lines: Vec<String> = all
        .into_iter()
        .map(|netns| format!("netns add {netns}"))
        .collect();
    let output = feed(&["ip", "-batch", "-"], &(lines.join("\n") + "\n"))
        .map_err(LabError::io("starting ip"))?;
    checked_batch("ip", None, &lines, &output)
}

/// Deletes those of the namespaces that exist.
///
/// # Errors
/// One could not be deleted.
pub fn delete<'a>(all: impl IntoIterator<Item = &'a Netns>) -> Result<()> {
    let lines: Vec<String> = all
        .into_iter()
        .filter(|netns| netns.path().exists())
        .map(|netns| format!("netns delete {netns}"))
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let output = feed(&["ip", "-force", "-batch", "-"], &(lines.join("\n") + "\n"))
        .map_err(LabError::io("starting ip"))?;
    checked_batch("ip", None, &lines, &output)
}

/// The named namespaces of this machine.
///
/// # Errors
/// The directory exists and cannot be read.
pub fn names() -> Result<Vec<String>> {
    let entries = match fs::read_dir("/run/netns") {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(LabError::io("listing /run/netns")(error)),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// The inode that tells a namespace from all others, if it exists.
pub fn inode(netns: &Netns) -> Option<u64> {
    fs::metadata(netns.path())
        .ok()
        .map(|metadata| metadata.ino())
}

/// Sets kernel settings inside a namespace: pairs of a path under /proc/sys/net and a value.
///
/// # Errors
/// The first that could not be written.
pub fn sysctl(netns: &Netns, settings: &[(String, &str)]) -> Result<()> {
    inside(netns, || {
        for (key, value) in settings {
            let path = PathBuf::from("/proc/sys/net").join(key);
            fs::write(&path, value).map_err(LabError::io(format!(
                "setting {} in {netns}",
                path.display()
            )))?;
        }
        Ok(())
    })?
}

fn feed(command: &[&str], input: &str) -> io::Result<Output> {
    let (program, arguments) = command.split_first().expect("a command has a program");
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(
                io::ErrorKind::NotFound,
                format!("{program} is not installed; `vrouter-lab doctor` names its package"),
            ),
            _ => error,
        })?;
    let stdin = child.stdin.take();
    thread::scope(|scope| {
        // Written beside the reading of the output, so that neither pipe can fill up and block.
        let writer = scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input.as_bytes())));
        let output = child.wait_with_output();
        let _closed_early_is_told_by_the_status = writer.join();
        output
    })
}

fn checked_batch(
    tool: &str,
    netns: Option<&Netns>,
    lines: &[String],
    output: &Output,
) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let text = failure_text(output);
    // "Command failed -:3" names the third line.
    let line = text
        .rsplit_once("-:")
        .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
        .and_then(|number| number.parse::<usize>().ok())
        .and_then(|number| lines.get(number.checked_sub(1)?))
        .map_or("(batch)", String::as_str);
    let place = netns
        .map(|netns| format!(" in {netns}"))
        .unwrap_or_default();
    Err(LabError::Command {
        what: format!("`{tool} {line}`{place}"),
        detail: text,
    })
}

fn failure_text(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let text = stderr.trim();
    if text.is_empty() {
        output.status.to_string()
    } else {
        text.to_owned()
    }
}
