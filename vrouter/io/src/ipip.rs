//! IPIP's underlay (RFC 2003): raw sockets of protocol 4.
//!
//! Every worker has a socket that accepts its share of the flows (see `spread.rs`) and one that
//! only sends, with outer headers written here: TTL and DF are the inner packet's, as the kernel's
//! `tunl0` has them, and an outer packet is never fragmented by this node. Raw sockets take and
//! give packets one by one; [`segment_in_kernel`] opens a way for super-packets. What a peer sent
//! whole arrives whole, without a word about it: the packet path sees that by its checksum.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Transmitted, Vector};

use crate::ancillary::Name;
use crate::batch::{self, BATCH, Fate, Piece, Sender};
use crate::encapsulator::{self, Encapsulator, Tunnel};
use crate::error::{Context, Result};
use crate::netns::Netns;
use crate::spread;
use crate::sys::{Inbox, Message};
use crate::vxlan::is_passing;

const IPV4_HEADER: usize = 20;
const DF: u8 = 0x40;
/// Messages in one `recvmmsg`.
const INBOX: usize = 32;
/// One worker's part of the IPIP underlay.
#[derive(Debug)]
pub struct IpipSocket {
    receiver: Socket,
    transmitter: Socket,
    address: Ipv4Addr,
    /// Bytes of the longest inner packet the underlay brings in one piece.
    inner_mtu: usize,
    inbox: Inbox,
    sender: Sender,
    /// The outer header of each packet of a batch.
    headers: [[u8; IPV4_HEADER]; BATCH],
    /// The way for super-packets, if the kernel has one.
    encapsulator: Option<Encapsulator>,
}

/// Lets the kernel segment what `sockets` send by interface number `underlay`, in `netns` or the
/// caller's namespace: from then on they take TCP super-packets as they are. A TAP `name` is made
/// for it and lives as long as the sockets do.
///
/// # Errors
/// The kernel is older than 6.6 or the process lacks `CAP_BPF` or `CAP_NET_ADMIN`, or the name is
/// taken; the sockets then work as before.
pub fn segment_in_kernel(
    sockets: &mut [IpipSocket],
    netns: Option<&Netns>,
    name: &str,
    underlay: u32,
) -> Result<()> {
    let workers = sockets.len();
    let open_here = || encapsulator::open(Tunnel::Ipip, name, underlay, workers);
    let encapsulators = match netns {
        Some(netns) => netns.run(open_here)?,
        None => open_here(),
    }?;
    for (socket, encapsulator) in sockets.iter_mut().zip(encapsulators) {
        socket.encapsulator = Some(encapsulator);
    }
    Ok(())
}

/// Opens the sockets of `workers` workers at the node's `address`, whose interface has `mtu`, in
/// `netns` or the caller's namespace.
///
/// # Errors
/// The address is not the node's, or the process may not open raw sockets (`CAP_NET_RAW`).
pub fn open(
    netns: Option<&Netns>,
    address: Ipv4Addr,
    mtu: u32,
    workers: usize,
) -> Result<Vec<IpipSocket>> {
    let open_here = || {
        (0..workers)
            .map(|index| open_one(address, mtu, index, workers))
            .collect()
    };
    match netns {
        Some(netns) => netns.run(open_here)?,
        None => open_here(),
    }
}

fn open_one(address: Ipv4Addr, mtu: u32, index: usize, workers: usize) -> Result<IpipSocket> {
    let action = || format!("open the IPIP sockets of worker {index} at {address}");
    let receiver = raw(libc::IPPROTO_IPIP, address).context(action)?;
    receiver
        .attach_filter(&spread::filter(index, workers))
        .context(action)?;
    // Between the socket's making and the filter, packets of other workers may have come in.
    let mut inbox = Inbox::new(INBOX);
    let mut scratch = [[0; 1]; INBOX];
    loop {
        let areas = scratch.iter_mut().map(<[u8; 1]>::as_mut_slice);
        if !inbox.receive(&receiver, areas).is_ok_and(|count| count > 0) {
            break;
        }
    }
    let transmitter = raw(libc::IPPROTO_RAW, address).context(action)?;
    let inner_mtu = (mtu as usize).saturating_sub(IPV4_HEADER);
    let headers = [[0; IPV4_HEADER]; BATCH];
    let sender = Sender::new();
    Ok(IpipSocket {
        receiver,
        transmitter,
        address,
        inner_mtu,
        inbox,
        sender,
        headers,
        encapsulator: None,
    })
}

/// A raw socket bound to `address`. Of protocol `IPPROTO_RAW` it receives nothing and takes
/// packets with their header (`raw(7)`).
fn raw(protocol: libc::c_int, address: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))?;
    socket.set_nonblocking(true)?;
    batch::enlarge(&socket)?;
    socket.bind(&SocketAddr::new(address.into(), 0).into())?;
    Ok(socket)
}

