//! BIRD itself: its process, its files, its control socket.
//!
//! `bird.conf` is always what BIRD last took; `bird.conf.next` is what it is asked to take. Both hold
//! passwords: they are root's, and readable by BIRD's group alone.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use nix::unistd::Group;
use vrouter_bgp::bird::Bird;
use vrouter_bgp::{Config, Passwords};

use super::Mode;
use super::supervisor::Verdict;

/// Debian's package makes this user and this group.
const USER: &str = "bird";
/// How long BIRD may take to start, to end, or to have a new configuration's sessions.
const PATIENCE: Duration = Duration::from_secs(5);
/// BIRD goes back by itself if nobody confirms for so long.
const TRIAL_SECONDS: u16 = 30;
/// Between two looks at what BIRD is about to do.
const PAUSE: Duration = Duration::from_millis(20);

/// One BIRD, ours or somebody else's.
pub(super) struct Daemon {
    directory: PathBuf,
    sockets: Vec<PathBuf>,
    managed: bool,
    child: Option<Running>,
    /// Of the child; each start has another.
    number: u64,
    ends: Sender<u64>,
}

struct Running {
    child: Child,
    last_line: Arc<Mutex<String>>,
}

impl Running {
    /// How it ended, with its last words.
    fn reason(&self, status: io::Result<std::process::ExitStatus>) -> String {
        let words = self
            .last_line
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        format!("BIRD ended ({status}), its last line: {words:?}")
    }
}

impl Daemon {
    /// `ends` is told the number of a BIRD that closed its standard error.
    pub(super) fn new(mode: &Mode, ends: Sender<u64>) -> Daemon {
        let (directory, sockets, managed) = match mode {
            Mode::Off => (PathBuf::new(), Vec::new(), false),
            Mode::Managed { directory } => {
                let sockets = vec![directory.join("bird.ctl")];
                (directory.clone(), sockets, true)
            }
            Mode::External { directory, sockets } => (directory.clone(), sockets.clone(), false),
        };
        Daemon {
            directory,
            sockets,
            managed,
            child: None,
            number: 0,
            ends,
        }
    }

    /// Starts BIRD with a configuration, or with the last good one where it refuses that.
    pub(super) fn start(&mut self, config: &Config) -> Result<Verdict, String> {
        self.replace_predecessor()?;
        let file = self.file();
        // The kernel and neighbors may hold routes of the BIRD before.
        let recover = file.exists();
        let next = self.write(config)?;
        let refusal = parse(&next)?;
        match &refusal {
            None => rename(&next, &file)?,
            Some(reason) if !recover => {
                return Err(format!("BIRD refuses the configuration: {reason}"));
            }
            Some(_) => {}
        }
        self.spawn(&file, recover)?;
        tracing::info!(recover, "BIRD runs");
        Ok(refusal.map_or(Verdict::Accepted, Verdict::Refused))
    }

    /// Gives the running BIRD a configuration; it is in force only if BIRD then has its sessions.
    pub(super) fn apply(&mut self, config: &Config) -> Result<Verdict, String> {
        let mut bird = self.connect()?;
        let next = self.write(config)?;
        let offered = bird
            .check(&next)
            .and_then(|()| bird.try_for(&next, TRIAL_SECONDS));
        match offered {
            Ok(()) => {}
            // BIRD's own words, not those of its socket.
            Err(error) if error.kind() == io::ErrorKind::Other => {
                return Ok(Verdict::Refused(error.to_string()));
            }
            Err(error) => return Err(error.to_string()),
        }
        if let Err(reason) = has_sessions(&mut bird, config) {
            bird.undo().map_err(|error| error.to_string())?;
            return Ok(Verdict::Refused(reason));
        }
        bird.confirm().map_err(|error| error.to_string())?;
        rename(&next, &self.file())?;
        Ok(Verdict::Accepted)
    }

