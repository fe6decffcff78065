//! One measurement: a test between a client and a server, with the CPU time it cost.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use vrouter_lab::check::IPERF_PORT;
use vrouter_lab::process::Process;

use crate::cases::Test;
use crate::cpu::{Clocks, Cpu};
use crate::place::{Interrupt, Place};
use crate::statistics::{Distribution, distribution};
use crate::traffic::connections::Connected;
use crate::traffic::round_trips::RoundTrips;
use crate::traffic::udp::Received;

/// Where our own servers listen.
const PORT: u16 = 5301;
/// What a test may take beyond its own length.
const GRACE: Duration = Duration::from_secs(12);

/// A client, a server, and what is known about them.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where clients run.
    pub client: Place,
    /// Where servers run.
    pub server: Place,
    /// The server's address.
    pub address: IpAddr,
    /// A page to fetch, if there is one.
    pub page: Option<String>,
    /// This program in both places, if it is there.
    pub program: Option<String>,
    /// The processes that forward.
    pub forwarders: Vec<Process>,
    /// The servers that stay up.
    pub servers: Vec<Process>,
}

/// How a test is done.
#[derive(Debug, Clone, Copy)]
pub struct Extent<'a> {
    pub seconds: u64,
    /// Flows of datagrams.
    pub flows: usize,
    /// The congestion control of iperf3's streams, if not the kernel's.
    pub congestion: Option<&'a str>,
}

/// What a test gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The figures, by the keys of [`crate::metrics`].
    pub metrics: BTreeMap<String, f64>,
    /// The CPU time spent.
    pub cpu: Cpu,
    /// The latencies, where they are what was measured.
    pub latency: Option<Distribution>,
}

/// Does one test.
///
/// # Errors
/// Why there is no figure.
pub fn measure(
    target: &Target,
    test: Test,
    extent: Extent<'_>,
    interrupt: &Interrupt,
) -> Result<Outcome, String> {
    let run = Run {
        target,
        extent,
        interrupt,
    };
    let before = Clocks::read(&target.forwarders, &target.servers);
    let (amount, mut outcome) = match test {
        Test::Ping => run.ping()?,
        Test::Tcp => run.iperf(&[])?,
        Test::Tcp4 => run.iperf(&["-P", "4"])?,
        Test::TcpRev => run.iperf(&["-R"])?,
        Test::UdpPps => run.udp()?,
        Test::UdpSizes => run.udp_sizes()?,
        Test::Rr => run.round_trips()?,
        Test::RrLoad => run.round_trips_under_load()?,
        Test::Ab => run.ab(&[])?,
        Test::AbKeepalive => run.ab(&["-k"])?,
        Test::NewConns => run.connections()?,
    };
    let after = Clocks::read(&target.forwarders, &target.servers);
    outcome.cpu = before.until(after);
    if let Some((key, amount)) = amount
        && outcome.cpu.machine > 0.0
    {
        outcome.set(key, amount / outcome.cpu.machine);
    }
    Ok(outcome)
}

impl Outcome {
    fn set(&mut self, key: &str, value: f64) {
        self.metrics.insert(key.to_owned(), value);
    }

    fn set_latency(&mut self, latency: Distribution) {
        self.set("averageMicroseconds", latency.average);
        self.set("p50Microseconds", latency.p50);
        self.set("p99Microseconds", latency.p99);
        self.set("p999Microseconds", latency.p999);
        self.latency = Some(latency);
    }
}

