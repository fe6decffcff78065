//! The servers over real sockets, the service invented.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vrouter_api::Observability;
use vrouter_control::model::*;
use vrouter_control::params::*;
use vrouter_control::{ErrorBody, Service};
use vrouter_observe::{Observer, families};

type Answer<T> = Result<T, ErrorBody>;

fn absent<T>() -> Answer<T> {
    Err(ErrorBody::unavailable("not in this test"))
}

#[derive(Default)]
struct Fake {
    stuck: AtomicBool,
}

fn named(reason: &str, packets: u64) -> NamedCount {
    NamedCount {
        reason: reason.into(),
        sentence: String::new(),
        packets,
    }
}

impl Service for Fake {
    fn version(&self, _: GetVersion) -> Answer<Version> {
        Ok(Version {
            version: "0.1.0".into(),
            protocol: 1,
            node: "node1".into(),
            pid: 1,
            started: Timestamp(1_790_812_799_500),
            uptime_ms: 5,
            workers: 1,
            generation: 7,
        })
    }
    fn interfaces(&self, _: ShowInterfaces) -> Answer<Vec<Interface>> {
        let row = r#"[{"id":4,"name":"cali1","kind":"workload","state":"up","endpoint":"default/web","mtu":1450,
            "queues":1,"counters":{"rxPackets":3,"rxBytes":300,"rxDropped":1,"txPackets":2,"txBytes":200}}]"#;
        Ok(serde_json::from_str(row).unwrap())
    }
    fn routes(&self, _: ShowRoutes) -> Answer<Page<Route>> {
        absent()
    }
    fn neighbors(&self, _: ShowNeighbors) -> Answer<Vec<Neighbor>> {
        absent()
    }
    fn tunnels(&self, _: ShowTunnels) -> Answer<Vec<Tunnel>> {
        Ok(vec![Tunnel {
            node: "node2".into(),
            remote: [172, 16, 0, 2].into(),
            local: None,
            encap: Encap::Vxlan,
            vni: None,
            mtu: 1450,
            path_mtu: None,
            remote_mac: None,
            local_mac: None,
            known_source: true,
            routes: 2,
            tx: None,
            rx: None,
        }])
    }
    fn flows(&self, _: ShowFlows) -> Answer<Page<Flow>> {
        absent()
    }
    fn policy(&self, _: ShowPolicy) -> Answer<Page<EndpointPolicy>> {
        absent()
    }
    fn hits(&self, _: ShowHits) -> Answer<Vec<PolicyHits>> {
        let row = |direction: &str, packets| PolicyHits {
            direction: direction.into(),
            kind: "NetworkPolicy".into(),
            tier: Some("default".into()),
            name: "default/web".into(),
            action: "Allow".into(),
            staged: false,
            rules: 1,
            hits: Hits {
                packets,
                bytes: 100 * packets,
                flows: 1,
            },
        };
        Ok(vec![row("egress", 1), row("ingress", 9)])
    }
    fn health(&self, _: ShowHealth) -> Answer<HealthReport> {
        let live = !self.stuck.load(Ordering::Relaxed);
        Ok(HealthReport {
            live,
            ready: false,
            components: vec![ComponentHealth {
                name: "agent".into(),
                timeout_ms: Some(90_000),
                live: Some(live),
                ready: Some(false),
                detail: String::new(),
            }],
            applies: Applies {
                count: 2,
                failures: 1,
                microseconds: 1_500_000,
                last: Some(Timestamp(1_790_812_799_500)),
                resyncs: 1,
            },
        })
    }
    fn drops(&self, _: ShowDrops) -> Answer<DropReport> {
        absent()
    }
    fn workers(&self, _: ShowWorkers) -> Answer<Vec<Worker>> {
        Ok(vec![Worker {
            id: 0,
            cpu: None,
            busy_turns: 1,
            idle_turns: 2,
            sleeps: 3,
            packets: 4,
            pool_size: 5,
            pool_used: 6,
            generation: 7,
        }])
    }
    fn resources(&self, _: ShowResources) -> Answer<ResourceReport> {
        let kind = |kind: &str, count| KindCount {
            kind: kind.into(),
            count,
        };
        Ok(ResourceReport {
            directory: "/r".into(),
            synced: true,
            away: Some("refused".into()),
            changed: Some(Timestamp(1_790_812_799_500)),
            generation: 7,
            kinds: vec![
                kind("NetworkPolicy", 2),
                kind("StagedNetworkPolicy", 3),
                kind("Node", 4),
            ],
            notices: Vec::new(),
        })
    }
    fn counters(&self, _: ShowCounters) -> Answer<CounterReport> {
        Ok(CounterReport {
            balance: Balance {
                received: 10,
                generated: 1,
                transmitted: 9,
                consumed: 1,
                dropped: 2,
            },
            nodes: vec![NodeCount {
                node: "ip-input".into(),
                packets: 10,
            }],
            generated: vec![named("arp-reply", 1)],
            consumed: vec![named("arp", 1)],
            dropped: vec![named("no-route", 2), named("tx-full", 0)],
            ..CounterReport::default()
        })
    }
    fn explain(&self, _: Explain) -> Answer<Explanation> {
        absent()
    }
    fn await_endpoint(&self, _: AwaitEndpoint) -> Answer<EndpointState> {
        absent()
    }
    fn add_routes(&self, _: AddRoutes) -> Answer<Done> {
        absent()
    }
    fn delete_routes(&self, _: DeleteRoutes) -> Answer<Removed> {
        absent()
    }
    fn reload(&self, _: Reload) -> Answer<Reloaded> {
        absent()
    }
    fn shutdown(&self, _: Shutdown) -> Answer<Done> {
        absent()
    }
}

