//! Labs: real network namespaces as nodes and pods on one machine, joined by an underlay.
//!
//! A lab is described by a [`spec::Spec`], laid out by [`topology::Lab`], built and taken down by
//! [`lifecycle`], and remembered in its state directory ([`state`]). The nodes run the vRouter, or
//! the kernel's own path set up the way a Calico user has it ([`kernel`]), as the reference to
//! compare with. Nothing is ever done in the network namespace the tool is started in.
//!
//! The library exists for the `vrouter-lab` binary, its end-to-end tests and the benchmark.
#![forbid(unsafe_code)]

pub mod addresses;
pub mod bpffs;
pub mod check;
pub mod cli;
pub mod direct;
pub mod doctor;
pub mod error;
pub mod etcd;
pub mod exec;
pub mod inject;
pub mod kernel;
pub mod lifecycle;
pub mod names;
pub mod netns;
pub mod pcap;
pub mod process;
pub mod resources;
pub mod routes;
pub mod rules;
pub mod spec;
pub mod state;
pub mod status;
pub mod topology;
pub mod vrouter;
pub mod wiring;

pub use error::{LabError, Result};
