//! The table of methods. One line here makes a method: its name on the wire, its parameters,
//! its result, and the function a [`Service`] must have for it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::message::{ErrorBody, ErrorCode};
use crate::model::{
    CounterReport, Done, DropReport, EndpointPolicy, EndpointState, Explanation, Flow,
    HealthReport, Interface, Neighbor, Page, PolicyHits, Reloaded, Removed, ResourceReport, Route,
    Tunnel, Version, Worker,
};
use crate::params::{
    AddRoutes, AwaitEndpoint, DeleteRoutes, Explain, GetVersion, Reload, ShowCounters, ShowDrops,
    ShowFlows, ShowHealth, ShowHits, ShowInterfaces, ShowNeighbors, ShowPolicy, ShowResources,
    ShowRoutes, ShowTunnels, ShowWorkers, Shutdown,
};

/// A parameter struct: it knows its method and what comes back.
pub trait Call: Serialize + DeserializeOwned {
    /// The method's name on the wire.
    const METHOD: &'static str;
    /// What the method returns.
    type Output: Serialize + DeserializeOwned;
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:literal $function:ident($params:ident) -> $output:ty;)*) => {
        /// A method with its parameters, as parsed from a request.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Method {
            $($(#[$doc])* $params($params),)*
        }

        impl Method {
            /// The names of all methods.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The method's name on the wire.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$params(_) => $name,)* }
            }

            /// Finds the method and parses its parameters, a JSON object.
            ///
            /// # Errors
            /// [`ErrorCode::UnknownMethod`] or [`ErrorCode::BadParams`].
            pub fn parse(name: &str, params: &str) -> Result<Self, ErrorBody> {
                match name {
                    $($name => arguments(name, params).map(Self::$params),)*
                    unknown => Err(ErrorBody::new(
                        ErrorCode::UnknownMethod,
                        format!("no method {unknown:?}; there are {}", Self::NAMES.join(", ")),
                    )),
                }
            }

            /// Calls the function of `service` and writes its result as JSON.
            ///
            /// # Errors
            /// Those of the function.
            pub fn dispatch(self, service: &dyn Service) -> Result<Box<RawValue>, ErrorBody> {
                match self { $(Self::$params(params) => json(service.$function(params)?),)* }
            }
        }

        $(impl Call for $params {
            const METHOD: &'static str = $name;
            type Output = $output;
        })*

        /// What stands behind the socket. Functions are called from several threads at once and
        /// should return within a second, unless their parameters ask for more: a client waits
        /// for them.
        pub trait Service: Send + Sync + 'static {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// Any [`ErrorBody`]; it goes to the client as it is.
                fn $function(&self, params: $params) -> Result<$output, ErrorBody>;
            )*
        }
    };
}

methods! {
    /// Which daemon this is; it answers as soon as the daemon is ready.
    "version" version(GetVersion) -> Version;
    /// Interfaces with their counters, in the order of their names.
    "show.interfaces" interfaces(ShowInterfaces) -> Vec<Interface>;
    /// Routes of the FIB: IPv4 before IPv6, then by address, short prefixes first.
    "show.routes" routes(ShowRoutes) -> Page<Route>;
    /// Addresses of workloads on this node, in order.
    "show.neighbors" neighbors(ShowNeighbors) -> Vec<Neighbor>;
    /// The other nodes and how packets get there.
    "show.tunnels" tunnels(ShowTunnels) -> Vec<Tunnel>;
    /// Sessions of the flow table.
    "show.flows" flows(ShowFlows) -> Page<Flow>;
    /// What is enforced for each local endpoint, in the order of evaluation, with hits.
    "show.policy" policy(ShowPolicy) -> Page<EndpointPolicy>;
    /// What each policy matched on this node, never-hit ones too.
    "show.hits" hits(ShowHits) -> Vec<PolicyHits>;
    /// Whether the process is live and ready; it answers when the agent is stuck, too.
    "show.health" health(ShowHealth) -> HealthReport;
    /// Packets dropped, by reason, and a sample of the latest.
    "show.drops" drops(ShowDrops) -> DropReport;
    /// The workers.
    "show.workers" workers(ShowWorkers) -> Vec<Worker>;
    /// What became of the resources in the directory: how many, which errors.
    "show.resources" resources(ShowResources) -> ResourceReport;
    /// All counters and the balance of the conservation law.
    "show.counters" counters(ShowCounters) -> CounterReport;
    /// The walk of a packet through the policies, without sending one.
    "policy.explain" explain(Explain) -> Explanation;
    /// Waits until an endpoint is live, or gone: what the CNI plugin asks.
    "endpoint.await" await_endpoint(AwaitEndpoint) -> EndpointState;
    /// Adds or replaces static routes, all of them or none.
    "routes.add" add_routes(AddRoutes) -> Done;
    /// Removes static routes.
    "routes.delete" delete_routes(DeleteRoutes) -> Removed;
    /// Reads configuration and resources again, as SIGHUP does.
    "reload" reload(Reload) -> Reloaded;
    /// Stops the daemon in order, as SIGTERM does; answers before it does.
    "shutdown" shutdown(Shutdown) -> Done;
}

fn arguments<T: DeserializeOwned>(method: &str, params: &str) -> Result<T, ErrorBody> {
    serde_json::from_str(params).map_err(|e| ErrorBody::bad_params(format!("{method}: {e}")))
}

fn json(result: impl Serialize) -> Result<Box<RawValue>, ErrorBody> {
    serde_json::value::to_raw_value(&result)
        .map_err(|e| ErrorBody::internal(format!("the result cannot be written as JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_params() {
        assert_eq!(Method::parse("version", "{}").unwrap().name(), "version");
        let unknown = Method::parse("show.everything", "{}").unwrap_err();
        assert_eq!(unknown.code, ErrorCode::UnknownMethod);
        assert!(unknown.message.contains("show.routes"), "{unknown}");
        for bad in [
            r#"{"perfix":"10.0.0.0/8"}"#,
            r#"{"prefix":"10/8"}"#,
            "[1]",
            "1",
        ] {
            let error = Method::parse("show.routes", bad).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadParams, "{bad}");
            assert!(error.message.starts_with("show.routes: "), "{error}");
        }
        for name in Method::NAMES
            .iter()
            .filter(|name| **name != "policy.explain")
        {
            assert_eq!(Method::parse(name, "{}").unwrap().name(), *name);
        }
    }
}
