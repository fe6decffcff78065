//! The ways out of this node as the kernel has to write and to recognise them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use encap::{Family, Tunnel};
use policy::flow::FlowKey;
use vrouter_core::observed::Socket;
use vrouter_dataplane::adjacency::Encap;
use vrouter_dataplane::tables::Tables;
use vrouter_io::vxlan;
use vrouter_offload::{Target, Underlay, VxlanEnd};

/// The host's TUN, and the tunnels over IPv4 that are open at an interface of the underlay that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ways {
    /// The number of the TUN to the host's stack.
    tun: u32,
    vxlan: Option<(At, Ports)>,
    ipip: Option<At>,
}

/// Where a tunnel's packets leave and arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    local: Ipv4Addr,
    /// The number of the underlay's interface.
    underlay: u32,
}

/// UDP ports of VXLAN.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ports {
    sources: Arc<[u16]>,
    destination: u16,
}

impl Ways {
    /// By the TUN with this number alone.
    pub fn new(tun: u32) -> Self {
        Self {
            tun,
            vxlan: None,
            ipip: None,
        }
    }

    /// The number of the TUN to the host's stack.
    pub(super) fn tun(&self) -> u32 {
        self.tun
    }

    /// A tunnel is open; `source_ports` are VXLAN's.
    pub fn opened(&mut self, tunnel: Tunnel, socket: &Socket, source_ports: Arc<[u16]>) {
        let at = match (socket.local, socket.underlay) {
            (std::net::IpAddr::V4(local), Some(underlay)) => Some(At { local, underlay }),
            _ => None,
        };
        match tunnel {
            Tunnel::Vxlan(Family::V4) => {
                let ports = Ports {
                    sources: source_ports,
                    destination: socket.port,
                };
                self.vxlan = at.map(|at| (at, ports));
            }
            Tunnel::Ipip => self.ipip = at,
            Tunnel::Vxlan(Family::V6) => {}
        }
    }

    /// A tunnel is closed.
    pub fn closed(&mut self, tunnel: Tunnel) {
        match tunnel {
            Tunnel::Vxlan(Family::V4) => self.vxlan = None,
            Tunnel::Ipip => self.ipip = None,
            Tunnel::Vxlan(Family::V6) => {}
        }
    }

    /// The interface of the underlay, if there is a tunnel, and what is ours there.
    pub(super) fn underlay(&self, tables: &Tables) -> (Option<u32>, Underlay) {
        let vxlan = self.vxlan.as_ref();
        let at = vxlan.map(|(at, _)| *at).or(self.ipip);
        let ours = Underlay {
            vxlan: vxlan.map(|(at, ports)| VxlanEnd {
                local: at.local,
                vni: tables.host.vni,
                port: ports.destination,
                vtep: tables.host.vtep_v4,
            }),
            ipip: self.ipip.map(|at| at.local),
        };
        (at.map(|at| at.underlay), ours)
    }

    /// How packets of a direction reach another node, if by a tunnel that is open.
    pub(super) fn target(&self, key: &FlowKey, encap: Encap, remote: Ipv4Addr) -> Option<Target> {
        let (at, ports) = match encap {
            Encap::Ipip => (self.ipip?, (0, 0)),
            Encap::Vxlan { .. } => {
                let (at, ports) = self.vxlan.as_ref()?;
                let source = vxlan::source_port(&ports.sources, key.hash(0) as u32);
                (*at, (source, ports.destination))
            }
        };
        Some(Target::Node {
            underlay: at.underlay,
            encap,
            local: at.local,
            remote,
            ports,
        })
    }
}
