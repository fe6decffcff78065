//! The plainest possible TAP-to-TAP copy loop, the yardstick of the packet path
fn main() {}
