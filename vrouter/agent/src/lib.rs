//! Resources to compiled tables; endpoints and host routes.
//!
//! The way of a resource: `vrouter-datastore` sends it to the [`agent`], `vrouter-core` says which
//! steps it takes, and a [`node`] does them: [`pods`] opens TAPs, [`tunnels`] the sockets to other
//! nodes, [`host`] writes the kernel's routes, [`workers`] publishes tables. [`service`] answers
//! clients, [`reporting`] tells the datastore of the node by [`registration`] and [`node_status`].
#![forbid(unsafe_code)]

pub mod agent;
pub mod bgp;
mod blocks;
mod calico_files;
pub mod collector;
pub mod detach;
pub mod flow_offload;
pub mod health;
pub mod hits;
pub mod host;
mod learned;
mod names;
pub mod node;
pub mod node_status;
pub mod pace;
pub mod pods;
pub mod registration;
pub mod reporting;
pub mod service;
pub mod settings;
pub mod tunnels;
pub mod veths;
pub mod workers;
