//! What Calico takes as the value of each key of a FelixConfiguration that has no type of its own
//! here. A key that is in none of the tables is a boolean.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::place::Place;

/// The values of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// One of these words.
    Exact(&'static [&'static str]),
    /// One of these words in any case, or nothing.
    AnyCase(&'static [&'static str]),
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A duration of whole units, such as `90s`.
    Duration,
    /// A duration, with decimals too.
    Decimal,
    /// An interface's name, or `*`.
    Interface,
    /// An interface's name as iptables takes it, with `+` at its end.
    Filter,
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
    /// A list of prefixes or addresses.
    Prefixes,
    /// A list of interface filters.
    Filters,
    /// A number, or a range such as `1000:2000`.
    Ports,
    /// A text without further rules, or what nobody judges here.
    Any,
    /// True or false.
    Flag,
}

use Form::{
    Any, AnyCase, Decimal, Duration, Exact, Filter, Filters, Flag, Interface, Ports, Prefixes, V4,
    V6, Whole,
};

const SWITCH: Form = Exact(&["Enabled", "Disabled"]);
const SEVERITY: Form = AnyCase(&["Trace", "Debug", "Info", "Warning", "Error", "Fatal"]);
const ACCEPT: Form = AnyCase(&["Accept", "Return"]);
const REFUSE: Form = AnyCase(&["Drop", "Reject"]);
const PORT: Form = Whole(0, 65_535);
const MARK: Form = Whole(0, 4_294_967_295);
const NUMBER: Form = Whole(i64::MIN, i64::MAX);
const PRIORITY: Form = Whole(1, 2_147_483_646);
const LIMIT: Form = Whole(-1, i64::MAX);

