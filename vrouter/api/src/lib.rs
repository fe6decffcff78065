//! The projectcalico.org/v3 resource kinds: parse, default, validate, print.
//!
//! [`parse`] turns the bytes of one YAML or JSON file into typed resources with every default
//! filled in, the *complete* list of what is wrong with the others ([`ParseError`]: file, line,
//! resource, field, value, reason) and a list of what was understood but has no effect yet
//! ([`Notice`]). Past this crate no resource can hold an illegal value.
//!
//! The crate knows no datastore and no packet: it does no input or output.

#![forbid(unsafe_code)]

mod address;
mod error;
mod event;
mod key;
mod kinds;
mod metadata;
mod model;
pub mod names;
mod number;
mod object;
mod parse;
mod place;
mod print;
mod resource;
mod similar;
mod tree;
mod written;

pub use address::{BadMac, Mac};
pub use error::{Notice, ParseError};
pub use event::Event;
pub use key::{Key, Kind};
pub use kinds::*;
pub use metadata::Metadata;
pub use object::{Object, Spec};
// The types of the kinds' fields that the policy's model has too.
pub use parse::{Located, MAX_FILE_BYTES, Parsed, parse, parse_in, parse_stored};
pub use policy::model::{Action, Direction, IpVersion, PortMatch, Protocol, TierDefault};
pub use policy::selector::Selector;
pub use print::{to_json, to_value, to_yaml};
pub use resource::{Other, Resource};
pub use similar::similar;
pub use written::Written;
