//! Where resources are kept: a directory of files, or etcd.
//!
//! A [`Datastore`] gives, lists, makes, changes and removes resources by key, each change against
//! a revision. A [`Watch`] of it is a channel of [`Event`]s that first carries every resource there
//! is, then every change: whoever folds the events into a map of resources has, after each
//! [`Event::InSync`], what the store says, whatever the order of changes was.
//!
//! [`Connection`] says which store, as Calico's tools are told; what a resource says is
//! `vrouter-api`'s.

#![forbid(unsafe_code)]

mod around;
mod connection;
pub mod departure;
mod directory;
mod error;
mod etcd;
mod event;
mod fault;
pub mod ipam;
mod report;
mod rules;
mod store;

pub use around::initialize;
pub use connection::{Connection, EtcdSettings, Lookup};
pub use directory::{Directory, Timing};
pub use error::StoreError;
pub use etcd::{EtcdStore, Lease};
pub use event::{Event, Watch};
pub use report::{EndpointStatuses, NodeReports};
pub use store::stamp::now;
pub use store::{Datastore, List, Scope};
