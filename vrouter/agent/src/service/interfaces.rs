//! Interfaces and the workloads behind them.

use encap::Tunnel;
use ipnet::IpNet;
use vrouter_control::model::{self, Mac};
use vrouter_control::params::{ShowInterfaces, ShowNeighbors};
use vrouter_dataplane::counters::InterfaceCounters;
use vrouter_dataplane::id::InterfaceId;

use super::{Outcome, known, unknown};
use crate::agent::Agent;
use vrouter_core::forwarding::RESOLVER_NAME;
use vrouter_core::observed::Endpoint;

const OFFLOADS: [&str; 3] = ["checksum", "tso", "uso"];

pub(super) fn show(agent: &Agent, params: &ShowInterfaces) -> Outcome<Vec<model::Interface>> {
    let mut all = vec![host(agent)];
    if agent.wanted.options.resolver {
        let kind = model::InterfaceKind::Host;
        all.push(blank(agent, InterfaceId::RESOLVER, RESOLVER_NAME, kind));
    }
    all.extend(agent.observed.tunnels.iter().map(|(tunnel, socket)| {
        let what = match tunnel {
            Tunnel::Vxlan(_) => model::InterfaceKind::Vxlan,
            Tunnel::Ipip => model::InterfaceKind::Ipip,
        };
        let (tunnel, mtu) = (*tunnel, agent.wanted.underlay_mtu);
        let mut row = blank(agent, InterfaceId::tunnel(tunnel), tunnel.name(), what);
        row.mtu = agent.wanted.desired.tunnel_mtu(tunnel, mtu).into();
        row.addresses = vec![IpNet::from(socket.local)];
        row.device = agent
            .observed
            .host
            .underlay
            .as_ref()
            .map(|underlay| underlay.name.clone());
        row
    }));
    all.extend(
        agent
            .observed
            .endpoints
            .iter()
            .map(|endpoint| workload(agent, endpoint)),
    );
    if let Some(name) = &params.name {
        let called = agent
            .observed
            .endpoints
            .iter()
            .filter(|e| e.local.is_called(name));
        let wanted: Vec<&String> = called.map(|e| &e.local.interface).chain([name]).collect();
        all.retain(|row| wanted.contains(&&row.name));
        if all.is_empty() {
            return Err(unknown(name));
        }
    }
    if params.per_worker {
        for row in all
            .iter_mut()
            .filter(|row| row.state == model::InterfaceState::Up)
        {
            let id = InterfaceId(row.id as u16);
            let workers = agent.node.workers.observers().zip(0..);
            row.workers = workers
                .map(|((observer, _), worker)| model::WorkerInterfaceCounters {
                    worker,
                    counters: read(observer.counters.interface(id)),
                })
                .collect();
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn read(counters: &InterfaceCounters) -> model::InterfaceCounters {
    model::InterfaceCounters {
        rx_packets: counters.rx_packets.value(),
        rx_bytes: counters.rx_bytes.value(),
        rx_dropped: counters.rx_dropped.value(),
        tx_packets: counters.tx_packets.value(),
        tx_bytes: counters.tx_bytes.value(),
    }
}

/// Counters of an interface over all workers.
pub(super) fn counters(agent: &Agent, id: InterfaceId) -> model::InterfaceCounters {
    let mut total = model::InterfaceCounters::default();
    for (observer, _) in agent.node.workers.observers() {
        let one = read(observer.counters.interface(id));
        total.rx_packets += one.rx_packets;
        total.rx_bytes += one.rx_bytes;
        total.rx_dropped += one.rx_dropped;
        total.tx_packets += one.tx_packets;
        total.tx_bytes += one.tx_bytes;
    }
    total
}

fn blank(
    agent: &Agent,
    id: InterfaceId,
    name: &str,
    kind: model::InterfaceKind,
) -> model::Interface {
    model::Interface {
        id: id.0.into(),
        name: name.to_owned(),
        kind,
        state: model::InterfaceState::Up,
        reason: None,
        endpoint: None,
        netns: None,
        device: None,
        link: None,
        link_reason: None,
        mac: None,
        mtu: agent.wanted.mtu.into(),
        addresses: Vec::new(),
        queues: agent.node.workers.len() as u32,
        offloads: Vec::new(),
        counters: counters(agent, id),
        workers: Vec::new(),
    }
}

fn host(agent: &Agent) -> model::Interface {
    let name = &agent.settings.tunnel_interface;
    model::Interface {
        device: Some(name.clone()),
        addresses: agent
            .wanted
            .desired
            .tunnel_addresses
            .iter()
            .map(|a| IpNet::from(*a))
            .collect(),
        offloads: OFFLOADS.map(str::to_owned).to_vec(),
        ..blank(agent, InterfaceId::HOST, name, model::InterfaceKind::Host)
    }
}

fn workload(agent: &Agent, endpoint: &Endpoint) -> model::Interface {
    let local = &endpoint.local;
    let name = &local.interface;
    let kind = model::InterfaceKind::Workload;
    let attached = endpoint.attached.as_ref();
    let mut row = match attached {
        Some(attached) => blank(agent, attached.id, name, kind),
        None => model::Interface {
            state: model::InterfaceState::Failed,
            reason: endpoint.problem.clone(),
            queues: 0,
            counters: model::InterfaceCounters::default(),
            ..blank(agent, InterfaceId::HOST, name, kind)
        },
    };
    row.endpoint = Some(local.name());
    row.netns = local.netns.clone();
    row.device = Some(local.device.clone());
    row.mac = attached.map(|attached| Mac(attached.mac));
    row.addresses = local
        .addresses
        .iter()
        .map(|address| IpNet::from(*address))
        .collect();
    if let Some(attached) = attached {
        row.mtu = attached.mtu.into();
        row.link = Some(attached.link.to_string());
        row.link_reason = agent.no_veths.clone();
        row.offloads = OFFLOADS.map(str::to_owned).to_vec();
    }
    row
}

pub(super) fn neighbors(agent: &Agent, params: &ShowNeighbors) -> Outcome<Vec<model::Neighbor>> {
    known(agent, params.name.as_deref())?;
    let mut rows = Vec::new();
    for endpoint in agent.observed.endpoints.iter() {
        let Some(attached) = &endpoint.attached else {
            continue;
        };
        let local = &endpoint.local;
        if !params.name.as_ref().is_none_or(|n| local.is_called(n)) {
            continue;
        }
        rows.extend(
            endpoint
                .local
                .addresses
                .iter()
                .map(|address| model::Neighbor {
                    address: *address,
                    mac: Some(Mac(attached.mac)),
                    interface: endpoint.local.interface.clone(),
                    endpoint: Some(local.name()),
                }),
        );
    }
    rows.sort_by_key(|row| row.address);
    Ok(rows)
}

impl Agent {
    /// The name tables show of an interface.
    pub(crate) fn interface_name(&self, id: InterfaceId) -> String {
        if id == InterfaceId::HOST {
            return self.settings.tunnel_interface.clone();
        }
        if id == InterfaceId::RESOLVER {
            return RESOLVER_NAME.to_owned();
        }
        let mut tunnels = self.observed.tunnels.iter();
        if let Some((tunnel, _)) = tunnels.find(|(tunnel, _)| InterfaceId::tunnel(**tunnel) == id) {
            return tunnel.name().to_owned();
        }
        match self.observed.endpoints.behind(id) {
            Some(endpoint) => endpoint.local.interface.clone(),
            None => format!("#{id}"),
        }
    }
}
