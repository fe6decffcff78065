//! Clusters of its own making: what first sync, endpoint updates and verdicts cost.
//!
//! Namespaces hold applications, applications hold pods; a policy selects one application and
//! allows a few others, by selector, port and prefix. `--wide` makes every policy select every
//! endpoint instead: one program of policies × rules, the worst case of a verdict. Rates and means
//! are over time on a processor, the worst of one step is wall time.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::Ipv4Net;
use nix::time::ClockId;
use policy::compile::{Compiled, EndpointIndex, Graph, Update};
use policy::model::spec::{EntitySpec, PolicySpec, RuleSpec};
use policy::model::{
    Action, Direction, Endpoint, EndpointKey, EndpointSpec, Invalid, Name, NetworkSet,
    NetworkSetKey, PacketTuple, Policy, PolicyKey, PolicyKind, Profile, Protocol,
};
use policy::selector::{Labels, Selector};

/// The shape of the cluster.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Cluster {
    /// Endpoints in all.
    #[arg(long, default_value_t = 100_000)]
    endpoints: u32,
    /// Endpoints of this node.
    #[arg(long, default_value_t = 250)]
    local: u32,
    /// Policies.
    #[arg(long, default_value_t = 2_000)]
    policies: u32,
    /// Rules of each policy and direction.
    #[arg(long, default_value_t = 5)]
    policy_rules: u32,
    /// Namespaces.
    #[arg(long, default_value_t = 200)]
    namespaces: u32,
    /// Applications in each namespace.
    #[arg(long, default_value_t = 20)]
    applications: u32,
    /// Global network sets of 16 prefixes.
    #[arg(long, default_value_t = 100)]
    sets: u32,
    /// Ports that rules and packets choose from.
    #[arg(long, default_value_t = 50)]
    ports: u32,
    /// Every policy selects every endpoint.
    #[arg(long)]
    wide: bool,
    /// Updates measured.
    #[arg(long, default_value_t = 50_000)]
    updates: u32,
    /// Verdicts measured.
    #[arg(long, default_value_t = 2_000_000)]
    verdicts: u32,
}

/// Makes the cluster and prints the figures.
pub(crate) fn run(cluster: &Cluster) -> Result<(), Invalid> {
    let mut random = Random(1);
    let resources = cluster.resources(&mut random)?;
    let before = resident();
    let start = Clock::start();
    let mut graph = Graph::new(Name::new("node-0")?);
    let count = resources.len();
    for update in resources {
        graph.apply(update);
    }
    let applied = start.elapsed();
    graph.flush();
    let synced = start.elapsed();
    println!("resources            {count}");
    println!(
        "first sync           {:.0} ms (of which taking {:.0} ms)",
        ms(synced),
        ms(applied)
    );
    println!(
        "memory               {} MiB (before {} MiB)",
        resident(),
        before
    );
    cluster.verdicts(&graph.snapshot(), &mut random);
    cluster.updates(&mut graph, &mut random)?;
    cluster.policy_changes(&mut graph, &mut random)?;
    cluster.verdicts(&graph.snapshot(), &mut random);
    println!("memory at the end    {} MiB", resident());
    Ok(())
}

impl Cluster {
    fn resources(&self, random: &mut Random) -> Result<Vec<Update>, Invalid> {
        let mut all: Vec<Update> = Vec::new();
        for ns in 0..self.namespaces {
            let labels = Labels::from_pairs([
                (
                    "pcns.projectcalico.org/name".to_string(),
                    format!("ns-{ns}"),
                ),
                (
                    "pcns.env".to_string(),
                    ["prod", "test"][(ns % 2) as usize].to_string(),
                ),
            ])?;
            all.push(Profile::allowing(&format!("kns.ns-{ns}"), labels)?.into());
            let labels = Labels::from_pairs([("pcsa.projectcalico.org/name", "default")])?;
            all.push(Profile::allowing(&format!("ksa.ns-{ns}.default"), labels)?.into());
        }
        for i in 0..self.sets {
            let labels = Labels::from_pairs([("feed", format!("feed-{}", i % 10))])?;
            let nets: Vec<String> = (0..16)
                .map(|_| format!("{}.{}.0.0/16", 20 + random.below(180), random.below(256)))
                .collect();
            let key = NetworkSetKey::new(None, &format!("set-{i}"))?;
            all.push(NetworkSet::new(key, &labels, &nets)?.into());
        }
        for i in 0..self.policies {
            all.push(self.policy(i, random)?.into());
        }
        for i in 0..self.endpoints {
            all.push(self.endpoint(i, 0)?.into());
        }
        for i in (1..all.len()).rev() {
            all.swap(
                i,
                random.below(u32::try_from(i + 1).unwrap_or(u32::MAX)) as usize,
            );
        }
        Ok(all)
    }

