//! Names, asked as a container asks them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use vrouter_lab::netns;

use super::cni::Container;

/// A question of type A or AAAA (RFC 1035 section 4.1).
pub(crate) fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// The answer that a container gets from a resolver.
pub(crate) fn ask(
    container: &Container,
    server: SocketAddr,
    name: &str,
    kind: u16,
) -> Option<Vec<u8>> {
    netns::inside(&container.netns, || {
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        let patience = Some(Duration::from_millis(1500));
        socket.set_read_timeout(patience).unwrap();
        socket.send_to(&question(name, kind), server).unwrap();
        let mut answer = [0; 512];
        let (length, from) = socket.recv_from(&mut answer).ok()?;
        assert_eq!(from.ip(), server.ip());
        Some(answer[..length].to_vec())
    })
    .unwrap()
}

/// As [`ask`], over TCP.
pub(crate) fn ask_by_tcp(
    container: &Container,
    server: SocketAddr,
    name: &str,
    kind: u16,
) -> Vec<u8> {
    netns::inside(&container.netns, || {
        let patience = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&server, patience).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        let question = question(name, kind);
        let length = (question.len() as u16).to_be_bytes();
        stream
            .write_all(&[&length[..], &question].concat())
            .unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).unwrap();
        answer
    })
    .unwrap()
}
