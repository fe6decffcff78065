//! New connections and nothing else: the client opens one, the server closes it, the client sees
//! that and resets, so that no port waits for anything.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::os::fd::AsFd;

const PATIENCE: Duration = Duration::from_secs(2);
const BACKLOG: i32 = 4096;

/// What the server did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Connections.
    pub connections: u64,
}

/// What the client did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Connected {
    /// Connections that came about and were closed by the server.
    pub connections: u64,
    /// Those that did not.
    pub failed: u64,
    /// Seconds.
    pub seconds: f64,
}

pub(super) fn accept(listen: SocketAddr) -> io::Result<Accepted> {
    let socket = Socket::new(
        Domain::for_address(listen),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let over = super::ready()?;
    let mut connections = 0;
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                connections += 1;
                drop(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                poll(&mut polled, PollTimeout::from(20_u8))?;
            }
            // The client gave up between the handshake and now.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Accepted { connections })
}

pub(super) fn connect(to: SocketAddr, length: Duration, clients: usize) -> io::Result<Connected> {
    let start = Instant::now();
    let counts: Vec<(u64, u64)> = thread::scope(|scope| {
        let all: Vec<_> = (0..clients.max(1))
            .map(|_| scope.spawn(move || one_client(to, start, length)))
            .collect();
        all.into_iter()
            .filter_map(|client| client.join().ok())
            .collect()
    });
    Ok(Connected {
        connections: counts.iter().map(|(done, _)| done).sum(),
        failed: counts.iter().map(|(_, failed)| failed).sum(),
        seconds: start.elapsed().as_secs_f64(),
    })
}

fn one_client(to: SocketAddr, start: Instant, length: Duration) -> (u64, u64) {
    let (mut done, mut failed) = (0, 0);
    while start.elapsed() < length {
        match open_and_close(to) {
            Ok(()) => done += 1,
            Err(_) => failed += 1,
        }
    }
    (done, failed)
}

fn open_and_close(to: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let closed_by_server = stream.read(&mut [0])? == 0;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    if closed_by_server {
        Ok(())
    } else {
        Err(ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_come_and_go() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let length = Duration::from_millis(50);
        let server = thread::spawn(move || {
            for stream in listener.incoming().take(10) {
                drop(stream);
            }
        });
        for _ in 0..10 {
            open_and_close(to).unwrap();
        }
        server.join().unwrap();
        let refused = connect(to, length, 2).unwrap();
        assert_eq!(refused.connections, 0);
        assert!(refused.failed > 0);
    }
}
