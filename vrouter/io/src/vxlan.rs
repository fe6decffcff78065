//! VXLAN's underlay (RFC 7348): UDP sockets, with segmentation and coalescing by the kernel.
//!
//! Each worker receives on a socket of its own; the kernel spreads peers' flows over them by the
//! outer addresses and ports (`SO_REUSEPORT`). Sending needs a source port that depends on the
//! inner flow, and a UDP socket has one port only: so there is a set of sockets, shared by all
//! workers, from which the flow's hash chooses. They throw away what is sent to them.
//! [`segment_in_kernel`] opens a way for TCP super-packets as they are. What a peer sent whole
//! arrives whole, without a word about it: the packet path sees that by its checksum.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Transmitted, Vector};

use crate::ancillary::{self, Control, Name};
use crate::batch::{self, BATCH, Fate, Piece, Sender};
use crate::encapsulator::{self, Encapsulator, Tunnel};
use crate::error::{Context, Result};
use crate::netns::Netns;
use crate::sys::{self, Inbox, Message};

pub use encap::vxlan::PORT;
/// How many source ports flows are spread over.
pub const SOURCE_PORTS: usize = 32;

/// Flags of an IPv4 header: not to be fragmented.
const DF: u8 = 0x40;
/// The kernel's default.
const TTL: u8 = 64;
/// Messages in one `recvmmsg`.
const INBOX: usize = 16;
/// The most bytes of a UDP payload over IPv4.
const MAX_MESSAGE: usize = 65_507;

/// One worker's part of the VXLAN underlay of one address family.
#[derive(Debug)]
pub struct VxlanSocket {
    socket: Socket,
    sources: Arc<[Socket]>,
    address: IpAddr,
    port: u16,
    inbox: Inbox,
    sender: Sender,
    /// Which of `sources` each packet of a batch uses; `SENT` for none.
    choice: [u8; BATCH],
    /// The way for super-packets, if the kernel has one.
    whole: Option<Whole>,
}

/// The way for TCP super-packets.
#[derive(Debug)]
struct Whole {
    encapsulator: Encapsulator,
    address: Ipv4Addr,
    /// The port of each of the sources: a flow has the same on both ways.
    ports: Arc<[u16]>,
}

/// Lets the kernel segment what `sockets`, of an IPv4 underlay, send by interface number
/// `underlay`, in `netns` or the caller's namespace: from then on they take TCP super-packets as
/// they are. A TAP `name` is made for it and lives as long as the sockets do.
///
/// # Errors
/// The kernel is older than 6.6 or the process lacks `CAP_BPF` or `CAP_NET_ADMIN`, or the name is
/// taken; the sockets then work as before.
pub fn segment_in_kernel(
    sockets: &mut [VxlanSocket],
    netns: Option<&Netns>,
    name: &str,
    underlay: u32,
) -> Result<()> {
    let Some((IpAddr::V4(address), sources)) = sockets
        .first()
        .map(|socket| (socket.address, Arc::clone(&socket.sources)))
    else {
        return Ok(());
    };
    let ports = ports_of(&sources)?;
    let workers = sockets.len();
    let open_here = || encapsulator::open(Tunnel::Vxlan, name, underlay, workers);
    let encapsulators = match netns {
        Some(netns) => netns.run(open_here)?,
        None => open_here(),
    }?;
    for (socket, encapsulator) in sockets.iter_mut().zip(encapsulators) {
        socket.whole = Some(Whole {
            encapsulator,
            address,
            ports: Arc::clone(&ports),
        });
    }
    Ok(())
}

fn ports_of(sources: &[Socket]) -> Result<Arc<[u16]>> {
    let port = |source: &Socket| {
        let name = source.local_addr()?;
        Ok(name.as_socket().map_or(0, |name| name.port()))
    };
    let ports: io::Result<Arc<[u16]>> = sources.iter().map(port).collect();
    ports.context(|| "ask for the VXLAN source ports".into())
}

/// The source port of a flow, among those of [`VxlanSocket::source_ports`].
pub fn source_port(ports: &[u16], flow_hash: u32) -> u16 {
    ports[source_of(flow_hash, ports.len())]
}

/// Opens the sockets of `workers` workers at the node's `address`, UDP `port`, in `netns` or the
/// caller's namespace.
///
/// # Errors
/// The address is not the node's, or another program (the kernel's vxlan device) has the port.
pub fn open(
    netns: Option<&Netns>,
    address: IpAddr,
    port: u16,
    workers: usize,
) -> Result<Vec<VxlanSocket>> {
    match netns {
        Some(netns) => netns.run(|| open_here(address, port, workers))?,
        None => open_here(address, port, workers),
    }
}