    /// Endpoint `i`; `turn` changes its labels and address.
    fn endpoint(&self, i: u32, turn: u32) -> Result<Endpoint, Invalid> {
        let ns = format!("ns-{}", i % self.namespaces);
        let app = (i / self.namespaces + turn) % self.applications;
        let spec = EndpointSpec {
            // Local endpoints are spread over the namespaces.
            node: if i < self.local {
                "node-0".into()
            } else {
                format!("node-{}", 1 + i % 400)
            },
            labels: Labels::from_pairs([
                ("app", format!("app-{app}")),
                (
                    "tier",
                    ["front", "back", "data"][(i % 3) as usize].to_string(),
                ),
                ("version", format!("v{}", (i + turn) % 5)),
                ("pod-template-hash", format!("{:x}", i / 10)),
            ])?,
            profiles: vec![format!("kns.{ns}"), format!("ksa.{ns}.default")],
            addresses: vec![self.address(i).to_string()],
            service_account: Some("default".into()),
            orchestrator: Some("k8s".into()),
            ..EndpointSpec::default()
        };
        Endpoint::new(EndpointKey::workload(&ns, &format!("pod-{i}"))?, &spec)
    }

    fn address(&self, i: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + i).into()
    }

    fn policy(&self, i: u32, random: &mut Random) -> Result<Policy, Invalid> {
        let rules = |random: &mut Random| -> Result<Vec<RuleSpec>, Invalid> {
            (0..self.policy_rules).map(|_| self.rule(random)).collect()
        };
        let mut spec = PolicySpec {
            order: Some(f64::from(random.below(1_000))),
            ingress: rules(random)?,
            egress: rules(random)?,
            ..PolicySpec::default()
        };
        let key = if self.wide {
            PolicyKey::new(
                PolicyKind::GlobalNetworkPolicy,
                None,
                &format!("policy-{i}"),
            )?
        } else {
            let application = i / self.namespaces % self.applications;
            spec.selector = Some(selector(&format!("app == 'app-{application}'"))?);
            let namespace = format!("ns-{}", i % self.namespaces);
            PolicyKey::new(
                PolicyKind::NetworkPolicy,
                Some(&namespace),
                &format!("policy-{i}"),
            )?
        };
        Policy::new(key, &spec)
    }

    fn rule(&self, random: &mut Random) -> Result<RuleSpec, Invalid> {
        let mut peer = EntitySpec::default();
        match random.below(10) {
            0 => {
                let net = Ipv4Addr::from_bits(0x0a00_0000 + (random.below(256) << 16));
                peer.nets = vec![Ipv4Net::new_assert(net, 16).into()];
            }
            1 => peer.selector = Some(selector(&format!("feed == 'feed-{}'", random.below(10)))?),
            2 => {
                peer.namespace_selector = Some(selector("env == 'prod'")?);
                peer.selector = Some(selector("tier == 'front'")?);
            }
            _ => {
                let ns = random.below(self.namespaces);
                let name = format!("projectcalico.org/name == 'ns-{ns}'");
                peer.namespace_selector = Some(selector(&name)?);
                let app = format!("app == 'app-{}'", random.below(self.applications));
                peer.selector = Some(selector(&app)?);
            }
        }
        let port = u16::try_from(1 + random.below(self.ports)).unwrap_or(1);
        Ok(RuleSpec {
            protocol: Some(Protocol::TCP),
            source: peer,
            destination: EntitySpec {
                ports: vec![port.into()],
                ..EntitySpec::default()
            },
            ..RuleSpec::new(Action::Allow)
        })
    }

    /// New flows to random local endpoints, from random endpoints and strangers.
    fn verdicts(&self, tables: &Compiled, random: &mut Random) {
        let locals: Vec<EndpointIndex> = tables.endpoints().map(|(index, _)| index).collect();
        if locals.is_empty() {
            return;
        }
        let flows: Vec<(EndpointIndex, PacketTuple)> = (0..65_536)
            .map(|_| {
                let to = random.below(self.local);
                let from = random.below(self.endpoints * 10 / 9);
                let packet = PacketTuple::new(self.address(from), self.address(to), 6);
                let port = u16::try_from(1 + random.below(self.ports)).unwrap_or(1);
                (
                    locals[to as usize % locals.len()],
                    packet.with_ports(40_000, port),
                )
            })
            .collect();
        let mut allowed = 0u64;
        let start = Clock::start();
        for i in 0..self.verdicts {
            let (endpoint, packet) = &flows[i as usize % flows.len()];
            let verdict = tables.evaluate(*endpoint, Direction::Ingress, black_box(packet));
            allowed += u64::from(verdict.allow);
        }
        let each = start.elapsed().as_nanos() as f64 / f64::from(self.verdicts);
        println!(
            "verdict              {each:.0} ns ({allowed} of {} allowed)",
            self.verdicts
        );
    }

    fn updates(&self, graph: &mut Graph, random: &mut Random) -> Result<(), Invalid> {
        for (what, batch) in [("each published", 1), ("in batches of 100", 100)] {
            let endpoints = (0..self.updates)
                .map(|turn| {
                    let remote = self.local + random.below(self.endpoints - self.local);
                    self.endpoint(remote, 1 + turn % 7)
                })
                .collect::<Result<Vec<_>, _>>()?;
            rate(
                graph,
                endpoints,
                batch,
                &format!("remote endpoints, {what}"),
            );
        }
        let endpoints = (0..self.updates.min(2_000))
            .map(|turn| self.endpoint(random.below(self.local), 1 + turn % 7))
            .collect::<Result<Vec<_>, _>>()?;
        rate(graph, endpoints, 1, "local endpoints, each published");
        Ok(())
    }

    fn policy_changes(&self, graph: &mut Graph, random: &mut Random) -> Result<(), Invalid> {
        let mut worst = Duration::ZERO;
        let changes = 100;
        let start = Clock::start();
        for _ in 0..changes {
            let i = random.below(self.policies);
            let policy = self.policy(i, random)?;
            let one = std::time::Instant::now();
            graph.apply(policy.into());
            graph.flush();
            worst = worst.max(one.elapsed());
        }
        let each = ms(start.elapsed()) / f64::from(changes);
        println!(
            "policy change        {each:.2} ms each, worst {:.2} ms",
            ms(worst)
        );
        Ok(())
    }
}

