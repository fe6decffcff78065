//! Up, down, and what makes sure that a lab never outlives a failure.
//!
//! `up` and `run` start a guard first: this same program in a process group of its own, which
//! takes the lab down when the pipe from its starter closes without a word. However the starter
//! ends, by an error, by Ctrl-C or by SIGKILL, the pipe closes.

use std::collections::HashSet;
use std::env;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{LabError, Result};
use crate::names::{LabName, Netns};
use crate::spec::{Backend, Spec};
use crate::topology::Lab;
use crate::{direct, etcd, exec, kernel, netns, process, resources, state, vrouter, wiring};

/// How long a vRouter may take to end in order.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a guard is told when the lab is to stay.
const KEEP: &[u8] = b"keep";

/// Builds a lab. When it fails, or this process dies on the way, nothing of it stays.
///
/// # Errors
/// The options, the name, or a part of the machine refuses.
pub fn up(name: &LabName, spec: &Spec) -> Result<Lab> {
    let (lab, guard) = guarded_up(name, spec)?;
    guard.release();
    Ok(lab)
}

/// A lab that lives as long as this value, and no longer than this process, however it ends.
#[derive(Debug)]
pub struct Held {
    lab: Lab,
    guard: Option<Guard>,
}

impl Held {
    /// The lab.
    pub fn lab(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let guard = self.guard.take();
        // Where this fails, the guard is not released and tries once more.
        if down(&self.lab.name).is_ok()
            && let Some(guard) = guard
        {
            guard.release();
        }
    }
}

/// Builds a lab that ends with the value, or with this process.
///
/// # Errors
/// As [`up`].
pub fn hold(name: &LabName, spec: &Spec) -> Result<Held> {
    let (lab, guard) = guarded_up(name, spec)?;
    Ok(Held {
        lab,
        guard: Some(guard),
    })
}

/// Builds a lab, runs a command with the lab described in its environment, takes the lab down.
///
/// # Errors
/// The lab cannot be built, or the command not be started. The status is the command's own.
pub fn run(name: &LabName, spec: &Spec, command: &[String]) -> Result<ExitStatus> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(LabError::io("listening for signals"))?;
    let (lab, guard) = guarded_up(name, spec)?;
    let outcome = exec::script(&lab, command).and_then(|mut child| {
        let handle = signals.handle();
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid fits"));
        let forward = thread::spawn(move || {
            for signal in signals.forever() {
                // A terminal's Ctrl-C reaches the command by itself; a second SIGTERM harms none.
                let signal = Signal::try_from(signal).unwrap_or(Signal::SIGTERM);
                let _ended_already = kill(pid, signal);
            }
        });
        let status = child
            .wait()
            .map_err(LabError::io("waiting for the command"));
        handle.close();
        let _never_panics = forward.join();
        status
    });
    down(name)?;
    guard.release();
    outcome
}

/// Takes a lab down: asks its vRouters to end, ends whatever else runs in its namespaces, deletes
/// them and the lab's files. Parts that are missing already are no error.
///
/// # Errors
/// [`LabError::NotFound`] when there is nothing of this name, or a part could not be removed.
pub fn down(name: &LabName) -> Result<()> {
    let lab = match state::load(name) {
        Ok(lab) => Some(lab),
        Err(LabError::NotFound(_) | LabError::Invalid(_)) => None,
        Err(other) => return Err(other),
    };
    let namespaces: Vec<Netns> = netns::names()?
        .into_iter()
        .filter(|n| name.owns(n))
        .map(Netns::named)
        .collect();
    if lab.is_none() && namespaces.is_empty() && !state::directory(name).exists() {
        return Err(LabError::NotFound(name.to_string()));
    }
    if let Some(lab) = &lab {
        process::end(&lab.processes, PATIENCE);
    }
    let inodes: HashSet<u64> = namespaces.iter().filter_map(netns::inode).collect();
    process::end(&process::in_namespaces(&inodes), Duration::from_secs(1));
    netns::delete(&namespaces)?;
    state::remove(name)
}

