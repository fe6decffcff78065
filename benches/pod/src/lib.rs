//! `vrouter-bench`: how does this node network compare? Measured from pod to pod with the tools
//! people know, subjects in turns, with the CPU time that it cost.
//!
//! [`plan`] says what is going to happen and [`settle`] what is repeated, [`run`] does it in labs of `vrouter-lab` or in places of
//! others ([`targets`]), [`measure`] does one test, [`results`] is what is written, [`report`]
//! shows it and [`compare`] tells two runs apart.
#![forbid(unsafe_code)]

pub mod cases;
pub mod cli;
pub mod compare;
pub mod cpu;
pub mod environment;
pub mod error;
pub mod janitor;
pub mod measure;
pub mod metrics;
pub mod order;
pub mod place;
pub mod plan;
pub mod record;
pub mod report;
pub mod results;
pub mod run;
pub mod settle;
pub mod statistics;
pub mod summary;
pub mod targets;
pub mod traffic;

pub use error::{BenchError, Result};
