//! A running watch: where its events arrive, and the thread they come from.

use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender};
pub use vrouter_api::Event;

/// A running watch; dropping it ends the thread behind it.
pub struct Watch {
    events: Receiver<Event>,
    /// Dropped first: its end tells the thread to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn new(events: Receiver<Event>, stop: Sender<()>, thread: JoinHandle<()>) -> Watch {
        Watch {
            events,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where the events arrive, in order. Disconnected only when the watching thread died.
    #[must_use]
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A thread waiting for room in the channel has to see that nobody reads any more.
        self.events = crossbeam::channel::never();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches resources panicked");
        }
    }
}
