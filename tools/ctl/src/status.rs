//! `vrouterctl status`: the node on one screen.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use vrouter_bgp::bird::{Bird, SOCKETS, SOCKETS_V6};
use vrouter_control::Client;
use vrouter_control::model::{
    CounterReport, HealthReport, Interface, InterfaceState, NamedCount, PolicyHits, ResourceReport,
    Severity, Tunnel, Version, Worker,
};
use vrouter_control::params::{
    GetVersion, ShowCounters, ShowHealth, ShowHits, ShowInterfaces, ShowResources, ShowTunnels,
    ShowWorkers,
};

use crate::failure::Failure;
use crate::output::Output;
use crate::units::{percent, span};

/// Rows of reasons, of interfaces that are down and of notices.
const ROWS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version: Version,
    health: HealthReport,
    resources: ResourceReport,
    interfaces: Vec<Interface>,
    tunnels: Vec<Tunnel>,
    policies: Vec<PolicyHits>,
    workers: Vec<Worker>,
    counters: CounterReport,
    bgp: Option<Sessions>,
}

/// BIRD's sessions.
#[derive(Serialize)]
struct Sessions {
    established: usize,
    total: usize,
}

pub(crate) fn run<W: Write>(
    client: &mut Client,
    out: &mut Output<W>,
    socket: &Path,
    bird: &[PathBuf],
) -> Result<(), Failure> {
    let status = Status {
        version: client.call(&GetVersion {})?,
        health: client.call(&ShowHealth {})?,
        resources: client.call(&ShowResources {})?,
        interfaces: client.call(&ShowInterfaces::default())?,
        tunnels: client.call(&ShowTunnels::default())?,
        policies: client.call(&ShowHits {})?,
        workers: client.call(&ShowWorkers {})?,
        counters: client.call(&ShowCounters {})?,
        bgp: sessions(socket, bird),
    };
    if out.structured(&status)? {
        return Ok(());
    }
    for (title, text) in status.lines() {
        out.text(&format!("{title:<12}{text}\n"))?;
    }
    Ok(())
}

/// The sessions of the node's BIRD, if one answers.
fn sessions(socket: &Path, named: &[PathBuf]) -> Option<Sessions> {
    let sockets = if named.is_empty() {
        let ours = socket.with_file_name("bird").join("bird.ctl");
        let known = SOCKETS.iter().chain(SOCKETS_V6).map(PathBuf::from);
        [ours].into_iter().chain(known).collect()
    } else {
        named.to_vec()
    };
    let mut answered = false;
    let mut sessions = Sessions {
        established: 0,
        total: 0,
    };
    for socket in &sockets {
        let Ok(protocols) = Bird::connect(socket).and_then(|mut bird| bird.protocols()) else {
            continue;
        };
        answered = true;
        for protocol in protocols {
            if protocol.session().is_some() {
                sessions.total += 1;
                sessions.established += usize::from(protocol.info.starts_with("Established"));
            }
        }
    }
    answered.then_some(sessions)
}