impl IpipSocket {
    /// The node's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
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
        let got = self.inbox.receive(&self.receiver, areas);
        let count = *got.as_ref().unwrap_or(&0);
        into.drain(first + count..)
            .for_each(|unused| pool.give(unused));
        for (index, buffer) in into[first..].iter_mut().enumerate() {
            let message = self.inbox.message(index);
            buffer.received(message.len);
            open_outer(buffer);
            buffer.meta.malformed |= message.cut;
        }
        match got {
            Ok(count) => Ok(count < wanted),
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
            // Left over from an ICMP error or a signal; what waits is still there.
            Err(e) if is_passing(&e) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn encapsulate(&self, packet: &mut Buffer) -> std::result::Result<(), Errno> {
        let Some(encapsulator) = &self.encapsulator else {
            return Err(Errno::EINVAL);
        };
        let is_super = packet.meta.offload.gso().is_some();
        if !is_super && packet.len() > self.inner_mtu {
            return Err(Errno::EMSGSIZE);
        }
        let header = outer(packet, self.address).ok_or(Errno::EINVAL)?;
        encapsulator.send(packet, header, [])
    }

    fn transmit_batch(&mut self, packets: &[Buffer], done: &mut Transmitted) {
        self.sender.begin();
        let Self {
            transmitter,
            sender,
            headers,
            address,
            ..
        } = self;
        for (index, packet) in packets.iter().enumerate() {
            match outer(packet, *address) {
                Some(header) => headers[index] = header,
                None => sender.settle(index, Fate::Refused),
            }
        }
        let headers = &*headers;
        let whole = |piece: &Piece| {
            let header = &headers[piece.packet];
            let to = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
            let to = Name::new(to.into(), 0);
            Message {
                header,
                ..batch::message(packets, piece, to)
            }
        };
        let mut pieces = [Piece::default(); BATCH];
        let mut count = 0;
        for (packet, buffer) in packets.iter().enumerate() {
            if sender.fate(packet) == Fate::Refused {
                continue;
            }
            let len = buffer.len();
            let step = match buffer.meta.segment {
                0 => len,
                segment => segment.into(),
            };
            let mut start = 0;
            while start < len {
                let end = len.min(start + step);
                pieces[count] = Piece {
                    packet,
                    start,
                    end,
                    segment: 0,
                };
                count += 1;
                start = end;
                if count == BATCH {
                    sender.flush(transmitter, &pieces, &whole);
                    count = 0;
                }
            }
        }
        sender.flush(transmitter, &pieces[..count], &whole);
        sender.count(packets, done);
    }
}

/// The outer header of a packet's datagrams; the kernel fills in length, identification (for
/// packets without DF) and checksum. `None` when there is no IPv4 packet or no IPv4 peer.
fn outer(packet: &Buffer, source: Ipv4Addr) -> Option<[u8; IPV4_HEADER]> {
    let inner: &[u8; IPV4_HEADER] = packet.bytes().first_chunk()?;
    let IpAddr::V4(remote) = packet.meta.remote? else {
        return None;
    };
    if inner[0] >> 4 != 4 {
        return None;
    }
    let mut header = [0; IPV4_HEADER];
    header[0] = 0x45;
    header[1] = packet.meta.tos;
    header[6] = inner[6] & DF;
    header[8] = inner[8];
    header[9] = libc::IPPROTO_IPIP as u8;
    header[12..16].copy_from_slice(&source.octets());
    header[16..].copy_from_slice(&remote.octets());
    Some(header)
}

/// Takes the outer header off and notes peer and TOS.
fn open_outer(buffer: &mut Buffer) {
    let Some(header) = buffer.bytes().first_chunk::<IPV4_HEADER>() else {
        buffer.meta.malformed = true;
        return;
    };
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let (tos, header_len) = (header[1], usize::from(header[0] & 0xf) * 4);
    buffer.meta.remote = Some(source.into());
    buffer.meta.tos = tos;
    buffer.meta.malformed = !buffer.strip(header_len);
}

impl Device for IpipSocket {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        batch::receive(into, INBOX, |into, most| {
            self.receive_some(pool, into, most)
        })
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        let mut done = Transmitted::default();
        // One flow's packets must not overtake each other on two ways out, so a run of packets
        // for one way is sent before the next run.
        let in_kernel = self.encapsulator.is_some();
        let is_encapsulated =
            |packet: &Buffer| in_kernel && packet.meta.offload.partial().is_some();
        for run in packets.chunk_by_mut(|a, b| is_encapsulated(a) == is_encapsulated(b)) {
            if run.first().is_some_and(is_encapsulated) {
                batch::one_by_one(run, &mut done, |packet| self.encapsulate(packet));
                continue;
            }
            for packets in run.chunks(BATCH) {
                self.transmit_batch(packets, &mut done);
            }
        }
        done
    }

    fn capabilities(&self) -> Capabilities {
        match self.encapsulator {
            // Single packets are cheaper by the raw socket, many in a call, and so wanted finished.
            // Of a UDP super-packet the receiver would not learn where its datagrams end.
            Some(_) => Capabilities {
                tso: true,
                ..Capabilities::DATAGRAMS
            },
            None => Capabilities::DATAGRAMS,
        }
    }
}

impl AsRawFd for IpipSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.receiver.as_raw_fd()
    }
}
