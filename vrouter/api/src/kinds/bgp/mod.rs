//! The kinds that configure BGP: BGPConfiguration, BGPPeer and BGPFilter, and what of Services,
//! EndpointSlices and Secrets matters to it.
//!
//! A resource of these kinds is kept as it was written ([`Other`]); `read` makes the typed spec of
//! it. Whatever passed the checks can be read.

mod check;
mod configuration;
mod filter;
mod peer;
mod service;
mod text;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use configuration::{
    BindMode, ClusterRoutes, Configuration, NamedCommunity, PrefixAdvertisement, Range, Switch,
};
pub(super) use configuration::{CONFIGURATION, check_configuration};
pub(super) use filter::FILTER;
pub use filter::{
    Action, AddCommunity, Communities, Filter, Lengths, Operation, Operator, PeerType,
    PrependAsPath, Rule, SetPriority, Source,
};
pub use peer::{NextHopMode, Peer, ReversePeering, SourceAddress};
pub(super) use peer::{PEER, check_peer};
pub use service::{
    Conditions, Endpoint, EndpointSlice, Ingress, LoadBalancer, Secret, Service, ServiceSpec,
    ServiceStatus, TrafficPolicy, slice_service,
};
pub(super) use text::duration;
pub use text::{Community, SecretKey, SecretReference};

use crate::resource::Other;

/// The typed spec of a resource that is kept as it was written.
///
/// # Errors
/// The first field that is not what the kind's checks ask for, in words.
pub fn read<T: DeserializeOwned>(other: &Other) -> Result<T, String> {
    let spec = other.content.get("spec").cloned().unwrap_or(Value::Null);
    of_value(spec)
}

/// The same of all fields beside the metadata, for kinds without a spec.
///
/// # Errors
/// As [`read`].
pub fn read_whole<T: DeserializeOwned>(other: &Other) -> Result<T, String> {
    of_value(Value::Object(other.content.clone()))
}

fn of_value<T: DeserializeOwned>(mut value: Value) -> Result<T, String> {
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    without_nulls(&mut value);
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A field that is null is a field that is not there.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => {
            list.retain(|value| !value.is_null());
            list.iter_mut().for_each(without_nulls);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
