//! Request and response: one byte there, one back, over one TCP connection without Nagle's delay,
//! each round trip timed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::statistics::{Distribution, distribution};

/// How long an answer may take before the path counts as dead.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the server did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Connections.
    pub connections: u64,
}

/// What the client saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundTrips {
    /// Round trips.
    pub transactions: u64,
    /// Seconds.
    pub seconds: f64,
    /// Their lengths.
    pub latency: Distribution,
}

pub(super) fn serve(listen: SocketAddr) -> io::Result<Served> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let over = super::ready()?;
    let mut connections = 0;
    while !over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                connections += 1;
                thread::spawn(move || echo(stream));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Served { connections })
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 {
        stream.write_all(&byte)?;
    }
    Ok(())
}

pub(super) fn ask(to: SocketAddr, length: Duration) -> io::Result<RoundTrips> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [b'x'];
    let mut trip = |stream: &mut TcpStream| {
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)
    };
    for _ in 0..20 {
        trip(&mut stream)?;
    }
    let mut microseconds = Vec::with_capacity(1 << 18);
    let start = Instant::now();
    while start.elapsed() < length {
        let before = Instant::now();
        trip(&mut stream)?;
        microseconds.push(before.elapsed().as_secs_f64() * 1e6);
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(RoundTrips {
        transactions: microseconds.len() as u64,
        seconds,
        latency: distribution(microseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_timed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let server = thread::spawn(move || echo(listener.accept().unwrap().0));
        let asked = ask(to, Duration::from_millis(30)).unwrap();
        assert!(asked.transactions > 0);
        assert!(asked.latency.p50 > 0.0 && asked.latency.p50 <= asked.latency.p999);
        server.join().unwrap().unwrap();
    }
}