/// What was done in all, to be divided by the CPU time, under this key.
type Amount = Option<(&'static str, f64)>;

struct Run<'a> {
    target: &'a Target,
    extent: Extent<'a>,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    fn client(&self, words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        self.target
            .client
            .run(&words, self.limit(), self.interrupt)?
            .ok()
            .map_err(|error| format!("{}: {error}", words[0]))
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.extent.seconds) + GRACE
    }

    fn ping(&self) -> Result<(Amount, Outcome), String> {
        let count = (self.extent.seconds * 1000).to_string();
        let address = self.target.address.to_string();
        let words = [
            "fping", "-q", "-i", "1", "-p", "1", "-t", "1000", "-C", &count, &address,
        ];
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        let said = self
            .target
            .client
            .run(&words, self.limit(), self.interrupt)?;
        let (times, lost) =
            parse_fping(&said.err).ok_or_else(|| format!("fping: {}", said.err.trim()))?;
        if times.is_empty() || lost * 10 > times.len() {
            return Err(format!("fping: {lost} of {} lost", lost + times.len()));
        }
        let mut outcome = Outcome::default();
        outcome.set_latency(distribution(times));
        Ok((None, outcome))
    }

    fn iperf_words(&self, seconds: u64, more: &[&str]) -> Vec<String> {
        let fixed = [
            "iperf3".to_owned(),
            "-J".to_owned(),
            "--connect-timeout".to_owned(),
            "3000".to_owned(),
            "-t".to_owned(),
            seconds.to_string(),
            "-c".to_owned(),
            self.target.address.to_string(),
            "-p".to_owned(),
            IPERF_PORT.to_string(),
        ];
        let congestion = self.extent.congestion.map(|name| ["-C", name]);
        fixed
            .into_iter()
            .chain(congestion.into_iter().flatten().map(str::to_owned))
            .chain(more.iter().map(|&word| word.to_owned()))
            .collect()
    }

    fn iperf(&self, more: &[&str]) -> Result<(Amount, Outcome), String> {
        let words = self.iperf_words(self.extent.seconds, more);
        let said = self
            .target
            .client
            .run(&words, self.limit(), self.interrupt)?;
        let (bits, bytes) = parse_iperf(&said.out)
            .map_err(|error| format!("iperf3: {error}{}", said.err.trim()))?;
        let mut outcome = Outcome::default();
        outcome.set("gbits", bits / 1e9);
        Ok((Some(("gbitsPerCpuSecond", bytes * 8.0 / 1e9)), outcome))
    }

    fn ab(&self, more: &[&str]) -> Result<(Amount, Outcome), String> {
        let page = self
            .target
            .page
            .as_deref()
            .ok_or("no page to fetch: give one with `page` in the targets file")?;
        let seconds = self.extent.seconds.to_string();
        let mut words = vec!["ab", "-q", "-s", "5", "-t", &seconds, "-n", "3000000"];
        words.extend(["-c", "32"]);
        words.extend(more);
        words.push(page);
        let text = self.client(&words)?;
        let figure = |label: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(label))
                .and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<f64>().ok())
        };
        let done = figure("Complete requests:").ok_or("ab: no figures")?;
        let failed = figure("Failed requests:").unwrap_or(0.0);
        if done == 0.0 || failed * 100.0 > done {
            return Err(format!("ab: {failed} of {done} requests failed"));
        }
        let rate = figure("Requests per second:").ok_or("ab: no rate")?;
        let mut outcome = Outcome::default();
        outcome.set("requestsPerSecond", rate);
        Ok((Some(("requestsPerCpuSecond", done)), outcome))
    }

    /// Runs one of our servers and its client, and gives what each reported.
    fn own<S: DeserializeOwned, C: DeserializeOwned>(
        &self,
        server: &str,
        client: &[&str],
    ) -> Result<(S, C), String> {
        let program = self
            .target
            .program
            .as_deref()
            .ok_or("this program is not there: say where with `program` in the targets file")?;
        let at = SocketAddr::new(self.target.address, PORT).to_string();
        let words = |rest: &[&str]| -> Vec<String> {
            [program, "traffic"]
                .iter()
                .chain(rest)
                .map(|&word| word.to_owned())
                .collect()
        };
        let server = self.target.server.serve(&words(&[server, &at]))?;
        let mut rest = vec![client[0], &at];
        rest.extend(&client[1..]);
        let said = self
            .target
            .client
            .run(&words(&rest), self.limit(), self.interrupt)?
            .ok()?;
        // What is still on its way.
        thread::sleep(Duration::from_millis(30));
        let served = server.finish(self.interrupt)?;
        let parse = |error: serde_json::Error| format!("its report: {error}");
        Ok((
            serde_json::from_str(&served).map_err(parse)?,
            serde_json::from_str(&said).map_err(parse)?,
        ))
    }

    fn datagrams(&self, size: usize, milliseconds: u64) -> Result<Received, String> {
        let (size, milliseconds) = (size.to_string(), milliseconds.to_string());
        let flows = self.extent.flows.to_string();
        let client = [
            "udp-blast",
            "--size",
            &size,
            "--milliseconds",
            &milliseconds,
            "--flows",
            &flows,
        ];
        let (received, _): (Received, crate::traffic::udp::Sent) = self.own("udp-sink", &client)?;
        if received.packets < 2 || received.seconds <= 0.0 {
            return Err("no datagram arrived".to_owned());
        }
        Ok(received)
    }

    fn udp(&self) -> Result<(Amount, Outcome), String> {
        let received = self.datagrams(64, self.extent.seconds * 1000)?;
        let packets = received.packets as f64;
        let mut outcome = Outcome::default();
        outcome.set("packetsPerSecond", packets / received.seconds);
        Ok((Some(("packetsPerCpuSecond", packets)), outcome))
    }

    fn udp_sizes(&self) -> Result<(Amount, Outcome), String> {
        let mut outcome = Outcome::default();
        for size in [64, 512, 1400] {
            let received = self.datagrams(size, (self.extent.seconds * 500).max(500))?;
            let key = format!("packetsPerSecond{size}");
            outcome.set(&key, received.packets as f64 / received.seconds);
        }
        Ok((None, outcome))
    }

    fn round_trips(&self) -> Result<(Amount, Outcome), String> {
        let milliseconds = (self.extent.seconds * 1000).to_string();
        let client = ["rr-ask", "--milliseconds", &milliseconds];
        let (_, asked): (serde_json::Value, RoundTrips) = self.own("rr-serve", &client)?;
        if asked.transactions == 0 {
            return Err("no round trip".to_owned());
        }
        let mut outcome = Outcome::default();
        let rate = asked.transactions as f64 / asked.seconds;
        outcome.set("transactionsPerSecond", rate);
        outcome.set_latency(asked.latency);
        Ok((None, outcome))
    }

    fn round_trips_under_load(&self) -> Result<(Amount, Outcome), String> {
        let words = self.iperf_words(self.extent.seconds + 1, &[]);
        let load = self.target.client.start(&words)?;
        thread::sleep(Duration::from_millis(300));
        let outcome = self.round_trips();
        let said = load.finish(self.limit(), self.interrupt)?;
        parse_iperf(&said.out).map_err(|error| format!("the load: iperf3: {error}"))?;
        outcome
    }

    fn connections(&self) -> Result<(Amount, Outcome), String> {
        let milliseconds = (self.extent.seconds * 1000).to_string();
        let client = ["connect", "--milliseconds", &milliseconds];
        let (_, made): (serde_json::Value, Connected) = self.own("accept", &client)?;
        if made.connections == 0 || made.failed * 100 > made.connections {
            let all = made.failed + made.connections;
            return Err(format!("{} of {all} connections failed", made.failed));
        }
        let connections = made.connections as f64;
        let mut outcome = Outcome::default();
        outcome.set("connectionsPerSecond", connections / made.seconds);
        Ok((Some(("connectionsPerCpuSecond", connections)), outcome))
    }
}

