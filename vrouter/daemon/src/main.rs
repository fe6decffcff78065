//! The per-node vRouter process
fn main() {}
