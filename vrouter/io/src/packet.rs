//! Packet sockets that receive what arrives for one IP protocol, a socket for each worker
//! (`packet(7)`, `linux/if_packet.h`).
//!
//! Unlike a raw socket, a packet socket says with a virtio-net header what is unfinished about a
//! packet: where the segments of a super-packet end and whether its checksum is still open. It
//! takes packets before the host's own input rules (iptables' `INPUT`) see them. The kernel spreads
//! them over the workers by the innermost flow's addresses and ports, which fragments of an inner
//! packet lack, and puts outer fragments together first (`PACKET_FANOUT_HASH`,
//! `PACKET_FANOUT_FLAG_DEFRAG`).

use std::io;
use std::net::Ipv4Addr;

use libc::{
    BPF_ABS, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, PACKET_AUXDATA, PACKET_FANOUT,
    PACKET_FANOUT_CPU, PACKET_FANOUT_FLAG_DEFRAG, PACKET_FANOUT_FLAG_UNIQUEID, PACKET_FANOUT_HASH,
    PACKET_VNET_HDR, SKF_AD_OFF, SKF_AD_PKTTYPE, SKF_NET_OFF, SOL_PACKET,
};
use socket2::{Domain, SockFilter, Socket, Type};

use crate::batch;
use crate::sys;

/// Bytes of a packet to keep: more than any has.
const ALL: u32 = 1 << 18;

/// Opens the sockets of `workers` workers for packets of `protocol` to the node's address `to`,
/// whichever interface they come by.
///
/// Each message is the ten bytes of `virtio_net_hdr`, then the frame; where in it the IP header is,
/// its control message tells ([`crate::ancillary::ReceivedControl::network`]).
pub(crate) fn open(to: Ipv4Addr, protocol: u8, workers: usize) -> io::Result<Vec<Socket>> {
    let mut group = None;
    let sockets = (0..workers)
        .map(|_| {
            let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
            socket.set_nonblocking(true)?;
            batch::enlarge(&socket)?;
            sys::set_option(&socket, SOL_PACKET, PACKET_VNET_HDR, 1)?;
            sys::set_option(&socket, SOL_PACKET, PACKET_AUXDATA, 1)?;
            // Before it is one of the group it would get the others' packets, too.
            batch::deafen(&socket)?;
            sys::bind_packet(&socket, libc::ETH_P_IP as u16)?;
            group = Some(join(&socket, group, workers)?);
            Ok(socket)
        })
        .collect::<io::Result<Vec<_>>>()?;
    for socket in &sockets {
        socket.attach_filter(&filter(to, protocol))?;
    }
    Ok(sockets)
}

/// Makes a socket one of the group of that number, or of a new one, of so many; the group's number.
fn join(socket: &Socket, group: Option<u16>, members: usize) -> io::Result<u16> {
    // The group sees all IPv4 that arrives at the host. Where there is nothing to choose, the kernel
    // need not look into each packet for its flow.
    let choice = match members {
        1 => PACKET_FANOUT_CPU,
        _ => PACKET_FANOUT_HASH,
    };
    let unique = match group {
        Some(_) => 0,
        None => PACKET_FANOUT_FLAG_UNIQUEID,
    };
    let how = choice | PACKET_FANOUT_FLAG_DEFRAG | unique;
    let wanted = u32::from(group.unwrap_or(0)) | how << 16;
    sys::set_option(socket, SOL_PACKET, PACKET_FANOUT, wanted.cast_signed())?;
    sys::option(socket, SOL_PACKET, PACKET_FANOUT).map(|got| got as u16)
}

/// Packets of `protocol` sent to this host at `to`.
fn filter(to: Ipv4Addr, protocol: u8) -> [SockFilter; 8] {
    let step = |code: u32, value: u32| SockFilter::new(code as u16, 0, 0, value);
    let expect = |value: u32, to_refusal: u8| {
        SockFilter::new((BPF_JMP | BPF_JEQ | BPF_K) as u16, 0, to_refusal, value)
    };
    let byte = BPF_LD | BPF_B | BPF_ABS;
    let in_header = |at: i32| (SKF_NET_OFF + at).cast_unsigned();
    [
        step(byte, (SKF_AD_OFF + SKF_AD_PKTTYPE).cast_unsigned()),
        expect(libc::PACKET_HOST.into(), 5),
        step(byte, in_header(9)),
        expect(protocol.into(), 3),
        step(BPF_LD | BPF_W | BPF_ABS, in_header(16)),
        expect(to.to_bits(), 1),
        step(BPF_RET | BPF_K, ALL),
        step(BPF_RET | BPF_K, 0),
    ]
}
