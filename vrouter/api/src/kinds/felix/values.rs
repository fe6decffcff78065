//! The values of FelixConfiguration's keys that have types of their own.

use policy::model::Protocol;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::kinds::rule::protocol;
use crate::place::Place;

/// What happens to packets from a workload to its own node after policy allowed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum EndpointToHostAction {
    /// Dropped.
    #[default]
    Drop,
    /// Delivered.
    Accept,
    /// Left to the host's own rules; we have none, so delivered.
    Return,
}

impl EndpointToHostAction {
    pub(super) fn read(place: &Place<'_>) -> Option<EndpointToHostAction> {
        place.word(&[
            ("Drop", EndpointToHostAction::Drop),
            ("Accept", EndpointToHostAction::Accept),
            ("Return", EndpointToHostAction::Return),
        ])
    }
}

/// Whether workloads may use `allowSpoofedSourcePrefixes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum WorkloadSourceSpoofing {
    #[default]
    Disabled,
    Any,
}

impl WorkloadSourceSpoofing {
    pub(super) fn read(place: &Place<'_>) -> Option<WorkloadSourceSpoofing> {
        place.word(&[
            ("Disabled", WorkloadSourceSpoofing::Disabled),
            ("Any", WorkloadSourceSpoofing::Any),
        ])
    }
}

/// The least severe messages that are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum LogSeverity {
    /// Every step.
    Trace,
    /// Steps an author wants to see.
    Debug,
    /// Events.
    #[default]
    Info,
    Warning,
    Error,
    Fatal,
}

impl LogSeverity {
    pub(super) fn read(place: &Place<'_>) -> Option<LogSeverity> {
        place.word(&[
            ("Trace", LogSeverity::Trace),
            ("Debug", LogSeverity::Debug),
            ("Info", LogSeverity::Info),
            ("Warning", LogSeverity::Warning),
            ("Error", LogSeverity::Error),
            ("Fatal", LogSeverity::Fatal),
        ])
    }
}

/// Which routes to other nodes' blocks the agent programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum ProgramClusterRoutes {
    /// None.
    Disabled,
    /// Those of IPIP pools.
    #[default]
    #[serde(rename = "EnabledIPIPOnly")]
    EnabledIpipOnly,
    /// Those of pools without encapsulation.
    EnabledNoEncapOnly,
    /// All.
    Enabled,
}

impl ProgramClusterRoutes {
    pub(super) fn read(place: &Place<'_>) -> Option<ProgramClusterRoutes> {
        place.word(&[
            ("Disabled", ProgramClusterRoutes::Disabled),
            ("EnabledIPIPOnly", ProgramClusterRoutes::EnabledIpipOnly),
            (
                "EnabledNoEncapOnly",
                ProgramClusterRoutes::EnabledNoEncapOnly,
            ),
            ("Enabled", ProgramClusterRoutes::Enabled),
        ])
    }
}

/// A port that policy for hosts never closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FailsafePort {
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
    /// Only for peers in that prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<IpNet>,
}

impl FailsafePort {
    pub(super) fn read(place: &Place<'_>) -> Option<FailsafePort> {
        let fields = place.fields()?;
        let protocol = match fields.optional("protocol") {
            Some(place) => protocol(&place).filter(|protocol| {
                let good = protocol.has_ports();
                if !good {
                    place.error("must be TCP, UDP or SCTP");
                }
                good
            }),
            None => Some(Protocol::TCP),
        };
        let port = fields
            .required("port")
            .and_then(|place| place.integer(0..=u16::MAX));
        let net = fields
            .optional("net")
            .filter(|place| place.text() != Some(""));
        let net = net.and_then(|place| place.prefix()).map(|net| net.trunc());
        fields.finish();
        Some(FailsafePort {
            protocol: protocol?,
            port: port?,
            net,
        })
    }
}

/// How long idle flows are remembered; absent or `Auto`: Calico's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConntrackTimeouts {
    /// A new flow is kept at least that long.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub creation_grace_period: Option<Duration>,
    /// TCP: one side's SYN was seen.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub tcp_syn_sent: Option<Duration>,
    /// TCP: established.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub tcp_established: Option<Duration>,
    /// TCP: both sides' FINs were seen.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub tcp_fins_seen: Option<Duration>,
    /// TCP: a reset was seen.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub tcp_reset_seen: Option<Duration>,
    /// UDP.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub udp_timeout: Option<Duration>,
    /// Every other protocol.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub generic_timeout: Option<Duration>,
    /// ICMP.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "go_duration"
    )]
    pub icmp_timeout: Option<Duration>,
}

impl ConntrackTimeouts {
    pub(super) fn read(place: &Place<'_>) -> Option<ConntrackTimeouts> {
        let fields = place.fields()?;
        let timeout = |name| {
            let place = fields.optional(name)?;
            let text = place.text()?;
            if text.eq_ignore_ascii_case("auto") {
                return None;
            }
            let duration = parse_duration(text);
            if duration.is_none() {
                place.error("must be Auto or a duration such as 90s, 10m, 1h30m or 500ms");
            }
            duration
        };
        let timeouts = ConntrackTimeouts {
            creation_grace_period: timeout("creationGracePeriod"),
            tcp_syn_sent: timeout("tcpSynSent"),
            tcp_established: timeout("tcpEstablished"),
            tcp_fins_seen: timeout("tcpFinsSeen"),
            tcp_reset_seen: timeout("tcpResetSeen"),
            udp_timeout: timeout("udpTimeout"),
            generic_timeout: timeout("genericTimeout"),
            icmp_timeout: timeout("icmpTimeout"),
        };
        fields.finish();
        Some(timeouts)
    }
}

/// A duration as resources have it.
pub(super) fn duration(place: &Place<'_>) -> Option<Duration> {
    let duration = parse_duration(place.text()?);
    if duration.is_none() {
        place.error("must be a duration such as 90s, 10m, 1h30m or 500ms");
    }
    duration
}

/// A duration as Go writes them: numbers with units `h m s ms us µs ns`, joined.
fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit_on) = rest.split_at(digits);
        let unit_end = unit_on.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, next) = unit_on.split_at(unit_end.unwrap_or(unit_on.len()));
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = next;
    }
    if text.is_empty() {
        None
    } else {
        Duration::try_from_secs_f64(total).ok()
    }
}

/// The shortest exact form: whole hours, minutes, seconds, else milliseconds and below.
#[allow(clippy::ref_option)] // serde calls it with a reference to the field
pub(super) fn go_duration<S: Serializer>(
    value: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let Some(value) = value else {
        return to.serialize_none();
    };
    let nanos = value.as_nanos();
    for (unit, size) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
    ] {
        if nanos != 0 && nanos.is_multiple_of(size) {
            return to.collect_str(&format_args!("{}{unit}", nanos / size));
        }
    }
    for (unit, size) in [("ms", 1_000_000), ("us", 1_000)] {
        if nanos != 0 && nanos.is_multiple_of(size) {
            return to.collect_str(&format_args!("{}{unit}", nanos / size));
        }
    }
    if nanos == 0 {
        return to.serialize_str("0s");
    }
    to.collect_str(&format_args!("{nanos}ns"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        assert_eq!(parse_duration("1h3m2s"), Some(Duration::from_secs(3782)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        for bad in [
            "",
            "s",
            "5",
            "-1s",
            "1x",
            "1..2s",
            "1e9h",
            "99999999999999999999h",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