/// A port that nobody has at present.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Status and body of an answer; waits for the server to come.
fn get(port: u16, path: &str) -> (u16, String) {
    let until = Instant::now() + Duration::from_secs(20);
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        sleep(Duration::from_millis(10));
    };
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[test]
fn metrics_and_health_as_the_settings_say() {
    let fake = Arc::new(Fake::default());
    let observer = Observer::start(Arc::<Fake>::clone(&fake)).unwrap();
    let mut tell = observer.settings();
    let (metrics, health) = (free_port(), free_port());
    let mut settings = Observability {
        prometheus_metrics_enabled: Some(true),
        prometheus_metrics_port: Some(metrics.into()),
        health_enabled: Some(true),
        health_port: Some(health.into()),
        ..Observability::default()
    };
    tell(&settings);
    let (status, text) = get(metrics, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "felix_host{host=\"node1\"} 1",
        "felix_active_local_endpoints 1",
        "felix_active_local_policies 1",
        "felix_cluster_num_policies 5",
        "felix_cluster_num_hosts 4",
        "felix_resync_state 0",
        "felix_int_dataplane_apply_time_seconds_sum 1.5",
        "felix_int_dataplane_apply_time_seconds_count 2",
        "vrouter_dropped_packets_total{reason=\"tx-full\"} 0",
        "vrouter_interface_receive_bytes_total{interface=\"cali1\",kind=\"workload\",namespace=\"default\",pod=\"web\"} 300",
        "vrouter_tunnel_routes{node=\"node2\",remote=\"172.16.0.2\",encap=\"vxlan\"} 2",
        "vrouter_worker_turns_total{worker=\"0\",kind=\"idle\"} 2",
        "process_start_time_seconds 1790812799.5",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    for family in families::ALL {
        let samples = text.lines().filter(|line| {
            let rest = line.strip_prefix(family.name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{', '_']))
        });
        assert!(samples.count() > 0, "{} has no sample", family.name);
    }
    assert_eq!(get(metrics, "/liveness").0, 404);

    let (status, table) = get(health, "/liveness");
    assert_eq!(status, 200);
    assert!(
        table.contains("| agent     | 1m30s   | reporting live |"),
        "{table}"
    );
    assert_eq!(get(health, "/readiness").0, 503);
    fake.stuck.store(true, Ordering::Relaxed);
    assert_eq!(get(health, "/liveness").0, 503);
    assert_eq!(get(health, "/metrics").0, 404);

    // Elsewhere, and not at all.
    let other = free_port();
    settings.prometheus_metrics_port = Some(other.into());
    settings.health_enabled = Some(false);
    tell(&settings);
    assert_eq!(get(other, "/metrics").0, 200);
    assert!(TcpStream::connect(("127.0.0.1", metrics)).is_err());
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", health)).is_ok() {
        assert!(Instant::now() < until, "health is still served");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_address_in_use_is_tried_again() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let observer = Observer::start(Arc::new(Fake::default())).unwrap();
    let settings = Observability {
        health_enabled: Some(true),
        health_port: Some(port.into()),
        ..Observability::default()
    };
    observer.settings()(&settings);
    sleep(Duration::from_millis(300));
    drop(taken);
    assert_eq!(get(port, "/liveness").0, 200);
}
