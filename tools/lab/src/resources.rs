//! The Calico resources of a lab, as YAML files that a vRouter watches and a person may edit.

use std::fmt::Write as _;
use std::fs;

use crate::addresses::{self, BLOCK_V4, BLOCK_V6, POOL_V4, POOL_V6};
use crate::error::{LabError, Result};
use crate::rules::{self, Action, Peer, Rule};
use crate::spec::Encap;
use crate::state::write_whole;
use crate::topology::{Lab, Node, Pod};
use encap::{Family, Tunnel};

/// Writes every resource into the lab's resource directory.
///
/// # Errors
/// A file could not be written.
pub fn write(lab: &Lab) -> Result<()> {
    let directory = &lab.resource_directory;
    fs::create_dir_all(directory)
        .map_err(LabError::io(format!("making {}", directory.display())))?;
    let write = |name: &str, text: String| write_whole(&directory.join(name), &text);
    write("felix.yaml", felix())?;
    write("ippools.yaml", pools(lab))?;
    write("profiles.yaml", profile())?;
    for node in &lab.nodes {
        write(&format!("{}.yaml", node.name), node_resource(lab, node))?;
        for pod in &node.pods {
            write(&endpoint_file(pod), endpoint(node, pod))?;
        }
    }
    if lab.spec.rules > 0 {
        write("networksets.yaml", network_sets(lab))?;
        write("policies.yaml", policies(lab))?;
    }
    Ok(())
}

/// The name of the file that holds a pod's endpoint.
pub fn endpoint_file(pod: &Pod) -> String {
    format!("{}.yaml", pod.name)
}

fn header(kind: &str, name: &str) -> String {
    format!("apiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata:\n  name: {name}\n")
}

fn felix() -> String {
    header("FelixConfiguration", "default") + "spec:\n  defaultEndpointToHostAction: Accept\n"
}

fn profile() -> String {
    header("Profile", "kns.default")
        + "spec:\n  labelsToApply:\n    pcns.kubernetes.io/metadata.name: default\n  \
           ingress:\n    - action: Allow\n  egress:\n    - action: Allow\n"
}

fn pools(lab: &Lab) -> String {
    let mut documents = Vec::new();
    for (family, name, cidr, size) in [
        (Family::V4, "default-ipv4", POOL_V4, BLOCK_V4),
        (Family::V6, "default-ipv6", POOL_V6, BLOCK_V6),
    ] {
        if !lab.spec.family.has(family) {
            continue;
        }
        let (ipip, vxlan) = modes(lab.spec.encap, family);
        documents.push(
            header("IPPool", name)
                + &format!(
                    "spec:\n  cidr: {cidr}\n  blockSize: {size}\n  ipipMode: {ipip}\n  \
                     vxlanMode: {vxlan}\n  natOutgoing: false\n  nodeSelector: all()\n"
                ),
        );
    }
    documents.join("---\n")
}

/// ipipMode and vxlanMode of a pool.
fn modes(encap: Encap, family: Family) -> (&'static str, &'static str) {
    let when = if encap.crosses_subnets() {
        "CrossSubnet"
    } else {
        "Always"
    };
    match encap.tunnel(family) {
        Some(Tunnel::Ipip) => (when, "Never"),
        Some(Tunnel::Vxlan(_)) => ("Never", when),
        None => ("Never", "Never"),
    }
}

fn node_resource(lab: &Lab, node: &Node) -> String {
    let mut text = header("Node", &node.name);
    let mut bgp = String::new();
    let mut vxlan = String::new();
    if let Some(prefix) = node.ipv4 {
        let _ = writeln!(bgp, "    ipv4Address: {prefix}");
    }
    if let Some(prefix) = node.ipv6 {
        let _ = writeln!(bgp, "    ipv6Address: {prefix}");
    }
    if let Some(address) = node.tunnel_ipv4 {
        if lab.spec.encap.tunnel(Family::V4) == Some(Tunnel::Ipip) {
            let _ = writeln!(bgp, "    ipv4IPIPTunnelAddr: {address}");
        } else {
            let _ = writeln!(vxlan, "  ipv4VXLANTunnelAddr: {address}");
            let mac = addresses::vtep_mac(node.index, Family::V4);
            let _ = writeln!(vxlan, "  vxlanTunnelMACAddr: \"{mac}\"");
        }
    }
    if let Some(address) = node.tunnel_ipv6 {
        let _ = writeln!(vxlan, "  ipv6VXLANTunnelAddr: \"{address}\"");
        let mac = addresses::vtep_mac(node.index, Family::V6);
        let _ = writeln!(vxlan, "  vxlanTunnelMACAddrV6: \"{mac}\"");
    }
    let _ = write!(text, "spec:\n  bgp:\n{bgp}{vxlan}");
    for block in &node.blocks {
        let dashed = block.to_string().replace(['.', ':', '/'], "-");
        let _ = write!(
            text,
            "---\n{}spec:\n  node: {}\n  cidr: {block}\n  state: confirmed\n  deleted: \"false\"\n",
            header("BlockAffinity", &format!("{}-{dashed}", node.name)),
            node.name
        );
    }
    text
}

