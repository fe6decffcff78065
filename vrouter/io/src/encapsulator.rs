//! IPIP super-packets by way of the kernel's own segmentation.
//!
//! A raw socket takes packets one by one, each of which walks through the whole stack. The kernel
//! can carry an IPIP super-packet whole (`SKB_GSO_IPXIP4`), but the virtio-net header has no name
//! for one. So it goes through a TAP of its own, with the outer header in front: on its way in, a
//! small eBPF program takes that header off, puts it back as a tunnel header (`bpf_skb_adjust_room`
//! marks the packet as a tunnelled one) and sends it out of the underlay interface, next hop and
//! neighbor found by the kernel (`bpf_redirect_neigh`). What the interface cannot segment itself,
//! the kernel segments last of all, and unfinished checksums likewise.
//!
//! Needs Linux 6.6 and `CAP_BPF`; without, raw sockets do the work.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::write;

use crate::error::{Context, Result};
use crate::link::Link;
use crate::queue::{self, Wanted};
use crate::sys::{self, Instruction, Kind};
use crate::sysctl;

const IPV4_HEADER: i32 = 20;
const ETHERNET_HEADER: i32 = 14;

/// The Ethernet header of the frames to send: nobody reads the addresses, but
/// `bpf_redirect_neigh` wants such a header and no multicast address in it.
pub(crate) const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];

/// One worker's queue of the TAP whose packets leave as IPIP.
#[derive(Debug)]
pub(crate) struct Encapsulator {
    file: File,
    /// Keeps the program attached.
    _program: Arc<OwnedFd>,
}

/// Makes the TAP `name` in the calling thread's namespace, for packets that are to leave by
/// interface `underlay`, and opens a queue for each worker.
pub(crate) fn open(name: &str, underlay: u32, workers: usize) -> Result<Vec<Encapsulator>> {
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
    let program = sys::attach_ingress(&program(underlay), index)
        .context(|| format!("attach the IPIP program to {name}"))?;
    link.set_up(index)?;
    let program = Arc::new(program);
    let with_program = |file| Encapsulator {
        file,
        _program: Arc::clone(&program),
    };
    Ok(queues
        .into_iter()
        .map(|queue| with_program(queue.into_file()))
        .collect())
}

impl Encapsulator {
    /// Sends a packet: virtio-net header, [`ETHERNET`], outer header, inner packet.
    pub(crate) fn send(&self, bytes: &[u8]) -> std::result::Result<(), Errno> {
        write(&self.file, bytes).map(drop)
    }
}

/// The program for packets that leave by interface `underlay`.
fn program(underlay: u32) -> Vec<Instruction> {
    /// Helper numbers of `linux/bpf.h`.
    const SKB_STORE_BYTES: i32 = 9;
    const SKB_LOAD_BYTES: i32 = 26;
    const SKB_ADJUST_ROOM: i32 = 50;
    const REDIRECT_NEIGH: i32 = 152;
    const ROOM_MAC: i32 = 1;
    const FIXED_GSO: i32 = 1;
    const ENCAP_L3_IPV4: i32 = 2;
    const SHOT: i32 = 2;
    /// Where on the stack the outer header is kept.
    const HEADER: i32 = -24;

    let mut code = Vec::new();
    code.push(copy(6, 1));
    let header_to = |register: u8| [copy(register, 10), add(register, HEADER)];
    // skb_load_bytes(skb, 14, header, 20)
    code.extend([set(2, ETHERNET_HEADER)]);
    code.extend(header_to(3));
    code.extend([set(4, IPV4_HEADER), call(SKB_LOAD_BYTES)]);
    let mut failures = vec![code.len()];
    code.push(0);
    // skb_adjust_room(skb, -20, ROOM_MAC, FIXED_GSO)
    code.extend([
        copy(1, 6),
        set(2, -IPV4_HEADER),
        set(3, ROOM_MAC),
        set(4, FIXED_GSO),
    ]);
    code.push(call(SKB_ADJUST_ROOM));
    failures.push(code.len());
    code.push(0);
    // skb_adjust_room(skb, 20, ROOM_MAC, FIXED_GSO | ENCAP_L3_IPV4)
    code.extend([copy(1, 6), set(2, IPV4_HEADER), set(3, ROOM_MAC)]);
    code.extend([set(4, FIXED_GSO | ENCAP_L3_IPV4), call(SKB_ADJUST_ROOM)]);
    failures.push(code.len());
    code.push(0);
    // skb_store_bytes(skb, 14, header, 20, 0)
    code.extend([copy(1, 6), set(2, ETHERNET_HEADER)]);
    code.extend(header_to(3));
    code.extend([set(4, IPV4_HEADER), set(5, 0), call(SKB_STORE_BYTES)]);
    failures.push(code.len());
    code.push(0);
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

fn add(to: u8, value: i32) -> Instruction {
    instruction(0x07, to, 0, 0, value)
}

fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, helper)
}

fn jump_unless_zero(register: u8, by: i16) -> Instruction {
    instruction(0x55, register, 0, by, 0)
}
