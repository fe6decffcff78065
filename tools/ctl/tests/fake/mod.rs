//! A daemon for tests: a real socket, invented state.

mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use vrouter_control::model::*;
use vrouter_control::params::*;
use vrouter_control::{ErrorBody, PROTOCOL, Server, ServerHandle, Service};

use state::*;

/// How many routes there are beside the few that are spelled out.
pub(crate) const MANY: u32 = 12_000;

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) stopped: AtomicBool,
}

pub(crate) struct Daemon {
    pub(crate) dir: TempDir,
    pub(crate) fake: Arc<Fake>,
    _handle: ServerHandle,
}

impl Daemon {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let fake = Arc::new(Fake::default());
        let server = Server::bind(dir.path().join("d.sock")).unwrap();
        Self {
            dir,
            fake: fake.clone(),
            _handle: server.serve(fake).unwrap(),
        }
    }

    pub(crate) fn socket(&self) -> String {
        self.dir.path().join("d.sock").display().to_string()
    }
}

type Answer<T> = Result<T, ErrorBody>;

/// The rows whose name or endpoint is asked for.
fn pick<T>(
    list: Vec<T>,
    wanted: Option<&String>,
    names: impl Fn(&T) -> Vec<String>,
) -> Answer<Vec<T>> {
    let Some(wanted) = wanted else {
        return Ok(list);
    };
    let found: Vec<T> = list
        .into_iter()
        .filter(|row| names(row).contains(wanted))
        .collect();
    if found.is_empty() {
        return Err(ErrorBody::not_found(format!(
            "no interface or endpoint {wanted:?}"
        )));
    }
    Ok(found)
}

/// A page of a list whose cursor is the place in it.
fn page<T>(list: Vec<T>, after: Option<&String>, limit: u32) -> Answer<Page<T>> {
    let total = list.len() as u64;
    let skip = after.map_or(Ok(0), |after| after.parse());
    let skip: usize = skip.map_err(|_| ErrorBody::bad_params("after: no cursor of this list"))?;
    let rows = rows(limit);
    let cursor = (skip + rows).to_string();
    Ok(Page::collect(rows, list.into_iter().skip(skip), |_| cursor).with_total(total))
}

impl Service for Fake {
    fn version(&self, _: GetVersion) -> Answer<Version> {
        Ok(Version {
            version: "0.1.0".into(),
            protocol: PROTOCOL,
            node: "node1".into(),
            pid: 4711,
            started: Timestamp(1_790_812_799_999),
            uptime_ms: 7_500_000,
            workers: 2,
            generation: 7,
        })
    }

    fn interfaces(&self, params: ShowInterfaces) -> Answer<Vec<Interface>> {
        let mut list = pick(interfaces(), params.name.as_ref(), |i| {
            [Some(i.name.clone()), i.endpoint.clone()]
                .into_iter()
                .flatten()
                .collect()
        })?;
        if params.per_worker {
            for interface in &mut list {
                interface.workers = (0..2)
                    .map(|worker| WorkerInterfaceCounters {
                        worker,
                        counters: counters(1),
                    })
                    .collect();
            }
        }
        Ok(list)
    }

    fn routes(&self, params: ShowRoutes) -> Answer<Page<Route>> {
        let mut list = routes();
        if let Some(family) = params.family {
            list.retain(|route| family.contains(&route.prefix.addr()));
        }
        if let Some(prefix) = params.prefix {
            list.retain(|route| prefix.contains(&route.prefix));
        }
        if let Some(address) = params.address {
            list.retain(|route| route.prefix.contains(&address));
            list = list
                .into_iter()
                .max_by_key(|route| route.prefix.prefix_len())
                .into_iter()
                .collect();
            if list.is_empty() {
                return Err(ErrorBody::not_found(format!("no route to {address}")));
            }
        }
        page(list, params.after.as_ref(), params.limit)
    }

    fn neighbors(&self, params: ShowNeighbors) -> Answer<Vec<Neighbor>> {
        let list = interfaces()
            .into_iter()
            .filter(|i| i.kind == InterfaceKind::Workload)
            .flat_map(|i| {
                i.addresses
                    .clone()
                    .into_iter()
                    .map(move |address| Neighbor {
                        address: address.addr(),
                        mac: i.mac,
                        interface: i.name.clone(),
                        endpoint: i.endpoint.clone(),
                    })
            })
            .collect();
        pick(list, params.name.as_ref(), |n: &Neighbor| {
            [Some(n.interface.clone()), n.endpoint.clone()]
                .into_iter()
                .flatten()
                .collect()
        })
    }

