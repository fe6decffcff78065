//! A TAP device in a network namespace, with the virtio-net header and offloads on: the one place
//! with unsafe code, the three ioctls of linux/if_tun.h.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::{self, c_int, c_ulong};
use nix::sched::{CloneFlags, setns};

/// Checksum, TSO over IPv4 and IPv6, TSO with ECN, USO over both (TUN_F_* of linux/if_tun.h).
const OFFLOADS: c_ulong = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40;

nix::ioctl_write_ptr_bad!(
    /// TUNSETIFF: makes the device.
    set_interface,
    libc::TUNSETIFF,
    libc::ifreq
);
nix::ioctl_write_int_bad!(
    /// TUNSETOFFLOAD: what the reader takes unfinished.
    set_offload,
    libc::TUNSETOFFLOAD
);

/// An open TAP. Reads and writes carry a `virtio_net_hdr` (10 bytes) before the frame; both are
/// non-blocking.
pub(crate) struct Tap(File);

impl Tap {
    /// Makes the TAP `name` in the namespace that the file stands for. The calling thread is in
    /// that namespace afterwards.
    pub(crate) fn open(namespace: &Path, name: &str) -> io::Result<Self> {
        let with_path = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", namespace.display()))
        };
        let netns = File::open(namespace).map_err(with_path)?;
        setns(netns, CloneFlags::CLONE_NEWNET).map_err(|errno| with_path(errno.into()))?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")?;

        let too_long = || {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the interface's name is too long",
            )
        };
        // SAFETY: ifreq is a plain C structure, for which all zeroes are a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            return Err(too_long());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open, and `request` is a whole ifreq that lives through the call.
        unsafe { set_interface(file.as_raw_fd(), &raw const request) }?;
        let offloads = c_int::try_from(OFFLOADS).map_err(io::Error::other)?;
        // SAFETY: the descriptor is open; TUNSETOFFLOAD takes its argument by value.
        unsafe { set_offload(file.as_raw_fd(), offloads) }?;
        Ok(Self(file))
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Tap {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
