//! More routes than a lab needs: blocks of node 2 out of 11.0.0.0/8, on node 1, so that one can see
//! what the size of the table costs. No packet goes there.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use encap::Family;
use encap::Tunnel;
use vrouter_control::params::ShowRoutes;

use crate::error::{LabError, Result};
use crate::process::wait_until;
use crate::spec::Backend;
use crate::state::write_whole;
use crate::topology::{Lab, Node};
use crate::{netns, vrouter};

/// The most there can be: /28 blocks of 11.0.0.0/8.
const MOST: usize = 1 << 20;
/// Blocks in one file, of which the datastore reads at most 32 MiB.
const A_FILE: usize = 100_000;
/// How long node 1 may take to have them all.
const PATIENCE: Duration = Duration::from_secs(300);

/// Gives node 1 this many more routes to node 2, and waits until it has them.
///
/// # Errors
/// There is no node 2, they are too many, or node 1 does not take them in time.
pub fn add(lab: &Lab, count: usize) -> Result<()> {
    let [node, peer, ..] = &lab.nodes[..] else {
        return Err(LabError::Invalid(
            "more routes need a second node".to_owned(),
        ));
    };
    if count > MOST {
        return Err(LabError::Invalid(format!("{count} routes: at most {MOST}")));
    }
    match node.backend {
        Backend::Kernel => to_kernel(lab, node, peer, count),
        Backend::Vrouter => to_vrouter(lab, node, peer, count),
        Backend::Direct | Backend::TapLoop => {
            Err(LabError::Invalid("this backend has no routes".to_owned()))
        }
    }
}

fn block(index: usize) -> Ipv4Addr {
    let index = u32::try_from(index).expect("at most MOST");
    Ipv4Addr::from(u32::from(Ipv4Addr::new(11, 0, 0, 0)) + (index << 4))
}

fn to_kernel(lab: &Lab, node: &Node, peer: &Node, count: usize) -> Result<()> {
    let next = match (lab.tunnel_between(node, peer, Family::V4), peer.tunnel_ipv4) {
        (Some(Tunnel::Vxlan(_)), Some(address)) => format!("{address} dev vxlan.calico"),
        (_, _) => {
            let address = peer.address(Family::V4).ok_or_else(|| {
                LabError::Invalid("more routes are IPv4's, and the lab has none".to_owned())
            })?;
            format!("{address} dev {}", crate::names::UNDERLAY_INTERFACE)
        }
    };
    let lines: Vec<String> = (0..count)
        .map(|index| format!("route add {}/28 via {next} onlink", block(index)))
        .collect();
    netns::ip(&node.namespace, &lines)
}

fn to_vrouter(lab: &Lab, node: &Node, peer: &Node, count: usize) -> Result<()> {
    let vxlan = matches!(
        lab.tunnel_between(node, peer, Family::V4),
        Some(Tunnel::Vxlan(_))
    );
    let mode = if vxlan { "Always" } else { "Never" };
    let pool = format!(
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: more-routes\nspec:\n  \
         cidr: 11.0.0.0/8\n  blockSize: 28\n  vxlanMode: {mode}\n  nodeSelector: all()\n"
    );
    let write = |name: &str, text: &str| write_whole(&lab.resource_directory.join(name), text);
    write("more-routes.yaml", &pool)?;
    for first in (0..count).step_by(A_FILE) {
        let mut text = String::new();
        for index in first..count.min(first + A_FILE) {
            let _infallible = write!(
                text,
                "---\napiVersion: projectcalico.org/v3\nkind: BlockAffinity\nmetadata:\n  \
                 name: more-{index}\nspec:\n  node: {}\n  cidr: {}/28\n  state: confirmed\n  \
                 deleted: \"false\"\n",
                peer.name,
                block(index)
            );
        }
        write(&format!("more-routes-{first}.yaml"), &text)?;
    }
    let last = format!("{}/28", block(count - 1));
    let has_all = || {
        let question = ShowRoutes {
            prefix: last.parse().ok(),
            ..ShowRoutes::default()
        };
        vrouter::ask(node, &question).is_ok_and(|routes| !routes.items.is_empty())
    };
    if wait_until(PATIENCE, has_all) {
        Ok(())
    } else {
        Err(LabError::Timeout {
            what: format!("{} having {count} more routes", node.name),
            seconds: PATIENCE.as_secs(),
            detail: format!(":\n{}", vrouter::log_end(node)),
        })
    }
}
