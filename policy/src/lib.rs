//! Calico's policy model compiled to verdicts, and the flow table behind it.
//!
//! [`model`] parses resources into types that hold no nonsense and [`selector`] is Calico's
//! selector language; [`compile`] makes tables of them that give verdicts, [`mod@reference`] gives the
//! same verdicts slowly and says why. [`flow`] is a table of connections. No devices, no clock, no
//! I/O.

pub mod compile;
mod cpu;
pub mod flow;
pub mod model;
pub mod reference;
pub mod selector;
