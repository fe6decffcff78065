//! Super-packets through tunnels by way of the kernel's own segmentation.
//!
//! A socket takes finished packets: super-packets must be cut and summed for it. The kernel can
//! carry a tunnelled super-packet whole (`SKB_GSO_IPXIP4`, `SKB_GSO_UDP_TUNNEL`), but the
//! virtio-net header has a name for VXLAN's only, and that since Linux 6.17. So it goes through a
//! TAP of its own, with the outer headers in front: on its way in, a small eBPF program takes them
//! off, puts them back as a tunnel's (`bpf_skb_adjust_room` marks the packet as a tunnelled one) if
//! the header had no name for it, and sends it out of the underlay interface, next hop and neighbor
//! found by the kernel (`bpf_redirect_neigh`). What the interface cannot segment itself, the kernel
//! segments last of all, and unfinished checksums likewise.
//!
//! VXLAN's outer UDP checksum is filled in, as the kernel's own device does by default; only without
//! that name super-packets leave it out (RFC 7348 section 5).
//!
//! Needs Linux 6.6 and `CAP_BPF`; without, sockets do the work.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use encap::checksum;
use encap::offload::HEADER_LEN;
use nix::errno::Errno;
use nix::unistd::write;
use vrouter_dataplane::buffer::Buffer;

use crate::error::{Context, Result};
use crate::link::Link;
use crate::queue::{self, Wanted};
use crate::sys::{self, Instruction, Kind};
use crate::sysctl;

const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// What stands before an inner IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tunnel {
    /// An IPv4 header (RFC 2003).
    Ipip,
    /// IPv4, UDP, VXLAN and Ethernet headers (RFC 7348).
    Vxlan,
}

impl Tunnel {
    /// Bytes of all headers together.
    fn overhead(self) -> usize {
        match self {
            Self::Ipip => IPV4_HEADER,
            Self::Vxlan => IPV4_HEADER + UDP_HEADER + self.between(),
        }
    }

    /// Bytes between the outer transport header, or IPv4's, and the inner IP packet.
    fn between(self) -> usize {
        match self {
            Self::Ipip => 0,
            Self::Vxlan => 8 + ETHERNET.len(),
        }
    }

    /// Flags of `bpf_skb_adjust_room`: the low half, and the length of the inner link header.
    fn flags(self) -> (i32, usize) {
        const ENCAP_L3_IPV4: i32 = 2;
        const ENCAP_L4_UDP: i32 = 16;
        const ENCAP_L2_ETH: i32 = 64;
        match self {
            Self::Ipip => (ENCAP_L3_IPV4, 0),
            Self::Vxlan => (ENCAP_L3_IPV4 | ENCAP_L4_UDP | ENCAP_L2_ETH, ETHERNET.len()),
        }
    }
}

/// The Ethernet header of the frames to send: nobody reads the addresses, but
/// `bpf_redirect_neigh` wants such a header and no multicast address in it.
const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

/// Bytes of the virtio-net header that has a name for tunnelled super-packets
/// (`struct virtio_net_hdr_v1_hash_tunnel`).
const TUNNEL_HEADER_LEN: usize = 24;

/// One worker's queue of the TAP whose packets leave by a tunnel.
#[derive(Debug)]
pub(crate) struct Encapsulator {
    file: File,
    tunnel: Tunnel,
    /// Whether the virtio-net header is [`TUNNEL_HEADER_LEN`] bytes and names super-packets.
    named: bool,
    /// Keeps the program attached.
    _program: Arc<OwnedFd>,
}

/// Makes the TAP `name` in the calling thread's namespace, for packets that are to leave through
/// `tunnel` by interface `underlay`, and opens a queue for each worker.
pub(crate) fn open(
    tunnel: Tunnel,
    name: &str,
    underlay: u32,
    workers: usize,
) -> Result<Vec<Encapsulator>> {
    let wanted = Wanted {
        kind: Kind::Tap,
        name,
        queues: workers,
        mtu: 65_521,
        mac: None,
        hint: "",
    };
    let queues = queue::open(&wanted)?;
    let quiet = format!("net/ipv6/conf/{name}/disable_ipv6");
    if sysctl::exists(&quiet) {
        sysctl::write(&quiet, "1")?;
    }
    let link = Link::open()?;
    let index = link.expect_interface(name)?.index;
    let files: Vec<File> = queues.into_iter().map(queue::Queue::into_file).collect();
    let named = match (tunnel, files.first()) {
        (Tunnel::Vxlan, Some(file)) => {
            name_super_packets(file).context(|| format!("set the header of {name}"))?
        }
        _ => false,
    };
    let program = sys::attach_ingress(&program(tunnel, underlay, named), index)
        .context(|| format!("attach the tunnel's program to {name}"))?;
    link.set_up(index)?;
    let program = Arc::new(program);
    let with_program = |file| Encapsulator {
        file,
        tunnel,
        named,
        _program: Arc::clone(&program),
    };
    Ok(files.into_iter().map(with_program).collect())
}

