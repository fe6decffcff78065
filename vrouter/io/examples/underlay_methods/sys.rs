//! Packet sockets, their rings and AF_XDP sockets (`packet(7)`, `linux/if_packet.h`,
//! `linux/if_xdp.h`): the only file with unsafe code.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use libc::{c_int, c_void};

/// Packets in one call.
pub(crate) const BATCH: usize = 64;
/// Bytes of the longest frame.
pub(crate) const FRAME: usize = 66_000;

const SOL_PACKET: c_int = 263;
const PACKET_RX_RING: c_int = 5;
const PACKET_VERSION: c_int = 10;
const PACKET_TX_RING: c_int = 13;
const PACKET_VNET_HDR: c_int = 15;
const PACKET_QDISC_BYPASS: c_int = 20;
const PACKET_IGNORE_OUTGOING: c_int = 23;
/// Bytes of `tpacket2_hdr`, after which the frame to send begins.
const HEADER2: usize = 32;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn set<T: Copy>(fd: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let value_at = ptr::from_ref(value).cast::<c_void>();
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `value`.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value_at, len) }).map(drop)
}

fn socket(family: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes its arguments by value.
    let fd =
        check(unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_NONBLOCK, protocol) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind<T>(fd: &OwnedFd, name: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `name`.
    check(unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(name).cast(), len) }).map(drop)
}

/// Has the kernel look at what a ring's consumer or producer wrote.
fn kick(fd: &OwnedFd) {
    // SAFETY: no memory is named. What cannot be sent now stays in the ring.
    unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            ptr::null(),
            0,
            libc::MSG_DONTWAIT,
            ptr::null(),
            0,
        )
    };
}

/// A packet socket of one interface, or a raw one of IPIP.
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// A raw socket that takes in all of IPIP.
    pub(crate) fn ipip() -> io::Result<Self> {
        let fd = socket(libc::AF_INET, libc::IPPROTO_IPIP)?;
        set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(8 << 20))?;
        Ok(Self(fd))
    }

    /// One that takes in what arrives at `interface`, or only sends.
    pub(crate) fn open(interface: u32, receive: bool, vnet: bool) -> io::Result<Self> {
        let fd = socket(libc::AF_PACKET, 0)?;
        if vnet {
            set(&fd, SOL_PACKET, PACKET_VNET_HDR, &1)?;
        }
        set(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(8 << 20))?;
        set(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &(8 << 20))?;
        let socket = Self(fd);
        if receive {
            set(&socket.0, SOL_PACKET, PACKET_IGNORE_OUTGOING, &1)?;
        } else {
            set(&socket.0, SOL_PACKET, PACKET_QDISC_BYPASS, &1)?;
            socket.bind(interface, 0)?;
        }
        Ok(socket)
    }

    /// From here on packets come; rings must be there before.
    pub(crate) fn bind(&self, interface: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: zero bytes are a value of it.
        let mut name: libc::sockaddr_ll = unsafe { mem::zeroed() };
        name.sll_family = libc::AF_PACKET as u16;
        name.sll_protocol = protocol.to_be();
        name.sll_ifindex = interface as c_int;
        bind(&self.0, &name)
    }

    /// Sends as many as there is room for, in one call.
    pub(crate) fn send(&self, frames: &[&[u8]]) -> usize {
        let mut vectors = [libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        // SAFETY: integers and pointers, for which zero bytes are a value.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for ((vector, message), frame) in vectors.iter_mut().zip(&mut messages).zip(frames) {
            vector.iov_base = frame.as_ptr().cast_mut().cast();
            vector.iov_len = frame.len();
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
        }
        let count = frames.len().min(BATCH) as u32;
        // SAFETY: the first `count` messages point at `frames`, which are only read.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), count, 0) };
        usize::try_from(sent).unwrap_or(0)
    }

    /// Receives into `areas`; gives each length to `each`.
    pub(crate) fn receive(&self, areas: &mut [Vec<u8>], mut each: impl FnMut(usize)) {
        let mut vectors = [libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        }; BATCH];
        // SAFETY: integers and pointers, for which zero bytes are a value.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for ((vector, message), area) in vectors.iter_mut().zip(&mut messages).zip(&mut *areas) {
            vector.iov_base = area.as_mut_ptr().cast();
            vector.iov_len = area.len();
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
        }
        let count = areas.len().min(BATCH) as u32;
        let (fd, first) = (self.0.as_raw_fd(), messages.as_mut_ptr());
        // SAFETY: the first `count` messages point at `areas`, which are borrowed mutably.
        let got = unsafe { libc::recvmmsg(fd, first, count, libc::MSG_DONTWAIT, ptr::null_mut()) };
        let got = usize::try_from(got).unwrap_or(0);
        messages[..got]
            .iter()
            .for_each(|message| each(message.msg_len as usize));
    }
}

