//! The samples of one scrape, from what the service answers.

use std::time::Duration;

use vrouter_control::model::{
    CounterReport, HealthReport, Interface, InterfaceState, NamedCount, PolicyHits, ResourceReport,
    Severity, Timestamp, Tunnel, Worker,
};
use vrouter_control::params::{
    GetVersion, ShowCounters, ShowHealth, ShowHits, ShowInterfaces, ShowResources, ShowTunnels,
    ShowWorkers,
};
use vrouter_control::{ErrorBody, Service};

use crate::exposition::Page;
use crate::families::*;
use crate::process::Process;

/// The kinds that Felix counts as policies.
const POLICY_KINDS: [&str; 5] = [
    "NetworkPolicy",
    "GlobalNetworkPolicy",
    "StagedNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
];

/// The text of a scrape.
pub(crate) fn scrape(service: &dyn Service) -> Result<String, ErrorBody> {
    let version = service.version(GetVersion {})?;
    let interfaces = service.interfaces(ShowInterfaces::default())?;
    let hits = service.hits(ShowHits {})?;
    let resources = service.resources(ShowResources {})?;
    let health = service.health(ShowHealth {})?;
    let mut page = Page::default();
    page.family(&FELIX_HOST).value(&[&version.node], 1);
    felix(&mut page, &interfaces, &hits, &resources, &health);
    page.family(&BUILD).value(&[&version.version], 1);
    state(&mut page, &resources, &health);
    packets(&mut page, &service.counters(ShowCounters {})?);
    self::interfaces(&mut page, &interfaces);
    tunnels(&mut page, &service.tunnels(ShowTunnels::default())?);
    policy(&mut page, &hits);
    flows(&mut page, &service.counters(ShowCounters {})?);
    workers(&mut page, &service.workers(ShowWorkers {})?);
    process(&mut page, version.started);
    Ok(page.into_text())
}

fn seconds(time: Timestamp) -> f64 {
    time.0 as f64 / 1e3
}

fn felix(
    page: &mut Page,
    interfaces: &[Interface],
    hits: &[PolicyHits],
    resources: &ResourceReport,
    health: &HealthReport,
) {
    let local = interfaces.iter().filter(|one| one.endpoint.is_some());
    page.family(&FELIX_LOCAL_ENDPOINTS).one(local.count());
    let of_policy = |one: &&PolicyHits| POLICY_KINDS.contains(&one.kind.as_str());
    let mut active: Vec<_> = hits.iter().filter(of_policy).collect();
    // Rows of one policy stand together.
    active.dedup_by_key(|one| (&one.kind, &one.name));
    page.family(&FELIX_LOCAL_POLICIES).one(active.len());
    let count = |kinds: &[&str]| -> u64 {
        let all = resources.kinds.iter();
        let of_kinds = all.filter(|one| kinds.contains(&one.kind.as_str()));
        of_kinds.map(|one| one.count).sum()
    };
    for (family, kinds) in [
        (&FELIX_HOSTS, &["Node"][..]),
        (&FELIX_WORKLOAD_ENDPOINTS, &["WorkloadEndpoint"]),
        (&FELIX_HOST_ENDPOINTS, &["HostEndpoint"]),
        (&FELIX_POLICIES, &POLICY_KINDS),
        (&FELIX_PROFILES, &["Profile"]),
        (&FELIX_TIERS, &["Tier"]),
    ] {
        page.family(family).one(count(kinds));
    }
    let state = match (&resources.away, resources.synced) {
        (Some(_), _) => 0,
        (None, false) => 1,
        (None, true) => 2,
    };
    page.family(&FELIX_RESYNC_STATE).one(state);
    let applies = &health.applies;
    page.family(&FELIX_RESYNCS).one(applies.resyncs);
    page.family(&FELIX_FAILURES).one(applies.failures);
    let took = Duration::from_micros(applies.microseconds).as_secs_f64();
    page.family(&FELIX_APPLY).summary(took, applies.count);
}

fn state(page: &mut Page, resources: &ResourceReport, health: &HealthReport) {
    page.family(&LIVE).one(u8::from(health.live));
    page.family(&READY).one(u8::from(health.ready));
    let mut components = page.family(&COMPONENT);
    for one in &health.components {
        let healthy = one.live != Some(false) && one.ready != Some(false);
        components.value(&[&one.name], u8::from(healthy));
    }
    page.family(&GENERATION).one(resources.generation);
    let mut applied = page.family(&APPLIED);
    if let Some(time) = health.applies.last {
        applied.one(seconds(time));
    }
    let away = u8::from(resources.away.is_some());
    page.family(&STORE_AWAY).one(away);
    let mut changed = page.family(&STORE_CHANGED);
    if let Some(time) = resources.changed {
        changed.one(seconds(time));
    }
    let mut kinds = page.family(&RESOURCES);
    for one in &resources.kinds {
        kinds.value(&[&one.kind], one.count);
    }
    let mut notices = page.family(&NOTICES);
    for severity in [Severity::Error, Severity::Warning, Severity::Info] {
        let all = resources.notices.iter();
        let count = all.filter(|one| one.severity == severity).count();
        notices.value(&[severity.name()], count);
    }
}

