//! The kernel backend: a node the way a Calico user has it today.
//!
//! Pods are veth pairs whose node side answers ARP and NDP for the gateway; other nodes are
//! reached through `vxlan.calico` (VNI 4096, no learning, static entries) or plain routes; Calico's
//! chains, in iptables or nft, decide with conntrack, marks and ipsets.

mod iptables;
mod nft;

use std::net::IpAddr;

use crate::addresses::{self, GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6};
use crate::error::Result;
use crate::names::{POD_INTERFACE, UNDERLAY_INTERFACE};
use crate::netns;
use crate::spec::KernelRules;
use crate::topology::{Lab, Node, Pod};
use encap::vxlan::{PORT, Vni};
use encap::{Family, Tunnel};

/// VXLAN's network identifier.
const VNI: Vni = Vni::CALICO;

/// Sets up a node and its pods.
///
/// # Errors
/// The kernel or one of its tools refuses a part.
pub fn node(lab: &Lab, node: &Node) -> Result<()> {
    forwarding(node)?;
    let mut lines = Vec::new();
    for pod in &node.pods {
        pod_pair(lab, pod, &mut lines);
    }
    let mut fdb = Vec::new();
    for family in Family::ALL {
        if node.address(family).is_some() {
            routes(lab, node, family, &mut lines, &mut fdb);
        }
    }
    netns::ip(&node.namespace, &lines)?;
    netns::bridge(&node.namespace, &fdb)?;
    answer_for_gateway(node)?;
    node.pods.iter().try_for_each(pod_addresses)?;
    match lab.spec.kernel_rules {
        KernelRules::None => Ok(()),
        KernelRules::Iptables => iptables::install(lab, node),
        KernelRules::Nft => nft::install(lab, node),
    }
}

/// The name of the tunnel device of one family.
pub fn vxlan_device(family: Family) -> &'static str {
    Tunnel::Vxlan(family).calico_device()
}

/// The addresses and routes of a pod whose interface exists, as Calico's CNI plugin sets them.
///
/// # Errors
/// The kernel refuses one.
pub fn pod_addresses(pod: &Pod) -> Result<()> {
    let mut lines = vec![format!("link set {POD_INTERFACE} up")];
    if let Some(address) = pod.ipv4 {
        lines.push(format!("address add {address}/32 dev {POD_INTERFACE}"));
        lines.push(format!(
            "route add {GATEWAY_V4} dev {POD_INTERFACE} scope link"
        ));
        lines.push(format!(
            "route add default via {GATEWAY_V4} dev {POD_INTERFACE}"
        ));
    }
    if let Some(address) = pod.ipv6 {
        lines.push(format!(
            "address add {address}/128 dev {POD_INTERFACE} nodad"
        ));
        lines.push(format!(
            "route add default via {GATEWAY_V6} dev {POD_INTERFACE}"
        ));
    }
    netns::ip(&pod.namespace, &lines)
}

fn forwarding(node: &Node) -> Result<()> {
    let on = [
        "ipv4/ip_forward",
        "ipv6/conf/all/forwarding",
        "ipv6/conf/default/forwarding",
    ];
    netns::sysctl(&node.namespace, &on.map(|key| (key.to_owned(), "1")))
}

fn pod_pair(lab: &Lab, pod: &Pod, lines: &mut Vec<String>) {
    let Pod {
        host_interface,
        mac,
        namespace,
        ..
    } = pod;
    let mtu = lab.pod_mtu;
    lines.push(format!(
        "link add {host_interface} mtu {mtu} address {GATEWAY_MAC} type veth \
         peer name {POD_INTERFACE} mtu {mtu} address {mac} netns {namespace}"
    ));
    lines.push(format!("link set {host_interface} up"));
    for (family, length) in [(Family::V4, 32), (Family::V6, 128)] {
        if let Some(address) = pod.address(family) {
            lines.push(format!(
                "route add {address}/{length} dev {host_interface} scope link"
            ));
        }
    }
}

/// The tunnel device and the ways to the other nodes' blocks, for one family.
fn routes(lab: &Lab, node: &Node, family: Family, lines: &mut Vec<String>, fdb: &mut Vec<String>) {
    let device = vxlan_device(family);
    if let (Some(address), Some(local)) = (node.tunnel_address(family), node.address(family)) {
        let (length, overhead) = if family.is_v6() { (128, 70) } else { (32, 50) };
        let mac = addresses::vtep_mac(node.index, family);
        let mtu = lab.spec.mtu - overhead;
        lines.push(format!(
            "link add {device} mtu {mtu} address {mac} type vxlan id {VNI} local {local} \
             dev {UNDERLAY_INTERFACE} dstport {PORT} nolearning"
        ));
        lines.push(format!("link set {device} up"));
        let nodad = if family.is_v6() { " nodad" } else { "" };
        lines.push(format!(
            "address add {address}/{length} dev {device}{nodad}"
        ));
    }
    for block in node.blocks(family) {
        lines.push(format!("route add blackhole {block}"));
    }
    for peer in lab.nodes.iter().filter(|peer| peer.index != node.index) {
        let Some(underlay) = peer.address(family) else {
            continue;
        };
        match (
            lab.tunnel_between(node, peer, family),
            peer.tunnel_address(family),
        ) {
            (Some(Tunnel::Vxlan(_)), Some(tunnel)) => {
                let mac = addresses::vtep_mac(peer.index, family);
                fdb.push(format!(
                    "fdb add {mac} dev {device} dst {underlay} self permanent"
                ));
                lines.push(format!(
                    "neigh add {tunnel} lladdr {mac} dev {device} nud permanent"
                ));
                for block in peer.blocks(family) {
                    lines.push(format!(
                        "route add {block} via {tunnel} dev {device} onlink"
                    ));
                }
            }
            (Some(Tunnel::Ipip), _) => {
                unreachable!("Spec::check refuses IPIP between kernel nodes")
            }
            (Some(Tunnel::Vxlan(_)), None) | (None, _) => {
                let router = if family.is_v6() {
                    IpAddr::V6(node.subnet.router_v6())
                } else {
                    IpAddr::V4(node.subnet.router_v4())
                };
                let underlay = if peer.subnet == node.subnet {
                    underlay
                } else {
                    router
                };
                for block in peer.blocks(family) {
                    lines.push(format!(
                        "route add {block} via {underlay} dev {UNDERLAY_INTERFACE} onlink"
                    ));
                }
            }
        }
    }
}

/// Lets the node side of each pod answer for 169.254.1.1 at once, and drop spoofed sources.
fn answer_for_gateway(node: &Node) -> Result<()> {
    let mut settings = Vec::new();
    for Pod {
        host_interface: name,
        ..
    } in &node.pods
    {
        settings.push((format!("ipv4/conf/{name}/proxy_arp"), "1"));
        settings.push((format!("ipv4/neigh/{name}/proxy_delay"), "0"));
        settings.push((format!("ipv4/conf/{name}/rp_filter"), "1"));
        settings.push((format!("ipv4/conf/{name}/route_localnet"), "1"));
        settings.push((format!("ipv6/conf/{name}/proxy_ndp"), "1"));
    }
    netns::sysctl(&node.namespace, &settings)
}
