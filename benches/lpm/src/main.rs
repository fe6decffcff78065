//! Measures lpm on a table of prefixes
fn main() {}
