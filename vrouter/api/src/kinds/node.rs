//! Node: where a node is on the underlay, and its tunnel addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

use crate::address::Mac;
use crate::key::Kind;
use crate::metadata::Metadata;
use crate::object::{Object, Read, Spec};
use crate::place::{Fields, Place};
use crate::written::Written;

/// A node of the cluster.
pub type Node = Object<NodeSpec>;

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// Underlay addresses (they live under `bgp` for historical reasons) and BGP identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bgp: Option<NodeBgp>,
    /// The node's own address inside the IPv4 VXLAN overlay.
    #[serde(
        rename = "ipv4VXLANTunnelAddr",
        skip_serializing_if = "Option::is_none"
    )]
    pub ipv4_vxlan_tunnel_addr: Option<Ipv4Addr>,
    /// MAC of its IPv4 VTEP; absent: derived from the node's name.
    #[serde(rename = "vxlanTunnelMACAddr", skip_serializing_if = "Option::is_none")]
    pub vxlan_tunnel_mac_addr: Option<Mac>,
    /// The node's own address inside the IPv6 VXLAN overlay.
    #[serde(
        rename = "ipv6VXLANTunnelAddr",
        skip_serializing_if = "Option::is_none"
    )]
    pub ipv6_vxlan_tunnel_addr: Option<Ipv6Addr>,
    /// MAC of its IPv6 VTEP.
    #[serde(
        rename = "vxlanTunnelMACAddrV6",
        skip_serializing_if = "Option::is_none"
    )]
    pub vxlan_tunnel_mac_addr_v6: Option<Mac>,
    /// Kept verbatim: WireGuard is not supported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<serde_json::Value>,
    /// The node's names in orchestrators.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orch_refs: Vec<OrchRef>,
    /// Every address the node is reached at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
}

/// A node's underlay addresses and BGP identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeBgp {
    /// Autonomous system, when not the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_number: Option<u32>,
    /// IPv4 underlay address and subnet (CrossSubnet compares subnets); host bits kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<Written<Ipv4Net>>,
    /// IPv6 underlay address and subnet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<Written<Ipv6Net>>,
    /// The node's own address inside the IPIP overlay.
    #[serde(rename = "ipv4IPIPTunnelAddr", skip_serializing_if = "Option::is_none")]
    pub ipv4_ipip_tunnel_addr: Option<Ipv4Addr>,
    /// Makes the node a route reflector of that cluster.
    #[serde(
        rename = "routeReflectorClusterID",
        skip_serializing_if = "Option::is_none"
    )]
    pub route_reflector_cluster_id: Option<Ipv4Addr>,
}

/// A node's name in an orchestrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrchRef {
    /// The name there; absent: the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// `k8s`, `openstack`, …
    pub orchestrator: String,
}

/// An address of a node and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeAddress {
    /// The address, host bits kept.
    pub address: Written<IpNet>,
    /// `CalicoNodeIP`, `InternalIP` or `ExternalIP`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

impl Spec for NodeSpec {
    const KIND: Kind = Kind::Node;
}

impl Read for NodeSpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<NodeSpec> {
        let ipv4 = |name| {
            fields
                .optional(name)
                .and_then(|p| p.parse("an IPv4 address"))
        };
        let ipv6 = |name| {
            fields
                .optional(name)
                .and_then(|p| p.parse("an IPv6 address"))
        };
        let mac = |name| {
            fields
                .optional(name)
                .and_then(|p| p.parse("a MAC such as 66:00:00:00:00:01"))
        };
        Some(NodeSpec {
            bgp: fields
                .optional("bgp")
                .and_then(|place| NodeBgp::read(&place)),
            ipv4_vxlan_tunnel_addr: ipv4("ipv4VXLANTunnelAddr"),
            vxlan_tunnel_mac_addr: mac("vxlanTunnelMACAddr"),
            ipv6_vxlan_tunnel_addr: ipv6("ipv6VXLANTunnelAddr"),
            vxlan_tunnel_mac_addr_v6: mac("vxlanTunnelMACAddrV6"),
            wireguard: fields.verbatim("wireguard", "WireGuard is not supported"),
            orch_refs: fields.list("orchRefs", OrchRef::read),
            addresses: fields.list("addresses", NodeAddress::read),
        })
    }
}

impl NodeBgp {
    fn read(place: &Place<'_>) -> Option<NodeBgp> {
        const BGP: &str = "there is no BGP speaker yet";
        let fields = place.fields()?;
        let as_number = fields.optional("asNumber");
        if let Some(place) = &as_number {
            place.not_acted_on(BGP);
        }
        let cluster = fields.optional("routeReflectorClusterID");
        if let Some(place) = &cluster {
            place.not_acted_on(BGP);
        }
        let ipv4_address =
            fields
                .optional("ipv4Address")
                .and_then(|place| match place.prefix()? {
                    IpNet::V4(net) => Some(Written::new(net, place.written())),
                    IpNet::V6(_) => {
                        place.error("must be an IPv4 address");
                        None
                    }
                });
        let ipv6_address =
            fields
                .optional("ipv6Address")
                .and_then(|place| match place.prefix()? {
                    IpNet::V6(net) => Some(Written::new(net, place.written())),
                    IpNet::V4(_) => {
                        place.error("must be an IPv6 address");
                        None
                    }
                });
        let tunnel = fields.optional("ipv4IPIPTunnelAddr");
        let bgp = NodeBgp {
            as_number: as_number.and_then(|place| as_number_of(&place)),
            ipv4_address,
            ipv6_address,
            ipv4_ipip_tunnel_addr: tunnel.and_then(|p| p.parse("an IPv4 address")),
            route_reflector_cluster_id: cluster
                .and_then(|p| p.parse("a cluster id written as an IPv4 address")),
        };
        fields.finish();
        Some(bgp)
    }
}

/// An AS number, plain (`64512`) or dotted (`1.10` is 65546).
pub(crate) fn as_number_of(place: &Place<'_>) -> Option<u32> {
    let text = place.text()?;
    let number = match text.split_once('.') {
        Some((high, low)) => {
            let part = |text: &str| text.parse::<u16>().ok().map(u32::from);
            part(high)
                .zip(part(low))
                .map(|(high, low)| high << 16 | low)
        }
        None => text.parse().ok(),
    };
    if number.is_none() {
        place.error("must be an AS number in 0–4294967295, or dotted such as 1.10");
    }
    number
}

impl OrchRef {
    fn read(place: &Place<'_>) -> Option<OrchRef> {
        let fields = place.fields()?;
        let node_name = fields.string("nodeName");
        let orchestrator = fields
            .required("orchestrator")
            .and_then(|place| place.string());
        fields.finish();
        Some(OrchRef {
            node_name,
            orchestrator: orchestrator?,
        })
    }
}

impl NodeAddress {
    fn read(place: &Place<'_>) -> Option<NodeAddress> {
        let fields = place.fields()?;
        let address = fields
            .required("address")
            .and_then(|place| place.written_prefix());
        let kind = fields.optional("type").and_then(|place| {
            place.choice(&[
                ("CalicoNodeIP", "CalicoNodeIP"),
                ("InternalIP", "InternalIP"),
                ("ExternalIP", "ExternalIP"),
            ])
        });
        fields.finish();
        Some(NodeAddress {
            address: address?,
            kind: kind.map(str::to_owned),
        })
    }
}
