//! What files and flags come to.

use super::*;
use std::io::Write;

use vrouter_bgp::RouterId;

fn resolve(file: &str, flags: &[&str]) -> Result<Config, ConfigError> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    let path = on_disk.path().to_str().unwrap().to_owned();
    let arguments = ["vrouterd", "--config", &path]
        .into_iter()
        .chain(flags.iter().copied());
    Arguments::try_parse_from(arguments).unwrap().resolve()
}

#[test]
fn flags_win_over_the_file() {
    let config = resolve("nodeName: a\nworkers: 2\n", &["--node-name", "b"]).unwrap();
    assert_eq!((config.agent.node.as_str(), config.agent.workers), ("b", 2));
    assert_eq!(config.agent.tunnel_interface, "tunl0");
    assert_eq!(config.agent.pod_link, PodLink::Veth);
    let tap = resolve("nodeName: a\npodLink: veth\n", &["--pod-link", "tap"]).unwrap();
    assert_eq!(tap.agent.pod_link, PodLink::Tap);
    assert!(tap.agent.flow_offload);
    let disabled = resolve("nodeName: a\n", &["--flow-offload", "Disabled"]).unwrap();
    assert!(!disabled.agent.flow_offload);
    assert_eq!(config.agent.new_flows, None);
    assert!(!config.agent.reset_cut_connections);
    assert_eq!(config.agent.policy_tie_break, TieBreak::NameFirst);
    let older = resolve("nodeName: a\npolicyTieBreak: namespace-first\n", &[]).unwrap();
    assert_eq!(older.agent.policy_tie_break, TieBreak::NamespaceFirst);
}

#[test]
fn metrics_and_health() {
    let file = "nodeName: a\nprometheusMetricsEnabled: true\nprometheusMetricsCAFile: /ca\nhealthPort: 9100\n";
    let flags = ["--health-enabled", "--prometheus-metrics-port=9092"];
    let settings = resolve(file, &flags).unwrap().agent.observability;
    assert_eq!(settings.prometheus_metrics_enabled, Some(true));
    assert_eq!(settings.prometheus_metrics_port, Some(9092));
    assert_eq!(settings.prometheus_metrics_ca_file, Some("/ca".into()));
    assert_eq!(settings.health_enabled, Some(true));
    assert_eq!(settings.health_port, Some(9100));
    for (key, value) in [
        ("prometheusMetricsPort", "0"),
        ("healthPort", "65536"),
        ("prometheusMetricsClientAuth", "Sometimes"),
    ] {
        let error = resolve(&format!("nodeName: a\n{key}: {value}\n"), &[]).unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("{key}: {value}: ")),
            "{error}"
        );
    }
}

#[test]
fn limits_of_flows() {
    let file = "nodeName: a\nflowsPerEndpoint: 7\nnewFlowsPerSecond: 100\n";
    let settings = resolve(file, &[]).unwrap().agent;
    assert_eq!(settings.flows_per_endpoint, Some(7));
    let expected = |burst| {
        Some(Admission {
            per_second: 100,
            burst,
        })
    };
    assert_eq!(settings.new_flows, expected(100));
    let flags = ["--new-flows-burst=5", "--flows-per-endpoint=0"];
    let settings = resolve(file, &flags).unwrap().agent;
    assert_eq!(settings.new_flows, expected(5));
    assert_eq!(settings.flows_per_endpoint, None);
}

#[test]
fn whose_bird_it_is() {
    let mode = |file: &str| resolve(&format!("nodeName: a\n{file}"), &[]).map(|it| it.agent);
    let directory = PathBuf::from("/run/vrouter/bird");
    let socket = directory.join("bird.ctl");
    let managed = mode("bird: managed\nrouterId: hash\n").unwrap();
    assert_eq!(managed.bgp.mode, bgp::Mode::Managed { directory });
    assert_eq!(managed.bgp.node.router_id, Some(RouterId::Hash));
    assert_eq!(managed.bird.v4, [socket]);
    assert_eq!(mode("").unwrap().bgp.mode, bgp::Mode::Off);
    let external = mode("bird: external\nbirdSocket: /x/y.ctl\n").unwrap();
    assert_eq!(external.bird.v4, [PathBuf::from("/x/y.ctl")]);
    for (backend, bird) in [
        ("none", Some("off")),
        ("vxlan", Some("off")),
        ("bird", Some("managed")),
        ("", None),
    ] {
        assert_eq!(whose(backend).as_deref(), bird, "{backend}");
    }
}

#[test]
fn errors_name_the_key() {
    for (file, key) in [
        ("nodeNam: a\n", "nodeNam"),
        ("nodeName: A b\n", "nodeName"),
        ("workers: 0\n", "workers"),
        ("workers: many\n", "workers"),
        ("tunnelInterface: far-too-long-a-name\n", "tunnelInterface"),
        ("underlayInterface: tunl0\n", "underlayInterface"),
        ("logLevel: loud\n", "logLevel"),
        ("policyTieBreak: '3.31'\n", "policyTieBreak"),
        ("flowTableSize: 1\n", "flowTableSize"),
        ("buffers: 1\n", "buffers"),
        ("ipAutodetectionMethod: best\n", "ipAutodetectionMethod"),
        ("ip: here\n", "ip"),
        ("ip: 'fd00::1'\n", "other address family"),
        ("ip6: 192.0.2.1/24\n", "other address family"),
        ("datastoreType: kubernetes\n", "kubernetes"),
        ("etcdEndpoints: 'here'\n", "ETCD_ENDPOINTS"),
        ("flowsPerEndpoint: -1\n", "flowsPerEndpoint"),
        ("newFlowsBurst: 5\n", "newFlowsBurst"),
        ("newFlowsPerSecond: 5\nnewFlowsBurst: 0\n", "newFlowsBurst"),
        ("resetCutConnections: 3\n", "resetCutConnections"),
        ("podLink: macvlan\n", "podLink"),
        ("flowOffload: sometimes\n", "flowOffload"),
        ("bird: mine\n", "bird"),
        ("bird: managed\nbirdSocket: /x.ctl\n", "birdSocket"),
        ("routerId: me\n", "routerId"),
        ("advertiseClusterIps: all\n", "advertiseClusterIps"),
        ("workers: 64\npinWorkers: true\n", "pinWorkers"),
    ] {
        let error = resolve(
            file,
            &["--node-name=n"][..usize::from(!file.contains("nodeName"))],
        )
        .unwrap_err();
        assert!(error.to_string().contains(key), "{file}: {error}");
    }
    assert!(resolve("", &["--node-name", "n"]).is_ok());
    assert!(resolve("# nothing\n", &["--node-name", "n"]).is_ok());
}
