//! Tunnel sockets: opened when a pool needs them, closed when none does.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vrouter_dataplane::id::InterfaceId;
use vrouter_io::any::AnyDevice;
use vrouter_io::{ipip, vxlan};

use crate::desired::{Desired, Transport};
use crate::host::Underlay;
use crate::interfaces;
use crate::workers::Workers;

/// The TAPs by which the kernel takes super-packets from us.
const IPIP_HELPER: &str = "vrouter-ipip";
const VXLAN_HELPER: &str = "vrouter-vxlan";

/// One kind of tunnel: its transport, and whether over IPv6.
type Kind = (Transport, bool);

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
    open: BTreeMap<Kind, Socket>,
}

/// The interface of a kind of tunnel; `None` for packets as they are.
pub fn interface((transport, v6): Kind) -> Option<InterfaceId> {
    match (transport, v6) {
        (Transport::Direct, _) => None,
        (Transport::Vxlan, false) => Some(interfaces::VXLAN_V4),
        (Transport::Vxlan, true) => Some(interfaces::VXLAN_V6),
        (Transport::Ipip, _) => Some(interfaces::IPIP),
    }
}

/// The name tables show.
pub fn name(kind: Kind) -> &'static str {
    match kind {
        (Transport::Direct, _) => "direct",
        (Transport::Vxlan, false) => "vxlan.calico",
        (Transport::Vxlan, true) => "vxlan-v6.calico",
        (Transport::Ipip, _) => "ipip",
    }
}

impl Tunnels {
    /// The open ones.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, Socket)> {
        self.open.iter().map(|(kind, socket)| (*kind, *socket))
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
        for &(transport, v6) in &wanted.transports {
            let address = if v6 { wanted.v6 } else { wanted.v4 };
            match address {
                Some(net) => {
                    let socket = Socket {
                        local: net.addr(),
                        port: wanted.felix.vxlan_port,
                        mtu,
                        underlay: underlay.map(|found| found.index),
                    };
                    targets.insert((transport, v6), socket);
                }
                None => {
                    let family = if v6 { "IPv6" } else { "IPv4" };
                    problems.push(format!(
                        "{}: this node has no {family} address",
                        name((transport, v6))
                    ));
                }
            }
        }
        self.open.retain(|kind, socket| {
            let stays = targets.get(kind) == Some(socket);
            if !stays && let Some(id) = interface(*kind) {
                workers.remove(id);
                tracing::info!(tunnel = name(*kind), "closed");
            }
            stays
        });
        for (kind, socket) in targets {
            let Some(id) = interface(kind) else { continue };
            if self.open.contains_key(&kind) {
                continue;
            }
            match open(kind, socket, workers.len()) {
                Ok(devices) => {
                    workers.add(id, devices);
                    tracing::info!(tunnel = name(kind), local = %socket.local, "open");
                    self.open.insert(kind, socket);
                }
                Err(error) => problems.push(error.to_string()),
            }
        }
        problems
    }
}

fn open(kind: Kind, socket: Socket, workers: usize) -> vrouter_io::Result<Vec<AnyDevice>> {
    match (kind.0, socket.local) {
        (Transport::Ipip, IpAddr::V4(local)) => {
            let mut sockets = ipip::open(None, local, socket.mtu, workers)?;
            // Where the kernel can segment for us it does; where it cannot we do.
            let outcome = socket
                .underlay
                .map(|underlay| ipip::segment_in_kernel(&mut sockets, None, IPIP_HELPER, underlay));
            if let Some(Err(error)) = outcome {
                tracing::info!(%error, "IPIP is segmented in user space");
            }
            Ok(sockets
                .into_iter()
                .map(|socket| AnyDevice::Ipip(Box::new(socket)))
                .collect())
        }
        (Transport::Direct | Transport::Ipip, _) => Ok(Vec::new()),
        (Transport::Vxlan, local) => {
            let mut sockets = vxlan::open(None, local, socket.port, workers)?;
            if local.is_ipv4()
                && let Some(underlay) = socket.underlay
                && let Err(error) =
                    vxlan::segment_in_kernel(&mut sockets, None, VXLAN_HELPER, underlay)
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