/// Memory shared with the kernel.
struct Shared {
    start: *mut u8,
    len: usize,
}

// SAFETY: plain memory; who holds it alone reads and writes it.
unsafe impl Send for Shared {}

impl Shared {
    fn map(fd: &OwnedFd, len: usize, offset: i64) -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let fd = fd.as_raw_fd();
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                protection,
                flags | libc::MAP_POPULATE,
                fd,
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            len,
        })
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= self.len && at.is_multiple_of(4));
        // SAFETY: within the mapping, aligned, and shared with the kernel as an atomic.
        unsafe { AtomicU32::from_ptr(self.start.add(at).cast()) }
    }

    fn value(&self, at: usize) -> usize {
        self.word(at).load(Ordering::Relaxed) as usize
    }

    fn half(&self, at: usize) -> usize {
        (self.value(at & !3) >> (8 * (at & 2))) & 0xffff
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len);
        // SAFETY: within the mapping, and not the kernel's at the moment.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at), bytes.len()) };
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        assert!(at + into.len() <= self.len);
        // SAFETY: within the mapping, and not the kernel's at the moment.
        unsafe { ptr::copy_nonoverlapping(self.start.add(at), into.as_mut_ptr(), into.len()) };
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

/// A ring of a packet socket.
pub(crate) struct PacketRing {
    shared: Shared,
    socket: PacketSocket,
    /// Bytes of a frame, or of a block of version 3.
    step: usize,
    count: usize,
    next: usize,
}

impl PacketRing {
    /// A ring of version 2 to send from.
    pub(crate) fn transmit(interface: u32) -> io::Result<Self> {
        let socket = PacketSocket::open(interface, false, false)?;
        Self::new(socket, PACKET_TX_RING, 1, &[1 << 20, 4, 2048, 2048], 2048)
    }

    /// A ring of version 2 or 3 to receive from, with the virtio header.
    pub(crate) fn receive(interface: u32, version: c_int) -> io::Result<Self> {
        let socket = PacketSocket::open(interface, true, true)?;
        let ring = match version {
            2 => Self::new(
                socket,
                PACKET_RX_RING,
                1,
                &[1 << 17, 512, 1 << 17, 512],
                1 << 17,
            ),
            // Blocks of 1 MiB, given over after a millisecond at the latest.
            _ => Self::new(
                socket,
                PACKET_RX_RING,
                2,
                &[1 << 20, 32, 1 << 17, 256, 1, 0, 0],
                1 << 20,
            ),
        }?;
        ring.socket.bind(interface, libc::ETH_P_ALL as u16)?;
        Ok(ring)
    }

    fn new<const N: usize>(
        socket: PacketSocket,
        option: c_int,
        version: c_int,
        request: &[u32; N],
        step: usize,
    ) -> io::Result<Self> {
        set(&socket.0, SOL_PACKET, PACKET_VERSION, &version)?;
        set(&socket.0, SOL_PACKET, option, request)?;
        let len = request[0] as usize * request[1] as usize;
        let shared = Shared::map(&socket.0, len, 0)?;
        Ok(Self {
            shared,
            socket,
            step,
            count: len / step,
            next: 0,
        })
    }

    /// Puts as many as there is room for into the ring and has them sent.
    pub(crate) fn send(&mut self, frames: &[&[u8]]) -> usize {
        let mut sent = 0;
        for frame in frames {
            let at = self.next * self.step;
            if self.shared.word(at).load(Ordering::Acquire) != 0 {
                break;
            }
            self.shared.write(at + HEADER2, frame);
            self.shared
                .word(at + 4)
                .store(frame.len() as u32, Ordering::Relaxed);
            self.shared.word(at).store(1, Ordering::Release);
            self.next = (self.next + 1) % self.count;
            sent += 1;
        }
        kick(&self.socket.0);
        sent
    }