    /// When BIRD was started, in its words.
    pub(super) fn probe(&self) -> Result<String, String> {
        let status = self.connect()?.status();
        status.map(|it| it.boot).map_err(|error| error.to_string())
    }

    /// Ends a child that hangs.
    pub(super) fn kill(&mut self) -> String {
        let Some(mut running) = self.child.take() else {
            return "there is no BIRD".to_owned();
        };
        // It may just have ended by itself.
        let _ = running.child.kill();
        let status = running.child.wait();
        running.reason(status)
    }

    /// The child of that number closed its standard error; why, if it is the one that should run.
    pub(super) fn ended(&mut self, number: u64) -> Option<String> {
        if number != self.number {
            return None;
        }
        let mut running = self.child.take()?;
        let status = running.child.wait();
        Some(running.reason(status))
    }

    /// Ends a child of ours; kernel and neighbors keep its routes for a while.
    pub(super) fn end(&mut self) {
        if self.child.is_none() {
            return;
        }
        let told = self
            .connect()
            .and_then(|mut bird| bird.end_for_restart().map_err(|error| error.to_string()));
        let child = self.child.as_mut();
        let gone = told.is_ok()
            && child.is_some_and(|it| until(|| matches!(it.child.try_wait(), Ok(Some(_)))));
        if gone {
            self.child = None;
            tracing::info!("BIRD ended, its routes stay until it is back");
        } else {
            let reason = self.kill();
            tracing::warn!("{reason}");
        }
    }

    fn file(&self) -> PathBuf {
        self.directory.join("bird.conf")
    }

    /// The first BIRD that answers, of a version that reads our file.
    fn connect(&self) -> Result<Bird, String> {
        let mut faults = Vec::new();
        for socket in &self.sockets {
            match Bird::connect(socket) {
                Ok(bird) if bird.has_both_families() => return Ok(bird),
                Ok(_) => faults.push(format!(
                    "{}: this BIRD is of version 1: install version 2 or 3",
                    socket.display()
                )),
                Err(error) => faults.push(format!("{}: {error}", socket.display())),
            }
        }
        Err(faults.join("; "))
    }

    /// A vrouterd that was killed leaves its BIRD behind.
    fn replace_predecessor(&self) -> Result<(), String> {
        let Ok(mut old) = self.connect() else {
            return Ok(());
        };
        tracing::info!("a BIRD of an earlier vrouterd is replaced");
        old.end_for_restart().map_err(|error| error.to_string())?;
        drop(old);
        if until(|| self.connect().is_err()) {
            return Ok(());
        }
        Err("a BIRD of an earlier vrouterd does not end: end it".to_owned())
    }

