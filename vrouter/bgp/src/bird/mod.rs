//! What BIRD says over its control socket: of itself, of its protocols and BGP sessions, of its
//! routes. Versions 1 to 3 are understood.
//!
//! Source: BIRD's "Remote control" protocol: lines of a four-digit code and a text; a line that
//! begins with a space has the code of the one before; after a code comes `-` where more lines
//! follow; codes from 8000 on are errors.

mod details;
mod protocols;
mod routes;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;

pub use self::details::Details;
pub use self::protocols::{Origin, Protocol, Session};
pub use self::routes::Route;

/// Where vrouterd's, Calico's and Debian's BIRD listen.
pub const SOCKETS: &[&str] = &[
    "/run/vrouter/bird/bird.ctl",
    "/var/run/calico/bird.ctl",
    "/run/bird/bird.ctl",
];
/// Where a BIRD of version 1 for IPv6 listens beside the other one.
pub const SOCKETS_V6: &[&str] = &["/var/run/calico/bird6.ctl", "/run/bird/bird6.ctl"];

/// How long an answer may take, and how large it may be.
const PATIENCE: Duration = Duration::from_secs(5);
const LARGEST: u64 = 64 << 20;
const LONGEST_LINE: u64 = 64 << 10;

/// A line of an answer: its code, and its text without it.
type Line = (u16, String);

/// A BIRD that answers.
pub struct Bird {
    stream: BufReader<UnixStream>,
    version: String,
}

/// What BIRD says of itself; empty what it did not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// `2.0.12`, `v0.3.3+birdv1.6.8`.
    pub version: String,
    /// An IPv4 address.
    pub router_id: String,
    /// When it started.
    pub boot: String,
    /// When its configuration last changed.
    pub reconfiguration: String,
    /// Whether it is about to end.
    pub ending: bool,
    /// Whether it waits after a restart for what neighbors kept of it, and tells nothing yet.
    pub recovering: bool,
}

impl Bird {
    /// Connects and hears its greeting.
    ///
    /// # Errors
    /// Nobody listens, or it is no BIRD.
    pub fn connect(socket: &Path) -> io::Result<Bird> {
        let stream = UnixStream::connect(socket)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bird = Bird {
            stream: BufReader::new(stream),
            version: String::new(),
        };
        let greeting = bird.answer()?;
        let version = greeting.iter().find_map(|(_, text)| greeted(text));
        bird.version = version.ok_or_else(|| io::Error::other("no BIRD greets"))?;
        Ok(bird)
    }

    /// Whether it speaks IPv4 and IPv6; a BIRD of version 1 speaks one of them.
    #[must_use]
    pub fn has_both_families(&self) -> bool {
        major(&self.version).is_some_and(|major| major >= 2)
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&mut self) -> io::Result<Status> {
        self.ask("show status").map(|lines| status(&lines))
    }

    /// Its protocols, BGP sessions among them.
    ///
    /// # Errors
    /// It does not answer.
    pub fn protocols(&mut self) -> io::Result<Vec<Protocol>> {
        self.ask("show protocols all")
            .map(|lines| protocols::read(&lines))
    }

    /// Its routes, a route with several next hops as often.
    ///
    /// # Errors
    /// It does not answer.
    pub fn routes(&mut self) -> io::Result<Vec<Route>> {
        self.ask("show route").map(|lines| routes::read(&lines))
    }

