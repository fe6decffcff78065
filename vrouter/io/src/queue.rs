//! One queue of a TAP or TUN: plain `read` and `write`, a packet each, with the virtio-net header
//! in front (`linux/if_tun.h`, `linux/virtio_net.h`).
//!
//! Measured here, plain calls beat `readv` and single io_uring operations; a batched io_uring
//! variant can take this type's place behind [`crate::any::AnyDevice`].

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use encap::offload::{HEADER_LEN, Offload};
use nix::errno::Errno;
use nix::unistd::{read, write};
use socket2::{Domain, Socket, Type};
use vrouter_dataplane::buffer::{Buffer, Pool};
use vrouter_dataplane::device::{Capabilities, Device, Transmitted, VECTOR, VECTOR_BYTES, Vector};

use crate::batch;
use crate::error::{Context, Error, Result};
use crate::sys::{self, InterfaceName, Kind};

/// Where tun files come from.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// One worker's queue of a TAP or TUN. The interface disappears with its last queue.
#[derive(Debug)]
pub struct Queue {
    file: File,
    name: Arc<str>,
    uso: bool,
}

/// What [`open`] makes.
pub(crate) struct Wanted<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) queues: usize,
    /// Bytes of an IP packet.
    pub(crate) mtu: u32,
    pub(crate) mac: Option<[u8; 6]>,
    /// What to do about a taken name.
    pub(crate) hint: &'static str,
}

/// Makes an interface in the calling thread's namespace and opens all its queues.
pub(crate) fn open(wanted: &Wanted<'_>) -> Result<Vec<Queue>> {
    let noun = match wanted.kind {
        Kind::Tap => "TAP",
        Kind::Tun => "TUN",
    };
    let what = |tried: &str| format!("{tried} the {noun} {}", wanted.name);
    let name = InterfaceName::new(wanted.name)
        .ok_or_else(|| Error::invalid(what("make"), "the kernel takes no such name"))?;
    if !(1..=256).contains(&wanted.queues) {
        let reason = format!("{} queues are not between 1 and 256", wanted.queues);
        return Err(Error::invalid(what("make"), reason));
    }
    let shared: Arc<str> = wanted.name.into();
    let mut queues = Vec::with_capacity(wanted.queues);
    for index in 0..wanted.queues {
        // The file belongs to the namespace it is opened in, so this also says where the
        // interface will be.
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(CLONE_DEVICE)
            .context(|| format!("open {CLONE_DEVICE}"))?;
        let multi_queue = wanted.queues > 1;
        match sys::attach(&file, name, wanted.kind, multi_queue, index == 0) {
            Err(e) if index == 0 && is_taken(&e, wanted.name) => {
                return Err(Error::NameTaken {
                    action: what("make"),
                    name: wanted.name.to_owned(),
                    hint: wanted.hint,
                });
            }
            other => other.context(|| what(&format!("open queue {index} of")))?,
        }
        sys::use_vnet_header(&file, HEADER_LEN).context(|| what("set the header of"))?;
        let uso = set_offloads(&file).context(|| what("set the offloads of"))?;
        queues.push(Queue {
            file,
            name: Arc::clone(&shared),
            uso,
        });
    }
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).context(|| "open a socket".into())?;
    sys::set_mtu(&socket, name, wanted.mtu)
        .context(|| what(&format!("set the MTU {} of", wanted.mtu)))?;
    if let Some(mac) = wanted.mac {
        sys::set_mac(&socket, name, mac).context(|| what(&format!("set the MAC {mac:02x?} of")))?;
    }
    Ok(queues)
}

/// Whether `TUNSETIFF` failed because the name is in use: the kernel answers `EBUSY` for a tun of
/// whatever kind and `EINVAL` for any other interface.
fn is_taken(error: &io::Error, name: &str) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBUSY | libc::EINVAL | libc::EEXIST)
    ) && nix::net::if_::if_nametoindex(name).is_ok()
}

/// Unfinished packets that every kernel knows: open checksums and TCP super-packets.
pub(crate) const TCP_OFFLOADS: libc::c_uint =
    libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;

/// Asks for every unfinished packet; returns whether UDP super-packets are among them (Linux 6.2).
fn set_offloads(file: &File) -> io::Result<bool> {
    match sys::set_offload(file, TCP_OFFLOADS | libc::TUN_F_USO4 | libc::TUN_F_USO6) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            sys::set_offload(file, TCP_OFFLOADS).map(|()| false)
        }
        other => other.map(|()| true),
    }
}

impl Queue {
    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue's descriptor alone.
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    fn read_into(&self, buffer: &mut Buffer) -> std::result::Result<(), Errno> {
        let area = buffer.receive_area(HEADER_LEN);
        let room = area.len();
        let got = read(&self.file, area)?;
        let len = got.saturating_sub(HEADER_LEN);
        let header: [u8; HEADER_LEN] = *area.first_chunk().unwrap_or(&[0; HEADER_LEN]);
        let offload = Offload::parse(&header, len);
        buffer.received(len);
        // A full area may mean that the kernel cut the packet off.
        buffer.meta.malformed = got < HEADER_LEN || got == room || offload.is_err();
        buffer.meta.offload = offload.unwrap_or_default();
        Ok(())
    }
}

impl Device for Queue {
    fn receive(&mut self, pool: &mut Pool, into: &mut Vector) -> io::Result<bool> {
        let mut bytes = 0;
        for _ in 0..VECTOR {
            if bytes >= VECTOR_BYTES {
                break;
            }
            let Some(mut buffer) = pool.take() else {
                return Ok(false);
            };
            match self.read_into(&mut buffer) {
                Ok(()) => {
                    bytes += buffer.len();
                    into.push(buffer);
                }
                Err(error) => {
                    pool.give(buffer);
                    return match error {
                        Errno::EAGAIN => Ok(true),
                        Errno::EINTR => Ok(false),
                        other => Err(other.into()),
                    };
                }
            }
        }
        Ok(false)
    }

    fn transmit(&mut self, packets: &mut [Buffer]) -> Transmitted {
        let mut done = Transmitted::default();
        batch::one_by_one(packets, &mut done, |packet| {
            let header = packet.meta.offload.emit();
            let bytes = packet.with_prefix(&header).ok_or(Errno::EINVAL)?;
            write(&self.file, bytes).map(drop)
        });
        done
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            uso: self.uso,
            ..Capabilities::OFFLOADS
        }
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