/// Gives all queues of a TAP the header that names VXLAN's super-packets; `false`, and nothing
/// changed, if the kernel does not know it (Linux 6.17).
fn name_super_packets(file: &File) -> io::Result<bool> {
    /// `TUN_F_UDP_TUNNEL_GSO` and `TUN_F_UDP_TUNNEL_GSO_CSUM` of `linux/if_tun.h`.
    const TUNNELS: u32 = 0x80 | 0x100;
    sys::use_vnet_header(file, TUNNEL_HEADER_LEN)?;
    match sys::set_offload(file, queue::TCP_OFFLOADS | TUNNELS) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            sys::use_vnet_header(file, HEADER_LEN).map(|()| false)
        }
        other => other.map(|()| true),
    }
}

impl Encapsulator {
    /// Sends a packet with the IPv4 header `ip` and `transport` in front, whose lengths and
    /// checksums are filled in here.
    pub(crate) fn send<const TRANSPORT: usize>(
        &self,
        packet: &mut Buffer,
        ip: [u8; IPV4_HEADER],
        transport: [u8; TRANSPORT],
    ) -> std::result::Result<(), Errno> {
        let device = if self.named {
            TUNNEL_HEADER_LEN
        } else {
            HEADER_LEN
        };
        let mut prefix = [0; TUNNEL_HEADER_LEN + ETHERNET.len() + IPV4_HEADER + UDP_HEADER];
        let len = device + ETHERNET.len() + IPV4_HEADER + TRANSPORT;
        let prefix = prefix.get_mut(..len).ok_or(Errno::EINVAL)?;
        let (device, frame) = prefix.split_at_mut(device);
        self.fill_frame(frame, packet, ip, &transport)
            .ok_or(Errno::EINVAL)?;
        self.fill_device(device, frame.len(), packet)
            .ok_or(Errno::EINVAL)?;
        let bytes = packet.with_prefix(prefix).ok_or(Errno::EINVAL)?;
        write(&self.file, bytes).map(drop)
    }

    /// Writes the virtio-net header of a packet that has `ahead` bytes of frame before it.
    fn fill_device(&self, device: &mut [u8], ahead: usize, packet: &Buffer) -> Option<()> {
        /// `VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM` and `VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4`.
        const SUMMED: u8 = 8;
        const OVER_IPV4: u8 = 0x20;
        let offload = packet.meta.offload.shift(ahead as isize).ok()?;
        let (plain, more) = device.split_first_chunk_mut::<HEADER_LEN>()?;
        *plain = offload.emit();
        if self.named && offload.gso().is_some() {
            plain[0] |= SUMMED;
            plain[1] |= OVER_IPV4;
            // Before the last four bytes are the number of buffers and a hash, none of which it has.
            let transport = (ETHERNET.len() + IPV4_HEADER) as u16;
            let inner = (ahead + self.tunnel.between()) as u16;
            let places = more.last_chunk_mut::<4>()?;
            places[..2].copy_from_slice(&transport.to_le_bytes());
            places[2..].copy_from_slice(&inner.to_le_bytes());
        }
        Some(())
    }

