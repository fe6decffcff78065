//! What workers are to be told: where each prefix leads, and what stands behind each interface.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
use vrouter_dataplane::tables::{
    EndpointToHost, GATEWAY_V4, GATEWAY_V6, Host, Interface, InterfaceKind, Workload,
};

use crate::desired::{Desired, Peer, Target};
use crate::observed::{Endpoint, Observed};
use crate::policies::endpoint_key;
use crate::statics::Ways;
use crate::wanted::Wanted;

/// The name tables show of the interface to the process's own resolver.
pub const RESOLVER_NAME: &str = "resolver";

/// Everything tables are made from but static routes' prefixes.
#[derive(Debug, Clone)]
pub struct Forwarding {
    /// Where prefixes lead that resources and the host's addresses ask for.
    pub routes: BTreeMap<IpNet, Adjacency>,
    /// Where static routes lead, by the nodes they go by.
    pub ways: Ways,
    /// The rest of the tables.
    pub contents: Contents,
}

impl PartialEq for Forwarding {
    fn eq(&self, other: &Forwarding) -> bool {
        self.routes == other.routes && self.ways == other.ways && self.contents.is(&other.contents)
    }
}

/// What tables hold besides routes.
#[derive(Debug, Clone)]
pub struct Contents {
    /// Every interface, by number.
    pub interfaces: Vec<Option<Arc<Interface>>>,
    /// Addresses tunnels accept packets from.
    pub nodes: Arc<FxHashSet<IpAddr>>,
    /// The node itself.
    pub host: Arc<Host>,
    /// Compiled policy.
    pub policy: Arc<Compiled>,
}

impl Contents {
    /// Whether workers would do the same with both.
    pub fn is(&self, other: &Contents) -> bool {
        self.policy.generation() == other.policy.generation()
            && self.interfaces == other.interfaces
            && self.nodes == other.nodes
            && self.host == other.host
    }
}

impl Forwarding {
    /// What is to be told of a node that has and should have this.
    pub fn new(observed: &Observed, wanted: &Wanted) -> Forwarding {
        let view = View { observed, wanted };
        Forwarding {
            routes: view.routes(),
            ways: observed.publication.ways().now(&view),
            contents: Contents {
                interfaces: view.interfaces(),
                nodes: Arc::new(view.nodes()),
                host: Arc::new(view.host()),
                policy: Arc::clone(&wanted.policy),
            },
        }
    }
}

/// What tables are made from.
pub struct View<'a> {
    pub observed: &'a Observed,
    pub wanted: &'a Wanted,
}

