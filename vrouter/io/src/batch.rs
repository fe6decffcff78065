//! Buffers from and to sockets, many in a call: received until a vector is full; cut into messages
//! and sent, each packet's fate settled. Shared by the tunnels; [`one_by_one`] also by devices.

use std::io;

use encap::Family;
use nix::errno::Errno;
use socket2::{SockFilter, Socket};
use vrouter_dataplane::buffer::Buffer;
use vrouter_dataplane::device::{Transmitted, VECTOR, VECTOR_BYTES, Vector};

use crate::ancillary::Control;
use crate::ancillary::Name;
use crate::sys::{self, Message, Outbox};

/// Messages in one `sendmmsg`, and packets whose fates are settled together.
pub(crate) const BATCH: usize = 64;
/// Bytes each socket may hold that were not yet read, or not yet sent.
const SOCKET_BUFFER: libc::c_int = 8 << 20;

/// Messages of the first call for a vector. Each may be a super-packet, and who asks for many gets
/// more bytes than a core's cache has room for.
const FIRST_CALL: usize = 4;

/// Fills a vector by calls of `some`, which takes up to so many messages and says whether no more
/// wait; up to `inbox` in a call. Whether none wait at the end.
///
/// # Errors
/// Those of `some`.
pub(crate) fn receive(
    into: &mut Vector,
    inbox: usize,
    mut some: impl FnMut(&mut Vector, usize) -> io::Result<bool>,
) -> io::Result<bool> {
    let first = into.len();
    let mut most = FIRST_CALL.min(inbox);
    loop {
        let before = into.len();
        if some(into, most)? {
            return Ok(true);
        }
        let bytes: usize = into[first..].iter().map(Buffer::len).sum();
        most = inbox;
        let is_full = into.len() - first + most > VECTOR;
        if is_full || bytes >= VECTOR_BYTES || into.len() == before {
            return Ok(false);
        }
    }
}

/// What becomes one message: a part of a packet's bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Piece {
    pub(crate) packet: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Size of each datagram in it; 0 when it is just one.
    pub(crate) segment: u16,
}

/// The fate of a packet, the worst of its pieces'.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    #[default]
    Sent,
    Full,
    Refused,
    TooBig,
}

/// Sends packets by a system call each; counts what became of them.
pub(crate) fn one_by_one(
    packets: &mut [Buffer],
    done: &mut Transmitted,
    send: impl Fn(&mut Buffer) -> Result<(), Errno>,
) {
    for packet in packets {
        let len = packet.len();
        match send(packet) {
            Ok(()) => {
                done.sent += 1;
                done.bytes += len;
            }
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => done.full += 1,
            Err(Errno::EMSGSIZE) => done.too_big += 1,
            // EINVAL: headers and packet do not fit each other; EIO: the interface is down.
            Err(_) => done.refused += 1,
        }
    }
}

/// What a failed send means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// An error left over from an earlier packet, or a signal: this one was not tried.
    Stale,
    /// The socket has no room for anything.
    SocketFull,
    /// No memory or queue for this message.
    Full,
    /// The kernel cannot segment on this way.
    NoSegmentation,
    /// Segments longer than the path as the kernel has just learned it: it fragments datagrams, but
    /// not segments.
    SegmentsTooBig,
    /// Longer than the path as the kernel knows it, and not to be fragmented.
    TooBig,
    /// No route, or not allowed.
    Refused,
}

