//! From resources to verdicts: an incremental compiler and the tables it publishes.
//!
//! [`Graph`] takes [`Update`]s in any order, in the manner of Felix's calculation graph, and
//! [`Graph::flush`] brings its tables to what the resources now say. [`Graph::snapshot`] hands
//! out [`Compiled`], which is immutable and shares with its predecessor all that did not change.
//!
//! What is where:
//! - `symbols`, `matching`: labels as numbers; which selectors match an item, by an index over
//!   the labels they need.
//! - `addresses`: address → the sets it is a member of. Rules name sets, never members, so a
//!   member that comes or goes recompiles nothing.
//! - `rule`, `classifier`, `program`: one ordered list of rules per endpoint, direction and
//!   chain, with bit sets per dimension that find the first match without walking the list.
//! - `registry`: rule numbers that stay with a policy's rule while the policy lives.
//! - `listing`: what applies to an endpoint, for people.
//! - `graph`, `resources`, `flush`: the resources, what a change of them touches, and the work
//!   that follows.

#![forbid(unsafe_code)]

mod addresses;
mod build;
mod classifier;
mod flush;
mod graph;
mod listing;
mod matching;
mod members;
mod postings;
mod program;
mod registry;
mod resources;
mod rule;
mod slots;
mod snapshot;
mod symbols;

pub use graph::{Graph, Update};
pub use listing::{Applied, AppliedPolicy, AppliedProfile, AppliedTier};
pub use registry::{RuleId, RuleInfo, RuleKind};
pub use snapshot::{Chain, Compiled, EndpointIndex, Failsafe, Failsafes, Hits, Verdict};

#[cfg(test)]
mod tests;
