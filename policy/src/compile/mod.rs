//! From resources to verdicts: an incremental compiler and the tables it publishes.
//!
//! [`Graph`] takes [`Update`]s in any order, in the manner of Felix's calculation graph, and
//! [`Graph::flush`] brings its tables to what the resources now say. [`Graph::snapshot`] hands
//! out [`Compiled`], which is immutable and shares with its predecessor all that did not change.
//!
//! What is where:
//! | file | |
//! |---|---|
//! | `symbols`, `matching`, `postings` | labels as numbers; which selectors match an item |
//! | `membership`, `addresses`, `pages` | address → the sets that have it. Rules name sets, never members, so a member that comes or goes recompiles nothing |
//! | `owners`, `members` | prefix → the items that have it; item → the sets that have it |
//! | `rule`, `index`, `program`, `programs` | one ordered list of rules per endpoint, direction and chain; the first match without walking the list |
//! | `registry` | rule numbers that stay with a policy's rule while the policy lives |
//! | `listing` | the policies and profiles that apply to an endpoint, for people |
//! | `snapshot`, `verdict` | what the packet path reads, and its answer |
//! | `graph`, `resources`, `flush`, `build` | the resources, what a change of them touches, and the work that follows |

#![forbid(unsafe_code)]

mod addresses;
mod build;
mod flush;
mod graph;
mod index;
mod listing;
mod matching;
mod members;
mod membership;
mod owners;
mod pages;
mod postings;
mod program;
mod programs;
mod registry;
mod resources;
mod rule;
mod slots;
mod snapshot;
mod symbols;
mod verdict;

pub use graph::{Graph, Update, Work};
pub use listing::{Applied, AppliedPolicy, AppliedProfile, AppliedTier};
pub use registry::{RuleId, RuleInfo, RuleKind};
pub use snapshot::{Chain, Compiled, EndpointIndex, Failsafe, Failsafes};
pub use verdict::{NotedRules, Verdict};

#[cfg(test)]
mod tests;