fn packets(page: &mut Page, counters: &CounterReport) {
    let balance = &counters.balance;
    fn reasons(page: &mut Page, family: &crate::Family, counts: &[NamedCount]) {
        let mut samples = page.family(family);
        for one in counts {
            samples.value(&[&one.reason], one.packets);
        }
    }
    page.family(&RECEIVED).one(balance.received);
    reasons(page, &GENERATED, &counters.generated);
    page.family(&TRANSMITTED).one(balance.transmitted);
    reasons(page, &CONSUMED, &counters.consumed);
    reasons(page, &DROPPED, &counters.dropped);
    page.family(&DIFFERENCE).one(balance.difference());
    let mut nodes = page.family(&NODES);
    for one in &counters.nodes {
        nodes.value(&[&one.node], one.packets);
    }
    page.family(&SAMPLES_LOST).one(counters.events_lost);
}

fn interfaces(page: &mut Page, all: &[Interface]) {
    let up = |one: &Interface| u64::from(one.state == InterfaceState::Up);
    type Value = fn(&Interface) -> u64;
    let families: [(&crate::Family, Value); 6] = [
        (&INTERFACE_UP, up),
        (&RX_PACKETS, |one| one.counters.rx_packets),
        (&RX_BYTES, |one| one.counters.rx_bytes),
        (&RX_DROPPED, |one| one.counters.rx_dropped),
        (&TX_PACKETS, |one| one.counters.tx_packets),
        (&TX_BYTES, |one| one.counters.tx_bytes),
    ];
    for (family, value) in families {
        let mut samples = page.family(family);
        for one in all {
            let endpoint = one.endpoint.as_deref().unwrap_or_default();
            let (namespace, pod) = endpoint.split_once('/').unwrap_or(("", endpoint));
            let labels = [&one.name, one.kind.name(), namespace, pod];
            samples.value(&labels, value(one));
        }
    }
}

fn tunnels(page: &mut Page, all: &[Tunnel]) {
    type Value = fn(&Tunnel) -> u64;
    let families: [(&crate::Family, Value); 2] = [
        (&TUNNEL_ROUTES, |one| one.routes),
        (&TUNNEL_MTU, |one| one.mtu.into()),
    ];
    for (family, value) in families {
        let mut samples = page.family(family);
        for one in all {
            let labels = [&one.node, &one.remote.to_string(), one.encap.name()];
            samples.value(&labels, value(one));
        }
    }
}

fn policy(page: &mut Page, all: &[PolicyHits]) {
    type Value = fn(&PolicyHits) -> u64;
    let families: [(&crate::Family, Value); 3] = [
        (&POLICY_FLOWS, |one| one.hits.flows),
        (&POLICY_PACKETS, |one| one.hits.packets),
        (&POLICY_BYTES, |one| one.hits.bytes),
    ];
    for (family, value) in families {
        let mut samples = page.family(family);
        for one in all {
            let labels = [
                one.kind.as_str(),
                one.tier.as_deref().unwrap_or_default(),
                &one.name,
                &one.direction,
                &one.action,
                if one.staged { "true" } else { "false" },
            ];
            samples.value(&labels, value(one));
        }
    }
}

fn flows(page: &mut Page, counters: &CounterReport) {
    let flows = &counters.flows;
    page.family(&FLOWS_SIZE).one(flows.size);
    page.family(&FLOWS).one(flows.used);
    page.family(&FLOWS_BYTES).one(flows.bytes);
    page.family(&FLOWS_CREATED).one(flows.created);
    page.family(&FLOWS_ENDED)
        .value(&["expired"], flows.expired)
        .value(&["cut"], flows.cut)
        .value(&["evicted"], flows.evicted);
    page.family(&FLOWS_REFUSED)
        .value(&["full"], flows.refused)
        .value(&["limit"], flows.limited);
}

fn workers(page: &mut Page, all: &[Worker]) {
    type Value = fn(&Worker) -> u64;
    let named: Vec<(String, &Worker)> = all.iter().map(|one| (one.id.to_string(), one)).collect();
    let families: [(&crate::Family, Value); 5] = [
        (&WORKER_PACKETS, |one| one.packets),
        (&WORKER_SLEEPS, |one| one.sleeps),
        (&WORKER_BUFFERS, |one| one.pool_size),
        (&WORKER_BUFFERS_USED, |one| one.pool_used),
        (&WORKER_GENERATION, |one| one.generation),
    ];
    for (family, value) in families {
        let mut samples = page.family(family);
        for (id, one) in &named {
            samples.value(&[id], value(one));
        }
    }
    let mut turns = page.family(&WORKER_TURNS);
    for (id, one) in &named {
        turns
            .value(&[id, "busy"], one.busy_turns)
            .value(&[id, "idle"], one.idle_turns);
    }
}

fn process(page: &mut Page, started: Timestamp) {
    let process = Process::read();
    let mut cpu = page.family(&CPU);
    if let Some(seconds) = process.cpu_seconds {
        cpu.one(seconds);
    }
    for (family, value) in [
        (&RESIDENT, process.resident_bytes),
        (&VIRTUAL, process.virtual_bytes),
        (&FDS, process.open_fds),
        (&MAX_FDS, process.max_fds),
        (&THREADS, process.threads),
    ] {
        let mut samples = page.family(family);
        if let Some(value) = value {
            samples.one(value);
        }
    }
    page.family(&START).one(seconds(started));
}
