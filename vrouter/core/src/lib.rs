//! What a node should look like, worked out from the resources: no device, no clock, no I/O.
//!
//! [`resources`] keeps what the datastore says, [`desired`] says what the node should look like,
//! [`host_endpoints`] which host endpoint stands for which interface, [`policies`] what the
//! compiler is told, [`rib`] where each prefix leads, [`notices`] where packets are lost in silence.
#![forbid(unsafe_code)]

pub mod desired;
pub mod host_endpoints;
pub mod interfaces;
pub mod notices;
pub mod policies;
pub mod resources;
pub mod rib;
pub mod underlay;