    /// Takes up to [`BATCH`] frames out of a ring of version 2.
    pub(crate) fn receive2(&mut self, area: &mut [u8], mut each: impl FnMut(usize)) {
        for _ in 0..BATCH {
            let at = self.next * self.step;
            if self.shared.word(at).load(Ordering::Acquire) & 1 == 0 {
                return;
            }
            let (len, start) = (self.shared.value(at + 8), self.shared.half(at + 12));
            self.shared.read(at + start, &mut area[..len]);
            self.shared.word(at).store(0, Ordering::Release);
            self.next = (self.next + 1) % self.count;
            each(len);
        }
    }

    /// Takes all frames of a block out of a ring of version 3.
    pub(crate) fn receive3(&mut self, area: &mut [u8], mut each: impl FnMut(usize)) {
        let block = self.next * self.step;
        if self.shared.word(block + 8).load(Ordering::Acquire) & 1 == 0 {
            return;
        }
        let mut at = block + self.shared.value(block + 16);
        for _ in 0..self.shared.value(block + 12) {
            let (len, start) = (self.shared.value(at + 12), self.shared.half(at + 24));
            self.shared.read(at + start, &mut area[..len]);
            each(len);
            at += self.shared.value(at);
        }
        self.shared.word(block + 8).store(0, Ordering::Release);
        self.next = (self.next + 1) % self.count;
    }
}

/// One of the four rings of an AF_XDP socket.
struct XdpRing {
    shared: Shared,
    producer: usize,
    consumer: usize,
    entries: usize,
    /// Our side's count.
    at: u32,
}

/// Frames of 2 KiB in an AF_XDP socket's memory, and entries of each ring.
const XDP_FRAMES: u32 = 2048;
const XDP_FRAME: usize = 2048;

impl XdpRing {
    fn ready(&self, side: usize) -> u32 {
        self.shared
            .word(side)
            .load(Ordering::Acquire)
            .wrapping_sub(self.at)
    }

    fn entry(&self, size: usize) -> usize {
        self.entries + (self.at % XDP_FRAMES) as usize * size
    }

    fn advance(&mut self, side: usize) {
        self.at = self.at.wrapping_add(1);
        self.shared.word(side).store(self.at, Ordering::Release);
    }
}

/// An AF_XDP socket in copy mode, on queue 0.
pub(crate) struct XdpSocket {
    fd: OwnedFd,
    memory: Shared,
    receive: XdpRing,
    transmit: XdpRing,
    fill: XdpRing,
    completion: XdpRing,
    free: Vec<usize>,
    _program: Option<[OwnedFd; 3]>,
}