impl Status {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let version = &self.version;
        let up = span(version.uptime_ms);
        let node = format!(
            "{}, vrouterd {}, pid {}, up {up}",
            version.node, version.version, version.pid
        );
        let mut lines = vec![("Node", node)];
        lines.push(("Health", self.health()));
        lines.extend(self.unwell().map(|text| ("", text)));
        lines.push(("Datastore", self.datastore()));
        lines.push(("Resources", self.resources()));
        lines.extend(self.notices().map(|text| ("", text)));
        lines.push(("Interfaces", self.interfaces()));
        lines.extend(self.down().map(|text| ("", text)));
        lines.push(("Tunnels", self.tunnels()));
        lines.push(("Policies", self.policies()));
        lines.push(("Workers", self.workers()));
        let flows = &self.counters.flows;
        let sessions = format!("{} of {} sessions", flows.used, flows.size);
        lines.push(("Flows", sessions));
        let balance = &self.counters.balance;
        let packets = format!(
            "{} received, {} transmitted, {} dropped",
            balance.received, balance.transmitted, balance.dropped
        );
        lines.push(("Packets", packets));
        lines.push(("Drops", self.drops()));
        let bgp = match &self.bgp {
            Some(it) => format!("{} of {} sessions established", it.established, it.total),
            None => "no BIRD answers".to_owned(),
        };
        lines.push(("BGP", bgp));
        lines
    }

    fn health(&self) -> String {
        let word = |good, text: &str| {
            if good {
                text.to_owned()
            } else {
                format!("not {text}")
            }
        };
        let health = &self.health;
        format!(
            "{}, {}",
            word(health.live, "live"),
            word(health.ready, "ready")
        )
    }

    /// Components with something to say against them.
    fn unwell(&self) -> impl Iterator<Item = String> {
        let bad = self.health.components.iter();
        let bad = bad.filter(|it| it.live == Some(false) || it.ready == Some(false));
        bad.map(|it| format!("{}: {}", it.name, it.detail))
    }

    fn datastore(&self) -> String {
        let resources = &self.resources;
        let state = match (&resources.away, resources.synced) {
            (Some(reason), _) => format!("away: {reason}"),
            (None, false) => "is read".to_owned(),
            (None, true) => "in sync".to_owned(),
        };
        let generation = resources.generation;
        format!("{}: {state}, generation {generation}", resources.directory)
    }

    fn resources(&self) -> String {
        let kinds = &self.resources.kinds;
        let total: u64 = kinds.iter().map(|it| it.count).sum();
        let count = |severity| {
            let notices = self.resources.notices.iter();
            notices.filter(|it| it.severity == severity).count()
        };
        format!(
            "{total} of {} kinds; {} errors, {} warnings, {} without effect",
            kinds.len(),
            count(Severity::Error),
            count(Severity::Warning),
            count(Severity::Info)
        )
    }

    /// The first of what is not in force, or not as meant.
    fn notices(&self) -> impl Iterator<Item = String> {
        let notices = self.resources.notices.iter();
        let notices = notices
            .filter(|it| it.severity != Severity::Info)
            .take(ROWS);
        notices.map(|it| {
            let place = it.resource.as_ref().or(it.file.as_ref());
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            format!("{}: {place}{}", it.severity.name(), it.message)
        })
    }

    fn interfaces(&self) -> String {
        let total = self.interfaces.len();
        let up = self.interfaces.iter();
        let up = up.filter(|it| it.state == InterfaceState::Up).count();
        format!("{up} of {total} up")
    }

    fn down(&self) -> impl Iterator<Item = String> {
        let down = self.interfaces.iter();
        let down = down.filter(|it| it.state != InterfaceState::Up).take(ROWS);
        down.map(|it| {
            let name = it.endpoint.as_ref().unwrap_or(&it.name);
            let reason = it.reason.iter().map(|reason| format!(", {reason}"));
            let reason: String = reason.collect();
            format!("{name}: {}{reason}", it.state.name())
        })
    }

    fn tunnels(&self) -> String {
        let mut by: BTreeMap<&str, usize> = BTreeMap::new();
        for tunnel in &self.tunnels {
            *by.entry(tunnel.encap.name()).or_default() += 1;
        }
        match by.is_empty() {
            true => "no other node".to_owned(),
            false => {
                let parts: Vec<_> = by
                    .iter()
                    .map(|(encap, n)| format!("{n} by {encap}"))
                    .collect();
                format!("other nodes: {}", parts.join(", "))
            }
        }
    }

    fn policies(&self) -> String {
        let mut hit: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let (mut allowed, mut denied) = (0, 0);
        for row in &self.policies {
            if row.kind != "Tier" && row.kind != "Profile" {
                *hit.entry((&row.kind, &row.name)).or_default() += row.hits.flows;
            }
            match row.action.as_str() {
                "Allow" if !row.staged => allowed += row.hits.flows,
                "Deny" if !row.staged => denied += row.hits.flows,
                _ => {}
            }
        }
        let never = hit.values().filter(|flows| **flows == 0).count();
        format!(
            "{}, {never} of them never hit; {allowed} connections allowed, {denied} denied",
            hit.len()
        )
    }

    fn workers(&self) -> String {
        let sum = |value: fn(&Worker) -> u64| -> u64 { self.workers.iter().map(value).sum() };
        let busy = sum(|it| it.busy_turns);
        let turns = busy.saturating_add(sum(|it| it.idle_turns));
        format!(
            "{}, {} of their turns found packets; {} of {} buffers",
            self.workers.len(),
            percent(busy, turns),
            sum(|it| it.pool_used),
            sum(|it| it.pool_size)
        )
    }

    /// The most frequent reasons.
    fn drops(&self) -> String {
        let all = self.counters.dropped.iter();
        let mut all: Vec<&NamedCount> = all.filter(|it| it.packets > 0).collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.packets));
        let first = all.iter().take(ROWS);
        let parts: Vec<_> = first
            .map(|it| format!("{} {}", it.reason, it.packets))
            .collect();
        match parts.is_empty() {
            true => "none".to_owned(),
            false => parts.join(", "),
        }
    }
}
