//! The packet path: buffers, tables, nodes and the worker's turn.
//!
//! No system call, no thread, no clock and no configuration format: devices, time and compiled
//! tables are given to it. The way of a packet is in [`graph`].
#![forbid(unsafe_code)]

pub mod adjacency;
pub mod buffer;
pub mod counters;
mod decide;
pub mod device;
pub mod drop;
pub mod events;
pub mod graph;
pub mod hits;
pub mod host_endpoint;
pub mod id;
mod limiter;
pub mod memory;
mod mss;
mod node;
pub mod origin;
pub mod packet;
pub mod repeat;
mod reply;
mod session;
pub mod tables;
pub mod trace;
pub mod worker;