/// Every key that is no boolean.
const TABLE: &[(&str, Form)] = &[
    ("awsSrcDstCheck", Exact(&["DoNothing", "Enable", "Disable"])),
    ("bpfAttachType", Exact(&["TC", "TCX", "Netkit"])),
    (
        "bpfConnectTimeLoadBalancing",
        Exact(&["TCP", "Enabled", "Disabled"]),
    ),
    ("bpfConntrackLogLevel", Exact(&["Off", "Debug"])),
    (
        "bpfConntrackMode",
        Exact(&["Auto", "Userspace", "BPFProgram"]),
    ),
    ("bpfHostNetworkedNATWithoutCTLB", SWITCH),
    ("bpfProfiling", SWITCH),
    (
        "bpfRedirectToPeer",
        Exact(&["Enabled", "Disabled", "L2Only"]),
    ),
    ("floatingIPs", SWITCH),
    ("flowLogsLocalReporter", SWITCH),
    ("ipForwarding", SWITCH),
    ("istioAmbientMode", SWITCH),
    ("windowsManageFirewallRules", SWITCH),
    ("bpfJITHardening", Exact(&["Auto", "Strict"])),
    (
        "bpfOverlayHostSourceIP",
        Exact(&["TunnelAddress", "HostAddress"]),
    ),
    (
        "flowLogsPolicyEvaluationMode",
        Exact(&["None", "Continuous"]),
    ),
    ("iptablesBackend", Exact(&["Legacy", "NFT", "Auto"])),
    (
        "localSubnetL2Reachability",
        Exact(&["Disabled", "PodsAndLoadBalancers"]),
    ),
    (
        "natOutgoingExclusions",
        Exact(&["IPPoolsOnly", "IPPoolsAndHostIPs"]),
    ),
    ("nftablesFlowTableOffload", Exact(&["All", "Disabled"])),
    ("nftablesMode", Exact(&["Disabled", "Enabled", "Auto"])),
    (
        "prometheusMetricsClientAuth",
        Exact(&[
            "RequireAndVerifyClientCert",
            "RequireAnyClientCert",
            "VerifyClientCertIfGiven",
            "NoClientCert",
        ]),
    ),
    (
        "serviceLoopPrevention",
        Exact(&["Drop", "Reject", "Disabled"]),
    ),
    ("bpfEnforceRPF", AnyCase(&["Disabled", "Strict", "Loose"])),
    ("bpfExternalServiceMode", AnyCase(&["Tunnel", "DSR"])),
    ("bpfLogLevel", AnyCase(&["Off", "Info", "Debug"])),
    (
        "bpfMapSizeConntrackScaling",
        AnyCase(&["Disabled", "DoubleIfFull"]),
    ),
    ("chainInsertMode", AnyCase(&["Insert", "Append"])),
    ("iptablesFilterAllowAction", ACCEPT),
    ("iptablesMangleAllowAction", ACCEPT),
    ("nftablesFilterAllowAction", ACCEPT),
    ("nftablesMangleAllowAction", ACCEPT),
    ("iptablesFilterDenyAction", REFUSE),
    ("nftablesFilterDenyAction", REFUSE),
    ("logSeverityFile", SEVERITY),
    ("logSeveritySys", SEVERITY),
    ("routeSource", AnyCase(&["WorkloadIPs", "CalicoIPAM"])),
    ("debugPort", PORT),
    ("bpfKubeProxyHealthzPort", PORT),
    ("wireguardListeningPort", Whole(1, 65_535)),
    ("wireguardListeningPortV6", Whole(1, 65_535)),
    ("wireguardRoutingRulePriority", Whole(1, 32_765)),
    ("ipv4NormalRoutePriority", PRIORITY),
    ("ipv4ElevatedRoutePriority", PRIORITY),
    ("ipv6NormalRoutePriority", PRIORITY),
    ("ipv6ElevatedRoutePriority", PRIORITY),
    ("iptablesMarkMask", MARK),
    ("nftablesMarkMask", MARK),
    ("bpfExtToServiceConnmark", MARK),
    ("logActionRateLimitBurst", Whole(0, 9_999)),
    ("goGCThreshold", LIMIT),
    ("goMaxProcs", LIMIT),
    ("goMemoryLimitMB", LIMIT),
    ("bpfMapSizeConntrackCleanupQueue", Whole(1, i64::MAX)),
    ("bpfMaglevMaxEndpointsPerService", Whole(1, 3_000)),
    ("bpfMaglevMaxServices", Whole(1, 3_000)),
    ("metadataPort", NUMBER),
    ("healthPort", NUMBER),
    ("prometheusMetricsPort", NUMBER),
    ("wireguardMTU", NUMBER),
    ("wireguardMTUV6", NUMBER),
    ("maxIpsetSize", NUMBER),
    ("bpfExportBufferSizeMB", NUMBER),
    ("bpfMapSizeNATFrontend", NUMBER),
    ("bpfMapSizeNATBackend", NUMBER),
    ("bpfMapSizeNATAffinity", NUMBER),
    ("bpfMapSizeRoute", NUMBER),
    ("bpfMapSizeConntrack", NUMBER),
    ("bpfMapSizePerCpuConntrack", NUMBER),
    ("bpfMapSizeIPSets", NUMBER),
    ("bpfMapSizeIfState", NUMBER),
    ("bpfIPFragTimeout", Duration),
    ("bpfKubeProxyMinSyncPeriod", Duration),
    ("debugSimulateCalcGraphHangAfter", Duration),
    ("debugSimulateDataplaneApplyDelay", Duration),
    ("debugSimulateDataplaneHangAfter", Duration),
    ("flowLogsFlushInterval", Duration),
    ("interfaceRefreshInterval", Duration),
    ("ipsetsRefreshInterval", Duration),
    ("iptablesLockProbeInterval", Duration),
    ("iptablesPostWriteCheckInterval", Duration),
    ("iptablesRefreshInterval", Duration),
    ("netlinkTimeout", Duration),
    ("reportingInterval", Duration),
    ("reportingTTL", Duration),
    ("routeRefreshInterval", Duration),
    ("usageReportingInitialDelay", Duration),
    ("usageReportingInterval", Duration),
    ("wireguardKeepAlive", Duration),
    ("xdpRefreshInterval", Duration),
    ("liveMigrationRouteConvergenceTime", Decimal),
    ("dataplaneWatchdogTimeout", Decimal),
    ("localSubnetL2ReachabilityRefreshInterval", Decimal),
    ("nftablesRefreshInterval", Decimal),
    ("wireguardInterfaceName", Interface),
    ("wireguardInterfaceNameV6", Interface),
    ("iptablesNATOutgoingInterfaceFilter", Filter),
    ("bpfForceTrackPacketsFromIfaces", Filters),
    ("natOutgoingAddress", V4),
    ("deviceRouteSourceAddress", V4),
    ("deviceRouteSourceAddressIPv6", V6),
    ("externalNodesList", Prefixes),
    ("bpfDSROptoutCIDRs", Prefixes),
    ("bpfExcludeCIDRsFromNAT", Prefixes),
    ("natPortRange", Ports),
    ("bpfPSNATPorts", Ports),
    ("bpfConntrackTimeouts", Any),
    ("bpfLogFilters", Any),
    ("kubeNodePortRanges", Any),
    ("failsafeInboundHostPorts", Any),
    ("failsafeOutboundHostPorts", Any),
    ("routeTableRange", Any),
    ("routeTableRanges", Any),
    ("healthTimeoutOverrides", Any),
    ("logDebugFilenameRegex", Any),
    ("mtuIfacePattern", Any),
    ("bpfDataIfacePattern", Any),
    ("bpfL3IfacePattern", Any),
    ("bpfDisableGROForIfaces", Any),
    ("nftablesFlowTableDataIfacePattern", Any),
    ("openstackRegion", Any),
    ("prometheusMetricsHost", Any),
    ("logPrefix", Any),
    ("logActionRateLimit", Any),
    ("featureDetectOverride", Any),
    ("featureGates", Any),
    ("dataplaneDriver", Any),
    ("metadataAddr", Any),
    ("interfacePrefix", Any),
    ("interfaceExclude", Any),
    ("logFilePath", Any),
    ("endpointStatusPathPrefix", Any),
    ("healthHost", Any),
    ("debugHost", Any),
    ("prometheusMetricsCAFile", Any),
    ("prometheusMetricsCertFile", Any),
    ("prometheusMetricsKeyFile", Any),
    ("policySyncPathPrefix", Any),
    ("debugMemoryProfilePath", Any),
    ("bpfCTLBLogFilter", Any),
    ("cgroupV2Path", Any),
    ("flowLogsGoldmaneServer", Any),
    ("istioDSCPMark", Any),
    ("nodeSelector", Any),
];