/// The round trips of `fping -C`, in microseconds, and how many were lost.
fn parse_fping(text: &str) -> Option<(Vec<f64>, usize)> {
    let line = text.lines().rev().find(|line| line.contains(" : "))?;
    let (_, times) = line.split_once(" : ")?;
    let mut lost = 0;
    let mut microseconds = Vec::new();
    for word in times.split_ascii_whitespace() {
        if word == "-" {
            lost += 1;
        } else {
            microseconds.push(word.parse::<f64>().ok()? * 1000.0);
        }
    }
    Some((microseconds, lost))
}

/// Bits per second and bytes that the receiver of an iperf3 run saw.
fn parse_iperf(text: &str) -> Result<(f64, f64), String> {
    let report: serde_json::Value =
        serde_json::from_str(text).map_err(|error| format!("no report ({error})"))?;
    if let Some(error) = report["error"].as_str() {
        return Err(error.to_owned());
    }
    let sum = &report["end"]["sum_received"];
    match (sum["bits_per_second"].as_f64(), sum["bytes"].as_f64()) {
        (Some(bits), Some(bytes)) if bits > 0.0 => Ok((bits, bytes)),
        (Some(_), Some(_)) => Err("nothing arrived".to_owned()),
        (None, _) | (_, None) => Err("no sum in the report".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fping_s_times_are_milliseconds_and_a_dash_is_a_loss() {
        let (times, lost) = parse_fping("\n10.65.0.2 : 0.025 - 1.5 0.010\n").unwrap();
        assert_eq!((times, lost), (vec![25.0, 1500.0, 10.0], 1));
        assert_eq!(parse_fping("fping: no such host"), None);
    }

    #[test]
    fn iperf_s_streams_have_the_congestion_control_asked_for() {
        let nowhere = || Place::Prefix(Vec::new());
        let target = Target {
            client: nowhere(),
            server: nowhere(),
            address: IpAddr::from([192, 0, 2, 1]),
            page: None,
            program: None,
            forwarders: Vec::new(),
            servers: Vec::new(),
        };
        let words = |congestion| {
            let run = Run {
                target: &target,
                extent: Extent {
                    seconds: 1,
                    flows: 1,
                    congestion,
                },
                interrupt: &Interrupt::default(),
            };
            run.iperf_words(1, &["-R"])
        };
        assert!(words(Some("cubic")).ends_with(&["-C", "cubic", "-R"].map(str::to_owned)));
        assert!(!words(None).contains(&"-C".to_owned()));
    }

    #[test]
    fn iperf_s_errors_are_told() {
        let busy = r#"{"start":{},"error":"the server is busy"}"#;
        assert_eq!(parse_iperf(busy).unwrap_err(), "the server is busy");
        let good = r#"{"end":{"sum_received":{"bits_per_second":1e9,"bytes":5e8}}}"#;
        assert_eq!(parse_iperf(good).unwrap(), (1e9, 5e8));
        assert!(parse_iperf("").is_err());
    }
}
