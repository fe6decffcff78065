//! The system calls that no safe wrapper covers: `TUN*` and `SIOC*` ioctls (`linux/if_tun.h`,
//! `netdevice(7)`), integer socket options, `recvmmsg(2)` and `sendmmsg(2)`.
//!
//! The only file with `unsafe`. Each function here is safe to call whatever its arguments.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use libc::{c_int, c_short, c_uint, c_ulong};

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
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFMTU, &raw const request) }).map(drop)
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
    check(unsafe { libc::ioctl(fd, libc::SIOCSIFHWADDR, &raw const request) }).map(drop)
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
