//! Containers' names, answered as DNS (RFC 1035): a container that asks finds the others of its
//! network; every other question goes on to the host's resolvers.
#![forbid(unsafe_code)]

mod answer;
mod directory;
mod server;
mod upstream;

pub use directory::{Container, Directory, is_name};
pub use server::Server;
