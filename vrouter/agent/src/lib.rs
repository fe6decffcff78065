//! Resources to compiled tables; endpoints and host routes.
//!
//! The way of a resource: `vrouter-datastore` sends it, [`agent`] keeps it, `vrouter-core` says what
//! the node should look like, and each room brings its part of the node there: [`endpoints`] the
//! pods' TAPs, [`tunnels`] the sockets to other nodes, [`host`] the kernel's routes. [`tables`]
//! puts it in the form workers read, and [`workers`] publishes it. [`service`] answers clients,
//! [`registration`] and [`node_status`] tell the datastore of the node.
#![forbid(unsafe_code)]

pub mod agent;
pub mod bird;
mod blocks;
pub mod collector;
pub mod endpoints;
pub mod hits;
pub mod host;
pub mod node_status;
pub mod pace;
pub mod registration;
pub mod service;
pub mod settings;
pub mod statics;
pub mod tables;
pub mod tunnels;
pub mod workers;