/// The values that a key takes.
fn form_of(key: &str) -> Form {
    let found = TABLE.iter().find(|(name, _)| *name == key);
    found.map_or(Flag, |(_, form)| *form)
}

/// Reports a value that Calico refuses.
pub(super) fn check(key: &str, place: &Place<'_>) {
    if let Err(reason) = judge(form_of(key), place) {
        place.fault(reason);
    }
}

fn judge(form: Form, place: &Place<'_>) -> Result<(), String> {
    let text = place.written();
    let one_of = |words: &[&str]| format!("must be one of {}", words.join(", "));
    match form {
        Any => Ok(()),
        Exact(words) if words.contains(&text) => Ok(()),
        Exact(words) => Err(one_of(words)),
        AnyCase(words)
            if text.is_empty() || words.iter().any(|it| it.eq_ignore_ascii_case(text)) =>
        {
            Ok(())
        }
        AnyCase(words) => Err(format!("{}, in any case", one_of(words))),
        Whole(low, high) => match text.parse::<i64>() {
            Ok(number) if (low..=high).contains(&number) => Ok(()),
            _ if (low, high) == (i64::MIN, i64::MAX) => Err("must be a whole number".to_owned()),
            _ if high == i64::MAX => Err(format!("must be a whole number from {low}")),
            _ => Err(format!("must be a whole number in {low}–{high}")),
        },
        Duration if is_duration(text, false) => Ok(()),
        Duration => Err("must be a duration of whole units, such as 90s or 1h30m".to_owned()),
        Decimal if is_duration(text, true) => Ok(()),
        Decimal => Err("must be a duration, such as 90s, 1.5s or 1h30m".to_owned()),
        Interface if text == "*" || is_named(text, "_.-") => Ok(()),
        Interface => Err("must be an interface name of at most 15 characters".to_owned()),
        Filter if is_named(text, ":._+-") => Ok(()),
        Filter => Err(
            "must be an interface name of at most 15 characters, or its beginning and +".to_owned(),
        ),
        V4 if text.parse::<Ipv4Addr>().is_ok() => Ok(()),
        V4 => Err("must be an IPv4 address".to_owned()),
        V6 if text.parse::<Ipv6Addr>().is_ok() => Ok(()),
        V6 => Err("must be an IPv6 address".to_owned()),
        Ports if is_port_range(text) => Ok(()),
        Ports => Err("must be a port in 1–65535 or a range such as 1000:2000".to_owned()),
        Prefixes => {
            for item in place.items() {
                // The reader reports what it does not like.
                let _ = item.prefix();
            }
            Ok(())
        }
        Filters => {
            for item in place.items() {
                judge(Filter, &item)?;
            }
            Ok(())
        }
        Flag => place
            .is_boolean()
            .then_some(())
            .ok_or_else(|| "must be true or false".to_owned()),
    }
}

fn is_named(text: &str, beside: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || beside.contains(c);
    (1..=15).contains(&text.len()) && text.chars().all(allowed)
}

fn is_port_range(text: &str) -> bool {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    match text.split_once(':') {
        Some((low, high)) => port(low)
            .zip(port(high))
            .is_some_and(|(low, high)| low <= high),
        None => port(text).is_some(),
    }
}

