//! The paths of a lab that are worth a check: one of each kind and family.

use std::net::IpAddr;

use encap::Family;

use crate::cli::PathKind;
use crate::names::Netns;
use crate::spec::Backend;
use crate::topology::{Lab, Node, Pod};

/// From one namespace to an address of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub kind: PathKind,
    /// The client's namespace.
    pub from: Netns,
    /// The client's name.
    pub from_name: String,
    /// The server's namespace.
    pub to: Netns,
    /// The server's name and address.
    pub to_name: String,
    /// The server's address.
    pub address: IpAddr,
    /// No packet to the server may be larger, whatever the client's interface allows.
    pub mtu_limit: usize,
}

/// All paths of a lab. Where there are nodes in the same and in another subnet, both are taken.
pub fn paths(lab: &Lab) -> Vec<Path> {
    let mut paths = Vec::new();
    let first = &lab.nodes[0];
    let pod = &first.pods[0];
    for family in Family::ALL {
        if let Some(other) = first.pods.get(1) {
            add(
                &mut paths,
                lab,
                PathKind::PodPodSame,
                End::Pod(pod),
                End::Pod(other),
                family,
            );
        }
        let peers = peers(lab);
        // Only pods have addresses there.
        if matches!(lab.spec.backend, Backend::Direct | Backend::TapLoop) {
            for node in peers {
                add(
                    &mut paths,
                    lab,
                    PathKind::PodPodCross,
                    End::Pod(pod),
                    End::Pod(&node.pods[0]),
                    family,
                );
            }
            continue;
        }
        add(
            &mut paths,
            lab,
            PathKind::PodNode,
            End::Pod(pod),
            End::Node(first),
            family,
        );
        add(
            &mut paths,
            lab,
            PathKind::NodePod,
            End::Node(first),
            End::Pod(pod),
            family,
        );
        for node in peers {
            let there = &node.pods[0];
            add(
                &mut paths,
                lab,
                PathKind::PodPodCross,
                End::Pod(pod),
                End::Pod(there),
                family,
            );
            add(
                &mut paths,
                lab,
                PathKind::PodNodeCross,
                End::Pod(pod),
                End::Node(node),
                family,
            );
            add(
                &mut paths,
                lab,
                PathKind::NodePodCross,
                End::Node(first),
                End::Pod(there),
                family,
            );
        }
    }
    paths
}

/// The nodes to reach from the first: the next, and one of the other subnet if that is not it.
fn peers(lab: &Lab) -> Vec<&Node> {
    let mut peers: Vec<&Node> = Vec::new();
    for node in lab.nodes.iter().skip(1) {
        if !peers.iter().any(|peer| peer.subnet == node.subnet) {
            peers.push(node);
        }
    }
    peers
}

#[derive(Clone, Copy)]
enum End<'a> {
    Pod(&'a Pod),
    Node(&'a Node),
}

impl End<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Pod(pod) => &pod.name,
            Self::Node(node) => &node.name,
        }
    }

    fn namespace(&self) -> &Netns {
        match self {
            Self::Pod(pod) => &pod.namespace,
            Self::Node(node) => &node.namespace,
        }
    }

    fn address(&self, family: Family) -> Option<IpAddr> {
        match self {
            Self::Pod(pod) => pod.address(family),
            Self::Node(node) => node.address(family),
        }
    }
}

fn add(
    paths: &mut Vec<Path>,
    lab: &Lab,
    kind: PathKind,
    from: End<'_>,
    to: End<'_>,
    family: Family,
) {
    let Some(address) = to.address(family) else {
        return;
    };
    let mtu_limit = match to {
        End::Pod(_) => lab.pod_mtu,
        End::Node(_) => lab.spec.mtu,
    };
    paths.push(Path {
        kind,
        from: from.namespace().clone(),
        from_name: from.name().to_owned(),
        to: to.namespace().clone(),
        to_name: format!("{} {address}", to.name()),
        address,
        mtu_limit,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;

    #[test]
    fn three_nodes_in_two_subnets_are_reached_both_ways() {
        let lab = Lab::plan(
            &"t".parse().unwrap(),
            &spec("--nodes 3 --encap cross-subnet"),
        )
        .unwrap();
        let paths = paths(&lab);
        let cross: Vec<&str> = paths
            .iter()
            .filter(|path| path.kind == PathKind::PodPodCross)
            .map(|path| path.to.as_str())
            .collect();
        assert_eq!(cross, ["t-pod2-1", "t-pod3-1"]);
        assert_eq!(paths.len(), 3 + 2 * 3);
    }

    #[test]
    fn the_loops_join_pods_alone() {
        for (flags, kind) in [
            ("--nodes 1", PathKind::PodPodSame),
            ("--nodes 2 --pods 1", PathKind::PodPodCross),
        ] {
            let spec = spec(&format!("--backend tap-loop {flags}"));
            let lab = Lab::plan(&"t".parse().unwrap(), &spec).unwrap();
            let kinds: Vec<PathKind> = paths(&lab).iter().map(|path| path.kind).collect();
            assert_eq!(kinds, [kind]);
        }
    }
}
