//! A node's metrics and health over HTTP, on one thread of its own.
//!
//! Samples are made when they are asked for, of what the control socket's [`Service`] answers: there is no
//! second bookkeeping, and `vrouterctl show` has the same numbers.
//!
//! [`Service`]: vrouter_control::Service
#![forbid(unsafe_code)]

mod exposition;
pub mod families;
mod health;
mod process;
mod samples;
mod server;
mod settings;
mod tls;

pub use exposition::{Family, Type};
pub use server::Observer;