/// The endpoint of a pod.
pub fn endpoint(node: &Node, pod: &Pod) -> String {
    let (dashed, labels) = (pod.name.replace('-', "--"), pod_labels(node, pod));
    let mut text = header(
        "WorkloadEndpoint",
        &format!("{}-k8s-{dashed}-eth0", node.name),
    );
    let _ = write!(
        text,
        "  namespace: default\n  labels:\n{labels}  annotations:\n    vrouter.io/netns: {netns}\n\
         spec:\n  orchestrator: k8s\n  node: {node}\n  pod: {pod}\n  endpoint: eth0\n  \
         containerID: {container}\n  interfaceName: {interface}\n  mac: \"{mac}\"\n  \
         profiles:\n    - kns.default\n  ipNetworks:\n",
        netns = pod.namespace.path().display(),
        node = node.name,
        pod = pod.name,
        container = pod.namespace,
        interface = pod.host_interface,
        mac = pod.mac,
    );
    if let Some(address) = pod.ipv4 {
        let _ = writeln!(text, "    - {address}/32");
    }
    if let Some(address) = pod.ipv6 {
        let _ = writeln!(text, "    - \"{address}/128\"");
    }
    text
}

fn pod_labels(node: &Node, pod: &Pod) -> String {
    format!(
        "    app: lab\n    pod: {}\n    node: {}\n    projectcalico.org/namespace: default\n    \
         projectcalico.org/orchestrator: k8s\n",
        pod.name, node.name
    )
}

fn network_sets(lab: &Lab) -> String {
    let documents: Vec<String> = rules::sets(lab)
        .into_iter()
        .map(|set| {
            let mut text = header("GlobalNetworkSet", &set.name);
            let _ = write!(
                text,
                "  labels:\n    lab-set: {}\nspec:\n  nets:\n",
                set.name
            );
            for net in set.v4.iter().chain(&set.v6) {
                let _ = writeln!(text, "    - \"{net}\"");
            }
            text
        })
        .collect();
    documents.join("---\n")
}

fn policies(lab: &Lab) -> String {
    let documents: Vec<String> = rules::policies(lab)
        .iter()
        .enumerate()
        .map(|(index, rules)| {
            let mut text = header("GlobalNetworkPolicy", &format!("lab-{index}"));
            let _ = write!(
                text,
                "spec:\n  tier: default\n  order: {}\n  selector: app == 'lab'\n  types:\n    \
                 - Ingress\n    - Egress\n",
                100 + index
            );
            for (direction, side) in [("ingress", "source"), ("egress", "destination")] {
                let _ = writeln!(text, "  {direction}:");
                for rule in rules {
                    rule_yaml(rule, side, &mut text);
                }
            }
            text
        })
        .collect();
    documents.join("---\n")
}

fn rule_yaml(rule: &Rule, side: &str, text: &mut String) {
    let action = match rule.action {
        Action::Allow => "Allow",
        Action::Deny => "Deny",
    };
    let _ = writeln!(text, "    - action: {action}");
    if let Some(protocol) = rule.protocol {
        let _ = writeln!(text, "      protocol: {}", protocol.name().to_uppercase());
    }
    let peer = match &rule.peer {
        Peer::Net { net, .. } => format!("nets: [\"{net}\"]"),
        Peer::Set(name) => format!("selector: lab-set == '{name}'"),
    };
    let ports: Vec<String> = rule
        .ports
        .iter()
        .map(|(low, high)| {
            if low == high {
                low.to_string()
            } else {
                format!("\"{low}:{high}\"")
            }
        })
        .collect();
    let ports = if ports.is_empty() {
        String::new()
    } else {
        format!("ports: [{}]", ports.join(", "))
    };
    let _ = write!(text, "      {side}:\n        {peer}\n");
    match (ports.is_empty(), side) {
        (true, _) => {}
        (false, "destination") => {
            let _ = writeln!(text, "        {ports}");
        }
        (false, _) => {
            let _ = write!(text, "      destination:\n        {ports}\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;

    fn plan(flags: &str) -> Lab {
        Lab::plan(&"t".parse().unwrap(), &spec(flags)).unwrap()
    }

    #[test]
    fn pools_follow_the_encapsulation() {
        let text = pools(&plan("--encap ipip --family dual"));
        assert!(text.contains("ipipMode: Always"));
        let (v4, v6) = text.split_once("---\n").unwrap();
        assert!(v4.contains("10.65.0.0/16") && v6.contains("ipipMode: Never"));
        assert!(pools(&plan("--encap cross-subnet")).contains("vxlanMode: CrossSubnet"));
    }

    #[test]
    fn a_node_names_its_tunnel_and_blocks() {
        let lab = plan("--family dual");
        let text = node_resource(&lab, &lab.nodes[1]);
        for part in [
            "ipv4Address: 172.16.1.12/24",
            "ipv4VXLANTunnelAddr: 10.65.0.64",
            "vxlanTunnelMACAddr: \"66:65:00:00:00:02\"",
            "cidr: 10.65.0.64/26",
            "name: node2-10-65-0-64-26",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn an_endpoint_names_its_namespace() {
        let lab = plan("--family dual");
        let node = &lab.nodes[0];
        let text = endpoint(node, &node.pods[1]);
        assert!(text.contains("name: node1-k8s-pod1--2-eth0"));
        assert!(text.contains("vrouter.io/netns: /run/netns/t-pod1-2"));
        assert!(text.contains("- 10.65.0.2/32\n    - \"fd00:65::2/128\""));
    }

    #[test]
    fn ports_of_ingress_rules_are_the_destination_s() {
        let text = policies(&plan("--rules 3"));
        let rule = "nets: [\"198.18.0.1/32\"]\n";
        let ports = "ports: [20001]\n";
        for wanted in [
            format!("source:\n        {rule}      destination:\n        {ports}"),
            format!("destination:\n        {rule}        {ports}"),
        ] {
            assert!(text.contains(&wanted), "{wanted} in {text}");
        }
    }
}
