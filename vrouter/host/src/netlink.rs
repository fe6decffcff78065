//! Dumps over netlink (RFC 3549): a request without arguments, its answers, their attributes.

use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// The kernel fills at most 32 KiB at once.
const BUFFER: usize = 64 << 10;

/// An attribute: its type without the flag bits, and its value.
pub(crate) type Attribute<'a> = (u16, &'a [u8]);

/// Asks for everything of one kind; the bodies of the answers. `None` if the kernel does not answer.
pub(crate) fn dump(protocol: SockProtocol, kind: u16, body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )
    .ok()?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(1)).ok()?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(u32::try_from(HEADER + body.len()).ok()?.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    send(socket.as_raw_fd(), &request, MsgFlags::empty()).ok()?;
    let mut answers = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
        if !split(&buffer[..length], &mut answers)? {
            return Some(answers);
        }
    }
}

/// Takes the messages of one datagram; whether more follow. `None` for an error or nonsense.
fn split(mut datagram: &[u8], answers: &mut Vec<Vec<u8>>) -> Option<bool> {
    if datagram.is_empty() {
        return None;
    }
    while !datagram.is_empty() {
        let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
        match kind {
            DONE => return Some(false),
            ERROR => return None,
            _ => answers.push(datagram.get(HEADER..length)?.to_vec()),
        }
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
    }
    Some(true)
}

fn aligned(length: usize) -> usize {
    length.div_ceil(4) * 4
}

/// The attributes of a message's rest, or those inside an attribute; ends at the first one that is
/// cut short.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A text that ends at its first NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_where_they_are_cut_short() {
        let mut bytes = vec![];
        for (kind, value) in [(1u16, &b"ab\0"[..]), (0x8002, &[1, 2, 3, 4])] {
            bytes.extend((value.len() as u16 + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(aligned(bytes.len()), 0);
        }
        let all: Vec<_> = attributes(&bytes).collect();
        assert_eq!(all, [(1, &b"ab\0"[..]), (2, &[1, 2, 3, 4][..])]);
        assert_eq!(text(find(&bytes, 1).unwrap()), "ab");
        for cut in 0..bytes.len() {
            assert!(attributes(&bytes[..cut]).count() < 2);
        }
        // A length of less than its own header ends the list, too.
        assert_eq!(attributes(&[0, 0, 1, 0, 9]).count(), 0);
    }

    #[test]
    fn links_are_listed() {
        let links = dump(SockProtocol::NetlinkRoute, 18, &[0; 16]).unwrap();
        let names: Vec<_> = links
            .iter()
            .filter_map(|l| find(l.get(16..)?, 3))
            .map(text)
            .collect();
        assert!(names.iter().any(|name| name == "lo"), "{names:?}");
    }
}