fn open_here(address: IpAddr, port: u16, workers: usize) -> Result<Vec<VxlanSocket>> {
    let sources: Arc<[Socket]> = (0..SOURCE_PORTS)
        .map(|_| source(address))
        .collect::<io::Result<Vec<_>>>()
        .context(|| format!("open a VXLAN source port at {address}"))?
        .into();
    (0..workers)
        .map(|_| {
            let socket = receiver(address, port)
                .context(|| format!("open the VXLAN socket {}", SocketAddr::new(address, port)))?;
            Ok(VxlanSocket {
                socket,
                sources: Arc::clone(&sources),
                address,
                port,
                inbox: Inbox::new(INBOX),
                sender: Sender::new(),
                choice: [SENT; BATCH],
                whole: None,
            })
        })
        .collect()
}

/// In [`VxlanSocket::choice`]: nothing is left to do for this packet.
const SENT: u8 = u8::MAX;

fn receiver(address: IpAddr, port: u16) -> io::Result<Socket> {
    let socket = udp(address)?;
    socket.set_reuse_port(true)?;
    batch::ignore_path_errors(&socket, address.into())?;
    batch::enlarge(&socket)?;
    match address {
        IpAddr::V4(_) => {
            sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
        }
        IpAddr::V6(_) => {
            sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
            // Tunnels may leave the outer sum out (RFC 6935); the inner packet has its own.
            sys::set_option(&socket, libc::SOL_UDP, libc::UDP_NO_CHECK6_RX, 1)?;
        }
    }
    // Before Linux 5.0 every datagram comes alone.
    let _ = sys::set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    socket.bind(&SocketAddr::new(address, port).into())?;
    Ok(socket)
}

fn source(address: IpAddr) -> io::Result<Socket> {
    let socket = udp(address)?;
    batch::deafen(&socket)?;
    batch::enlarge(&socket)?;
    // DF on what fits the path as the kernel knows it; what does not is fragmented by the kernel.
    match address {
        IpAddr::V4(_) => {
            let (option, value) = (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT);
            sys::set_option(&socket, libc::IPPROTO_IP, option, value)?;
        }
        IpAddr::V6(_) => {
            let (option, value) = (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT);
            sys::set_option(&socket, libc::IPPROTO_IPV6, option, value)?;
        }
    }
    socket.bind(&SocketAddr::new(address, 0).into())?;
    Ok(socket)
}

