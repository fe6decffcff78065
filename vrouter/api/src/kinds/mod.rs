//! One file a kind (or a family of kinds): its fields, defaults and checks.

pub mod bgp;
mod block_affinity;
mod endpoint_port;
mod felix;
mod host_endpoint;
mod ip_pool;
mod kubernetes;
mod network_policy;
mod network_set;
mod node;
mod profile;
mod rule;
pub(crate) mod stored;
mod tier;
mod workload_endpoint;

pub use block_affinity::*;
pub use endpoint_port::*;
pub use felix::*;
pub use host_endpoint::*;
pub use ip_pool::*;
pub use kubernetes::*;
pub use network_policy::*;
pub use network_set::*;
pub use node::*;
pub use profile::*;
pub use rule::*;
pub use tier::*;
pub use workload_endpoint::*;
