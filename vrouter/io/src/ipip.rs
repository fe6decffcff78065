//! IPIP's underlay (RFC 2003): packet sockets that receive and raw sockets that send protocol 4.
//!
//! Every worker has a packet socket with its share of the flows (see `packet.rs`), which brings
//! super-packets whole and says where their segments end; and a raw socket that only sends, with
//! outer headers written here: TTL and DF are the inner packet's, as the kernel's `tunl0` has them,
//! and an outer packet is never fragmented by this node. A raw socket takes packets one by one;
//! [`segment_in_kernel`] opens a way for super-packets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use encap::Family;
use encap::checksum;
use encap::ip::{Layers, Part};
use encap::offload::{HEADER_LEN, Offload};
use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Transmitted, Vector};

use crate::ancillary::{self, Name};
use crate::batch::{self, BATCH, Fate, Piece, Sender};
use crate::encapsulator::{self, Encapsulator, Tunnel};
use crate::error::{Context, Result};
use crate::netns::Netns;
use crate::packet;
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
    /// Without a raw socket for the protocol the kernel tells peers that nobody here speaks it.
    _speaker: Arc<Socket>,
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
/// caller's namespace: from then on they take super-packets as they are. A TAP `name` is made for
/// it and lives as long as the sockets do.
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
/// The address is not the node's, or the process may not open raw and packet sockets
/// (`CAP_NET_RAW`).
pub fn open(
    netns: Option<&Netns>,
    address: Ipv4Addr,
    mtu: u32,
    workers: usize,
) -> Result<Vec<IpipSocket>> {
    let open_here = || open_here(address, mtu, workers);
    match netns {
        Some(netns) => netns.run(open_here)?,
        None => open_here(),
    }
}

fn open_here(address: Ipv4Addr, mtu: u32, workers: usize) -> Result<Vec<IpipSocket>> {
    let action = || format!("open the IPIP sockets at {address}");
    // A packet socket takes any address; this one refuses what is not the node's.
    let speaker = raw(libc::IPPROTO_IPIP, address).context(action)?;
    batch::deafen(&speaker).context(action)?;
    let speaker = Arc::new(speaker);
    packet::open(address, libc::IPPROTO_IPIP as u8, workers)
        .context(action)?
        .into_iter()
        .map(|receiver| {
            let transmitter = raw(libc::IPPROTO_RAW, address).context(action)?;
            batch::enlarge(&transmitter).context(action)?;
            Ok(IpipSocket {
                receiver,
                transmitter,
                _speaker: Arc::clone(&speaker),
                address,
                inner_mtu: (mtu as usize).saturating_sub(IPV4_HEADER),
                inbox: Inbox::new(INBOX),
                sender: Sender::new(),
                headers: [[0; IPV4_HEADER]; BATCH],
                encapsulator: None,
            })
        })
        .collect()
}

/// A raw socket bound to `address`. Of protocol `IPPROTO_RAW` it receives nothing and takes
/// packets with their header (`raw(7)`).
fn raw(protocol: libc::c_int, address: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(protocol)))?;
    socket.set_nonblocking(true)?;
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
            .map(|buffer| buffer.receive_area(HEADER_LEN));
        let got = self.inbox.receive(&self.receiver, areas);
        let count = *got.as_ref().unwrap_or(&0);
        into.drain(first + count..)
            .for_each(|unused| pool.give(unused));
        for (index, buffer) in into[first..].iter_mut().enumerate() {
            let message = self.inbox.message(index);
            let device = *buffer
                .receive_area(HEADER_LEN)
                .first_chunk()
                .unwrap_or(&[0; _]);
            buffer.received(message.len.saturating_sub(HEADER_LEN));
            let is_whole = message.len >= HEADER_LEN && !message.cut;
            let l3 = ancillary::read(message.control).network.into();
            buffer.meta.malformed = !is_whole || open_outer(buffer, device, l3).is_none();
        }
        match got {
            Ok(count) => Ok(count < wanted),
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
            // A packet that the virtio-net header has no words for; it is gone.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                into.extend(pool.take().map(|mut lost| {
                    lost.meta.malformed = true;
                    lost
                }));
                Ok(false)
            }
            // A signal, or an error left over; what waits is still there.
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

