//! What a datastore says of the resources it holds.

use crate::error::{Notice, ParseError};
use crate::key::Key;
use crate::resource::Resource;

/// A change of what is in force, or of what can be known of it.
#[derive(Clone, Debug, PartialEq)]
// Nearly every event is an Upsert, so boxing it would save nothing.
#[allow(clippy::large_enum_variant)]
pub enum Event {
    /// The resource is new or differs from what was sent under its key before.
    Upsert(Resource),
    /// The resource is gone.
    Delete(Key),
    /// An object of the store is faulty: what it last said without fault stays in force. Earlier
    /// faults and notices of the object no longer hold.
    Fault {
        /// The object: a file, relative to the directory, or a path of etcd.
        object: String,
        /// The complete list; never empty.
        errors: Vec<ParseError>,
    },
    /// An object has no faults, and none of the notices sent before.
    Mended {
        /// The object.
        object: String,
    },
    /// Something in an object is understood and kept but has no effect; one of all that follow
    /// the last [`Event::Fault`] or [`Event::Mended`] of the object.
    Notice(Notice),
    /// The store cannot be read. What it last said stays in force.
    Away {
        /// The store, for people.
        store: String,
        /// Why, and what stays in force.
        reason: String,
    },
    /// The store can be read again.
    Back,
    /// The events so far are all there is: sent after the first list and after every batch of
    /// changes, so that tables are compiled once a batch.
    InSync,
}

impl Event {
    /// What an object's faults are now: [`Event::Fault`], or [`Event::Mended`] where there are
    /// none.
    #[must_use]
    pub fn faults(object: String, errors: Vec<ParseError>) -> Event {
        if errors.is_empty() {
            Event::Mended { object }
        } else {
            Event::Fault { object, errors }
        }
    }
}
