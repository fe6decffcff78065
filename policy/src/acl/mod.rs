//! A general first-match table over source, destination, protocol and ports.
//!
//! Built for tens of thousands of rules at the price of a few cache lines. Addresses of rules
//! are mostly specific on one side, so a rule is filed by the address (or the port and protocol)
//! it shares with the fewest others; what a lookup finds there are few rules, compared eight at a
//! time. Rules come and go one by one: a change rebuilds the chunk of addresses it lies in.
//!
//! | file | |
//! |---|---|
//! | `rule` | prefixes, port ranges, rules, packets |
//! | `table` | where rules are filed; insert and remove |
//! | `axis`, `chunk` | by address: 16 bits, then the interval, then a leaf |
//! | `ports` | by destination port and protocol |
//! | `leaf`, `block` | the rules that are left, eight side by side |
//! | `lookup` | one packet, or many in stages |
//! | `reference` | the meaning, rule after rule: the oracle of the tests |

mod axis;
mod block;
mod chunk;
mod leaf;
mod lookup;
mod ports;
mod reference;
mod rule;
mod runs;
mod table;

#[cfg(test)]
mod tests;

pub use reference::first_match;
pub use rule::{Address, PortRange, Prefix, Rule, Tuple};
pub use table::{Acl, InsertError, MOST};
