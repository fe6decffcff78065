//! The tests of one path: real tools, their output read, a reason for every failure.

use std::process::Output;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::servers::{BLOB, IPERF_PORT, Servers, WEB_PORT};
use super::{Outcome, Path};
use crate::cli::Test;
use crate::netns;

/// Runs one test on one path.
pub(super) fn probe(path: &Path, test: Test, servers: &Servers) -> Outcome {
    match test {
        Test::Ping => ping(path),
        Test::PingSizes => ping_sizes(path),
        Test::Tcp => iperf(path, &["-n", "96M"]),
        Test::TcpReverse => iperf(path, &["-n", "96M", "-R"]),
        // Eight streams' send and receive buffers may hold 80 MB when the sender is done.
        Test::TcpStreams => iperf(path, &["-n", "128M", "-P", "8"]),
        Test::Udp => iperf(path, &["-u", "-b", "20M", "-l", "1200", "-n", "800K"]),
        Test::UdpReverse => iperf(path, &["-u", "-b", "20M", "-l", "1200", "-n", "800K", "-R"]),
        Test::Http => http(path, servers),
        Test::Traceroute => traceroute(path),
    }
}

/// Runs a command in the client's namespace; a dead path may not hang it for longer than a while.
fn in_client(path: &Path, command: &[&str]) -> Result<Output, String> {
    let limited = [&["timeout", "20"], command].concat();
    netns::output(&path.from, &limited, "").map_err(|error| error.to_string())
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn ping(path: &Path) -> Outcome {
    let address = path.address.to_string();
    let command = [
        "ping", "-n", "-q", "-c", "20", "-i", "0.01", "-W", "2", &address,
    ];
    let said = text(&in_client(path, &command)?);
    if !said.contains(" 0% packet loss") {
        return Err(last_lines(&said, 3));
    }
    let average = said
        .lines()
        .find_map(|line| {
            line.split_once("= ")?
                .1
                .split('/')
                .nth(1)?
                .parse::<f64>()
                .ok()
        })
        .ok_or_else(|| last_lines(&said, 3))?;
    Ok(format!("{:.0} µs", average * 1000.0))
}

/// Sizes around the path's MTU: up to it whole; above it refused when fragmenting is forbidden,
/// answered when it is allowed.
fn ping_sizes(path: &Path) -> Outcome {
    let mtu = client_mtu(path)?.min(path.mtu_limit);
    let headers = if path.address.is_ipv6() { 48 } else { 28 };
    let answers = |size: usize, fragment: &str| -> Result<(usize, String), String> {
        let (size, address) = ((size - headers).to_string(), path.address.to_string());
        let command = [
            "ping", "-n", "-c", "3", "-i", "0.02", "-W", "1", "-M", fragment, "-s", &size, &address,
        ];
        let said = text(&in_client(path, &command)?);
        let count = said
            .lines()
            .filter(|line| line.contains(" bytes from "))
            .count();
        Ok((count, last_lines(&said, 4)))
    };
    for (size, fragment, wanted) in [
        (mtu - 1, "do", true),
        (mtu, "do", true),
        (mtu + 1, "do", false),
        (mtu + 1, "dont", true),
        (4000, "dont", true),
        (9000, "dont", true),
    ] {
        let (count, said) = answers(size, fragment)?;
        if (count > 0) != wanted {
            let wanted = if wanted { "an answer" } else { "no answer" };
            return Err(format!(
                "{size} bytes with -M {fragment}: wanted {wanted}, got {count} ({said})"
            ));
        }
    }
    Ok(format!("mtu {mtu}"))
}

/// The MTU of the interface that the client's route to the server uses.
fn client_mtu(path: &Path) -> Result<usize, String> {
    let address = path.address.to_string();
    let json = |command: &[&str]| -> Result<Value, String> {
        let output = in_client(path, command)?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{}: {error}: {}", command.join(" "), text(&output)))
    };
    let route = json(&[
        "ip",
        "-n",
        path.from.as_str(),
        "-j",
        "route",
        "get",
        &address,
    ])?;
    let device = route[0]["dev"].as_str().ok_or("no route")?.to_owned();
    let link = json(&[
        "ip",
        "-n",
        path.from.as_str(),
        "-j",
        "link",
        "show",
        "dev",
        &device,
    ])?;
    link[0]["mtu"]
        .as_u64()
        .and_then(|mtu| usize::try_from(mtu).ok())
        .ok_or_else(|| format!("no MTU of {device}"))
}

/// One iperf3 test. A server that is not yet done with its last client refuses the next one for a
/// moment, and a burst of datagrams overruns the socket of a receiver that the machine does not let
/// run: both are tried again, a path that loses goes on losing.
fn iperf(path: &Path, flags: &[&str]) -> Outcome {
    for _ in 0..4 {
        match iperf_once(path, flags) {
            Err(reason) if PASSING.iter().any(|passing| reason.contains(passing)) => {
                thread::sleep(Duration::from_millis(300));
            }
            outcome => return outcome,
        }
    }
    iperf_once(path, flags)
}

/// The reasons to try iperf3 again.
const PASSING: [&str; 4] = [
    "the server is busy",
    "Connection reset by peer",
    "Connection refused",
    LOST,
];
const LOST: &str = "too many lost";

fn iperf_once(path: &Path, flags: &[&str]) -> Outcome {
    let (address, port) = (path.address.to_string(), IPERF_PORT.to_string());
    let client = [
        "iperf3",
        "-J",
        "--connect-timeout",
        "3000",
        "-c",
        &address,
        "-p",
        &port,
    ];
    let output = in_client(path, &[&client, flags].concat())?;
    let result: Value = serde_json::from_slice(&output.stdout).map_err(|_| {
        format!(
            "no result ({}): {}",
            output.status,
            last_lines(&text(&output), 3)
        )
    })?;
    if let Some(error) = result["error"].as_str() {
        return Err(error.to_owned());
    }
    if flags.contains(&"-u") {
        let sum = &result["end"]["sum"];
        let (lost, packets) = (sum["lost_packets"].as_f64(), sum["packets"].as_f64());
        return match (lost, packets) {
            (Some(lost), Some(packets)) if packets > 0.0 && lost <= packets * 0.02 => {
                Ok(format!("{lost:.0}/{packets:.0} lost"))
            }
            other => Err(format!("{LOST}, of all sent: {other:?}")),
        };
    }
    let received = &result["end"]["sum_received"];
    match (
        received["bytes"].as_u64(),
        received["bits_per_second"].as_f64(),
    ) {
        // What is on its way when the sender is done is not counted.
        (Some(bytes), Some(rate)) if bytes >= 16 << 20 => Ok(format!("{:.1} Gbit/s", rate / 1e9)),
        other => Err(format!("received bytes and rate: {other:?}")),
    }
}

fn http(path: &Path, servers: &Servers) -> Outcome {
    let host = if path.address.is_ipv6() {
        format!("[{}]", path.address)
    } else {
        path.address.to_string()
    };
    let url = format!("http://{host}:{WEB_PORT}{BLOB}");
    let output = in_client(path, &["curl", "-sS", "-m", "10", "-o", "-", &url])?;
    if output.stdout == servers.blob {
        Ok("ok".to_owned())
    } else {
        Err(format!(
            "{} bytes of {} came, or others ({})",
            output.stdout.len(),
            servers.blob.len(),
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

fn traceroute(path: &Path) -> Outcome {
    let address = path.address.to_string();
    let command = [
        "traceroute",
        "-n",
        "-q",
        "1",
        "-w",
        "2",
        "-m",
        "8",
        &address,
    ];
    let said = text(&in_client(path, &command)?);
    let hops: Vec<&str> = said
        .lines()
        .skip(1)
        .filter_map(|line| line.split_ascii_whitespace().nth(1))
        .collect();
    match hops.last() {
        Some(last) if *last == address => Ok(format!("{} hops", hops.len())),
        _ => Err(format!("the hops were {}", hops.join(" "))),
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}
