//! Resources to compiled tables; endpoints and host routes.
//!
//! The way of a resource: `vrouter-datastore` sends it, [`agent`] keeps it in [`resources`],
//! [`desired`] says what the node should look like, and each room brings its part of the node
//! there: [`endpoints`] the pods' TAPs, [`tunnels`] the sockets to other nodes, [`host`] the
//! kernel's routes, [`host_endpoints`] host endpoints, [`policies`] the compiled policy, [`rib`] the FIB. [`tables`] puts it in the
//! form workers read, and [`workers`] publishes it. [`service`] answers clients,
//! [`registration`] and [`node_status`] tell the datastore of the node.
#![forbid(unsafe_code)]

pub mod agent;
pub mod bird;
pub mod collector;
pub mod desired;
pub mod endpoints;
pub mod explain;
pub mod hits;
pub mod host;
pub mod host_endpoints;
pub mod interfaces;
pub mod node_status;
pub mod pace;
pub mod policies;
pub mod registration;
pub mod resources;
pub mod rib;
pub mod service;
pub mod settings;
pub mod statics;
pub mod tables;
pub mod tunnels;
pub mod workers;
