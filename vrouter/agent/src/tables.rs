//! From the agent's state to the tables workers read: no effect, no decision, only form.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use encap::Tunnel;
use encap::vxlan::Vni;
use ipnet::IpNet;
use policy::compile::Compiled;
use rustc_hash::FxHashSet;
use vrouter_api::EndpointToHostAction;
use vrouter_dataplane::adjacency::{Adjacency, Encap};
use vrouter_dataplane::drop::DropReason;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::tables::{EndpointToHost, Host, Interface, InterfaceKind, Workload};

use crate::agent::router_addresses;
use crate::endpoints::{Endpoint, Endpoints};
use crate::tunnels::Tunnels;
use vrouter_core::desired::{Desired, Route, Target};
use vrouter_core::host_endpoints::HostEndpoints;
use vrouter_core::policies::endpoint_key;

/// What the tables are made from.
pub struct View<'a> {
    /// What the resources say.
    pub desired: &'a Desired,
    /// Local workloads.
    pub endpoints: &'a Endpoints,
    /// Open tunnels.
    pub tunnels: &'a Tunnels,
    /// Compiled policy.
    pub policy: &'a Compiled,
    /// Which host endpoints stand for what.
    pub host_endpoints: &'a HostEndpoints,
    /// Whether connections that policy cuts are reset.
    pub reset_cut: bool,
    /// Addresses of the host.
    pub host_addresses: &'a [IpAddr],
    /// MTU of the underlay's interface.
    pub underlay_mtu: u32,
    /// MTU of pods and of the TUN.
    pub mtu: u16,
    /// The TUN's name.
    pub host_name: &'a str,
}

impl View<'_> {
    /// The adjacency of every route.
    pub fn adjacencies(&self, routes: &BTreeMap<IpNet, Route>) -> BTreeMap<IpNet, Adjacency> {
        routes
            .iter()
            .map(|(prefix, route)| (*prefix, self.adjacency(&route.target)))
            .collect()
    }

    fn adjacency(&self, target: &Target) -> Adjacency {
        match target {
            Target::Host => Adjacency::Host {
                out: InterfaceId::HOST,
                local: true,
                mtu: self.mtu,
            },
            Target::Uplink => Adjacency::Host {
                out: InterfaceId::HOST,
                local: false,
                mtu: self.mtu,
            },
            Target::Blackhole => Adjacency::Drop(DropReason::Blackhole),
            Target::Unreachable => Adjacency::Drop(DropReason::NoRoute),
            Target::Endpoint(key) => {
                match self
                    .endpoints
                    .find(key)
                    .and_then(|endpoint| endpoint.attached.as_ref())
                {
                    Some(attached) => Adjacency::Neighbor {
                        out: attached.id,
                        rewrite: Adjacency::neighbor_rewrite(attached.mac),
                        mtu: attached.mtu,
                    },
                    None => Adjacency::Drop(DropReason::Blackhole),
                }
            }
            Target::Node {
                name,
                remote,
                tunnel,
            } => self.to_node(name, *remote, *tunnel),
        }
    }

    /// The adjacency to another node.
    pub(crate) fn to_node(&self, name: &str, remote: IpAddr, tunnel: Option<Tunnel>) -> Adjacency {
        let Some(tunnel) = tunnel else {
            return Adjacency::Host {
                out: InterfaceId::HOST,
                local: false,
                mtu: self.mtu,
            };
        };
        let encap = match tunnel {
            Tunnel::Ipip => Encap::Ipip,
            Tunnel::Vxlan(family) => {
                let peer = self.desired.peers.get(name);
                Encap::Vxlan {
                    vni: self.vni(),
                    source: self.desired.mac(family),
                    destination: peer.map_or([0; 6], |peer| peer.mac(family)),
                }
            }
        };
        let mtu = self.desired.tunnel_mtu(tunnel, self.underlay_mtu);
        Adjacency::Tunnel {
            out: InterfaceId::tunnel(tunnel),
            encap,
            remote,
            mtu,
        }
    }

    fn vni(&self) -> Vni {
        Vni::new(self.desired.felix.vxlan_vni).unwrap_or(Vni::CALICO)
    }

    /// Every interface, by number.
    pub fn interfaces(&self) -> Vec<Option<Arc<Interface>>> {
        let host = Interface {
            id: InterfaceId::HOST,
            name: self.host_name.to_owned(),
            kind: InterfaceKind::Host,
        };
        let tunnels = self.tunnels.iter().map(|(tunnel, _)| Interface {
            id: InterfaceId::tunnel(tunnel),
            name: tunnel.name().to_owned(),
            kind: InterfaceKind::Tunnel(tunnel),
        });
        let workloads = self
            .endpoints
            .iter()
            .filter_map(|endpoint| self.workload(endpoint));
        let mut interfaces = Vec::new();
        for interface in [host].into_iter().chain(tunnels).chain(workloads) {
            let at = interface.id.index();
            if interfaces.len() <= at {
                interfaces.resize(at + 1, None);
            }
            interfaces[at] = Some(Arc::new(interface));
        }
        interfaces
    }

    fn workload(&self, endpoint: &Endpoint) -> Option<Interface> {
        let attached = endpoint.attached.as_ref()?;
        // Without compiled policy the interface is not in the tables and nothing passes.
        let policy = self
            .policy
            .endpoint(&endpoint_key(&endpoint.local.key).ok()?)?;
        Some(Interface {
            id: attached.id,
            name: endpoint.local.interface.clone(),
            kind: InterfaceKind::Workload(Workload {
                mac: attached.mac,
                sources: endpoint.local.sources.clone(),
                policy,
            }),
        })
    }

    /// Where tunnels accept packets from.
    pub fn nodes(&self) -> FxHashSet<IpAddr> {
        let addresses = |peer: &vrouter_core::desired::Peer| {
            [peer.v4.map(IpAddr::V4), peer.v6.map(IpAddr::V6)]
                .into_iter()
                .flatten()
        };
        self.desired.peers.values().flat_map(addresses).collect()
    }

    /// The node itself.
    pub fn host(&self) -> Host {
        let felix = &self.desired.felix;
        let (router_v4, router_v6) = router_addresses(self.desired);
        let default = Host::default();
        Host {
            addresses: self
                .host_addresses
                .iter()
                .chain(&self.desired.tunnel_addresses)
                .copied()
                .collect(),
            endpoint_to_host: match felix.default_endpoint_to_host_action {
                EndpointToHostAction::Drop => EndpointToHost::Drop,
                EndpointToHostAction::Accept => EndpointToHost::Accept,
                EndpointToHostAction::Return => EndpointToHost::Return,
            },
            endpoints: self.host_endpoints.compiled(self.policy),
            reset_cut: self.reset_cut,
            router_v4: router_v4.unwrap_or(default.router_v4),
            router_v6: router_v6.unwrap_or(default.router_v6),
            vni: self.vni(),
            vxlan_port: felix.vxlan_port,
            vtep_v4: self.desired.mac_v4,
            vtep_v6: self.desired.mac_v6,
            workload_vxlan: felix.allow_vxlan_packets_from_workloads,
            workload_ipip: felix.allow_ipip_packets_from_workloads,
        }
    }
}
