//! The one place with unsafe code: a TAP device in a network namespace, with the virtio-net header
//! and offloads on (the ioctls of linux/if_tun.h), and copying between two of them by io_uring.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use nix::libc::{self, c_int, c_ulong};
use nix::sched::{CloneFlags, setns};

use crate::BUFFER;

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

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Buffers of one direction, and so the most packets of it on their way.
const DEPTH: u16 = 256;

/// What the kernel takes buffers for reads from (`IORING_REGISTER_PBUF_RING`): one page.
#[repr(C, align(4096))]
struct Entries([BufRingEntry; DEPTH as usize]);

/// The buffers of the packets of one direction.
struct Buffers {
    entries: Box<Entries>,
    bytes: Vec<u8>,
    /// Written to the kernel after each entry.
    tail: u16,
}

impl Buffers {
    fn new() -> Self {
        Self {
            // SAFETY: entries are integers, for which all zeroes are a valid value.
            entries: Box::new(unsafe { std::mem::zeroed() }),
            bytes: vec![0; usize::from(DEPTH) * BUFFER],
            tail: 0,
        }
    }

    fn address(&mut self, buffer: u16) -> *mut u8 {
        self.bytes[usize::from(buffer) * BUFFER..].as_mut_ptr()
    }

    /// Gives a buffer to the kernel.
    fn give(&mut self, buffer: u16) {
        let address = self.address(buffer) as u64;
        let entry = &mut self.entries.0[usize::from(self.tail % DEPTH)];
        entry.set_addr(address);
        entry.set_len(BUFFER as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a field of the first entry, which lives as long as `self`; the kernel
        // only reads it.
        let tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.0.as_ptr()).cast_mut()) };
        // Pairs with the kernel's acquiring load: it sees the entry first.
        tail.store(self.tail, Ordering::Release);
    }
}

/// In the user data of a write, beside the number of the buffer; reads have the direction alone.
const WRITE: u64 = 1 << 32;

/// Copies between two TAPs by one io_uring: a multishot read of each, the writes of all that came
/// in one submission.
pub(crate) struct Ring {
    // Closed first, so that the kernel is done with the buffers.
    ring: IoUring,
    buffers: [Buffers; 2],
    files: [RawFd; 2],
    _taps: [Tap; 2],
    /// Reads to be begun anew once buffers are back.
    unarmed: [bool; 2],
}

impl Ring {
    pub(crate) fn new(one: Tap, two: Tap) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            // Without it, a call that does not wait leaves the deferred work undone.
            .setup_taskrun_flag()
            .setup_cqsize(u32::from(DEPTH) * 4)
            .build(u32::from(DEPTH) * 2 + 2)?;
        let mut buffers = [Buffers::new(), Buffers::new()];
        for (group, buffers) in (0..).zip(&mut buffers) {
            let address = ptr::from_ref(&*buffers.entries) as u64;
            let submitter = ring.submitter();
            // SAFETY: the page is boxed beside the ring and outlives it.
            unsafe { submitter.register_buf_ring_with_flags(address, DEPTH, group, 0) }?;
            (0..DEPTH).for_each(|buffer| buffers.give(buffer));
        }
        for tap in [&one, &two] {
            // Otherwise an empty queue ends the read instead of being waited for.
            use nix::fcntl::{FcntlArg, OFlag, fcntl};
            fcntl(tap, FcntlArg::F_SETFL(OFlag::empty()))?;
        }
        Ok(Self {
            ring,
            buffers,
            files: [one.as_raw_fd(), two.as_raw_fd()],
            _taps: [one, two],
            unarmed: [true; 2],
        })
    }

    /// One turn; sleeps when there is nothing to do, unless it is to spin.
    pub(crate) fn turn(&mut self, spin: bool) -> io::Result<()> {
        for direction in 0..2 {
            if std::mem::take(&mut self.unarmed[direction]) {
                let read = opcode::ReadMulti::new(Fd(self.files[direction]), 0, direction as u16)
                    .build()
                    .user_data(direction as u64);
                self.push(&read)?;
            }
        }
        match self.ring.submit_and_wait(usize::from(!spin)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        loop {
            let next = self.ring.completion().next();
            let Some(done) = next else { return Ok(()) };
            self.complete(&done)?;
        }
    }

    fn complete(&mut self, done: &cqueue::Entry) -> io::Result<()> {
        let direction = (done.user_data() & 1) as usize;
        if done.user_data() & WRITE != 0 {
            // What the other side had no room for is lost, as on a wire.
            self.buffers[direction].give((done.user_data() >> 1) as u16);
            return Ok(());
        }
        if !cqueue::more(done.flags()) {
            self.unarmed[direction] = true;
        }
        let length = match done.result() {
            length @ 0.. => length as u32,
            error if [libc::ENOBUFS, libc::EINTR, libc::EAGAIN].contains(&-error) => return Ok(()),
            error => return Err(io::Error::from_raw_os_error(-error)),
        };
        let Some(buffer) = cqueue::buffer_select(done.flags()) else {
            return Ok(());
        };
        let address = self.buffers[direction].address(buffer);
        let write = opcode::Write::new(Fd(self.files[1 - direction]), address, length)
            .build()
            .user_data(WRITE | u64::from(buffer) << 1 | direction as u64);
        self.push(&write)
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: files and buffers that entries name live as long as the ring; a buffer is not
            // given away again before its write is complete.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
            self.ring.submit()?;
        }
    }
}