impl Failure {
    fn of(error: &io::Error, segmented: bool) -> Self {
        match error.raw_os_error() {
            Some(libc::EINTR | libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => {
                Self::Stale
            }
            Some(libc::EAGAIN) => Self::SocketFull,
            Some(libc::ENOBUFS | libc::ENOMEM) => Self::Full,
            Some(libc::EIO) if segmented => Self::NoSegmentation,
            // Before Linux 6.10 it is EINVAL.
            Some(libc::EMSGSIZE | libc::EINVAL) if segmented => Self::SegmentsTooBig,
            Some(libc::EMSGSIZE) => Self::TooBig,
            _ => Self::Refused,
        }
    }
}

/// Sends pieces and collects the fates of up to [`BATCH`] packets.
#[derive(Debug)]
pub(crate) struct Sender {
    outbox: Outbox,
    fates: [Fate; BATCH],
    /// The kernel segments for us (`UDP_SEGMENT`), as far as known.
    pub(crate) segmentation: bool,
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            outbox: Outbox::new(BATCH),
            fates: [Fate::Sent; BATCH],
            segmentation: true,
        }
    }

    /// Starts anew with packets that are all sent so far.
    pub(crate) fn begin(&mut self) {
        self.fates = [Fate::Sent; BATCH];
    }

    /// Notes a packet's fate, unless a worse one is known.
    pub(crate) fn settle(&mut self, packet: usize, fate: Fate) {
        self.fates[packet] = self.fates[packet].max(fate);
    }

    /// What is known of a packet's fate so far.
    pub(crate) fn fate(&self, packet: usize) -> Fate {
        self.fates[packet]
    }

    /// Counts the fates of `packets`.
    pub(crate) fn count(&self, packets: &[Buffer], into: &mut Transmitted) {
        for (packet, fate) in packets.iter().zip(self.fates) {
            match fate {
                Fate::Sent => {
                    into.sent += 1;
                    into.bytes += packet.len();
                }
                Fate::Full => into.full += 1,
                Fate::Refused => into.refused += 1,
                Fate::TooBig => into.too_big += 1,
            }
        }
    }

    /// Sends all `pieces` in order over `socket`.
    pub(crate) fn flush<'a>(
        &mut self,
        socket: &Socket,
        pieces: &[Piece],
        message: &impl Fn(&Piece) -> Message<'a>,
    ) {
        let mut at = 0;
        let mut tried_again = false;
        while let Some(piece) = pieces.get(at) {
            let error = match self.outbox.send(socket, pieces[at..].iter().map(message)) {
                Ok(sent) => {
                    at += sent;
                    tried_again = false;
                    continue;
                }
                Err(error) => error,
            };
            match Failure::of(&error, piece.segment != 0) {
                Failure::Stale if !tried_again => {
                    tried_again = true;
                    continue;
                }
                Failure::SocketFull => {
                    for piece in &pieces[at..] {
                        self.settle(piece.packet, Fate::Full);
                    }
                    return;
                }
                Failure::NoSegmentation => {
                    self.segmentation = false;
                    self.flush_apart(socket, *piece, message);
                }
                Failure::SegmentsTooBig => self.flush_apart(socket, *piece, message),
                Failure::TooBig => self.settle(piece.packet, Fate::TooBig),
                Failure::Full => self.settle(piece.packet, Fate::Full),
                Failure::Stale | Failure::Refused => self.settle(piece.packet, Fate::Refused),
            }
            at += 1;
            tried_again = false;
        }
    }

    /// Sends the datagrams of one piece as messages of their own.
    fn flush_apart<'a>(
        &mut self,
        socket: &Socket,
        whole: Piece,
        message: &impl Fn(&Piece) -> Message<'a>,
    ) {
        let mut start = whole.start;
        while start < whole.end {
            let mut parts = [Piece::default(); BATCH];
            let mut count = 0;
            while start < whole.end && count < BATCH {
                let end = whole.end.min(start + usize::from(whole.segment));
                parts[count] = Piece {
                    start,
                    end,
                    segment: 0,
                    ..whole
                };
                start = end;
                count += 1;
            }
            self.flush(socket, &parts[..count], message);
        }
    }
}

/// A message of a piece of one of `packets`.
pub(crate) fn message<'a>(packets: &'a [Buffer], piece: &Piece, to: Name) -> Message<'a> {
    let payload = &packets[piece.packet].bytes()[piece.start..piece.end];
    Message {
        to,
        header: &[],
        payload,
        control: Control::default(),
    }
}

/// Makes a socket's kernel buffers big, beyond the limit where we may.
pub(crate) fn enlarge(socket: &Socket) -> io::Result<()> {
    for (forced, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        sys::set_option(socket, libc::SOL_SOCKET, forced, SOCKET_BUFFER)
            .or_else(|_| sys::set_option(socket, libc::SOL_SOCKET, plain, SOCKET_BUFFER))?;
    }
    Ok(())
}

/// Makes the kernel learn nothing from ICMP errors that quote a packet of this socket, which sends
/// none.
pub(crate) fn ignore_path_errors(socket: &Socket, family: Family) -> io::Result<()> {
    let (level, option, value) = match family {
        Family::V4 => (
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_OMIT,
        ),
        Family::V6 => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_OMIT,
        ),
    };
    sys::set_option(socket, level, option, value)
}

/// Makes a socket throw away whatever arrives for it.
pub(crate) fn deafen(socket: &Socket) -> io::Result<()> {
    let accept_no_byte = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);
    socket.attach_filter(&[accept_no_byte])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages each call for a vector asks for, of an endless supply of this size.
    fn calls(bytes: usize) -> Vec<usize> {
        let mut calls = Vec::new();
        let mut into = Vector::new();
        let drained = receive(&mut into, 16, |into, most| {
            calls.push(most);
            into.extend((0..most).map(|_| Buffer::from_slice(&vec![0; bytes])));
            Ok(false)
        });
        assert!(!drained.unwrap());
        calls
    }

    #[test]
    fn a_vector_ends_with_its_packets_or_its_bytes() {
        assert_eq!(calls(100), [4, 16, 16, 16]);
        assert_eq!(calls(1450), [4, 16, 16, 16]);
        assert_eq!(calls(4_000), [4, 16]);
        assert_eq!(calls(60_000), [4]);
    }

    #[test]
    fn what_is_drained_or_brings_nothing_is_not_asked_again() {
        let mut asked = 0;
        let mut receive_of = |drained| {
            receive(&mut Vector::new(), 16, |_, _| {
                asked += 1;
                Ok(drained)
            })
        };
        assert!(receive_of(true).unwrap());
        assert!(!receive_of(false).unwrap());
        assert_eq!(asked, 2);
    }
}
