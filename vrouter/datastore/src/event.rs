//! What a watch tells: events, and the thread they come from.

use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender};
use vrouter_api::{Key, Notice, ParseError, Resource};

/// A change of what is in force.
#[derive(Clone, Debug, PartialEq)]
// Nearly every event is an Upsert, so boxing it would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Event {
    /// The resource is new or differs from what was sent under its key before.
    Upsert(Resource),
    /// The resource is gone.
    Delete(Key),
    /// All that is wrong with a file now; nothing when it was mended. What the file last said
    /// without fault stays in force. Whatever was told of the file before, notices included, no
    /// longer holds: the notices that still do follow.
    Broken {
        /// The file, relative to the directory; `.` is the directory itself.
        file: String,
        /// The complete list.
        errors: Vec<ParseError>,
    },
    /// Something in a file is understood and kept but has no effect; one of all that follow the
    /// last [`Event::Broken`] of the file.
    Notice(Notice),
    /// The events so far are all there is: sent after the first list and after every batch of
    /// changes, so that tables are compiled once a batch.
    InSync,
}

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
