//! What the methods return. Members are `camelCase`; a member that does not apply is left out.
//! Counters start at 0 with the daemon and never go back. Readers ignore members they do not know.

mod counter;
mod flow;
mod health;
mod interface;
mod policy;
mod resource;
mod route;
mod value;
mod version;

pub use counter::{
    Balance, CounterReport, DeniedPair, DropReport, DropSample, FlowTable, NamedCount, NodeCount,
    Worker,
};
pub use encap::Family;
pub use flow::{Flow, RuleReference, Tuple};
pub use health::{Applies, ComponentHealth, HealthReport};
pub use interface::{
    EndpointState, Interface, InterfaceCounters, InterfaceKind, InterfaceState,
    WorkerInterfaceCounters,
};
pub use policy::{
    EndpointPolicy, Explanation, Hits, PolicyDirection, PolicyHits, PolicyPolicy, PolicyProfile,
    PolicyRule, PolicyTier,
};
pub use resource::{Done, KindCount, Notice, Reloaded, Removed, ResourceReport, Severity};
pub use route::{Neighbor, NextHop, Route, RouteKind, Tunnel};
pub use value::{Encap, Mac, Page, Protocol, Timestamp, Traffic};
pub use version::Version;