    fn tunnels(&self, params: ShowTunnels) -> Answer<Vec<Tunnel>> {
        let vxlan = Tunnel {
            node: "node2".into(),
            remote: ip("172.16.0.2"),
            local: Some(ip("172.16.0.1")),
            encap: Encap::Vxlan,
            vni: Some(4096),
            mtu: 1450,
            path_mtu: Some(1500),
            remote_mac: Some(mac(0x20)),
            local_mac: Some(mac(0x10)),
            known_source: true,
            routes: 2,
            tx: Some(traffic(1000, 1_400_000)),
            rx: Some(traffic(800, 70_000)),
        };
        let ipip = Tunnel {
            node: "node3".into(),
            remote: ip("172.16.0.3"),
            encap: Encap::Ipip,
            vni: None,
            mtu: 1480,
            path_mtu: None,
            remote_mac: None,
            local_mac: None,
            known_source: false,
            tx: None,
            rx: None,
            ..vxlan.clone()
        };
        pick(vec![vxlan, ipip], params.node.as_ref(), |t| {
            vec![t.node.clone()]
        })
    }

    fn flows(&self, params: ShowFlows) -> Answer<Page<Flow>> {
        let mut list = flows();
        list.retain(|flow| {
            let Tuple {
                source,
                destination,
                source_port,
                destination_port,
            } = flow.original;
            params
                .address
                .is_none_or(|a| a.contains(&source) || a.contains(&destination))
                && params
                    .protocol
                    .is_none_or(|protocol| protocol == flow.protocol)
                && params
                    .port
                    .is_none_or(|p| [source_port, destination_port].contains(&Some(p)))
                && params
                    .endpoint
                    .as_ref()
                    .is_none_or(|e| flow.source_endpoint.as_ref() == Some(e))
        });
        page(list, params.after.as_ref(), params.limit)
    }

    fn policy(&self, params: ShowPolicy) -> Answer<Page<EndpointPolicy>> {
        let list = pick(policies(), params.endpoint.as_ref(), |p| {
            [Some(p.endpoint.clone()), p.interface.clone()]
                .into_iter()
                .flatten()
                .collect()
        })?;
        page(list, params.after.as_ref(), params.limit)
    }

    fn hits(&self, _: ShowHits) -> Answer<Vec<PolicyHits>> {
        Ok(vec![PolicyHits {
            direction: "ingress".into(),
            kind: "NetworkPolicy".into(),
            tier: Some("default".into()),
            name: "default/allow-web".into(),
            action: "Allow".into(),
            staged: false,
            rules: 1,
            hits: Hits {
                packets: 90,
                bytes: 9000,
                flows: 9,
            },
        }])
    }

    fn health(&self, _: ShowHealth) -> Answer<HealthReport> {
        let component = |name: &str, live: Option<bool>, ready, detail: &str| ComponentHealth {
            name: name.into(),
            timeout_ms: live.map(|_| 90_000),
            live,
            ready,
            detail: detail.into(),
        };
        Ok(HealthReport {
            live: true,
            ready: true,
            components: vec![
                component("agent", Some(true), Some(true), "generation 7"),
                component("datastore", None, Some(true), ""),
                component("worker-0", Some(true), None, ""),
            ],
            applies: Applies {
                count: 12,
                failures: 1,
                microseconds: 48_000,
                last: Some(Timestamp(1_790_812_799_999)),
                resyncs: 1,
            },
        })
    }

    fn drops(&self, params: ShowDrops) -> Answer<DropReport> {
        let denied = DropSample {
            time: Timestamp(1_790_812_799_999),
            reason: "policy-denied".into(),
            interface: "cali2b40a8b95f4".into(),
            protocol: Some(Protocol::TCP),
            tuple: Some(tuple("10.65.0.2", Some(43210), "10.65.1.2", Some(23))),
            length: 60,
            rule: Some(rule(
                "egress",
                Some("security"),
                "security.no-telnet",
                0,
                "Deny",
            )),
            cut: true,
        };
        let unread = DropSample {
            reason: "ip-truncated".into(),
            protocol: None,
            tuple: None,
            length: 17,
            rule: None,
            cut: false,
            ..denied.clone()
        };
        let recent = if params.recent {
            vec![denied, unread]
        } else {
            Vec::new()
        };
        Ok(DropReport {
            pairs: Vec::new(),
            reasons: dropped(),
            recent,
            samples_lost: 3,
        })
    }