fn udp(address: IpAddr) -> io::Result<Socket> {
    let domain = if address.is_ipv4() {
        Domain::IPV4
    } else {
        Domain::IPV6
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

impl VxlanSocket {
    /// The node's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The source ports flows are spread over.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn source_ports(&self) -> Result<Arc<[u16]>> {
        ports_of(&self.sources)
    }

    /// Takes up to `most` messages; whether no more wait.
    fn receive_some(
        &mut self,
        pool: &mut Pool,
        into: &mut Vector,
        most: usize,
    ) -> io::Result<bool> {
        let first = into.len();
        let wanted = most.min(pool.available());
        into.extend(
            std::iter::repeat_with(|| pool.take())
                .take(wanted)
                .flatten(),
        );
        let wanted = into.len() - first;
        if wanted == 0 {
            return Ok(false);
        }
        let areas = into[first..]
            .iter_mut()
            .map(|buffer| buffer.receive_area(0));
        let got = self.inbox.receive(&self.socket, areas);
        let count = *got.as_ref().unwrap_or(&0);
        into.drain(first + count..)
            .for_each(|unused| pool.give(unused));
        for (index, buffer) in into[first..].iter_mut().enumerate() {
            let message = self.inbox.message(index);
            let told = ancillary::read(message.control);
            buffer.received(message.len);
            buffer.meta.malformed = message.cut;
            buffer.meta.remote = message.from.address();
            buffer.meta.tos = told.tos;
            if usize::from(told.segment) < message.len {
                buffer.meta.segment = told.segment;
            }
        }
        match got {
            Ok(count) => Ok(count < wanted),
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
            // Left over from an ICMP error or a signal; what waits is still there.
            Err(e) if is_passing(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn transmit_batch(&mut self, packets: &[Buffer], done: &mut Transmitted) {
        self.sender.begin();
        for (index, packet) in packets.iter().enumerate() {
            let is_sendable = packet.meta.remote.is_some_and(|remote| {
                remote.is_ipv4() == self.address.is_ipv4() && !packet.is_empty()
            });
            self.choice[index] = if is_sendable {
                source_of(packet.meta.flow_hash, self.sources.len()) as u8
            } else {
                self.sender.settle(index, Fate::Refused);
                SENT
            };
        }
        for first in 0..packets.len() {
            let choice = self.choice[first];
            if choice != SENT {
                self.transmit_from(usize::from(choice), first, packets);
            }
        }
        self.sender.count(packets, done);
    }

    /// Sends all packets from `first` on that use the same source port.
    fn transmit_from(&mut self, source: usize, first: usize, packets: &[Buffer]) {
        let (address, port, socket) = (self.address, self.port, &self.sources[source]);
        let whole = |piece: &Piece| {
            let meta = &packets[piece.packet].meta;
            let to = Name::new(meta.remote.unwrap_or(address), port);
            let mut control = Control::default();
            if meta.tos != 0 {
                control.push_tos(meta.tos, address.is_ipv4());
            }
            if piece.segment != 0 {
                control.push_segment(piece.segment);
            }
            Message {
                control,
                ..batch::message(packets, piece, to)
            }
        };
        let mut pieces = [Piece::default(); BATCH];
        let mut count = 0;
        for (packet, buffer) in packets.iter().enumerate().skip(first) {
            if usize::from(self.choice[packet]) != source {
                continue;
            }
            self.choice[packet] = SENT;
            let (len, segment) = (buffer.len(), buffer.meta.segment);
            let step = step(len, segment, self.sender.segmentation);
            let mut start = 0;
            while start < len {
                let end = len.min(start + step);
                let several = segment != 0 && end - start > usize::from(segment);
                let segment = if several { segment } else { 0 };
                pieces[count] = Piece {
                    packet,
                    start,
                    end,
                    segment,
                };
                count += 1;
                start = end;
                if count == BATCH {
                    self.sender.flush(socket, &pieces, &whole);
                    count = 0;
                }
            }
        }
        self.sender.flush(socket, &pieces[..count], &whole);
    }
}

/// Which of `sources` a packet's flow uses.
fn source_of(flow_hash: u32, sources: usize) -> usize {
    ((u64::from(flow_hash) * sources as u64) >> 32) as usize
}

impl Whole {
    /// Headers as the sockets' are.
    fn send(&self, port: u16, packet: &mut Buffer) -> std::result::Result<(), Errno> {
        let Some(IpAddr::V4(remote)) = packet.meta.remote else {
            return Err(Errno::EINVAL);
        };
        let length =
            u16::try_from(encap::udp::HEADER_LEN + packet.len()).map_err(|_| Errno::EMSGSIZE)?;
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[1] = packet.meta.tos;
        ip[6] = DF;
        ip[8] = TTL;
        ip[9] = libc::IPPROTO_UDP as u8;
        ip[12..16].copy_from_slice(&self.address.octets());
        ip[16..].copy_from_slice(&remote.octets());
        let mut udp = [0; encap::udp::HEADER_LEN];
        let source = source_port(&self.ports, packet.meta.flow_hash);
        udp[..2].copy_from_slice(&source.to_be_bytes());
        udp[2..4].copy_from_slice(&port.to_be_bytes());
        udp[4..6].copy_from_slice(&length.to_be_bytes());
        self.encapsulator.send(packet, ip, udp)
    }
}

/// How many bytes of a packet go into one message.
fn step(len: usize, segment: u16, segmentation: bool) -> usize {
    match usize::from(segment) {
        0 => len,
        segment if !segmentation => segment,
        segment => {
            segment
                * encap::Tunnel::MAX_SEGMENTS
                    .min(MAX_MESSAGE / segment)
                    .max(1)
        }
    }
}

/// Whether an error says nothing about the socket itself.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::EINTR
                | libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENOPROTOOPT
                | libc::EMSGSIZE
                | libc::ENETDOWN
                | libc::ENOMEM
                | libc::ENOBUFS
        )
    )
}

impl Device for VxlanSocket {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        batch::receive(into, INBOX, |into, most| {
            self.receive_some(pool, into, most)
        })
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        let mut done = Transmitted::default();
        // One flow's packets must not overtake each other on two ways out, so a run of packets
        // for one way is sent before the next run.
        let is_whole = |packet: &Buffer| packet.meta.offload.partial().is_some();
        for run in packets.chunk_by_mut(|a, b| is_whole(a) == is_whole(b)) {
            if let Some(whole) = &self.whole
                && run.first().is_some_and(is_whole)
            {
                batch::one_by_one(run, &mut done, |packet| whole.send(self.port, packet));
                continue;
            }
            for packets in run.chunks(BATCH) {
                self.transmit_batch(packets, &mut done);
            }
        }
        done
    }

    fn capabilities(&self) -> Capabilities {
        match self.whole {
            // Of a UDP super-packet the receiver would not learn where its datagrams end.
            Some(_) => Capabilities {
                tso: true,
                ..Capabilities::DATAGRAMS
            },
            None => Capabilities::DATAGRAMS,
        }
    }
}

impl AsRawFd for VxlanSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_within_the_kernels_limits() {
        assert_eq!(step(1400, 0, true), 1400);
        assert_eq!(step(60_000, 1458, true), 1458 * 44);
        assert_eq!(step(60_000, 100, true), 6400);
        assert_eq!(step(60_000, 1458, false), 1458);
        assert_eq!(step(60_000, 50_000, true), 50_000);
    }
}