    /// The routes to a prefix, with their BGP attributes.
    ///
    /// # Errors
    /// It does not answer; that there is none is no error.
    pub fn routes_to(&mut self, prefix: IpNet) -> io::Result<Vec<Details>> {
        match self.ask(&format!("show route {prefix} all")) {
            Ok(lines) => Ok(details::read(&lines)),
            Err(error) if error.to_string().contains("Network not") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The routes of a table by its name, with their BGP attributes.
    ///
    /// # Errors
    /// It does not answer, or has no such table.
    pub fn routes_of(&mut self, table: &str) -> io::Result<Vec<Details>> {
        self.ask(&format!("show route table {table} all"))
            .map(|lines| details::read(&lines))
    }

    /// Has it read a file of configuration and put it in force.
    ///
    /// # Errors
    /// It does not answer, or does not take the file; what is wrong is in its words.
    pub fn configure(&mut self, file: &Path) -> io::Result<()> {
        self.ask(&format!("configure \"{}\"", file.display()))
            .map(drop)
    }

    /// Has it read a file and only say what is wrong.
    ///
    /// # Errors
    /// It does not answer, or does not take the file.
    pub fn check(&mut self, file: &Path) -> io::Result<()> {
        self.ask(&format!("configure check \"{}\"", file.display()))
            .map(drop)
    }

    /// As [`Self::configure`]; after so many seconds without [`Self::confirm`] it goes back by itself.
    ///
    /// # Errors
    /// It does not answer, or does not take the file.
    pub fn try_for(&mut self, file: &Path, seconds: u16) -> io::Result<()> {
        self.ask(&format!(
            "configure \"{}\" timeout {seconds}",
            file.display()
        ))
        .map(drop)
    }

    /// Keeps what [`Self::try_for`] put in force.
    ///
    /// # Errors
    /// It does not answer.
    pub fn confirm(&mut self) -> io::Result<()> {
        self.ask("configure confirm").map(drop)
    }

    /// Goes back to what was in force before.
    ///
    /// # Errors
    /// It does not answer, or there is nothing to go back to.
    pub fn undo(&mut self) -> io::Result<()> {
        self.ask("configure undo").map(drop)
    }

    /// Ends it in a way that neighbors and kernel keep its routes until it is back.
    ///
    /// # Errors
    /// It does not answer.
    pub fn end_for_restart(&mut self) -> io::Result<()> {
        self.ask("graceful restart").map(drop)
    }

    fn ask(&mut self, command: &str) -> io::Result<Vec<Line>> {
        self.stream
            .get_mut()
            .write_all(format!("{command}\n").as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Vec<Line>> {
        let until = Instant::now() + PATIENCE;
        let (mut lines, mut code, mut size) = (Vec::new(), 0, 0);
        loop {
            // Not for each line anew: a BIRD that dribbles is as good as one that is silent.
            let left = until.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let mut line = Vec::new();
            let mut limited = (&mut self.stream).take(LONGEST_LINE);
            size += limited.read_until(b'\n', &mut line)? as u64;
            if line.pop() != Some(b'\n') || size > LARGEST || Instant::now() > until {
                let kind = io::ErrorKind::UnexpectedEof;
                return Err(io::Error::new(kind, "BIRD's answer does not end"));
            }
            let line = String::from_utf8_lossy(&line);
            if line.starts_with('+') {
                // Said to all clients, and no part of an answer.
                continue;
            }
            let Some((own, more, text)) = split(&line) else {
                let said: String = line.chars().take(80).collect();
                return Err(io::Error::other(format!("BIRD says {said:?}")));
            };
            code = own.unwrap_or(code);
            if code >= 8000 {
                return Err(io::Error::other(format!("BIRD says {text:?}")));
            }
            lines.push((code, text.to_owned()));
            if !more {
                return Ok(lines);
            }
        }
    }
}

/// A line's own code, whether more lines follow, and its text.
fn split(line: &str) -> Option<(Option<u16>, bool, &str)> {
    if let Some(text) = line.strip_prefix(' ') {
        return Some((None, true, text));
    }
    let code = line.get(..4)?;
    if !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let more = match line.as_bytes().get(4) {
        Some(b'-') => true,
        Some(b' ') | None => false,
        Some(_) => return None,
    };
    Some((code.parse().ok(), more, line.get(5..).unwrap_or_default()))
}

/// The version in `BIRD 2.0.12 ready.`
fn greeted(text: &str) -> Option<String> {
    let version = text.strip_prefix("BIRD ")?.strip_suffix("ready.")?.trim();
    (!version.is_empty()).then(|| version.to_owned())
}

/// 2 of `2.0.12`, 1 of Calico's `v0.3.3+birdv1.6.8`.
fn major(version: &str) -> Option<u32> {
    let number = version.rsplit('v').next()?;
    number.split('.').next()?.parse().ok()
}

fn status(lines: &[Line]) -> Status {
    let mut status = Status::default();
    for (code, text) in lines {
        status.ending |= *code == 14;
        status.recovering |= *code == 24;
        for (before, field) in [
            ("BIRD ", &mut status.version),
            ("Router ID is ", &mut status.router_id),
            ("Last reboot on ", &mut status.boot),
            ("Last reconfiguration on ", &mut status.reconfiguration),
        ] {
            if let Some(value) = text.strip_prefix(before) {
                value.trim().clone_into(field);
            }
        }
    }
    status
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;
    use std::thread::JoinHandle;

    use super::*;

    /// What an answer's lines are read as.
    pub(super) fn lines(text: &str) -> Vec<Line> {
        let mut code = 0;
        let each = text.lines().map(|line| {
            let (own, _, text) = split(line).unwrap_or_else(|| panic!("{line:?}"));
            code = own.unwrap_or(code);
            (code, text.to_owned())
        });
        each.collect()
    }

    /// A BIRD that answers one client with these texts, whatever it asks, and goes.
    fn fake(greeting: &str, answers: &[&str]) -> (tempfile::TempDir, PathBuf, JoinHandle<()>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bird.ctl");
        let listener = UnixListener::bind(&path).unwrap();
        let texts: Vec<String> = std::iter::once(greeting)
            .chain(answers.iter().copied())
            .map(str::to_owned)
            .collect();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = BufReader::new(stream.try_clone().unwrap()).lines();
            for (turn, text) in texts.iter().enumerate() {
                if turn > 0 && asked.next().is_none() {
                    return;
                }
                stream.write_all(text.as_bytes()).unwrap();
            }
        });
        (folder, path, thread)
    }

    const STATUS_2: &str = "\
1000-BIRD 2.0.12
1011-Router ID is 10.9.0.1
 Hostname is vm
 Current server time is 2026-11-21 00:39:54.717
 Last reboot on 2026-11-21 00:39:46.300
 Last reconfiguration on 2026-11-21 00:39:46.400
0013 Daemon is up and running
";

    #[test]
    fn a_bird_says_what_it_is() {
        let (_folder, path, thread) = fake("0001 BIRD 2.0.12 ready.\n", &[STATUS_2, STATUS_2]);
        let mut bird = Bird::connect(&path).unwrap();
        assert!(bird.has_both_families());
        let expected = Status {
            version: "2.0.12".into(),
            router_id: "10.9.0.1".into(),
            boot: "2026-11-21 00:39:46.300".into(),
            reconfiguration: "2026-11-21 00:39:46.400".into(),
            ending: false,
            recovering: false,
        };
        for _ in 0..2 {
            assert_eq!(bird.status().unwrap(), expected);
        }
        drop(bird);
        thread.join().unwrap();
    }

    #[test]
    fn calicos_bird_of_version_1_has_one_family() {
        let greeting = "0001 BIRD v0.3.3+birdv1.6.8 ready.\n";
        let answer = "\
1000-BIRD v0.3.3+birdv1.6.8
1011-Router ID is 172.17.0.3
 Last reboot on 2021-09-19 20:10:56
0024-Graceful restart recovery in progress
0014 Shutdown in progress
";
        let (_folder, path, thread) = fake(greeting, &[answer]);
        let mut bird = Bird::connect(&path).unwrap();
        assert!(!bird.has_both_families());
        let status = bird.status().unwrap();
        assert_eq!(status.version, "v0.3.3+birdv1.6.8");
        assert_eq!(status.router_id, "172.17.0.3");
        assert_eq!(status.reconfiguration, "");
        assert!(status.ending && status.recovering);
        drop(bird);
        thread.join().unwrap();
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        for (greeting, answer) in [
            ("HTTP/1.1 400 Bad Request\n", ""),
            ("0001 ready\n", ""),
            ("\n", ""),
            ("0001 BIRD 2.0.12 ready.\n", "9001 syntax error\n"),
            ("0001 BIRD 2.0.12 ready.\n", "1000-BIRD 2.0.12\n cut"),
            ("0001 BIRD 2.0.12 ready.\n", "10é0-x\n"),
            ("0001 BIRD 2.0.12 ready.\n", "\u{fffd}\n"),
        ] {
            let (_folder, path, thread) = fake(greeting, &[answer]);
            let said = Bird::connect(&path).and_then(|mut bird| bird.status());
            assert!(said.is_err(), "{greeting:?} {answer:?}: {said:?}");
            thread.join().unwrap();
        }
        let nowhere = tempfile::tempdir().unwrap();
        let error = Bird::connect(&nowhere.path().join("none")).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    proptest::proptest! {
        #[test]
        fn no_answer_is_too_odd(text in "((0000|100[0-9]|[0-9]{1,4}|)[ \\-]?([a-zé\\[\\]*:%/ \t._0-9]|via |dev |on |BGP |Table |unicast |[0-9.]{3,7}/8 ){0,12}\n){0,8}") {
            let mut lines = Vec::new();
            for line in text.lines() {
                if let Some((code, _, text)) = split(line) {
                    lines.push((code.unwrap_or(1007), text.to_owned()));
                }
            }
            status(&lines);
            routes::read(&lines);
            for code in [1002, 1006] {
                lines.iter_mut().for_each(|line| line.0 = code);
                let all = protocols::read(&lines);
                let sessions = all.iter().filter_map(Protocol::session);
                proptest::prop_assert!(sessions.count() <= all.len());
            }
        }
    }

    #[test]
    fn versions() {
        for (text, wanted) in [
            ("2.0.12", Some(2)),
            ("3.1.2", Some(3)),
            ("v0.3.3+birdv1.6.8", Some(1)),
            ("1.6.8", Some(1)),
            ("next", None),
        ] {
            assert_eq!(major(text), wanted, "{text}");
        }
    }
}
