//! Calico's policy model compiled to verdicts, and the flow table behind it.
//!
//! [`model`] parses resources into types that hold no nonsense and [`selector`] is Calico's
//! selector language. No devices, no clock, no I/O.

pub mod compile;
pub mod flow;
pub mod model;
mod prefetch;
pub mod reference;
pub mod selector;
