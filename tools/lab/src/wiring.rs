//! The parts that every backend shares: namespaces, the underlay, the nodes' addresses.
//!
//! The underlay is a bridge for each subnet in the lab's `-net` namespace, with a veth pair to
//! every node. The same namespace is the nodes' default router, and joins the subnets where there
//! are two. (The kernel answers ARP for a pod's gateway only where a route leads elsewhere.)

use encap::Family;

use crate::error::Result;
use crate::names::{Netns, UNDERLAY_INTERFACE};
use crate::netns;
use crate::spec::Offload;
use crate::topology::{Lab, Node};

/// Everything ethtool can switch off that lets a packet on the wire be larger than the MTU or lack
/// its checksum.
const OFFLOADS: &[&str] = &[
    "tx",
    "rx",
    "tso",
    "gso",
    "gro",
    "tx-udp-segmentation",
    "tx-udp_tnl-segmentation",
    "tx-udp_tnl-csum-segmentation",
    "tx-ipxip4-segmentation",
    "tx-ipxip6-segmentation",
    "tx-gso-list",
    "tx-sctp-segmentation",
    "rx-gro-list",
    "rx-udp-gro-forwarding",
];

/// Creates the lab's namespaces, loopback up and duplicate address detection off.
///
/// # Errors
/// A namespace of such a name exists, or the kernel refuses one.
pub fn namespaces(lab: &Lab) -> Result<()> {
    netns::create(lab.namespaces())?;
    for namespace in lab.namespaces() {
        prepare(namespace)?;
    }
    Ok(())
}

/// Makes a new namespace usable: loopback up, addresses valid at once, no autoconfiguration.
///
/// # Errors
/// A setting could not be made.
pub fn prepare(namespace: &Netns) -> Result<()> {
    let mut settings = Vec::new();
    for scope in ["default", "all"] {
        for (key, value) in [
            ("accept_dad", "0"),
            ("disable_ipv6", "0"),
            ("accept_ra", "0"),
            ("dad_transmits", "0"),
        ] {
            settings.push((format!("ipv6/conf/{scope}/{key}"), value));
        }
        settings.push((format!("ipv4/conf/{scope}/rp_filter"), "0"));
    }
    netns::sysctl(namespace, &settings)?;
    netns::ip(namespace, &["link set lo up".to_owned()])
}

/// Builds the bridges and joins the nodes to them.
///
/// # Errors
/// The kernel refuses a part.
pub fn underlay(lab: &Lab) -> Result<()> {
    let mtu = lab.spec.mtu;
    let mut lines = Vec::new();
    for subnet in lab.subnets() {
        let bridge = bridge_name(subnet.0);
        lines.push(format!(
            "link add {bridge} mtu {mtu} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ));
        lines.push(format!("link set {bridge} up"));
        if lab.spec.family.has_v4() {
            lines.push(format!(
                "address add {}/24 dev {bridge}",
                subnet.router_v4()
            ));
        }
        if lab.spec.family.has_v6() {
            lines.push(format!(
                "address add {}/64 dev {bridge} nodad",
                subnet.router_v6()
            ));
        }
    }
    for node in &lab.nodes {
        lines.push(format!(
            "link add {port} mtu {mtu} type veth peer name {UNDERLAY_INTERFACE} mtu {mtu} \
             address {mac} netns {namespace}",
            port = node.name,
            mac = node.mac,
            namespace = node.namespace,
        ));
        lines.push(format!(
            "link set {} master {} up",
            node.name,
            bridge_name(node.subnet.0)
        ));
    }
    netns::ip(&lab.underlay, &lines)?;
    netns::ip(&lab.underlay, &block_routes(lab))?;
    let forwarding =
        ["ipv4/ip_forward", "ipv6/conf/all/forwarding"].map(|key| (key.to_owned(), "1"));
    netns::sysctl(&lab.underlay, &forwarding)?;
    lab.nodes.iter().try_for_each(node_addresses)?;
    match lab.spec.underlay_offload {
        Offload::On => Ok(()),
        Offload::Off => offloads_off(lab),
    }
}

/// The router's ways to the pods of nodes in different subnets that have no tunnel.
fn block_routes(lab: &Lab) -> Vec<String> {
    let mut lines = Vec::new();
    for family in Family::ALL {
        if lab.subnets().len() < 2 || lab.spec.encap.tunnel(family).is_some() {
            continue;
        }
        for node in &lab.nodes {
            let Some(address) = node.address(family) else {
                continue;
            };
            let routes = node.blocks(family);
            lines.extend(routes.map(|block| format!("route add {block} via {address}")));
        }
    }
    lines
}

/// The name of a subnet's bridge.
pub fn bridge_name(subnet: u8) -> String {
    format!("br{subnet}")
}

fn node_addresses(node: &Node) -> Result<()> {
    let mut lines = vec![format!("link set {UNDERLAY_INTERFACE} up")];
    for (family, router) in [
        (Family::V4, node.subnet.router_v4().to_string()),
        (Family::V6, node.subnet.router_v6().to_string()),
    ] {
        let address = match family {
            Family::V4 => node.ipv4,
            Family::V6 => node.ipv6,
        };
        let Some(address) = address else {
            continue;
        };
        let nodad = if family.is_v6() { " nodad" } else { "" };
        lines.push(format!(
            "address add {address} dev {UNDERLAY_INTERFACE}{nodad}"
        ));
        lines.push(format!(
            "route add default via {router} dev {UNDERLAY_INTERFACE}"
        ));
    }
    netns::ip(&node.namespace, &lines)
}

fn offloads_off(lab: &Lab) -> Result<()> {
    let off = |namespace: &Netns, interface: &str| {
        let mut command = vec!["ethtool", "-K", interface];
        command.extend(OFFLOADS.iter().flat_map(|offload| [*offload, "off"]));
        netns::run(namespace, &command, "").map(drop)
    };
    for node in &lab.nodes {
        off(&node.namespace, UNDERLAY_INTERFACE)?;
        off(&lab.underlay, &node.name)?;
    }
    Ok(())
}
