//! The system calls that no safe wrapper covers: `TUN*` and `SIOC*` ioctls (`linux/if_tun.h`,
//! `netdevice(7)`), integer socket options, addresses of packet sockets, `recvmmsg(2)` and
//! `sendmmsg(2)`, `bpf(2)`.
//!
//! The only file with `unsafe`. Each function here is safe to call whatever its arguments.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_int, c_short, c_uint, c_ulong};

use crate::ancillary::{Control, Name};

/// An interface name that fits `IFNAMSIZ` with its terminating zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InterfaceName([u8; libc::IFNAMSIZ]);

impl InterfaceName {
    /// `None` for what the kernel would not take as a name: empty, over 15 bytes, `.`, `..`, or
    /// with a slash, colon, percent sign (`%d` is a pattern to it), white space or zero byte.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let legal = |b: u8| !matches!(b, 0 | b'/' | b':' | b'%') && !b.is_ascii_whitespace();
        let bytes = name.as_bytes();
        if bytes.is_empty() || matches!(name, "." | "..") || !bytes.iter().all(|&b| legal(b)) {
            return None;
        }
        let mut out = [0; libc::IFNAMSIZ];
        out[..libc::IFNAMSIZ - 1]
            .get_mut(..bytes.len())?
            .copy_from_slice(bytes);
        Some(Self(out))
    }

    /// A zeroed request with this name.
    fn request(self) -> libc::ifreq {
        // SAFETY: `ifreq` is plain integers, arrays of them and one nullable pointer, for all of
        // which zero bytes are a value.
        let mut request: libc::ifreq = unsafe { mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(self.0) {
            *to = from.cast_signed() as libc::c_char;
        }
        request
    }
}

/// What kind of interface a tun file is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ethernet frames.
    Tap,
    /// IP packets.
    Tun,
}

/// `TUNSETIFF`: makes `file` a queue of interface `name`. `exclusive`: the interface must be new.
pub(crate) fn attach(
    file: impl AsFd,
    name: InterfaceName,
    kind: Kind,
    multi_queue: bool,
    exclusive: bool,
) -> io::Result<()> {
    let mut flags = libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    flags |= match kind {
        Kind::Tap => libc::IFF_TAP,
        Kind::Tun => libc::IFF_TUN,
    };
    if multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    if exclusive {
        flags |= libc::IFF_TUN_EXCL;
    }
    let mut request = name.request();
    // The field is a short; IFF_TUN_EXCL is its sign bit.
    request.ifr_ifru.ifru_flags = flags as c_short;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(fd, libc::TUNSETIFF, &raw mut request) }).map(drop)
}

/// `TUNSETVNETHDRSZ` and `TUNSETVNETLE`: `size` bytes of little-endian header before each packet.
pub(crate) fn use_vnet_header(file: impl AsFd, size: usize) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    let size = c_int::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
    let little_endian: c_int = 1;
    // SAFETY: both requests read one `int`, which lives through the call.
    unsafe {
        check(libc::ioctl(fd, libc::TUNSETVNETHDRSZ, &raw const size))?;
        check(libc::ioctl(
            fd,
            libc::TUNSETVNETLE,
            &raw const little_endian,
        ))?;
    }
    Ok(())
}

/// `TUNSETOFFLOAD`: which unfinished packets the reader takes (`TUN_F_*`).
pub(crate) fn set_offload(file: impl AsFd, offload: c_uint) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, c_ulong::from(offload)) }).map(drop)
}

/// `SIOCSIFMTU` through any socket of the interface's namespace.
pub(crate) fn set_mtu(socket: impl AsFd, name: InterfaceName, mtu: u32) -> io::Result<()> {
    let mut request = name.request();
    request.ifr_ifru.ifru_mtu = c_int::try_from(mtu).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: SIOCSIFMTU reads one `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFMTU as _, &raw const request) }).map(drop)
}

/// `SIOCSIFHWADDR` with an Ethernet address, through any socket of the interface's namespace.
pub(crate) fn set_mac(socket: impl AsFd, name: InterfaceName, mac: [u8; 6]) -> io::Result<()> {
    let mut request = name.request();
    // SAFETY: zero bytes are a `sockaddr`.
    let mut address: libc::sockaddr = unsafe { mem::zeroed() };
    address.sa_family = libc::ARPHRD_ETHER;
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: SIOCSIFHWADDR reads one `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFHWADDR as _, &raw const request) }).map(drop)
}