    /// Writes Ethernet, IPv4 and transport header of a packet.
    fn fill_frame(
        &self,
        frame: &mut [u8],
        packet: &Buffer,
        mut ip: [u8; IPV4_HEADER],
        transport: &[u8],
    ) -> Option<()> {
        let total = IPV4_HEADER + transport.len() + packet.len();
        ip[2..4].copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
        let checksum = checksum::ipv4_header(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        let (ethernet, headers) = frame.split_at_mut(ETHERNET.len());
        ethernet.copy_from_slice(&ETHERNET);
        let (network, last) = headers.split_at_mut(IPV4_HEADER);
        network.copy_from_slice(&ip);
        last.copy_from_slice(transport);
        if let Some(udp) = last.first_chunk_mut::<UDP_HEADER>() {
            let checksum = self.udp_checksum(&ip, udp, packet)?;
            udp[6..].copy_from_slice(&checksum.to_be_bytes());
        }
        Some(())
    }

    /// The field of the outer UDP header `udp`, which is zero so far.
    fn udp_checksum(
        &self,
        ip: &[u8; IPV4_HEADER],
        udp: &[u8; UDP_HEADER],
        packet: &Buffer,
    ) -> Option<u16> {
        // Of the pseudo-header: addresses, protocol, length.
        let pseudo = checksum::sum(&ip[12..])
            .add_u16(ip[9].into())
            .add_u16(u16::from_be_bytes([udp[4], udp[5]]));
        if packet.meta.offload.gso().is_some() {
            // Each segment's is the kernel's to fill in, who begins with the pseudo-header's sum.
            return Some(if self.named { pseudo.fold() } else { 0 });
        }
        // With its own checksum filled in, what that covers sums to the complement of what the field
        // holds now, which is the inner pseudo-header's sum.
        let partial = packet.meta.offload.partial()?;
        let before = packet.bytes().get(..partial.start.into())?;
        let held = packet.bytes().get(partial.field()..)?.first_chunk()?;
        let sum = pseudo + checksum::sum(udp) + checksum::sum(before);
        Some(sum.add_u16(!u16::from_be_bytes(*held)).udp_checksum())
    }
}

/// The program for packets that leave through `tunnel` by interface `underlay`. With `named`, the
/// kernel knows super-packets for tunnelled ones already.
fn program(tunnel: Tunnel, underlay: u32, named: bool) -> Vec<Instruction> {
    /// Helper numbers of `linux/bpf.h`.
    const SKB_STORE_BYTES: i32 = 9;
    const SKB_LOAD_BYTES: i32 = 26;
    const SKB_ADJUST_ROOM: i32 = 50;
    const REDIRECT_NEIGH: i32 = 152;
    const ROOM_MAC: i32 = 1;
    const FIXED_GSO: i32 = 1;
    const SHOT: i32 = 2;
    const AT: i32 = ETHERNET.len() as i32;
    /// Where on the stack the headers are kept.
    const HEADERS: i32 = -56;
    /// Where `struct __sk_buff` has the payload of a super-packet's segments, else zero.
    const GSO_SIZE: i16 = 176;

    let overhead = tunnel.overhead() as i32;
    let (flags, inner_link) = tunnel.flags();
    let mut code = Vec::new();
    let mut failures = Vec::new();
    let checked = |code: &mut Vec<Instruction>, failures: &mut Vec<usize>, helper: i32| {
        code.push(call(helper));
        failures.push(code.len());
        code.push(0);
    };
    if named {
        // if (skb->gso_size) goto redirect
        code.extend([load(0, 1, GSO_SIZE), 0]);
    }
    let entry = code.len();
    code.push(copy(6, 1));
    // skb_load_bytes(skb, 14, headers, overhead)
    code.extend([set(2, AT), copy(3, 10), add(3, HEADERS), set(4, overhead)]);
    checked(&mut code, &mut failures, SKB_LOAD_BYTES);
    // skb_adjust_room(skb, -overhead, ROOM_MAC, FIXED_GSO)
    code.extend([
        copy(1, 6),
        set(2, -overhead),
        set(3, ROOM_MAC),
        set(4, FIXED_GSO),
    ]);
    checked(&mut code, &mut failures, SKB_ADJUST_ROOM);
    // skb_adjust_room(skb, overhead, ROOM_MAC, FIXED_GSO | flags | inner_link << 56)
    code.extend([copy(1, 6), set(2, overhead), set(3, ROOM_MAC)]);
    code.extend([
        set(4, inner_link as i32),
        shift_left(4, 56),
        or(4, FIXED_GSO | flags),
    ]);
    checked(&mut code, &mut failures, SKB_ADJUST_ROOM);
    // skb_store_bytes(skb, 14, headers, overhead, 0)
    code.extend([copy(1, 6), set(2, AT), copy(3, 10), add(3, HEADERS)]);
    code.extend([set(4, overhead), set(5, 0)]);
    checked(&mut code, &mut failures, SKB_STORE_BYTES);
    let redirect = code.len();
    // return redirect_neigh(underlay, NULL, 0, 0)
    code.extend([
        set(1, underlay.cast_signed()),
        set(2, 0),
        set(3, 0),
        set(4, 0),
    ]);
    code.extend([call(REDIRECT_NEIGH), EXIT]);
    let drop = code.len();
    code.extend([set(0, SHOT), EXIT]);
    for at in failures {
        code[at] = jump_unless_zero(0, (drop - at - 1) as i16);
    }
    if named {
        code[entry - 1] = jump_unless_zero(0, (redirect - entry) as i16);
    }
    code
}

const EXIT: Instruction = 0x95;

fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Instruction {
    let registers = u64::from(to) | u64::from(from) << 4;
    u64::from(code)
        | registers << 8
        | u64::from(offset.cast_unsigned()) << 16
        | u64::from(value.cast_unsigned()) << 32
}

fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}

fn set(to: u8, value: i32) -> Instruction {
    instruction(0xb7, to, 0, 0, value)
}

/// Four bytes at `offset` from where `from` points.
fn load(to: u8, from: u8, offset: i16) -> Instruction {
    instruction(0x61, to, from, offset, 0)
}

fn add(to: u8, value: i32) -> Instruction {
    instruction(0x07, to, 0, 0, value)
}

fn or(to: u8, value: i32) -> Instruction {
    instruction(0x47, to, 0, 0, value)
}

fn shift_left(to: u8, bits: i32) -> Instruction {
    instruction(0x67, to, 0, 0, bits)
}

fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, helper)
}

fn jump_unless_zero(register: u8, by: i16) -> Instruction {
    instruction(0x55, register, 0, by, 0)
}
