//! BGPPeer: a neighbor of one node, of some, or of all.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::check;
use super::text::{
    SecretReference, as_number, optional_as, optional_duration, optional_word, words,
};
use crate::kinds::stored::Shape::{self, Boolean, Check, Choice, Duration as Time, List, Name};
use crate::place::Fields;

/// What each field must look like.
pub(in crate::kinds) const PEER: &[(&str, Shape)] = &[
    ("node", Name),
    ("nodeSelector", Check(check::short_selector)),
    ("peerIP", Check(check::peer_ip)),
    ("asNumber", Check(check::as_number)),
    ("localASNumber", Check(check::as_number)),
    ("peerSelector", Check(check::short_selector)),
    ("localWorkloadSelector", Check(check::short_selector)),
    ("keepOriginalNextHop", Boolean),
    ("nextHopMode", Choice(&["Auto", "Self", "Keep"])),
    ("password", Check(check::secret)),
    ("sourceAddress", Choice(&["UseNodeIP", "None"])),
    ("reversePeering", Choice(&["Auto", "Manual"])),
    ("maxRestartTime", Time),
    ("keepaliveTime", Time),
    ("numAllowedLocalASNumbers", Check(check::any_integer)),
    ("ttlSecurity", Shape::Integer(0, 255)),
    ("reachableBy", Shape::Address),
    ("filters", List(&Name)),
];

/// What the fields say about each other.
pub(in crate::kinds) fn check_peer(fields: &Fields<'_>) {
    let text = |name: &str| {
        let place = fields.unread(name)?;
        Some(place.written()).filter(|text| !text.is_empty())
    };
    let numbered = text("asNumber").is_some_and(|text| as_number(text) != Some(0));
    let refuse = |name: &str, reason: &str| fields.error_at(name, reason);
    if text("node").is_some() && text("nodeSelector").is_some() {
        refuse("nodeSelector", "node and nodeSelector cannot both be set");
    }
    if text("peerSelector").is_some() {
        if text("peerIP").is_some() {
            refuse("peerIP", "peerIP and peerSelector cannot both be set");
        }
        if numbered {
            refuse(
                "asNumber",
                "asNumber must be empty when peerSelector is set",
            );
        }
    }
    if text("localWorkloadSelector").is_some() {
        for name in ["peerIP", "peerSelector"] {
            if text(name).is_some() {
                let reason = format!("{name} must be empty when localWorkloadSelector is set");
                refuse(name, &reason);
            }
        }
        if !numbered {
            refuse(
                "asNumber",
                "asNumber is required when localWorkloadSelector is set",
            );
        }
    }
    if let Some(by) = text("reachableBy") {
        match text("peerIP") {
            None => refuse(
                "reachableBy",
                "reachableBy must be empty when peerIP is empty",
            ),
            Some(peer) => {
                let peer = check::host_and_port(peer).map(|(address, _)| address);
                if let (Some(peer), Ok(by)) = (peer, by.parse::<IpAddr>())
                    && peer.is_ipv4() != by.is_ipv4()
                {
                    refuse(
                        "reachableBy",
                        "ReachableBy and PeerIP address family mismatched",
                    );
                }
            }
        }
    }
    if text("keepOriginalNextHop").and_then(crate::tree::boolean) == Some(true)
        && text("nextHopMode").is_some()
    {
        refuse(
            "keepOriginalNextHop",
            "keepOriginalNextHop and nextHopMode cannot both be set; keepOriginalNextHop is \
             deprecated, use nextHopMode instead",
        );
    }
}

/// What a BGPPeer says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Peer {
    /// The one node whose neighbor it is.
    #[serde(deserialize_with = "optional_word")]
    pub node: Option<String>,
    /// Or the nodes; neither: all.
    #[serde(deserialize_with = "optional_word")]
    pub node_selector: Option<String>,
    /// The neighbor's address, perhaps with a port.
    #[serde(rename = "peerIP", deserialize_with = "optional_word")]
    pub peer_ip: Option<String>,
    /// The neighbor's AS.
    #[serde(deserialize_with = "optional_as")]
    pub as_number: Option<u32>,
    /// Our own AS in this session.
    #[serde(rename = "localASNumber", deserialize_with = "optional_as")]
    pub local_as_number: Option<u32>,
    /// Nodes that are the neighbors.
    #[serde(deserialize_with = "optional_word")]
    pub peer_selector: Option<String>,
    /// Workloads of the node that are the neighbors.
    #[serde(deserialize_with = "optional_word")]
    pub local_workload_selector: Option<String>,
    /// The older word for [`NextHopMode::Keep`], for eBGP.
    pub keep_original_next_hop: bool,
    /// The next hop that is told.
    pub next_hop_mode: Option<NextHopMode>,
    /// The session's password.
    pub password: Option<SecretReference>,
    /// From which address we speak.
    pub source_address: SourceAddress,
    /// Whether the neighbors, being nodes, have the session too.
    pub reverse_peering: ReversePeering,
    /// The graceful restart time.
    #[serde(deserialize_with = "optional_duration")]
    pub max_restart_time: Option<Duration>,
    /// The time between keepalives.
    #[serde(deserialize_with = "optional_duration")]
    pub keepalive_time: Option<Duration>,
    /// How often our own AS may be in a path that is believed.
    #[serde(rename = "numAllowedLocalASNumbers")]
    pub num_allowed_local_as_numbers: Option<i32>,
    /// How many hops away the neighbor may be; zero: any.
    pub ttl_security: Option<u8>,
    /// The gateway to a neighbor that is on no network of ours.
    pub reachable_by: Option<IpAddr>,
    /// BGPFilters, in order.
    #[serde(deserialize_with = "words")]
    pub filters: Vec<String>,
}

impl Peer {
    /// The neighbor's address and port.
    #[must_use]
    pub fn peer_address(&self) -> Option<(IpAddr, Option<u16>)> {
        check::host_and_port(self.peer_ip.as_deref()?)
    }
}

/// The next hop that a neighbor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum NextHopMode {
    /// As BGP has it.
    Auto,
    /// Ourselves.
    #[serde(rename = "Self")]
    Myself,
    /// As it was learned.
    Keep,
}

/// From which address we speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum SourceAddress {
    /// The node's.
    #[default]
    UseNodeIP,
    /// Whichever the kernel takes.
    None,
}

/// Whether neighbors that are nodes have the session too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ReversePeering {
    #[default]
    Auto,
    /// They have it by a BGPPeer of their own.
    Manual,
}
