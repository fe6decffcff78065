//! Calico's policy model in types that hold no nonsense.
//!
//! [`spec`] holds resources by Calico's field names, each value legal by its type; `Policy::new`,
//! `Tier::new`, `Profile::new`, `Endpoint::new` and `NetworkSet::new` take them or say which field
//! of which value cannot stand, and why ([`Invalid`]). Selectors are already rewritten here into one
//! selector over endpoint labels; see [`crate::selector`].

#![forbid(unsafe_code)]

mod endpoint;
mod invalid;
mod name;
mod packet;
mod policy;
mod prefixes;
mod protocol;
mod rule;
pub mod spec;

pub use endpoint::{Endpoint, EndpointSpec, NamedPort, NetworkSet, Service};
pub use invalid::Invalid;
pub use name::{EndpointKey, Name, NetworkSetKey, PolicyKey, PolicyKind, ScopedName, ServiceKey};
pub use packet::PacketTuple;
pub use policy::{Hook, MAX_RULES, Order, Policy, Profile, TieBreak, Tier, TierDefault};
pub use prefixes::Prefixes;
pub use protocol::{IcmpMatch, IpVersion, PortMatch, PortName, PortRange, Protocol};
pub use rule::{Action, Direction, EntityRule, Rule, RuleContext, Unenforced};

#[cfg(test)]
mod tests;