fn rate(graph: &mut Graph, endpoints: Vec<Endpoint>, batch: usize, what: &str) {
    let count = endpoints.len();
    let mut worst = Duration::ZERO;
    let start = Clock::start();
    for (i, endpoint) in endpoints.into_iter().enumerate() {
        let one = std::time::Instant::now();
        graph.apply(endpoint.into());
        if (i + 1) % batch == 0 || i + 1 == count {
            graph.flush();
            black_box(graph.snapshot());
        }
        worst = worst.max(one.elapsed());
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!(
        "updates              {rate:.0}/s of {what}, worst {:.2} ms",
        ms(worst)
    );
}

/// This thread's time on a processor, so that a busy machine does not count against the code.
pub(crate) struct Clock(Duration);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Self::on_cpu())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Self::on_cpu().saturating_sub(self.0)
    }

    fn on_cpu() -> Duration {
        let now = ClockId::CLOCK_THREAD_CPUTIME_ID.now();
        now.expect("Linux has this clock").into()
    }
}

pub(crate) fn selector(text: &str) -> Result<Selector, Invalid> {
    Selector::parse(text).map_err(|e| Invalid::new("selector", text, e.to_string()))
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Resident memory in MiB, as the kernel counts it; 0 where it does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

/// A small deterministic generator.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(((self.0 >> 33) * u64::from(n)) >> 31).unwrap_or(0)
    }
}