/// Takes off a frame's outer header, which begins at `l3`, and what is before and behind its packet.
/// Notes peer, TOS and what `device`, the virtio-net header, says of the inner packet. `None` when
/// the headers are wrong.
fn open_outer(buffer: &mut Buffer, device: [u8; HEADER_LEN], l3: usize) -> Option<()> {
    let bytes = buffer.bytes();
    let layers = Layers::parse(bytes, l3).ok()?;
    checksum::verify_header(bytes, &layers).ok()?;
    let header: &[u8; IPV4_HEADER] = bytes.get(l3..)?.first_chunk()?;
    let tos = header[1];
    let source = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    if (layers.family, layers.part) != (Family::V4, Part::Whole) {
        return None;
    }
    let offload = match Offload::parse(&device, layers.end).ok()? {
        // Of which of the checksums, nobody says.
        Offload::Verified => Offload::None,
        offload => offload.shift(-(layers.l4 as isize)).ok()?,
    };
    // A short frame is filled up behind its packet.
    if !buffer.narrow(layers.l4..layers.end) {
        return None;
    }
    buffer.meta.offload = offload;
    buffer.meta.remote = Some(source.into());
    buffer.meta.tos = tos;
    Some(())
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
            Some(_) => Capabilities {
                tso: true,
                uso: true,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a link's header.
    const LINK: usize = 14;

    /// A link's header, an outer header for 30 bytes, the bytes, and 10 that fill up the frame.
    fn arrived() -> Buffer {
        let mut bytes = vec![7; LINK + 60];
        bytes[LINK..LINK + IPV4_HEADER].copy_from_slice(&[
            0x45, 0xb8, 0, 50, 0, 0, 0x40, 0, 64, 4, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
        ]);
        let mut buffer = Buffer::from_slice(&bytes);
        sum(&mut buffer);
        buffer
    }

    fn sum(buffer: &mut Buffer) {
        let header = &mut buffer.bytes_mut()[LINK..LINK + IPV4_HEADER];
        let sum = checksum::ipv4_header(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    #[test]
    fn outer_headers_are_taken_off() {
        let mut buffer = arrived();
        open_outer(&mut buffer, [0; HEADER_LEN], LINK).unwrap();
        assert_eq!(buffer.bytes(), [7; 30]);
        assert_eq!(buffer.meta.remote, Some([192, 0, 2, 1].into()));
        assert_eq!(
            (buffer.meta.tos, buffer.meta.offload),
            (0xb8, Offload::None)
        );
    }

    #[test]
    fn what_is_unfinished_is_told_from_the_inner_header_on() {
        let open = |device| {
            let mut buffer = arrived();
            open_outer(&mut buffer, device, LINK).map(|()| buffer.meta.offload)
        };
        let partial = |start| encap::offload::Partial { start, offset: 6 };
        let needs_checksum = |start| [1, 0, 0, 0, 0, 0, start, 0, 6, 0];
        assert_eq!(
            open(needs_checksum(54)),
            Some(Offload::Partial(partial(20)))
        );
        assert_eq!(open(needs_checksum(33)), None);
        assert_eq!(open(needs_checksum(57)), None);
        let verified = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(open(verified), Some(Offload::None));
        assert_eq!(open([0, 99, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn wrong_outer_headers_are_refused() {
        for (at, wrong) in [(0, 0x44), (0, 0x65), (3, 61), (6, 0x20), (8, 63)] {
            let mut buffer = arrived();
            buffer.bytes_mut()[LINK + at] = wrong;
            assert_eq!(open_outer(&mut buffer, [0; HEADER_LEN], LINK), None, "{at}");
        }
        let mut cut = arrived();
        cut.truncate(LINK + 49);
        assert_eq!(open_outer(&mut cut, [0; HEADER_LEN], LINK), None);
        // A fragment with the right checksum.
        let mut fragment = arrived();
        fragment.bytes_mut()[LINK + 6] = 0x20;
        sum(&mut fragment);
        assert_eq!(open_outer(&mut fragment, [0; HEADER_LEN], LINK), None);
    }
}
