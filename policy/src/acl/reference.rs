//! What the table means: the first rule that matches, found by looking at each.

use super::rule::{Address, Rule, Tuple};

/// The number of the first rule of the list that matches.
pub fn first_match<A: Address>(rules: &[Rule<A>], packet: &Tuple<A>) -> Option<u32> {
    rules
        .iter()
        .position(|rule| rule.matches(packet))
        .map(|i| i as u32)
}
