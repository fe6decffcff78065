//! Readiness gates: URLs that must answer before a container is added.

use std::io::{BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{CniError, Code};
use crate::log::Log;

/// Between two tries, in all, and for one answer: Calico's.
const EVERY: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(2);

/// Waits for every gate.
pub(crate) fn wait(gates: &[String], log: &mut Log) -> Result<(), CniError> {
    let deadline = Instant::now() + LIMIT;
    for gate in gates {
        let Some((host, path)) = split(gate) else {
            let message = format!("unsupported value of readiness_gates: {gate:?}");
            return Err(CniError::new(Code::UnsupportedField, message)
                .with_details("it must be http://host:port/path"));
        };
        loop {
            let reason = match ask(&host, &path) {
                Ok(()) => break,
                Err(reason) => reason,
            };
            log.debug(&format!("readiness gate {gate}: {reason}"));
            if Instant::now() + EVERY > deadline {
                let message = format!("readiness gate {gate} is not open");
                return Err(CniError::new(Code::TryAgain, message).with_details(reason));
            }
            sleep(EVERY);
        }
    }
    Ok(())
}

fn split(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() {
        return None;
    }
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let host = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Some((host, format!("/{path}")))
}

/// Asks once; any status below 400 opens the gate.
fn ask(host: &str, path: &str) -> Result<(), String> {
    let addresses = host.to_socket_addrs().map_err(|error| error.to_string())?;
    let mut reason = "it has no address".to_owned();
    for address in addresses {
        match ask_at(address, host, path) {
            Ok(status) if status < 400 => return Ok(()),
            Ok(status) => reason = format!("status {status}"),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

fn ask_at(address: std::net::SocketAddr, host: &str, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut line = Vec::new();
    for byte in BufReader::new(stream).bytes() {
        let byte = byte?;
        if byte == b'\n' || line.len() > 1024 {
            break;
        }
        line.push(byte);
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    let status = line.split(' ').nth(1).and_then(|it| it.trim().parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("no HTTP: {line:?}")))
}
