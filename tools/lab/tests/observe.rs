//! Metrics and health of a running node: switched on by a resource, clean for `promtool`, the same sums
//! as the control socket's; a datastore that is away, and threads that hang.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use support::{TestLab, eventually, said};
use vrouter_control::params::{ShowHits, ShowInterfaces};
use vrouter_lab::vrouter;

const FELIX: &str = "apiVersion: projectcalico.org/v3\nkind: FelixConfiguration\n\
                     metadata: {name: default}\nspec:\n  defaultEndpointToHostAction: Accept\n";

/// Writes the FelixConfiguration with these lines.
fn configure(lab: &TestLab, lines: &str) {
    lab.write_resource("felix.yaml", &format!("{FELIX}{lines}"));
}

/// Status and body of a page of node1.
fn get(lab: &TestLab, url: &str) -> (String, String) {
    let command = format!("curl -s -m 10 -w \\n%{{http_code}} {url}");
    let output = lab.run("node1", &command);
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap_or(("", &text));
    (status.trim().to_owned(), body.to_owned())
}

/// The samples of a scrape by name with labels.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name, value.parse().unwrap())
        })
        .collect()
}

fn promtool(arguments: &[&str], input: &str) {
    use std::io::Write;
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let clean = output.status.success() && !said(&output).contains("should");
    assert!(clean, "promtool {arguments:?}: {}", said(&output));
}

#[test]
#[ignore = "needs root"]
fn a_scrape_is_clean_and_agrees_with_show() {
    let lab = TestLab::up("--encap vxlan");
    let metrics = "http://127.0.0.1:9091/metrics";
    assert_eq!(get(&lab, metrics).0, "000", "off by default");
    configure(
        &lab,
        "  prometheusMetricsEnabled: true\n  healthEnabled: true\n",
    );
    eventually(20, "metrics are served", || get(&lab, metrics).0 == "200");
    assert!(lab.pings("pod1-1", "10.65.0.65") && lab.pings("pod1-1", "10.65.0.2"));
    // To nobody: a block of this node.
    lab.run("pod1-1", "ping -c 2 -i 0.2 -W 1 10.65.0.60");
    lab.assert_conserved(1);

    let (_, text) = get(&lab, metrics);
    promtool(&["check", "metrics"], &text);
    let rules = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/monitoring/alerts.yaml"
    );
    promtool(&["check", "rules", rules], "");
    let samples = samples(&text);
    let value = |name: &str| {
        *samples
            .get(name)
            .unwrap_or_else(|| panic!("{name}\n{text}"))
    };
    assert_eq!(value("felix_active_local_endpoints"), 2.0);
    assert_eq!(value("felix_cluster_num_hosts"), 2.0);
    assert_eq!(value("felix_resync_state"), 2.0);
    assert_eq!(value("vrouter_ready"), 1.0);
    let counters = lab.counters(1);
    assert!(value("vrouter_dropped_packets_total{reason=\"blackhole\"}") >= 2.0);
    for one in &counters.dropped {
        let name = format!("vrouter_dropped_packets_total{{reason=\"{}\"}}", one.reason);
        assert_eq!(value(&name), one.packets as f64, "{name}");
    }
    let balance = &counters.balance;
    assert_eq!(
        value("vrouter_received_packets_total"),
        balance.received as f64
    );
    assert_eq!(
        value("vrouter_transmitted_packets_total"),
        balance.transmitted as f64
    );
    assert_eq!(value("vrouter_conservation_difference_packets"), 0.0);
    for one in vrouter::ask(lab.node(1), &ShowInterfaces::default()).unwrap() {
        let endpoint = one.endpoint.clone().unwrap_or_default();
        let (namespace, pod) = endpoint.split_once('/').unwrap_or_default();
        let labels = format!(
            "{{interface=\"{}\",kind=\"{}\",namespace=\"{namespace}\",pod=\"{pod}\"}}",
            one.name,
            one.kind.name()
        );
        for (family, shown) in [
            ("receive_packets", one.counters.rx_packets),
            ("receive_bytes", one.counters.rx_bytes),
            ("transmit_bytes", one.counters.tx_bytes),
        ] {
            let name = format!("vrouter_interface_{family}_total{labels}");
            assert_eq!(value(&name), shown as f64, "{name}");
        }
    }
    let hits = vrouter::ask(lab.node(1), &ShowHits {}).unwrap();
    let flows = |kind: &str| -> u64 {
        let rows = hits.iter().filter(|row| row.kind == kind);
        rows.map(|row| row.hits.flows).sum()
    };
    assert!(flows("GlobalNetworkPolicy") >= 4, "{hits:?}");
    let of_policies = samples.iter().filter(|(name, _)| {
        name.starts_with("vrouter_policy_flows_total{kind=\"GlobalNetworkPolicy\"")
    });
    let sum: f64 = of_policies.map(|(_, value)| value).sum();
    assert_eq!(sum, flows("GlobalNetworkPolicy") as f64);

    let (status, table) = get(&lab, "http://127.0.0.1:9099/readiness");
    assert_eq!(status, "200", "{table}");
    assert!(table.contains("| worker-0 "), "{table}");
    configure(&lab, "  healthEnabled: true\n");
    eventually(20, "metrics are off", || get(&lab, metrics).0 == "000");
    assert_eq!(get(&lab, "http://127.0.0.1:9099/liveness").0, "200");
}