/// The guard's own work: waits for the word to keep the lab, takes it down without it.
///
/// # Errors
/// As [`down`].
pub fn guard(name: &LabName) -> Result<()> {
    let mut word = Vec::new();
    let _closed_is_an_answer_too = std::io::stdin().read_to_end(&mut word);
    if word == KEEP {
        return Ok(());
    }
    match down(name) {
        Ok(()) | Err(LabError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn guarded_up(name: &LabName, spec: &Spec) -> Result<(Lab, Guard)> {
    let mut lab = Lab::plan(name, spec)?;
    require_root()?;
    if netns::names()?.iter().any(|netns| name.owns(netns)) {
        return Err(LabError::Exists(name.to_string()));
    }
    if lab
        .nodes
        .iter()
        .any(|node| node.backend == Backend::Vrouter)
    {
        vrouter::program(&lab)?;
    }
    if state::directory(name).exists() {
        return Err(LabError::Exists(name.to_string()));
    }
    // Before the first file is made, so that nothing stays wherever this process is killed.
    let guard = Guard::start(name)?;
    if let Err(error) = state::claim(&lab) {
        // Somebody else's by now; or a directory half made, which nobody else's lab is.
        if !matches!(error, LabError::Exists(_)) {
            let _told_by_the_first_error = state::remove(name);
        }
        guard.release();
        return Err(error);
    }
    match build(&mut lab) {
        Ok(()) => Ok((lab, guard)),
        Err(error) => {
            // The first error is the one to tell; the guard would try again.
            if down(name).is_ok() {
                guard.release();
            }
            Err(error)
        }
    }
}

fn build(lab: &mut Lab) -> Result<()> {
    wiring::namespaces(lab)?;
    if matches!(lab.spec.backend, Backend::Direct | Backend::TapLoop) {
        if lab.nodes.len() > 1 {
            wiring::underlay(lab)?;
        }
        direct::pods(lab)?;
        return state::save(lab);
    }
    wiring::underlay(lab)?;
    resources::write(lab)?;
    if lab.etcd.is_some() {
        let process = etcd::build(lab)?;
        lab.processes.push(process);
        state::save(lab)?;
    }
    let nodes = lab.nodes.clone();
    for node in &nodes {
        match node.backend {
            Backend::Kernel => kernel::node(lab, node)?,
            Backend::Vrouter => {
                let process = vrouter::start(lab, node)?;
                lab.processes.push(process);
                state::save(lab)?;
            }
            Backend::Direct | Backend::TapLoop => unreachable!("handled above"),
        }
    }
    for node in nodes.iter().filter(|node| node.backend == Backend::Vrouter) {
        node.pods
            .iter()
            .try_for_each(|pod| vrouter::wait_for_pod(node, pod))?;
    }
    state::save(lab)
}

/// Refuses to go on without the rights that namespaces need.
///
/// # Errors
/// This process is not root's.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(LabError::Invalid(
            "network namespaces need root: start it with sudo".to_owned(),
        ))
    }
}

/// This program, as found by labs that were started from it or from its tests.
fn own_program() -> Result<PathBuf> {
    let own = env::current_exe().map_err(LabError::io("finding this program"))?;
    if own.file_name().is_some_and(|name| name == "vrouter-lab") {
        return Ok(own);
    }
    vrouter::beside_or_in_path("vrouter-lab")
}

#[derive(Debug)]
struct Guard {
    child: Child,
}

impl Guard {
    fn start(name: &LabName) -> Result<Self> {
        let child = Command::new(own_program()?)
            .args(["guard", name.as_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(LabError::io("starting the guard"))?;
        Ok(Self { child })
    }

    /// Tells the guard that nothing is left to do.
    fn release(mut self) {
        if let Some(mut pipe) = self.child.stdin.take() {
            let _gone_already = pipe.write_all(KEEP);
        }
        let _gone_already = self.child.wait();
    }
}

/// The exit code that a shell would give for a status.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}
