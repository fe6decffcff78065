//! Containers that left while the datastore was away: the CNI plugin's notes, carried out.
//!
//! A thread of its own, because the store may take its time. A note stays until all that it says is
//! done, so an address is freed once, whoever dies in between.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use vrouter_datastore::departure::{Departure, Notes, is_ready};
use vrouter_datastore::{Datastore, StoreError};

/// Between two looks at the directory.
const EVERY: Duration = Duration::from_secs(2);

/// The running thread; it ends with the value.
pub(crate) struct Departures {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Departures {
    /// Starts it.
    pub(crate) fn start(directory: &Path, store: Arc<dyn Datastore>) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let notes = Notes::new(directory);
        let thread = std::thread::Builder::new()
            .name("departures".into())
            .spawn(move || follow(&notes, &store, &stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Departures {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that carries out CNI notes panicked");
        }
    }
}

fn follow(notes: &Notes, store: &Arc<dyn Datastore>, stopped: &Receiver<()>) {
    let mut logged = String::new();
    loop {
        let problem = carry_out(notes, store).err().unwrap_or_default();
        if problem != logged && !problem.is_empty() {
            tracing::warn!("CNI notes in {}: {problem}", notes.directory().display());
        }
        logged = problem;
        match stopped.recv_timeout(EVERY) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Carries out every note there is; what is wrong with the first that cannot be.
fn carry_out(notes: &Notes, store: &Arc<dyn Datastore>) -> Result<(), String> {
    let (all, faults) = notes.list().map_err(|error| error.to_string())?;
    for note in all {
        one(notes, &note, store).map_err(|error| format!("{}: {error}", note.container_id))?;
    }
    match faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

fn one(notes: &Notes, note: &Departure, store: &Arc<dyn Datastore>) -> Result<(), String> {
    let lock = notes.lock().map_err(|error| error.to_string())?;
    let text = |error: StoreError| error.to_string();
    // The plugin may have carried it out meanwhile; the container may be there anew.
    let still = notes.find(&note.network, &note.container_id, &note.interface);
    if still.map_err(|error| error.to_string())?.as_ref() != Some(note) {
        return Ok(());
    }
    if !is_ready(&**store).map_err(text)? {
        return Err("datastoreReady of the ClusterInformation default is false".to_owned());
    }
    note.remove_endpoint(&**store).map_err(text)?;
    let freed = note.release(store).map_err(text)?;
    notes
        .remove(note, &lock)
        .map_err(|error| error.to_string())?;
    tracing::info!(
        container = note.container_id,
        freed,
        "a container that left earlier is removed"
    );
    Ok(())
}
