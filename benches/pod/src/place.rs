//! Where commands run: in a namespace of a lab, or behind a prefix such as `kubectl exec POD --`.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vrouter_lab::names::Netns;
use vrouter_lab::netns;

/// Set by a signal that asks for the end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(pub Arc<AtomicBool>);

impl Interrupt {
    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        // Relaxed: nothing else is handed over with it.
        self.0.load(Ordering::Relaxed)
    }
}

/// Where commands run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A network namespace of this machine.
    Namespace(Netns),
    /// Behind these words.
    Prefix(Vec<String>),
}

impl Place {
    fn spawn(&self, words: &[String], stdin: Stdio) -> Result<Child, String> {
        let all: Vec<&String> = match self {
            Self::Namespace(_) => words.iter().collect(),
            Self::Prefix(prefix) => prefix.iter().chain(words).collect(),
        };
        let (program, arguments) = all.split_first().ok_or("an empty command")?;
        let start = || {
            Command::new(program)
                .args(arguments)
                .stdin(stdin)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
        };
        let started = match self {
            Self::Namespace(netns) => netns::inside(netns, start).map_err(|e| e.to_string())?,
            Self::Prefix(_) => start(),
        };
        started.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{program} is not installed; `vrouter-lab doctor` names its package")
            }
            _ => format!("{program}: {error}"),
        })
    }

    /// Starts a client.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, words: &[String]) -> Result<Running, String> {
        Ok(Running::of(self.spawn(words, Stdio::null())?))
    }

    /// Runs a client to its end.
    ///
    /// # Errors
    /// It cannot be started, takes longer than `limit`, says no, or the end is asked for.
    pub fn run(
        &self,
        words: &[String],
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<CommandOutput, String> {
        self.start(words)?.finish(limit, interrupt)
    }

    /// Starts one of our servers and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be started or is not ready in time.
    pub fn serve(&self, words: &[String]) -> Result<Server, String> {
        let mut running = Running::of(self.spawn(words, Stdio::piped())?);
        let stdin = running.child.stdin.take();
        match running.lines.recv_timeout(Duration::from_secs(10)) {
            Ok(line) if line == "ready" => Ok(Server { running, stdin }),
            Ok(other) => Err(format!("the server said {other:?}")),
            Err(_) => {
                running.end();
                Err(format!("the server did not start: {}", running.complaint()))
            }
        }
    }
}

/// What a command wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// To standard output.
    pub out: String,
    /// To standard error.
    pub err: String,
    /// Whether it ended well.
    pub well: bool,
}

impl CommandOutput {
    /// Its standard output, if it ended well.
    ///
    /// # Errors
    /// The last of what it said otherwise.
    pub fn ok(self) -> Result<String, String> {
        if self.well {
            return Ok(self.out);
        }
        let text = if self.err.trim().is_empty() {
            self.out
        } else {
            self.err
        };
        Err(last_line(&text))
    }
}

fn last_line(text: &str) -> String {
    text.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("it failed without a word")
        .to_owned()
}

/// A command under way. It ends with the value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<JoinHandle<String>>,
}

impl Running {
    fn of(mut child: Child) -> Self {
        let (send, lines) = mpsc::channel();
        if let Some(pipe) = child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let errors = child.stderr.take().map(|mut pipe| {
            thread::spawn(move || {
                let mut text = Vec::new();
                let _what_there_was = pipe.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        Self {
            child,
            lines,
            errors,
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It takes longer than `limit`, or the end is asked for: then it is ended.
    pub fn finish(
        mut self,
        limit: Duration,
        interrupt: &Interrupt,
    ) -> Result<CommandOutput, String> {
        let status = self.wait(limit, interrupt)?;
        let out: Vec<String> = self.lines.iter().collect();
        Ok(CommandOutput {
            out: out.join("\n"),
            err: self.complaint(),
            well: status.success(),
        })
    }

    fn wait(&mut self, limit: Duration, interrupt: &Interrupt) -> Result<ExitStatus, String> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => return Err(format!("waiting for it: {error}")),
            }
            if interrupt.is_set() {
                self.end();
                return Err("interrupted".to_owned());
            }
            if Instant::now() >= deadline {
                self.end();
                return Err(format!("no end within {} s", limit.as_secs()));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn complaint(&mut self) -> String {
        self.errors
            .take()
            .and_then(|reader| reader.join().ok())
            .unwrap_or_default()
    }

    fn end(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// One of our servers.
#[derive(Debug)]
pub struct Server {
    running: Running,
    stdin: Option<ChildStdin>,
}

impl Server {
    /// Ends it and gives what it saw.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn finish(mut self, interrupt: &Interrupt) -> Result<String, String> {
        drop(self.stdin.take());
        self.running.finish(Duration::from_secs(5), interrupt)?.ok()
    }
}

/// This program, as a command.
///
/// # Errors
/// It cannot be found.
pub fn own_program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("finding this program: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn commands_run_behind_a_prefix_and_tell_why_they_fail() {
        let place = Place::Prefix(words("env A=b"));
        let go = |text: &str| {
            place.run(
                &words(text),
                Duration::from_millis(300),
                &Interrupt::default(),
            )
        };
        assert_eq!(go("printenv A").unwrap().ok().unwrap(), "b");
        let failed = go("ls /nowhere/at/all").unwrap().ok().unwrap_err();
        assert!(failed.contains("/nowhere"), "{failed}");
        assert!(go("sleep 5").unwrap_err().contains("no end"));
        let missing = Place::Prefix(Vec::new()).run(
            &words("there-is-no-such-program"),
            Duration::from_secs(1),
            &Interrupt::default(),
        );
        assert!(missing.unwrap_err().contains("not installed"));
    }

    #[test]
    fn an_interrupt_ends_what_runs() {
        let interrupt = Interrupt::default();
        interrupt.0.store(true, Ordering::Relaxed);
        let place = Place::Prefix(Vec::new());
        let start = Instant::now();
        let outcome = place.run(&words("sleep 60"), Duration::from_secs(60), &interrupt);
        assert_eq!(outcome.unwrap_err(), "interrupted");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
