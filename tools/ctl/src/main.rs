//! The command line of the vRouter
fn main() {}
