//! Parameters of the methods. An unknown parameter is an error, so that a typing mistake in a
//! filter never shows everything.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{Family, Mac, Protocol};

/// The rows of a page when the client does not say.
pub const DEFAULT_LIMIT: u32 = 1000;

/// The most rows of a page; more are asked for in vain.
pub const MAX_LIMIT: u32 = 10_000;

/// The longest wait of `endpoint.await`, in milliseconds.
pub const MAX_WAIT_MS: u32 = 60_000;

macro_rules! params {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field:meta])* $member:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
            pub struct $name {
                $(
                    $(#[$field])*
                    #[serde(skip_serializing_if = "absent")]
                    pub $member: $type,
                )*
            }
        )*
    };
}

/// Whether a member has its default and can be left out.
fn absent<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

params! {
    /// `version`.
    GetVersion {}

    /// `show.interfaces`.
    ShowInterfaces {
        /// Only this one: an interface's name or an endpoint's `namespace/name`.
        name: Option<String>,
        /// With counters of each worker.
        per_worker: bool,
    }

    /// `show.routes`. The filters narrow each other; `address` leaves one route at most.
    ShowRoutes {
        /// Only this family.
        family: Option<Family>,
        /// Only this prefix and those inside it.
        prefix: Option<IpNet>,
        /// Only the route that a packet to this address takes (longest match).
        address: Option<IpAddr>,
        /// `next` of the page before.
        after: Option<String>,
        /// Rows at most: [`DEFAULT_LIMIT`] if 0 or missing, never above [`MAX_LIMIT`].
        limit: u32,
    }

    /// `show.neighbors`.
    ShowNeighbors {
        /// Only this one: an interface's name or an endpoint's `namespace/name`.
        name: Option<String>,
    }

    /// `show.tunnels`.
    ShowTunnels {
        /// Only to this node.
        node: Option<String>,
    }

    /// `show.flows`. All filters must match; address and port match either end.
    ShowFlows {
        /// An address or prefix, of source or destination, in either direction's tuple.
        address: Option<IpNet>,
        /// A port, of source or destination.
        port: Option<u16>,
        /// A protocol.
        protocol: Option<Protocol>,
        /// A local endpoint, `namespace/name` or interface name.
        endpoint: Option<String>,
        /// `next` of the page before.
        after: Option<String>,
        /// Rows at most: [`DEFAULT_LIMIT`] if 0 or missing, never above [`MAX_LIMIT`].
        limit: u32,
    }

    /// `show.policy`.
    ShowPolicy {
        /// Only this endpoint, `namespace/name` or interface name.
        endpoint: Option<String>,
        /// `next` of the page before.
        after: Option<String>,
        /// Endpoints at most: [`DEFAULT_LIMIT`] if 0 or missing, never above [`MAX_LIMIT`].
        limit: u32,
    }

    /// `show.hits`.
    ShowHits {}

    /// `show.health`.
    ShowHealth {}

    /// `show.drops`.
    ShowDrops {
        /// With the sampled packets.
        recent: bool,
    }

    /// `show.workers`.
    ShowWorkers {}

    /// `show.resources`.
    ShowResources {}

    /// `show.counters`.
    ShowCounters {}

    /// `endpoint.await`. What is given must match, so that an earlier pod of the same name does not
    /// count.
    AwaitEndpoint {
        /// The endpoint: `namespace/name` of its resource or of its pod, or its interface.
        endpoint: String,
        /// The network namespace its resource names.
        netns: Option<String>,
        /// The Ethernet address its resource names.
        mac: Option<Mac>,
        /// Wait until it has no device instead.
        gone: bool,
        /// How long to wait at most, in milliseconds; 0: answer at once, never above
        /// [`MAX_WAIT_MS`].
        timeout_ms: u32,
    }

    /// `routes.add`.
    AddRoutes {
        /// The routes; a line of the protocol holds some ten thousand.
        routes: Vec<StaticRoute>,
    }

    /// `routes.delete`.
    DeleteRoutes {
        /// Their prefixes.
        prefixes: Vec<IpNet>,
    }

    /// `reload`.
    Reload {}

    /// `shutdown`.
    Shutdown {}
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StaticRoute {
    pub prefix: IpNet,
    /// The nodes to go by; flows are spread over several.
    pub nodes: Vec<String>,
}

/// `policy.explain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Explain {
    /// Who sends: an address, or an endpoint's `namespace/name` or interface name.
    pub source: String,
    /// Who receives: the same.
    pub destination: String,
    pub protocol: Protocol,
    /// The destination port, for protocols that have ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The source port; without it, rules about source ports are explained for an ephemeral one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Type and code of the ICMP message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// Which family to use when an endpoint has addresses of both; IPv4 where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
}

/// Type and code of an ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Icmp {
    #[serde(rename = "type")]
    pub kind: u8,
    /// The code; 0 if missing.
    #[serde(default)]
    pub code: u8,
}

/// The rows to return for a `limit` parameter.
pub fn rows(limit: u32) -> usize {
    match limit {
        0 => DEFAULT_LIMIT as usize,
        n => n.min(MAX_LIMIT) as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_left_out() {
        assert_eq!(serde_json::to_string(&ShowRoutes::default()).unwrap(), "{}");
        let filter = ShowFlows {
            address: Some("10.0.0.0/8".parse().unwrap()),
            protocol: Some("tcp".parse().unwrap()),
            limit: 5,
            ..ShowFlows::default()
        };
        let line = serde_json::to_string(&filter).unwrap();
        assert_eq!(
            line,
            r#"{"address":"10.0.0.0/8","protocol":"tcp","limit":5}"#
        );
        assert_eq!(serde_json::from_str::<ShowFlows>(&line).unwrap(), filter);
    }

    #[test]
    fn limits_have_limits() {
        assert_eq!(rows(0), 1000);
        assert_eq!(rows(7), 7);
        assert_eq!(rows(u32::MAX), 10_000);
    }
}
