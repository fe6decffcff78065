//! Datagrams: sendmmsg(2) of 64 on one side, recvmmsg(2) of 64 on the other, because iperf3 cannot
//! offer small packets fast enough.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, recvmmsg, sendmmsg, setsockopt, sockopt};
use serde::{Deserialize, Serialize};

const BATCH: usize = 64;
const LARGEST: usize = 9216;
/// Holds what arrives while the receiver does not run.
const RECEIVE_BUFFER: usize = 8 << 20;

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// Datagrams.
    pub packets: u64,
    /// Seconds from the first to the last.
    pub seconds: f64,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// Datagrams.
    pub packets: u64,
    /// Seconds.
    pub seconds: f64,
}

pub(super) fn sink(listen: SocketAddr) -> io::Result<Received> {
    let socket = UdpSocket::bind(listen)?;
    // More than rmem_max needs a privilege that not every place has.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    }
    let over = super::ready()?;
    let mut memory = vec![0_u8; BATCH * LARGEST];
    let (mut packets, mut first, mut last) = (0_u64, None, None);
    while !over.load(Ordering::Relaxed) {
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::from(20_u8)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            let count = receive(&socket, &mut memory)?;
            if count == 0 {
                break;
            }
            let now = Instant::now();
            first.get_or_insert(now);
            last = Some(now);
            packets += count;
        }
    }
    let seconds = match (first, last) {
        (Some(first), Some(last)) => last.duration_since(first).as_secs_f64(),
        (None, _) | (_, None) => 0.0,
    };
    Ok(Received { packets, seconds })
}

fn receive(socket: &UdpSocket, memory: &mut [u8]) -> io::Result<u64> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> = memory
        .chunks_mut(LARGEST)
        .map(|chunk| [IoSliceMut::new(chunk)])
        .collect();
    let mut headers = MultiHeaders::<()>::preallocate(BATCH, None);
    let flags = MsgFlags::MSG_DONTWAIT;
    match recvmmsg(
        socket.as_raw_fd(),
        &mut headers,
        slices.iter_mut(),
        flags,
        None,
    ) {
        Ok(results) => Ok(results.count() as u64),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn blast(
    to: SocketAddr,
    size: usize,
    length: Duration,
    flows: usize,
) -> io::Result<Sent> {
    let sockets = (0..flows.max(1))
        .map(|_| connected(to))
        .collect::<io::Result<Vec<_>>>()?;
    // As many of one flow at a time as make the flows take turns often.
    let batch = if sockets.len() > 1 { 8 } else { BATCH };
    let payload = vec![b'x'; size];
    let slices: Vec<[IoSlice<'_>; 1]> = (0..batch).map(|_| [IoSlice::new(&payload)]).collect();
    let nowhere_else: Vec<Option<()>> = vec![None; batch];
    let start = Instant::now();
    let mut packets = 0;
    'time: loop {
        for socket in &sockets {
            let elapsed = start.elapsed();
            if elapsed >= length {
                break 'time;
            }
            let mut headers = MultiHeaders::<()>::preallocate(batch, None);
            match sendmmsg(
                socket.as_raw_fd(),
                &mut headers,
                slices.iter(),
                &nowhere_else,
                [],
                MsgFlags::empty(),
            ) {
                Ok(results) => packets += results.count() as u64,
                // Full queues on the way, or a neighbour not yet found: what counts is what arrives.
                Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::EHOSTUNREACH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(Sent {
        packets,
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_in_batches() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let sent = blast(to, 64, Duration::from_millis(5), 3).unwrap();
        assert!(
            sent.packets >= 8 && sent.packets.is_multiple_of(8),
            "{sent:?}"
        );
        let mut memory = vec![0; BATCH * LARGEST];
        let mut got = 0;
        loop {
            let count = receive(&receiver, &mut memory).unwrap();
            if count == 0 {
                break;
            }
            assert!(count <= BATCH as u64);
            got += count;
        }
        // A receive buffer of the default size may have lost some.
        assert!(got > 0 && got <= sent.packets, "{got} of {sent:?}");
        assert_eq!(&memory[..64], &[b'x'; 64]);
    }
}