/// `setsockopt` with an `int`.
pub(crate) fn set_option(
    socket: impl AsFd,
    level: c_int,
    option: c_int,
    value: c_int,
) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `value`, which lives through the call.
    check(unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), len) }).map(drop)
}

/// `getsockopt` of an `int`.
pub(crate) fn option(socket: impl AsFd, level: c_int, option: c_int) -> io::Result<c_int> {
    let fd = socket.as_fd().as_raw_fd();
    let mut value: c_int = 0;
    let mut len = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `value`; both live through the call.
    check(unsafe { libc::getsockopt(fd, level, option, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

/// Binds a packet socket to packets of `ether_type` from all interfaces of its namespace.
pub(crate) fn bind_packet(socket: impl AsFd, ether_type: u16) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: zero bytes are a `sockaddr_ll`; its interface 0 is all of them.
    let mut name: libc::sockaddr_ll = unsafe { mem::zeroed() };
    name.sll_family = libc::AF_PACKET as u16;
    name.sll_protocol = ether_type.to_be();
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of `name`, which lives through the call.
    check(unsafe { libc::bind(fd, (&raw const name).cast(), len) }).map(drop)
}

/// Room for the headers of several messages; bound to no socket.
///
/// The pointers inside are set anew by each call and meaningless between calls.
#[derive(Debug)]
struct Headers {
    messages: Box<[libc::mmsghdr]>,
    /// Two for each message.
    vectors: Box<[libc::iovec]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
}

// SAFETY: the raw pointers are not followed except within one call of `receive` or `send`, which
// set them first; nothing else in here is tied to a thread.
unsafe impl Send for Headers {}

impl Headers {
    fn new(count: usize) -> Self {
        // SAFETY: `mmsghdr` is integers and nullable pointers, for which zero bytes are a value.
        let message: libc::mmsghdr = unsafe { mem::zeroed() };
        let vector = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            messages: vec![message; count].into(),
            vectors: vec![vector; 2 * count].into(),
            names: vec![Name::default(); count].into(),
            controls: vec![Control::default(); count].into(),
        }
    }

    /// Points message `index` at its name, at `vectors` of its vectors and at its control bytes.
    fn aim(&mut self, index: usize, vectors: usize, control_len: usize) {
        let header = &mut self.messages[index].msg_hdr;
        header.msg_name = self.names[index].bytes.as_mut_ptr().cast();
        header.msg_namelen = self.names[index].len;
        header.msg_iov = &raw mut self.vectors[2 * index];
        header.msg_iovlen = vectors as _;
        header.msg_control = self.controls[index].bytes.as_mut_ptr().cast();
        header.msg_controllen = control_len.min(Control::ROOM) as _;
        header.msg_flags = 0;
    }
}

/// Receives several messages in one call.
#[derive(Debug)]
pub(crate) struct Inbox(Headers);

/// What is known of a message besides its bytes.
pub(crate) struct Received<'a> {
    /// Bytes received.
    pub(crate) len: usize,
    /// Whether the message was longer than its area.
    pub(crate) cut: bool,
    pub(crate) from: &'a Name,
    /// Control messages.
    pub(crate) control: &'a [u8],
}

impl Inbox {
    /// For up to `count` messages in one call.
    pub(crate) fn new(count: usize) -> Self {
        Self(Headers::new(count))
    }

    /// `recvmmsg` without waiting, a message into each area. Returns how many came; fewer than
    /// areas means that no more wait.
    pub(crate) fn receive<'a>(
        &mut self,
        socket: impl AsFd,
        areas: impl Iterator<Item = &'a mut [u8]>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (index, area) in areas.take(self.0.messages.len()).enumerate() {
            self.0.vectors[2 * index] = libc::iovec {
                iov_base: area.as_mut_ptr().cast(),
                iov_len: area.len(),
            };
            self.0.names[index] = Name::default();
            self.0.aim(index, 1, Control::ROOM);
            count += 1;
        }
        let fd = socket.as_fd().as_raw_fd();
        let messages = self.0.messages.as_mut_ptr();
        // SAFETY: the first `count` headers were just pointed at an area each, mutably borrowed
        // for `'a`, which outlives this call, and at names and controls owned by `self`.
        let got = check(unsafe {
            libc::recvmmsg(
                fd,
                messages,
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        })?;
        Ok(got as usize)
    }

    /// Message `index` of the last call.
    pub(crate) fn message(&self, index: usize) -> Received<'_> {
        let message = &self.0.messages[index];
        let control: usize = message.msg_hdr.msg_controllen as _;
        let control = control.min(Control::ROOM);
        Received {
            len: message.msg_len as usize,
            cut: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            from: &self.0.names[index],
            control: &self.0.controls[index].bytes[..control],
        }
    }
}