    fn workers(&self, _: ShowWorkers) -> Answer<Vec<Worker>> {
        let worker = |id, cpu| Worker {
            id,
            cpu,
            busy_turns: 250,
            idle_turns: 750,
            sleeps: 12,
            packets: 123_456,
            pool_size: 8192,
            pool_used: 65,
            generation: 7,
        };
        Ok(vec![worker(0, Some(2)), worker(1, None)])
    }

    fn resources(&self, _: ShowResources) -> Answer<ResourceReport> {
        let kind = |kind: &str, count| KindCount {
            kind: kind.into(),
            count,
        };
        Ok(ResourceReport {
            directory: "/etc/vrouter/resources".into(),
            synced: true,
            away: None,
            changed: Some(Timestamp(1_790_812_799_999)),
            generation: 7,
            kinds: vec![kind("Node", 2), kind("WorkloadEndpoint", 4)],
            notices: vec![
                Notice {
                    severity: Severity::Error,
                    file: Some("policies/web.yaml".into()),
                    line: Some(12),
                    resource: Some("NetworkPolicy/default/web".into()),
                    field: Some("spec.ingress[0].action".into()),
                    message: "\"Alow\" is no action: Allow, Deny, Log, Pass".into(),
                },
                Notice {
                    severity: Severity::Info,
                    file: None,
                    line: None,
                    resource: Some("BGPPeer/rr".into()),
                    field: None,
                    message: "stored, not acted on".into(),
                },
            ],
        })
    }

    fn counters(&self, _: ShowCounters) -> Answer<CounterReport> {
        let node = |node: &str, packets| NodeCount {
            node: node.into(),
            packets,
        };
        Ok(CounterReport {
            balance: Balance {
                received: 1000,
                generated: 6,
                transmitted: 990,
                consumed: 8,
                dropped: 6,
            },
            nodes: vec![
                node("ethernet-input", 700),
                node("icmp-error", 0),
                node("route", 990),
            ],
            generated: vec![
                named("arp-reply", "Answer to an ARP request.", 6),
                named("echo-reply", "Answer to an echo request to the gateway.", 0),
            ],
            consumed: vec![named("arp", "An ARP request that was answered.", 8)],
            dropped: dropped(),
            flows: FlowTable {
                size: 1_048_576,
                used: 4,
                created: 40,
                expired: 35,
                cut: 1,
                evicted: 0,
                refused: 2,
                limited: 3,
                bytes: 134_217_728,
            },
            events_lost: 0,
        })
    }

    fn explain(&self, params: Explain) -> Answer<Explanation> {
        if params.source == "default/nobody" {
            return Err(ErrorBody::not_found("no endpoint \"default/nobody\""));
        }
        Explanation::new(&serde_json::json!({ "packet": params, "verdict": "Allow" }))
            .map_err(|e| ErrorBody::internal(e.to_string()))
    }

    fn await_endpoint(&self, params: AwaitEndpoint) -> Answer<EndpointState> {
        Err(ErrorBody::not_found(format!(
            "no interface or endpoint {:?}",
            params.endpoint
        )))
    }

    fn add_routes(&self, params: AddRoutes) -> Answer<Done> {
        match params
            .routes
            .iter()
            .find(|route| route.nodes == ["nowhere"])
        {
            Some(route) => Err(ErrorBody::bad_params(format!(
                "{}: there is no other node nowhere",
                route.prefix
            ))),
            None => Ok(Done {}),
        }
    }

    fn delete_routes(&self, params: DeleteRoutes) -> Answer<Removed> {
        Ok(Removed {
            removed: params.prefixes.len() as u64,
        })
    }

    fn reload(&self, _: Reload) -> Answer<Reloaded> {
        Ok(Reloaded {
            generation: 8,
            notices: Vec::new(),
        })
    }

    fn shutdown(&self, _: Shutdown) -> Answer<Done> {
        self.stopped.store(true, Ordering::SeqCst);
        Ok(Done {})
    }
}
