//! The figures that tests give: their names, units, and which way is better.

use crate::cases::Test;

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    pub key: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    pub unit: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Digits after the point in tables.
    pub digits: usize,
}

const fn more(key: &'static str, title: &'static str, unit: &'static str) -> Metric {
    Metric {
        key,
        title,
        unit,
        more_is_better: true,
        digits: 0,
    }
}

const fn less(key: &'static str, title: &'static str) -> Metric {
    Metric {
        key,
        title,
        unit: "µs",
        more_is_better: false,
        digits: 1,
    }
}

const GBITS: Metric = Metric {
    digits: 2,
    ..more("gbits", "throughput", "Gbit/s")
};
const GBITS_PER_CPU: Metric = Metric {
    digits: 2,
    ..more("gbitsPerCpuSecond", "throughput per CPU", "Gbit/CPU-s")
};
const PPS: Metric = more("packetsPerSecond", "packets received", "packets/s");
const PACKETS_PER_CPU: Metric = more("packetsPerCpuSecond", "packets per CPU", "packets/CPU-s");
const REQUESTS: Metric = more("requestsPerSecond", "requests", "requests/s");
const REQUESTS_PER_CPU: Metric = more("requestsPerCpuSecond", "requests per CPU", "requests/CPU-s");
const CONNECTIONS: Metric = more("connectionsPerSecond", "new connections", "connections/s");
const CONNECTIONS_PER_CPU: Metric = more(
    "connectionsPerCpuSecond",
    "connections per CPU",
    "connections/CPU-s",
);
const TRANSACTIONS: Metric = more("transactionsPerSecond", "transactions", "transactions/s");
const AVERAGE: Metric = less("averageMicroseconds", "latency, average");
const P50: Metric = less("p50Microseconds", "latency, p50");
const P99: Metric = less("p99Microseconds", "latency, p99");
const P999: Metric = less("p999Microseconds", "latency, p99.9");
const SIZE_64: Metric = more("packetsPerSecond64", "packets of 64 bytes", "packets/s");
const SIZE_512: Metric = more("packetsPerSecond512", "packets of 512 bytes", "packets/s");
const SIZE_1400: Metric = more("packetsPerSecond1400", "packets of 1400 bytes", "packets/s");

/// What a test gives, the most telling first.
pub fn of(test: Test) -> &'static [Metric] {
    match test {
        Test::Ping => &[AVERAGE, P50, P99, P999],
        Test::Tcp | Test::Tcp4 | Test::TcpRev => &[GBITS, GBITS_PER_CPU],
        Test::UdpPps => &[PPS, PACKETS_PER_CPU],
        Test::UdpSizes => &[SIZE_64, SIZE_512, SIZE_1400],
        Test::Rr | Test::RrLoad => &[P50, P99, P999, TRANSACTIONS],
        Test::Ab | Test::AbKeepalive => &[REQUESTS, REQUESTS_PER_CPU],
        Test::NewConns => &[CONNECTIONS, CONNECTIONS_PER_CPU],
    }
}

impl Metric {
    /// A value as people read it: `21,543` or `17.42`.
    pub fn show(&self, value: f64) -> String {
        grouped(value, self.digits)
    }
}

/// A number with its thousands apart.
pub fn grouped(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), ""), |parts| parts);
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |w| ("-", w));
    let mut out = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !rest.is_empty() {
        out.push('.');
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_apart() {
        assert_eq!(grouped(1_234_567.4, 0), "1,234,567");
        assert_eq!(grouped(999.0, 0), "999");
        assert_eq!(grouped(-1234.56, 1), "-1,234.6");
        assert_eq!(grouped(17.416, 2), "17.42");
    }
}