/// Sends several messages in one call.
#[derive(Debug)]
pub(crate) struct Outbox(Headers);

/// A message to send: `header` then `payload`.
pub(crate) struct Message<'a> {
    pub(crate) to: Name,
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) control: Control,
}

impl Outbox {
    /// For up to `count` messages in one call.
    pub(crate) fn new(count: usize) -> Self {
        Self(Headers::new(count))
    }

    /// `sendmmsg` without waiting. Returns how many were sent, at least one; an error is the
    /// first message's.
    pub(crate) fn send<'a>(
        &mut self,
        socket: impl AsFd,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for (index, message) in messages.take(self.0.messages.len()).enumerate() {
            let parts = [message.header, message.payload];
            let skipped = usize::from(message.header.is_empty());
            for (slot, part) in parts[skipped..].iter().enumerate() {
                // `sendmmsg` only reads what these point at, in spite of the type.
                self.0.vectors[2 * index + slot] = libc::iovec {
                    iov_base: part.as_ptr().cast_mut().cast(),
                    iov_len: part.len(),
                };
            }
            self.0.names[index] = message.to;
            self.0.controls[index] = message.control;
            self.0.aim(index, 2 - skipped, message.control.len);
            count += 1;
        }
        let fd = socket.as_fd().as_raw_fd();
        let messages = self.0.messages.as_mut_ptr();
        // SAFETY: the first `count` headers were just pointed at slices borrowed for `'a`, which
        // outlives this call, and at names and controls owned by `self`.
        let sent = check(unsafe { libc::sendmmsg(fd, messages, count, libc::MSG_DONTWAIT as _) })?;
        Ok(sent as usize)
    }
}

/// One eBPF instruction (`struct bpf_insn`): operation, registers, offset, immediate.
pub(crate) type Instruction = u64;

/// `BPF_PROG_LOAD` of a traffic-control program, and its attachment to all that arrives on an
/// interface (`BPF_LINK_CREATE`, `BPF_TCX_INGRESS`, Linux 6.6). Detached when the result is
/// closed. The kernel verifies the program, so any instructions are safe to pass.
pub(crate) fn attach_ingress(program: &[Instruction], interface: u32) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_LINK_CREATE: c_int = 28;
    const SCHED_CLS: u32 = 3;
    const TCX_INGRESS: u32 = 46;
    /// The start of `union bpf_attr` for `BPF_PROG_LOAD`.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach_type: u32,
    }
    let license = c"Apache-2.0";
    let load = Load {
        kind: SCHED_CLS,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"vrouter_tunnel\0\0",
        interface: 0,
        attach_type: TCX_INGRESS,
    };
    // SAFETY: the kernel reads `load`, the instructions and the license, all of which live through
    // the call.
    let program = unsafe { bpf(BPF_PROG_LOAD, &load) }?;
    let link = [program.as_raw_fd() as u32, interface, TCX_INGRESS, 0];
    // SAFETY: the kernel reads `link` only: program, interface, attach type, flags.
    unsafe { bpf(BPF_LINK_CREATE, &link) }
}

/// `bpf(2)` for the commands that make a descriptor.
///
/// # Safety
/// `attributes` must be the start of what `command` reads, and its pointers good for it.
unsafe fn bpf<T>(command: c_int, attributes: &T) -> io::Result<OwnedFd> {
    let size = size_of::<T>();
    // SAFETY: the kernel reads `size` bytes of `attributes`; the rest is the caller's word.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_ref(attributes), size) };
    let fd = check(fd as c_int)?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A system call's `int` result.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_takes() {
        assert!(InterfaceName::new("eth0").is_some());
        assert!(InterfaceName::new("123456789012345").is_some());
        for wrong in [
            "",
            ".",
            "..",
            "1234567890123456",
            "a b",
            "a/b",
            "a:b",
            "tap%d",
            "a\0",
        ] {
            assert!(InterfaceName::new(wrong).is_none(), "{wrong:?}");
        }
    }
}