impl View<'_> {
    /// The adjacency of every route.
    fn routes(&self) -> BTreeMap<IpNet, Adjacency> {
        let routes = self.wanted.desired.routes.iter();
        let mut routes: BTreeMap<IpNet, Adjacency> = routes
            .map(|(prefix, route)| (*prefix, self.adjacency(&route.target)))
            .collect();
        for address in &self.observed.host.addresses {
            let route = routes.entry((*address).into());
            route.or_insert_with(|| self.adjacency(&Target::Host));
        }
        if self.wanted.options.resolver {
            let adjacency = Adjacency::Host {
                out: InterfaceId::RESOLVER,
                local: true,
                mtu: self.wanted.mtu,
            };
            for gateway in [IpAddr::V4(GATEWAY_V4), IpAddr::V6(GATEWAY_V6)] {
                routes.insert(gateway.into(), adjacency.clone());
            }
        }
        routes
    }

    fn adjacency(&self, target: &Target) -> Adjacency {
        match target {
            Target::Host => Adjacency::Host {
                out: InterfaceId::HOST,
                local: true,
                mtu: self.wanted.mtu,
            },
            Target::Uplink => Adjacency::Host {
                out: InterfaceId::HOST,
                local: false,
                mtu: self.wanted.mtu,
            },
            Target::Blackhole => Adjacency::Drop(DropReason::Blackhole),
            Target::Unreachable => Adjacency::Drop(DropReason::NoRoute),
            Target::Endpoint(key) => {
                let endpoint = self.observed.endpoints.find(key);
                match endpoint.and_then(|endpoint| endpoint.attached) {
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
                mtu: self.wanted.mtu,
            };
        };
        let encap = match tunnel {
            Tunnel::Ipip => Encap::Ipip,
            Tunnel::Vxlan(family) => {
                let peer = self.wanted.desired.peers.get(name);
                Encap::Vxlan {
                    vni: self.vni(),
                    source: self.wanted.desired.mac(family),
                    destination: peer.map_or([0; 6], |peer| peer.mac(family)),
                }
            }
        };
        let desired = &self.wanted.desired;
        let link = desired.tunnel_mtu(tunnel, self.wanted.underlay_mtu);
        let path = self.observed.host.path_mtus.get(&remote);
        let path = path.map_or(u16::MAX, |outer| tunnel.inner_mtu(*outer));
        Adjacency::Tunnel {
            out: InterfaceId::tunnel(tunnel),
            encap,
            remote,
            mtu: link.min(path),
            by_path: path < link,
        }
    }

    fn vni(&self) -> Vni {
        Vni::new(self.wanted.desired.felix.vxlan_vni).unwrap_or(Vni::CALICO)
    }

    /// Every interface, by number.
    fn interfaces(&self) -> Vec<Option<Arc<Interface>>> {
        let host = Interface {
            id: InterfaceId::HOST,
            name: self.wanted.options.tun.clone(),
            kind: InterfaceKind::Host,
        };
        let resolver = self.wanted.options.resolver.then(|| Interface {
            id: InterfaceId::RESOLVER,
            name: RESOLVER_NAME.to_owned(),
            kind: InterfaceKind::Host,
        });
        let tunnels = self.observed.tunnels.keys().map(|tunnel| Interface {
            id: InterfaceId::tunnel(*tunnel),
            name: tunnel.name().to_owned(),
            kind: InterfaceKind::Tunnel(*tunnel),
        });
        let workloads = self
            .observed
            .endpoints
            .iter()
            .filter_map(|endpoint| self.workload(endpoint));
        let mut interfaces = Vec::new();
        let fixed = [host].into_iter().chain(resolver);
        for interface in fixed.chain(tunnels).chain(workloads) {
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
            .wanted
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
    fn nodes(&self) -> FxHashSet<IpAddr> {
        let addresses = |peer: &Peer| {
            [peer.v4.map(IpAddr::V4), peer.v6.map(IpAddr::V6)]
                .into_iter()
                .flatten()
        };
        self.wanted
            .desired
            .peers
            .values()
            .flat_map(addresses)
            .collect()
    }

    /// The node itself.
    fn host(&self) -> Host {
        let felix = &self.wanted.desired.felix;
        let (router_v4, router_v6) = router_addresses(&self.wanted.desired);
        let default = Host::default();
        Host {
            addresses: self
                .observed
                .host
                .addresses
                .iter()
                .chain(&self.wanted.desired.tunnel_addresses)
                .copied()
                .collect(),
            endpoint_to_host: match felix.default_endpoint_to_host_action {
                EndpointToHostAction::Drop => EndpointToHost::Drop,
                EndpointToHostAction::Accept => EndpointToHost::Accept,
                EndpointToHostAction::Return => EndpointToHost::Return,
            },
            endpoints: self.wanted.host_endpoints.compiled(&self.wanted.policy),
            reset_cut: self.wanted.options.reset_cut,
            router_v4: router_v4.unwrap_or(default.router_v4),
            router_v6: router_v6.unwrap_or(default.router_v6),
            vni: self.vni(),
            vxlan_port: felix.vxlan_port,
            vtep_v4: self.wanted.desired.mac_v4,
            vtep_v6: self.wanted.desired.mac_v6,
            workload_vxlan: felix.allow_vxlan_packets_from_workloads,
            workload_ipip: felix.allow_ipip_packets_from_workloads,
        }
    }
}

/// Where the router speaks from, per family.
fn router_addresses(desired: &Desired) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let v4 = desired.v4.and_then(|net| match net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let v6 = desired.v6.and_then(|net| match net.addr() {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    (v4, v6)
}