impl XdpSocket {
    /// One that takes in all that arrives at `interface`, or only sends.
    pub(crate) fn open(interface: u32, receive: bool) -> io::Result<Self> {
        const SOL_XDP: c_int = 283;
        let fd = socket(libc::AF_XDP, 0)?;
        let len = XDP_FRAMES as usize * XDP_FRAME;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = Shared {
            start: start.cast(),
            len,
        };
        // Address, length, frame size and headroom, flags and padding (`xdp_umem_reg`).
        let register = [start as u64, len as u64, XDP_FRAME as u64, 0];
        set(&fd, SOL_XDP, 4, &register)?;
        for ring in [2, 3, 5, 6] {
            set(&fd, SOL_XDP, ring, &XDP_FRAMES)?;
        }
        let mut offsets = [[0_u64; 4]; 4];
        let mut size = size_of_val(&offsets) as libc::socklen_t;
        let into = ptr::from_mut(&mut offsets).cast();
        // SAFETY: the kernel writes at most `size` bytes to `offsets`.
        check(unsafe { libc::getsockopt(fd.as_raw_fd(), SOL_XDP, 1, into, &raw mut size) })?;
        let ring = |index: usize, place: i64, entry: usize| {
            let [producer, consumer, entries, _] = offsets[index].map(|offset| offset as usize);
            let shared = Shared::map(&fd, entries + XDP_FRAMES as usize * entry, place)?;
            Ok::<_, io::Error>(XdpRing {
                shared,
                producer,
                consumer,
                entries,
                at: 0,
            })
        };
        let mut socket = Self {
            receive: ring(0, 0, 16)?,
            transmit: ring(1, 0x8000_0000, 16)?,
            fill: ring(2, 0x1_0000_0000, 8)?,
            completion: ring(3, 0x1_8000_0000, 8)?,
            fd,
            memory,
            free: (0..XDP_FRAMES as usize)
                .map(|frame| frame * XDP_FRAME)
                .collect(),
            _program: None,
        };
        if receive {
            while let Some(frame) = socket.free.pop() {
                socket.refill(frame);
            }
        }
        // Copy mode.
        let name = [u32::from(libc::AF_XDP as u16) | 2 << 16, interface, 0, 0];
        // The queue of a socket closed a moment ago is not free at once.
        let mut tries = 100;
        while let Err(error) = bind(&socket.fd, &name) {
            if error.raw_os_error() != Some(libc::EBUSY) || tries == 0 {
                return Err(error);
            }
            tries -= 1;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        if receive {
            socket._program = Some(redirect(&socket.fd, interface)?);
        }
        Ok(socket)
    }

    fn refill(&mut self, frame: usize) {
        let entry = self.fill.entry(8);
        self.fill.shared.write(entry, &(frame as u64).to_ne_bytes());
        self.fill.advance(self.fill.producer);
    }

    /// Puts as many as there is room for into the ring and has them sent.
    pub(crate) fn send(&mut self, frames: &[&[u8]]) -> usize {
        while self.completion.ready(self.completion.producer) > 0 {
            let frame = self.completion.shared.value(self.completion.entry(8));
            self.free.push(frame);
            self.completion.advance(self.completion.consumer);
        }
        let mut sent = 0;
        for frame in frames {
            let Some(place) = self.free.pop() else { break };
            self.memory.write(place, frame);
            let entry = self.transmit.entry(16);
            self.transmit
                .shared
                .write(entry, &(place as u64).to_ne_bytes());
            self.transmit
                .shared
                .write(entry + 8, &(frame.len() as u64).to_ne_bytes());
            self.transmit.advance(self.transmit.producer);
            sent += 1;
        }
        kick(&self.fd);
        sent
    }

    /// Takes up to [`BATCH`] frames.
    pub(crate) fn receive(&mut self, area: &mut [u8], mut each: impl FnMut(usize)) {
        for _ in 0..BATCH {
            if self.receive.ready(self.receive.producer) == 0 {
                return;
            }
            let entry = self.receive.entry(16);
            let place = self.receive.shared.value(entry);
            let len = self.receive.shared.value(entry + 8);
            self.receive.advance(self.receive.consumer);
            self.memory.read(place, &mut area[..len]);
            self.refill(place & !(XDP_FRAME - 1));
            each(len);
        }
    }
}

/// Sends all that arrives at `interface` to the socket: map, program and link.
fn redirect(socket: &OwnedFd, interface: u32) -> io::Result<[OwnedFd; 3]> {
    fn bpf(command: c_int, attributes: &[u32]) -> io::Result<c_int> {
        let (at, len) = (attributes.as_ptr(), size_of_val(attributes));
        // SAFETY: the kernel reads `len` bytes; addresses in them are of what lives through the
        // call.
        check(unsafe { libc::syscall(libc::SYS_bpf, command, at, len) } as c_int)
    }
    // SAFETY: a new descriptor that nobody else owns.
    let own = |fd: c_int| unsafe { OwnedFd::from_raw_fd(fd) };
    let halves = |address: u64| [address as u32, (address >> 32) as u32];
    // BPF_MAP_CREATE of an XSKMAP.
    let map = own(bpf(0, &[17, 4, 4, 1])?);
    let (map_fd, key, value) = (map.as_raw_fd() as u32, 0_u32, socket.as_raw_fd());
    let [key_low, key_high] = halves(ptr::from_ref(&key) as u64);
    let [value_low, value_high] = halves(ptr::from_ref(&value) as u64);
    // BPF_MAP_UPDATE_ELEM.
    bpf(
        2,
        &[map_fd, 0, key_low, key_high, value_low, value_high, 0, 0],
    )?;
    // return redirect_map(map, 0, XDP_PASS)
    let code = [
        0x1118 | u64::from(map_fd) << 32,
        0,
        0x02b7,
        0x03b7 | 2 << 32,
        0x85 | 51 << 32,
        0x95,
    ];
    let [code_low, code_high] = halves(code.as_ptr() as u64);
    let [license_low, license_high] = halves(c"Apache-2.0".as_ptr() as u64);
    // BPF_PROG_LOAD, BPF_LINK_CREATE.
    let program = own(bpf(
        5,
        &[6, 6, code_low, code_high, license_low, license_high],
    )?);
    let link = own(bpf(28, &[program.as_raw_fd() as u32, interface, 37, 0])?);
    Ok([map, program, link])
}
