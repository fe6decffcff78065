//! Routes and tunnels.

use std::net::IpAddr;

use encap::{Family, Tunnel};
use ipnet::IpNet;
use vrouter_control::ErrorBody;
use vrouter_control::model::{self, Mac, NextHop, Page, RouteKind};
use vrouter_control::params::{self, AddRoutes, ShowRoutes, ShowTunnels};
use vrouter_dataplane::adjacency::{Adjacency, Encap};
use vrouter_dataplane::id::InterfaceId;

use super::Outcome;
use crate::agent::Agent;
use vrouter_core::desired::Target;
use vrouter_core::statics;

pub(super) fn show(agent: &Agent, params: &ShowRoutes) -> Outcome<Page<model::Route>> {
    let total = Some(agent.observed.publication.rib().len() as u64);
    if let Some(address) = params.address {
        let found = agent.observed.publication.rib().longest_match(address);
        let found = found.filter(|(prefix, _)| within(params, prefix));
        let items = found.map(|(prefix, way)| row(agent, prefix, &way));
        return Ok(Page {
            items: items.into_iter().collect(),
            next: None,
            total,
        });
    }
    let after = params.after.as_ref().map(|text| text.parse::<IpNet>());
    let after = after
        .transpose()
        .map_err(|_| ErrorBody::bad_params("after: is no page of ours"))?;
    let limit = params::rows(params.limit);
    let mut items: Vec<model::Route> = Vec::new();
    let inside = params.prefix.map_or_else(everything, |prefix| vec![prefix]);
    let routes = inside
        .into_iter()
        .flat_map(|net| agent.observed.publication.rib().routes(net));
    let rest = routes
        .skip_while(|(prefix, _)| after.is_some_and(|after| *prefix <= after))
        .filter(|(prefix, _)| within(params, prefix));
    for (prefix, way) in rest {
        if items.len() == limit {
            let next = items.last().map(|last| last.prefix.to_string());
            return Ok(Page { items, next, total });
        }
        items.push(row(agent, prefix, &way));
    }
    Ok(Page {
        items,
        next: None,
        total,
    })
}

pub(super) fn add(agent: &mut Agent, params: AddRoutes) -> Outcome<model::Done> {
    let routes = params.routes.into_iter();
    let routes = routes.map(|route| statics::normal(route.prefix, route.nodes));
    agent
        .add_routes(&routes.collect::<Vec<_>>())
        .map_err(ErrorBody::bad_params)?;
    Ok(model::Done {})
}

/// Both families, IPv4 first.
fn everything() -> Vec<IpNet> {
    vec![IpNet::V4(Default::default()), IpNet::V6(Default::default())]
}

fn within(params: &ShowRoutes, prefix: &IpNet) -> bool {
    let family = match prefix {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    };
    params.family.is_none_or(|wanted| wanted == family)
        && params.prefix.is_none_or(|outer| outer.contains(prefix))
}

fn row(agent: &Agent, prefix: IpNet, way: &[&Adjacency]) -> model::Route {
    let route = agent.wanted.desired.routes.get(&prefix);
    let remote = match route.map(|route| &route.target) {
        Some(Target::Node { remote, .. }) => Some(*remote),
        Some(
            Target::Endpoint(_)
            | Target::Host
            | Target::Uplink
            | Target::Blackhole
            | Target::Unreachable,
        )
        | None => None,
    };
    let mut row = model::Route {
        prefix,
        kind: RouteKind::Drop,
        next_hops: Vec::new(),
        mtu: None,
        source: Some(match route {
            Some(route) => route.source.clone(),
            None if agent.observed.publication.rib().is_of_resources(&prefix) => {
                "an address of the host".to_owned()
            }
            None if agent.observed.publication.rib().is_learned(&prefix) => "BGP".to_owned(),
            None => "static".to_owned(),
        }),
    };
    for adjacency in way {
        let hop = |address: Option<IpAddr>, encap: model::Encap, vni: Option<u32>| NextHop {
            interface: adjacency
                .out()
                .map_or_else(String::new, |id| agent.interface_name(id)),
            address,
            encap,
            vni,
        };
        let plain = model::Encap::None;
        let (kind, next_hop, mtu) = match adjacency {
            Adjacency::Drop(_) | Adjacency::Group(_) => continue,
            Adjacency::Host { local, mtu, .. } => {
                let kind = if *local {
                    RouteKind::Local
                } else {
                    RouteKind::Host
                };
                (kind, hop(remote, plain, None), *mtu)
            }
            Adjacency::Neighbor { mtu, .. } => (RouteKind::Neighbor, hop(None, plain, None), *mtu),
            Adjacency::Tunnel {
                encap, remote, mtu, ..
            } => {
                let (encap, vni) = match encap {
                    Encap::Vxlan { vni, .. } => (model::Encap::Vxlan, Some(vni.number())),
                    Encap::Ipip => (model::Encap::Ipip, None),
                };
                (RouteKind::Tunnel, hop(Some(*remote), encap, vni), *mtu)
            }
        };
        row.kind = kind;
        row.next_hops.push(next_hop);
        row.mtu = row.mtu.into_iter().chain([u32::from(mtu)]).min();
    }
    row
}

