//! Namespaced topologies of nodes and pods on one machine
fn main() {}
