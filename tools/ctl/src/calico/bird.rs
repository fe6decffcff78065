//! What BIRD says of its BGP sessions, over its control socket.
//!
//! Source: BIRD's "Remote control" protocol: lines of a four-digit code and a text, `0000` and
//! codes from 8000 on end a reply; sessions are named as Calico's templates for BIRD do.

use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

/// Where Calico's and Debian's BIRD listen.
pub(super) const SOCKETS: &[&str] = &[
    "/var/run/calico/bird.ctl",
    "/var/run/calico/bird6.ctl",
    "/run/bird/bird.ctl",
];

/// How long a reply may take, and how many lines it may have.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST: usize = 100_000;

/// A BGP session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Peer {
    /// As text, where the session's name does not say one.
    pub(super) address: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) state: String,
    pub(super) since: String,
    pub(super) info: String,
    #[serde(skip)]
    pub(super) ipv6: bool,
}

/// The BGP sessions of the BIRD at that socket.
pub(super) fn peers(socket: &Path) -> io::Result<Vec<Peer>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut reply = || -> io::Result<Vec<String>> {
        let mut texts = Vec::new();
        for line in lines.by_ref().take(LONGEST) {
            let line = line?;
            // A line without a code of its own has that of the line before.
            let text = line.get(5..).unwrap_or_default();
            let code = line.get(..4).and_then(|code| code.parse::<u16>().ok());
            if !line.starts_with(' ') && code.is_some_and(|code| code >= 8000) {
                return Err(io::Error::other(format!("BIRD says {text:?}")));
            }
            let last = code.is_some() && line.as_bytes().get(4) != Some(&b'-');
            texts.push(line.strip_prefix(' ').unwrap_or(text).to_owned());
            if last && !line.starts_with(' ') {
                return Ok(texts);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "BIRD's reply does not end",
        ))
    };
    // It greets first.
    reply()?;
    stream.write_all(b"show protocols\n")?;
    Ok(reply()?.iter().filter_map(|line| peer(line)).collect())
}

/// `Mesh_192_0_2_2 BGP --- up 23:30:04 Established`.
fn peer(line: &str) -> Option<Peer> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    if words.next()? != "BGP" {
        return None;
    }
    let _table = words.next()?;
    let state = words.next()?.to_owned();
    let mut since = words.next().unwrap_or_default().to_owned();
    let mut rest: Vec<&str> = words.collect();
    // BIRD 2 may write date and time.
    if rest.first().is_some_and(|word| is_time(word)) && !is_time(&since) {
        since = format!("{since} {}", rest.remove(0));
    }
    let (kind, named) = match name.split_once('_') {
        Some(("Mesh", named)) => ("node-to-node mesh", named),
        Some(("Node", named)) => ("node specific", named),
        Some(("Global", named)) => ("global", named),
        _ => ("unknown", name),
    };
    let host = named.split("_port_").next().unwrap_or(named);
    let address: Option<IpAddr> = [".", ":"]
        .iter()
        .find_map(|between| host.replace('_', between).parse().ok());
    Some(Peer {
        ipv6: address.is_some_and(|address| address.is_ipv6()),
        address: address.map_or_else(|| name.to_owned(), |address| address.to_string()),
        kind,
        state,
        since,
        info: rest.join(" "),
    })
}

fn is_time(word: &str) -> bool {
    word.contains(':') && word.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_read_from_their_lines() {
        let seen = peer("Mesh_172_17_8_102 BGP      master   up     23:30:04  Established   ");
        let expected = Peer {
            address: "172.17.8.102".into(),
            kind: "node-to-node mesh",
            state: "up".into(),
            since: "23:30:04".into(),
            info: "Established".into(),
            ipv6: false,
        };
        assert_eq!(seen, Some(expected));
        let seen = peer(
            "Global_fd00__2_port_180 BGP --- start 2026-11-20 10:00:01 Active Socket: Connection refused",
        );
        let seen = seen.unwrap();
        assert_eq!((seen.address.as_str(), seen.ipv6), ("fd00::2", true));
        assert_eq!(seen.since, "2026-11-20 10:00:01");
        assert_eq!(seen.info, "Active Socket: Connection refused");
        assert_eq!(
            peer("uplink BGP --- up 10:00:01").unwrap().address,
            "uplink"
        );
        assert_eq!(peer("device1 Device --- up 10:00:01"), None);
        assert_eq!(peer(""), None);
    }
}
