//! The log, as Calico's plugin writes it: to stderr and to a file that is rotated.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Nothing goes on after it.
    Fatal,
    /// The call fails.
    Error,
    /// The call goes on, something is not as it should be.
    Warning,
    /// One line a call, and what it changed.
    Info,
    /// Every step.
    Debug,
}

impl Level {
    pub(crate) fn parse(name: &str) -> Option<Level> {
        match name.to_ascii_lowercase().as_str() {
            "fatal" | "panic" => Some(Level::Fatal),
            "error" => Some(Level::Error),
            "warn" | "warning" => Some(Level::Warning),
            "info" => Some(Level::Info),
            "debug" | "trace" => Some(Level::Debug),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Fatal => "FATAL",
            Level::Error => "ERROR",
            Level::Warning => "WARNING",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
        }
    }
}

/// Where the log goes and how long it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) level: Level,
    pub(crate) path: PathBuf,
    pub(crate) max_megabytes: u64,
    pub(crate) max_days: u64,
    pub(crate) max_files: u64,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings {
            level: Level::Info,
            path: "/var/log/calico/cni/cni.log".into(),
            max_megabytes: 100,
            max_days: 30,
            max_files: 10,
        }
    }
}

/// The log of one call.
#[derive(Debug)]
pub(crate) struct Log {
    level: Level,
    file: Option<File>,
    /// What each line ends with: which container.
    context: String,
}

impl Log {
    /// Opens the file; without one, lines go to stderr alone.
    pub(crate) fn open(settings: &LogSettings, context: String) -> Log {
        let (file, problem) = match open(settings) {
            Ok(file) => (Some(file), None),
            Err(error) => (None, Some(error)),
        };
        let mut log = Log {
            level: settings.level,
            file,
            context,
        };
        if let Some(error) = problem {
            let path = settings.path.display();
            log.write(Level::Warning, &format!("{path} is not written: {error}"));
        }
        log
    }

    pub(crate) fn error(&mut self, text: &str) {
        self.write(Level::Error, text);
    }

    pub(crate) fn warn(&mut self, text: &str) {
        self.write(Level::Warning, text);
    }

    pub(crate) fn info(&mut self, text: &str) {
        self.write(Level::Info, text);
    }

    pub(crate) fn debug(&mut self, text: &str) {
        self.write(Level::Debug, text);
    }

    fn write(&mut self, level: Level, text: &str) {
        if level > self.level {
            return;
        }
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let time = vrouter_datastore::now();
        let time = time.trim_end_matches('Z').replace('T', " ");
        let line = format!(
            "{time}.{:03} [{}][{}] vrouter-cni: {}{}\n",
            since.subsec_millis(),
            level.name(),
            std::process::id(),
            text.replace('\n', " | "),
            self.context
        );
        // A log that cannot be written fails no call.
        let _ = io::stderr().write_all(line.as_bytes());
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}

fn open(settings: &LogSettings) -> io::Result<File> {
    if let Some(directory) = settings.path.parent() {
        fs::create_dir_all(directory)?;
    }
    let append = || {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&settings.path)
    };
    let file = append()?;
    if file.metadata()?.len() < settings.max_megabytes << 20 {
        return Ok(file);
    }
    // One process rotates; who waited for the lock finds that it was done.
    file.lock()?;
    let same = fs::metadata(&settings.path).is_ok_and(|it| Some(it.ino()) == inode(&file));
    if same {
        rotate(settings)?;
    }
    append()
}

fn inode(file: &File) -> Option<u64> {
    file.metadata().ok().map(|it| it.ino())
}

/// Puts the full file aside under its time, and removes those that are too old or too many.
fn rotate(settings: &LogSettings) -> io::Result<()> {
    let time = vrouter_datastore::now().replace(':', "-");
    let aside = beside(&settings.path, &format!("-{}", time.trim_end_matches('Z')));
    fs::rename(&settings.path, aside)?;
    let (Some(directory), Some(stem)) = (settings.path.parent(), settings.path.file_stem()) else {
        return Ok(());
    };
    let prefix = format!("{}-", stem.to_string_lossy());
    let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            kept.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    kept.sort();
    kept.reverse();
    let oldest = SystemTime::now().checked_sub(Duration::from_secs(settings.max_days * 86_400));
    for (index, (time, path)) in kept.iter().enumerate() {
        if index as u64 >= settings.max_files || oldest.is_some_and(|oldest| *time < oldest) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// `cni.log` and `-x`: `cni-x.log`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map(|it| format!(".{}", it.to_string_lossy()));
    path.with_file_name(format!("{stem}{suffix}{}", extension.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_put_aside_and_few_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let settings = LogSettings {
            path: folder.path().join("deep/cni.log"),
            max_megabytes: 0,
            max_files: 2,
            ..LogSettings::default()
        };
        for index in 0..4 {
            if settings.path.exists() {
                // Names are to the second.
                let aside = beside(&settings.path, &format!("-{index}"));
                fs::copy(&settings.path, aside).expect("the folder is ours");
            }
            let mut log = Log::open(&settings, String::new());
            log.info(&format!("call {index}"));
        }
        let files = fs::read_dir(folder.path().join("deep")).expect("it was made");
        assert_eq!(files.count(), 3, "the file in use and two beside");
        let text = fs::read_to_string(&settings.path).expect("the last one is in use");
        assert!(text.contains("[INFO]") && text.contains("call 3"), "{text}");
    }
}