/// Runs `openssl` with these arguments, split at spaces, in a directory.
fn openssl(directory: &std::path::Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "needs root"]
fn metrics_by_tls_for_those_with_a_certificate() {
    let lab = TestLab::up("--encap none --nodes 1 --pods 1");
    let directory = &lab.lab.state_directory;
    for name in ["ca", "other"] {
        openssl(
            directory,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
                 -keyout {name}.key -out {name}.pem"
            ),
        );
    }
    std::fs::write(directory.join("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        directory,
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node -keyout n.key -out n.csr",
    );
    openssl(
        directory,
        "x509 -req -in n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out n.pem",
    );
    let file = |name: &str| directory.join(name).display().to_string();
    let tls = format!(
        "  prometheusMetricsEnabled: true\n  prometheusMetricsCertFile: {}\n  prometheusMetricsKeyFile: {}\n",
        file("n.pem"),
        file("n.key")
    );
    configure(&lab, &tls);
    let url = format!("--cacert {} https://127.0.0.1:9091/metrics", file("ca.pem"));
    eventually(20, "metrics by TLS", || get(&lab, &url).0 == "200");
    assert_ne!(get(&lab, "http://127.0.0.1:9091/metrics").0, "200");

    let clients = format!(
        "{tls}  prometheusMetricsCAFile: {}\n  prometheusMetricsClientAuth: RequireAndVerifyClientCert\n",
        file("ca.pem")
    );
    configure(&lab, &clients);
    let with = |certificate: &str, key: &str| {
        let (certificate, key) = (file(certificate), file(key));
        get(&lab, &format!("--cert {certificate} --key {key} {url}")).0
    };
    eventually(20, "clients show certificates", || {
        get(&lab, &url).0 != "200" && with("n.pem", "n.key") == "200"
    });
    assert_ne!(with("other.pem", "other.key"), "200");
}

#[test]
#[ignore = "needs root"]
fn a_thread_that_hangs_is_not_live_and_a_store_that_is_away_is() {
    let lab = TestLab::up("--encap none --nodes 1 --pods 1");
    configure(
        &lab,
        "  healthEnabled: true\n  healthTimeoutOverrides: [{name: worker-0, timeout: 1s}]\n  dataplaneWatchdogTimeout: 2s\n",
    );
    let liveness = "http://127.0.0.1:9099/liveness";
    eventually(20, "health is served", || get(&lab, liveness).0 == "200");
    // A directory that is gone.
    let resources = &lab.lab.resource_directory;
    let elsewhere = resources.with_file_name("elsewhere");
    std::fs::rename(resources, &elsewhere).unwrap();
    let readiness = "http://127.0.0.1:9099/readiness";
    eventually(20, "the store is away", || {
        get(&lab, readiness).1.contains("away: ")
    });
    assert_eq!(
        (get(&lab, liveness).0, get(&lab, readiness).0),
        ("200".into(), "200".into())
    );
    std::fs::rename(&elsewhere, resources).unwrap();

    // Threads are stopped one by one, by a debugger's means.
    let running = vrouter::ask(lab.node(1), &vrouter_control::params::GetVersion {}).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", running.pid)).unwrap();
    let worker = tasks
        .map(|task| task.unwrap().path())
        .find(|task| std::fs::read_to_string(task.join("comm")).unwrap() == "worker-0\n")
        .unwrap();
    let worker: i32 = worker
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    // The agent's thread is the process's first.
    for (name, thread) in [
        ("worker-0    | 1s", worker),
        ("agent       | 2s", running.pid as i32),
    ] {
        let thread = nix::unistd::Pid::from_raw(thread);
        nix::sys::ptrace::seize(thread, nix::sys::ptrace::Options::empty()).unwrap();
        nix::sys::ptrace::interrupt(thread).unwrap();
        let row = format!("| {name}      | reporting non-live |");
        eventually(20, "it is missed", || {
            let (status, table) = get(&lab, liveness);
            status == "503" && table.contains(&row)
        });
        nix::sys::ptrace::detach(thread, None).unwrap();
        eventually(20, "it is back", || get(&lab, liveness).0 == "200");
    }
}
