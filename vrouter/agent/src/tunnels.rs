//! Tunnel sockets: opened when a pool needs them, closed when none does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use encap::Tunnel;
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::any::AnyDevice;
use vrouter_io::{ipip, vxlan};

use crate::workers::Workers;
use vrouter_core::desired::Desired;
use vrouter_core::underlay::Underlay;

/// Where a tunnel's sockets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Our underlay address.
    pub local: IpAddr,
    /// UDP port, of VXLAN.
    pub port: u16,
    /// MTU of the underlay's interface.
    pub mtu: u32,
    /// The number of that interface, where it is known.
    pub underlay: Option<u32>,
}

/// Open tunnels.
#[derive(Debug, Default)]
pub struct Tunnels {
    open: BTreeMap<Tunnel, Socket>,
    /// Whether one that is wanted could not be opened.
    has_failed: bool,
}

impl Tunnels {
    /// The open ones.
    pub fn iter(&self) -> impl Iterator<Item = (Tunnel, Socket)> {
        self.open.iter().map(|(tunnel, socket)| (*tunnel, *socket))
    }

    /// Whether a tunnel that is wanted could not be opened.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Opens and closes what the pools say; what went wrong, in words.
    pub fn update(
        &mut self,
        wanted: &Desired,
        underlay: Option<&Underlay>,
        mtu: u32,
        workers: &Workers,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        let mut targets = BTreeMap::new();
        for &tunnel in &wanted.tunnels {
            let family = tunnel.family();
            match wanted.address(family) {
                Some(net) => {
                    let socket = Socket {
                        local: net.addr(),
                        port: wanted.felix.vxlan_port,
                        mtu,
                        underlay: underlay.map(|found| found.index),
                    };
                    targets.insert(tunnel, socket);
                }
                None => problems.push(format!("{tunnel}: this node has no {family} address")),
            }
        }
        self.open.retain(|tunnel, socket| {
            let stays = targets.get(tunnel) == Some(socket);
            if !stays {
                workers.remove(InterfaceId::tunnel(*tunnel));
                tracing::info!(%tunnel, "closed");
            }
            stays
        });
        self.has_failed = false;
        for (tunnel, socket) in targets {
            if self.open.contains_key(&tunnel) {
                continue;
            }
            match open(tunnel, socket, workers.len()) {
                Ok(devices) => {
                    workers.add(InterfaceId::tunnel(tunnel), devices);
                    tracing::info!(%tunnel, local = %socket.local, "open");
                    self.open.insert(tunnel, socket);
                }
                Err(error) => {
                    self.has_failed = true;
                    let holder = match tunnel {
                        Tunnel::Vxlan(_) => vrouter_host::port_taken(socket.port),
                        Tunnel::Ipip => None,
                    };
                    problems.push(match holder {
                        Some(holder) => format!("{error}: {holder}"),
                        None => error.to_string(),
                    });
                }
            }
        }
        problems
    }
}

fn open(tunnel: Tunnel, socket: Socket, workers: usize) -> vrouter_io::Result<Vec<AnyDevice>> {
    let segmenting = tunnel.segmenting_device();
    match (tunnel, socket.local) {
        (Tunnel::Ipip, IpAddr::V4(local)) => {
            let mut sockets = ipip::open(None, local, socket.mtu, workers)?;
            // Where the kernel can segment for us it does; where it cannot we do.
            let outcome = socket
                .underlay
                .map(|underlay| ipip::segment_in_kernel(&mut sockets, None, segmenting, underlay));
            if let Some(Err(error)) = outcome {
                tracing::info!(%error, "IPIP is segmented in user space");
            }
            Ok(sockets
                .into_iter()
                .map(|socket| AnyDevice::Ipip(Box::new(socket)))
                .collect())
        }
        (Tunnel::Ipip, IpAddr::V6(_)) => Ok(Vec::new()),
        (Tunnel::Vxlan(_), local) => {
            let mut sockets = vxlan::open(None, local, socket.port, workers)?;
            if local.is_ipv4()
                && let Some(underlay) = socket.underlay
                && let Err(error) =
                    vxlan::segment_in_kernel(&mut sockets, None, segmenting, underlay)
            {
                tracing::info!(%error, "VXLAN is segmented in user space");
            }
            Ok(sockets
                .into_iter()
                .map(|socket| AnyDevice::Vxlan(Box::new(socket)))
                .collect())
        }
    }
}
