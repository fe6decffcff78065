//! What makes sure that a run against places of others leaves no process behind, even when it is
//! killed: labs have their own guards, such places have none.
//!
//! The run starts itself once more with a mark in its environment, which all that it starts
//! inherits. The janitor, in a process group of its own and without the mark, waits for its
//! standard input to end: without a word, it ends whatever still bears the mark.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{BenchError, Result};
use crate::place::own_program;

/// The variable that bears the mark.
const MARK: &str = "VROUTER_BENCH_RUN";
const OVER: &[u8] = b"over";

/// A janitor on watch.
#[derive(Debug)]
pub struct Janitor(Child);

impl Janitor {
    /// Puts a janitor on watch. The first time it starts this program anew, with the mark, in the
    /// place of this process.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn watch() -> Result<Self> {
        let own = own_program().map_err(BenchError::Invalid)?;
        let Ok(mark) = std::env::var(MARK) else {
            let mark = format!("{}", std::process::id());
            let error = Command::new(own)
                .args(std::env::args_os().skip(1))
                .env(MARK, mark)
                .exec();
            return Err(BenchError::io("starting anew")(error));
        };
        Command::new(own)
            .args(["janitor", &mark])
            .env_remove(MARK)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map(Self)
            .map_err(BenchError::io("starting the janitor"))
    }
}

impl Drop for Janitor {
    /// An orderly end: everything was ended by its owner.
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _gone_already = pipe.write_all(OVER);
        }
        let _gone_already = self.0.wait();
    }
}

/// The janitor's own work.
pub fn wait_and_sweep(mark: &str) {
    let mut word = Vec::new();
    let _closed_is_an_answer_too = std::io::stdin().read_to_end(&mut word);
    if word == OVER {
        return;
    }
    // What is just being started may be seen the second time only.
    for _ in 0..3 {
        for pid in marked(mark) {
            let _gone_in_between = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn marked(mark: &str) -> Vec<i32> {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == wanted.as_bytes())
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_processes_are_found_and_no_others() {
        let mark = format!("test-{}", std::process::id());
        let mut child = Command::new("sleep")
            .arg("60")
            .env(MARK, &mark)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = vrouter_lab::process::wait_until(std::time::Duration::from_secs(5), || {
            marked(&mark) == [pid]
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
        assert!(marked(&mark).is_empty());
    }
}
