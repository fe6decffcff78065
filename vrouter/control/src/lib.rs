//! The control socket: one JSON object a line over a Unix stream socket.
//!
//! This crate owns the protocol (its messages, its methods, what they return), the client that
//! `vrouterctl`, the CNI plugin and tests use, and the server that `vrouterd` puts its state
//! behind. The protocol is described for people in `docs/control.md`.
//!
//! - [`method`] is the table of methods: name, parameters, result. [`Service`] has one function
//!   for each, so that a method cannot be forgotten.
//! - [`params`] and [`model`] are the shapes of parameters and results.
//! - [`Client::call`] sends one parameter struct and returns the result that belongs to it.
//! - [`Server::bind`] takes the socket, [`Server::serve`] answers on it.

#![forbid(unsafe_code)]

pub mod client;
pub mod line;
pub mod message;
pub mod method;
pub mod model;
pub mod params;
pub mod server;

pub use client::{Client, ClientError};
pub use message::{ErrorBody, ErrorCode, Request};
pub use method::{Call, Method, Service};
pub use server::{BindError, Server, ServerHandle};

/// The version of the protocol, raised when a client of the old one would misread the new one.
/// New optional parameters and new result fields do not raise it.
pub const PROTOCOL: u32 = 1;

/// Where the socket is when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/vrouter/vrouterd.sock";
