//! Tunnel sockets.

use std::net::IpAddr;
use std::sync::Arc;

use encap::Tunnel;
use vrouter_core::observed::Socket;
use vrouter_io::any::AnyDevice;
use vrouter_io::vxlan::VxlanSocket;
use vrouter_io::{ipip, vxlan};

/// Opens a tunnel's sockets, one for each worker; also the source ports of VXLAN.
///
/// # Errors
/// The kernel refuses a step.
pub fn open(
    tunnel: Tunnel,
    socket: Socket,
    workers: usize,
) -> vrouter_io::Result<(Vec<AnyDevice>, Arc<[u16]>)> {
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
            let sockets = sockets.into_iter();
            let devices = sockets.map(|socket| AnyDevice::Ipip(Box::new(socket)));
            Ok((devices.collect(), Arc::default()))
        }
        (Tunnel::Ipip, IpAddr::V6(_)) => Ok((Vec::new(), Arc::default())),
        (Tunnel::Vxlan(_), local) => {
            let mut sockets = vxlan::open(None, local, socket.port, workers)?;
            if local.is_ipv4()
                && let Some(underlay) = socket.underlay
                && let Err(error) =
                    vxlan::segment_in_kernel(&mut sockets, None, segmenting, underlay)
            {
                tracing::info!(%error, "VXLAN is segmented in user space");
            }
            let ports = sockets.first().map(VxlanSocket::source_ports).transpose()?;
            let sockets = sockets.into_iter();
            let devices = sockets.map(|socket| AnyDevice::Vxlan(Box::new(socket)));
            Ok((devices.collect(), ports.unwrap_or_default()))
        }
    }
}
