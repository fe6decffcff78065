//! Calico's policy model compiled to verdicts, and the flow table behind it.
//!
//! [`model`] parses resources into types that hold no nonsense and [`selector`] is Calico's
//! selector language. No devices, no clock, no I/O.

pub mod acl;
pub mod compile;
mod cpu;
pub mod flow;
pub mod model;
pub mod reference;
pub mod selector;