/// Go's durations that are not negative: numbers with units.
fn is_duration(text: &str, decimals: bool) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        let digits = |c: char| c.is_ascii_digit() || decimals && c == '.';
        let number = rest.find(|c| !digits(c)).unwrap_or(rest.len());
        let unit = rest[number..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| number + at);
        let known = ["h", "m", "s", "ms"].contains(&&rest[number..unit])
            || decimals && ["us", "µs", "ns"].contains(&&rest[number..unit]);
        if rest[..number].parse::<f64>().is_err() || !known {
            return false;
        }
        rest = &rest[unit..];
    }
    !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::felix::keys::KEYS;

    fn errors(key: &str, value: &str) -> usize {
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\nmetadata: {{name: default}}\nspec:\n  {key}: {value}\n"
        );
        crate::parse(text.as_bytes(), "f").errors.len()
    }

    #[test]
    fn every_row_is_of_a_key() {
        for (name, _) in TABLE {
            // Read by a type of its own.
            let typed = ["nodeSelector"].contains(name);
            assert!(typed || KEYS.contains(name), "{name}");
        }
    }

    #[test]
    fn every_row_takes_and_refuses_what_calico_does() {
        for (name, form) in TABLE {
            let (good, bad): (Vec<String>, Vec<String>) = match form {
                Exact(words) => (
                    words.iter().map(ToString::to_string).collect(),
                    vec![words[0].to_uppercase() + "x", "odd".into()],
                ),
                AnyCase(words) => (
                    words
                        .iter()
                        .flat_map(|word| {
                            [word.to_string(), word.to_uppercase(), word.to_lowercase()]
                        })
                        .chain(["''".to_owned()])
                        .collect(),
                    vec!["odd".into()],
                ),
                Whole(low, high) => (
                    vec![low.to_string(), high.to_string()],
                    [low.checked_sub(1), high.checked_add(1)]
                        .into_iter()
                        .flatten()
                        .map(|number| number.to_string())
                        .chain(["1.5".into(), "many".into()])
                        .collect(),
                ),
                Duration => (
                    vec!["90s".into(), "1h30m".into(), "500ms".into()],
                    vec![
                        "1.5s".into(),
                        "10us".into(),
                        "-1s".into(),
                        "90".into(),
                        "''".into(),
                    ],
                ),
                Decimal => (
                    vec!["90s".into(), "1.5s".into()],
                    vec!["90".into(), "s".into(), "''".into()],
                ),
                Interface => (
                    vec!["wireguard.cali".into(), "'*'".into()],
                    vec!["a-name-too-long-".into(), "a/b".into(), "''".into()],
                ),
                Filter => (vec!["eth+".into()], vec!["a/b".into(), "''".into()]),
                Filters => (
                    vec!["[docker+, a]".into()],
                    vec!["[a/b]".into(), "x".into()],
                ),
                V4 => (
                    vec!["10.0.0.1".into()],
                    vec!["10.0.0.0/8".into(), "fd00::1".into()],
                ),
                V6 => (vec!["fd00::1".into()], vec!["10.0.0.1".into()]),
                Prefixes => (
                    vec!["[10.0.0.0/8, 10.0.0.1]".into(), "[]".into()],
                    vec!["[odd]".into(), "odd".into()],
                ),
                Ports => (
                    vec!["1".into(), "65535".into(), "20000:29999".into()],
                    vec!["0".into(), "65536".into(), "2:1".into(), "name".into()],
                ),
                Any => continue,
                Flag => unreachable!("no row is a boolean"),
            };
            for value in good {
                assert_eq!(errors(name, &value), 0, "{name}: {value}");
            }
            for value in bad {
                assert!(errors(name, &value) > 0, "{name}: {value}");
            }
        }
    }

    #[test]
    fn the_other_keys_are_booleans() {
        let mut flags = KEYS
            .iter()
            .filter(|key| TABLE.iter().all(|(name, _)| name != *key));
        assert!(flags.clone().count() > 20);
        let typed = ["logSeverityScreen", "workloadSourceSpoofing"];
        assert!(flags.any(|key| typed.contains(key)));
        for key in [
            "healthEnabled",
            "bpfEnabled",
            "prometheusMetricsEnabled",
            "wireguardEnabled",
        ] {
            assert_eq!(errors(key, "true"), 0, "{key}");
            assert_eq!(errors(key, "false"), 0, "{key}");
            assert!(errors(key, "perhaps") > 0, "{key}");
        }
    }
}
