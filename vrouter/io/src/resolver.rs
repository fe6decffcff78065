//! The link between workers and the process's own resolver: a TUN in a network namespace of its own,
//! whose only addresses are the pods' gateways. No socket of the host, no rule of its packet filter and
//! no address of its links is in the way there.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use ipnet::IpNet;

use crate::error::{Context, Result};
use crate::link::{Link, Route};
use crate::netns::Netns;
use crate::pod::{GATEWAY_V4, GATEWAY_V6, default_route, quieten};
use crate::sysctl;
use crate::tun::{self, Tun};

const NAME: &str = "resolver";
/// Every link to a pod takes this much (RFC 8200 section 5).
const MTU: u32 = 1280;
/// The port of DNS (RFC 1035).
const PORT: u16 = 53;

/// The resolver's side of the link, and the workers'.
#[derive(Debug)]
pub struct ResolverLink {
    /// A queue for each worker.
    pub queues: Vec<Tun>,
    /// Sockets bound to the gateways' port, the IPv6 one where the kernel has IPv6.
    pub udp: Vec<std::net::UdpSocket>,
    pub tcp: Vec<std::net::TcpListener>,
}

/// Makes the namespace, its TUN and the sockets in it.
///
/// # Errors
/// The kernel refuses a step.
pub fn open(queues: usize) -> Result<ResolverLink> {
    let netns = Netns::private()?;
    let queues = tun::open(Some(&netns), NAME, queues, MTU)?;
    let (udp, tcp) = netns.run(configure_here)??;
    Ok(ResolverLink { queues, udp, tcp })
}

fn configure_here() -> Result<(Vec<std::net::UdpSocket>, Vec<std::net::TcpListener>)> {
    let has_v6 = sysctl::exists(&format!("net/ipv6/conf/{NAME}/accept_ra"));
    quieten(NAME, has_v6)?;
    let link = Link::open()?;
    let index = link.expect_interface(NAME)?.index;
    link.set_up(index)?;
    let mut places = vec![SocketAddr::from((GATEWAY_V4, PORT))];
    if has_v6 {
        places.push(SocketAddrV6::new(GATEWAY_V6, PORT, 0, index).into());
    }
    let (mut udp, mut tcp) = (Vec::new(), Vec::new());
    for place in places {
        let gateway: IpAddr = place.ip();
        link.add_address(index, IpNet::from(gateway))?;
        link.replace_route(&Route::on_link(default_route(gateway), index))?;
        let action = || format!("listen on {place}");
        let socket = std::net::UdpSocket::bind(place).context(action)?;
        socket.set_nonblocking(true).context(action)?;
        udp.push(socket);
        let listener = std::net::TcpListener::bind(place).context(action)?;
        listener.set_nonblocking(true).context(action)?;
        tcp.push(listener);
    }
    Ok((udp, tcp))
}
