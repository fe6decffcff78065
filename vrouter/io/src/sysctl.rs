//! `/proc/sys/net`: written, and put back.
//!
//! What a thread sees there are the settings of its own network namespace, so for a pod call
//! these inside [`crate::netns::Netns::run`].

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Settings changed, with what they were before. Dropping it restores nothing: call
/// [`Changed::restore`].
#[derive(Debug, Default)]
pub struct Changed {
    before: Vec<(String, String)>,
    /// Where that is written down before anything is changed.
    record: Option<PathBuf>,
}

/// Reads `net/...`, e.g. `net/ipv4/ip_forward`, without the line end.
///
/// # Errors
/// There is no such setting.
pub fn read(name: &str) -> Result<String> {
    let text = fs::read_to_string(path(name)).context(|| format!("read the sysctl {name}"))?;
    Ok(text.trim_end().to_owned())
}

/// Writes `value`.
///
/// # Errors
/// There is no such setting, it is read-only, or the kernel does not take the value.
pub fn write(name: &str, value: &str) -> Result<()> {
    fs::write(path(name), value).context(|| format!("set the sysctl {name} to {value}"))
}

/// Whether the kernel has this setting.
pub fn exists(name: &str) -> bool {
    path(name).exists()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

impl Changed {
    /// Nothing changed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing changed yet by this process. What an earlier one changed and did not put back, because
    /// it was killed, is in the file `record` and is put back with the rest. The file goes with the
    /// last setting.
    pub fn recorded(record: &Path) -> Self {
        let text = fs::read_to_string(record).unwrap_or_default();
        let entry = |line: &str| {
            let (name, was) = line.split_once('=')?;
            exists(name).then(|| (name.to_owned(), was.to_owned()))
        };
        Self {
            before: text.lines().filter_map(entry).collect(),
            record: Some(record.to_owned()),
        }
    }

    /// Sets `name` to `value` and remembers what it was, the first time.
    ///
    /// # Errors
    /// As [`write()`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let was = read(name)?;
        if was == value {
            return Ok(());
        }
        let is_known = self.before.iter().any(|(known, _)| known == name);
        if !is_known {
            self.before.push((name.to_owned(), was));
            self.write_record()?;
        }
        let outcome = write(name, value);
        if outcome.is_err() && !is_known {
            self.before.pop();
        }
        outcome
    }

    fn write_record(&self) -> Result<()> {
        let Some(record) = &self.record else {
            return Ok(());
        };
        let action = || format!("write {}", record.display());
        if self.before.is_empty() {
            return match fs::remove_file(record) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).context(action)
                }
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let lines: String = self
            .before
            .iter()
            .map(|(name, was)| format!("{name}={was}\n"))
            .collect();
        // Renamed into its place: a process that is killed meanwhile leaves a whole one.
        let new = record.with_extension("sysctls.new");
        fs::write(&new, lines)
            .and_then(|()| fs::rename(&new, record))
            .context(action)
    }

    /// Turns on forwarding of both families (IPv6 only where the kernel has it).
    ///
    /// # Errors
    /// As [`write()`].
    pub fn enable_forwarding(&mut self) -> Result<()> {
        self.set("net/ipv4/ip_forward", "1")?;
        if exists("net/ipv6/conf/all/forwarding") {
            self.set("net/ipv6/conf/all/forwarding", "1")?;
        }
        Ok(())
    }

    /// Puts every setting back, last changed first; goes on after a failure and returns the first.
    ///
    /// # Errors
    /// As [`write()`].
    pub fn restore(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some((name, was)) = self.before.pop() {
            outcome = outcome.and(write(&name, &was));
        }
        outcome.and(self.write_record())
    }
}
