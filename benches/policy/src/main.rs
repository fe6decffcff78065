//! Measures the policy classifier and the flow table
fn main() {}
