//! The host's resolvers, as its `resolv.conf` names them (resolv.conf(5)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one resolver may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The port of DNS.
const PORT: u16 = 53;
/// Resolvers that are asked, as many as the C library asks.
const MOST: usize = 3;

/// How a question came, and goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    Udp,
    Tcp,
}

/// The answer of the first resolver that gives one.
pub(crate) async fn ask(file: &Path, question: &[u8], carrier: Carrier) -> Option<Vec<u8>> {
    // Read each time, a few lines from memory: the file changes with the host's network.
    let text = std::fs::read_to_string(file);
    let text =
        text.inspect_err(|error| tracing::debug!(%error, file = %file.display(), "resolvers"));
    for server in servers(&text.ok()?) {
        let asked = async {
            match carrier {
                Carrier::Udp => by_udp(server, question).await,
                Carrier::Tcp => by_tcp(server, question).await,
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => tracing::debug!(%server, %error, "a resolver fails"),
            Err(_) => tracing::debug!(%server, "a resolver does not answer"),
        }
    }
    None
}

/// The resolvers that a `resolv.conf` names; a link-local one is on a link that we do not know.
fn servers(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().map(str::split_ascii_whitespace);
    let named = words.filter_map(|mut words| match words.next() {
        Some("nameserver") => words.next()?.parse().ok(),
        Some(_) | None => None,
    });
    let usable = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    let usable = named.filter(usable).take(MOST);
    usable.map(|address| (address, PORT).into()).collect()
}

async fn by_udp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    loop {
        // Room for the longest answer is taken when there is one, not by each question that waits.
        socket.readable().await?;
        let mut answer = vec![0; usize::from(u16::MAX)];
        let length = match socket.try_recv(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            received => received?,
        };
        // What answers another question is not ours.
        if length >= 12 && answer[..2] == question[..2] && answer[2] & 0x80 != 0 {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write(&mut stream, question).await?;
    read(&mut stream).await
}

/// A message as TCP carries it: after its length.
pub(crate) async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Sends a message over TCP.
pub(crate) async fn write(stream: &mut TcpStream, message: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
    let framed = [&length.to_be_bytes()[..], message].concat();
    stream.write_all(&framed).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read() {
        let text = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\n\
                    nameserver\tfd00::1 # second\nnameserver 169.254.1.1\nnameserver fe80::1%eth0\n\
                    nameserver nonsense\noptions ndots:5\nnameserver 192.0.2.2\n\
                    nameserver 192.0.2.3\n";
        let found: Vec<String> = servers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[fd00::1]:53", "192.0.2.2:53"]);
    }
}
