//! Where resources come from: a watched directory.
//!
//! A [`Datastore`] is asked once for a [`Watch`]: a channel of [`Event`]s that first carries
//! every resource there is, then every change. Whoever folds the events into a map of resources
//! has, after each [`Event::InSync`], what the store says, whatever the order of changes was.
//!
//! The crate owns the directory's file watching and the rules for faulty, duplicate and vanished
//! files; what a file says is `vrouter-api`'s.

#![forbid(unsafe_code)]

mod directory;
mod event;
mod index;
mod scan;
mod writers;

pub use directory::{Directory, Timing};
pub use event::{Datastore, Event, StoreError, Watch};