    /// Writes what BIRD is asked to take; where.
    fn write(&self, config: &Config) -> Result<PathBuf, String> {
        let next = self.directory.join("bird.conf.next");
        let done = || -> io::Result<()> {
            let group = self.group()?;
            if !self.directory.exists() {
                if let Some(parent) = self.directory.parent() {
                    fs::create_dir_all(parent)?;
                }
                DirBuilder::new().mode(0o750).create(&self.directory)?;
            }
            chown(&self.directory, None, Some(group))?;
            match fs::remove_file(&next) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o640)
                .open(&next)?;
            chown(&next, None, Some(group))?;
            file.write_all(config.text(Passwords::Shown).as_bytes())
        };
        match done() {
            Ok(()) => Ok(next),
            Err(error) => Err(format!("{}: {error}", next.display())),
        }
    }

    /// Whose the files are beside root: of BIRD, or of its socket.
    fn group(&self) -> io::Result<u32> {
        if !self.managed {
            let mut all = self.sockets.iter().map(fs::metadata);
            let found = all.find_map(Result::ok);
            return Ok(found.map_or(0, |socket| socket.gid()));
        }
        let found = Group::from_name(USER)?;
        let missing = || {
            io::Error::other(format!(
                "there is no group {USER}: install BIRD (Debian's package bird2), or set bird: off"
            ))
        };
        Ok(found.ok_or_else(missing)?.gid.as_raw())
    }

    fn spawn(&mut self, file: &Path, recover: bool) -> Result<(), String> {
        let mut command = bird();
        command.args(["-f", "-u", USER, "-g", USER, "-c"]).arg(file);
        command.arg("-s").args(&self.sockets);
        if recover {
            command.arg("-R");
        }
        // A terminal's Ctrl-C is for vrouterd, which ends BIRD as it should be ended.
        command.process_group(0);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| not_started(&error))?;
        self.number += 1;
        let last_line = Arc::default();
        if let Some(lines) = child.stderr.take() {
            let (last, ends, number) = (Arc::clone(&last_line), self.ends.clone(), self.number);
            std::thread::Builder::new()
                .name("bird-log".to_owned())
                .spawn(move || {
                    log(lines, &last);
                    // Nobody is interested when vrouterd ends.
                    let _ = ends.send(number);
                })
                .map_err(|error| error.to_string())?;
        }
        self.child = Some(Running { child, last_line });
        let mut ended = None;
        let answers = until(|| {
            ended = self
                .child
                .as_mut()
                .and_then(|it| it.child.try_wait().transpose());
            ended.is_some() || self.connect().is_ok()
        });
        if let Some(status) = ended {
            let running = self.child.take();
            return Err(running.map_or_else(String::new, |running| running.reason(status)));
        }
        if answers {
            return Ok(());
        }
        let silence = self.connect().err().unwrap_or_default();
        self.kill();
        Err(format!("BIRD does not answer: {silence}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn bird() -> Command {
    let mut command = Command::new("bird");
    // Debian's is in /usr/sbin, which not every caller's PATH has.
    let path = std::env::var("PATH").unwrap_or_default();
    // Passwords of etcd are none of BIRD's.
    command.env_clear();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
    command
}

fn not_started(error: &io::Error) -> String {
    format!("bird: {error}: install BIRD (Debian's package bird2), or set bird: off")
}

/// What BIRD says against a file; `None`: nothing.
fn parse(file: &Path) -> Result<Option<String>, String> {
    let output = bird().args(["-p", "-c"]).arg(file).output();
    let output = output.map_err(|error| not_started(&error))?;
    if output.status.success() {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&output.stderr).trim().into()))
}

/// Whether BIRD has every session, once it is done.
fn has_sessions(bird: &mut Bird, config: &Config) -> Result<(), String> {
    let mut reason = String::new();
    let have = until(|| {
        let protocols = match bird.protocols() {
            Ok(protocols) => protocols,
            Err(error) => {
                reason = error.to_string();
                return false;
            }
        };
        let mut sessions = config.sessions.iter();
        let there = |name: &str| protocols.iter().any(|protocol| protocol.name == name);
        match sessions.find(|session| !there(&session.name)) {
            Some(missing) => {
                reason = format!("BIRD does not make the session {}", missing.name);
                false
            }
            None => true,
        }
    });
    if have { Ok(()) } else { Err(reason) }
}

fn rename(from: &Path, to: &Path) -> Result<(), String> {
    fs::rename(from, to).map_err(|error| format!("{}: {error}", to.display()))
}

/// Logs what BIRD logs, until it ends. A line is a time, a class in angle brackets and a text.
fn log(lines: ChildStderr, last: &Mutex<String>) {
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        let class = line
            .split_once(" <")
            .and_then(|(_, rest)| rest.split_once("> "));
        let (class, text) = class.unwrap_or(("", &line));
        match class {
            "INFO" | "RMT" => tracing::info!("BIRD: {text}"),
            "TRACE" | "DBG" => tracing::debug!("BIRD: {text}"),
            _ => tracing::warn!("BIRD: {text}"),
        }
        text.clone_into(&mut last.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Looks until it is so, or for too long.
fn until(mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}