/// One row for each node and way to it that some route uses.
pub(super) fn tunnels(agent: &Agent, params: &ShowTunnels) -> Outcome<Vec<model::Tunnel>> {
    if let Some(node) = &params.node
        && !agent.wanted.desired.peers.contains_key(node)
    {
        return Err(ErrorBody::not_found(format!(
            "there is no other node {node:?}"
        )));
    }
    let mut rows: Vec<model::Tunnel> = Vec::new();
    for route in agent.wanted.desired.routes.values() {
        let Target::Node {
            name,
            remote,
            tunnel: by,
        } = &route.target
        else {
            continue;
        };
        if params.node.as_ref().is_some_and(|node| node != name) {
            continue;
        }
        let encap = match by {
            None => model::Encap::None,
            Some(Tunnel::Vxlan(_)) => model::Encap::Vxlan,
            Some(Tunnel::Ipip) => model::Encap::Ipip,
        };
        let same = |row: &&mut model::Tunnel| {
            row.node == *name && row.remote == *remote && row.encap == encap
        };
        match rows.iter_mut().find(same) {
            Some(row) => row.routes += 1,
            None => rows.push(tunnel(agent, name, *remote, *by, encap)),
        }
    }
    rows.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(rows)
}

fn tunnel(
    agent: &Agent,
    node: &str,
    remote: IpAddr,
    by: Option<Tunnel>,
    encap: model::Encap,
) -> model::Tunnel {
    let family = Family::from(remote);
    let open = agent
        .observed
        .tunnels
        .iter()
        .find(|(open, _)| Some(**open) == by);
    let vxlan = matches!(by, Some(Tunnel::Vxlan(_)));
    let peer = agent.wanted.desired.peers.get(node);
    let underlay_mtu = agent.wanted.underlay_mtu;
    let link = by.map_or(underlay_mtu, |by| {
        agent.wanted.desired.tunnel_mtu(by, underlay_mtu).into()
    });
    let path_mtu = agent.observed.host.path_mtus.get(&remote).copied();
    let path = path_mtu.map_or(u32::MAX, |outer| {
        by.map_or(outer, |by| by.inner_mtu(outer).into())
    });
    let counters =
        open.map(|(open, _)| super::interfaces::counters(agent, InterfaceId::tunnel(*open)));
    let theirs = peer.map(|peer| Mac(peer.mac(family)));
    let ours = Mac(agent.wanted.desired.mac(family));
    let alone = agent.wanted.desired.peers.len() == 1;
    model::Tunnel {
        node: node.to_owned(),
        remote,
        local: open.map(|(_, socket)| socket.local),
        encap,
        vni: vxlan.then_some(agent.wanted.desired.felix.vxlan_vni),
        mtu: link.min(path),
        path_mtu,
        remote_mac: theirs.filter(|_| vxlan),
        local_mac: vxlan.then_some(ours),
        known_source: peer.is_some(),
        routes: 1,
        // One socket serves all nodes, so traffic is known by node only where there is but one.
        tx: counters.filter(|_| alone).map(|c| model::Traffic {
            packets: c.tx_packets,
            bytes: c.tx_bytes,
        }),
        rx: counters.filter(|_| alone).map(|c| model::Traffic {
            packets: c.rx_packets,
            bytes: c.rx_bytes,
        }),
    }
}
