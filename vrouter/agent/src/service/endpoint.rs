//! Whether an endpoint is live: its device open, and tables that name it used by every worker.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vrouter_control::model::{EndpointState, Mac};
use vrouter_control::params::{AwaitEndpoint, MAX_WAIT_MS};
use vrouter_dataplane::tables::{GATEWAY_V4, InterfaceKind};

use super::Outcome;
use crate::agent::Agent;
use vrouter_core::observed::Endpoint;

/// Between two looks, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(20));

/// Asks until the endpoint is as wanted, or time is up. Runs on the client's own thread.
pub(super) fn wait(
    params: &AwaitEndpoint,
    ask: impl Fn(AwaitEndpoint) -> Outcome<EndpointState>,
) -> Outcome<EndpointState> {
    let limit = Duration::from_millis(params.timeout_ms.min(MAX_WAIT_MS).into());
    let deadline = Instant::now() + limit;
    let mut pause = PAUSES.0;
    loop {
        let state = ask(params.clone())?;
        // Where it is to go, an interface is named for as long as there is a device.
        let done = match params.gone {
            true => state.interface.is_none(),
            false => state.live,
        };
        if done || Instant::now() >= deadline {
            return Ok(state);
        }
        sleep(pause);
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// How far the endpoint is. The agent's thread publishes before it answers, and waits for the
/// workers then: what the tables have is in use.
pub(super) fn state(agent: &Agent, params: &AwaitEndpoint) -> EndpointState {
    let mut state = EndpointState {
        live: false,
        reason: None,
        interface: None,
        mac: None,
        mtu: None,
        nameservers: Vec::new(),
        generation: agent.generation().into(),
    };
    let mut called = agent
        .observed
        .endpoints
        .iter()
        .filter(|e| e.local.is_called(&params.endpoint));
    let Some(endpoint) = called.next() else {
        let store = agent.store.name();
        state.reason = Some(format!(
            "vrouterd of node {} has no endpoint {} from {store}",
            agent.settings.node, params.endpoint
        ));
        return state;
    };
    let local = &endpoint.local;
    let netns = params.netns.is_none() || params.netns == local.netns;
    let mac = params.mac.is_none() || params.mac == local.mac.map(Mac);
    if let Some(attached) = &endpoint.attached {
        state.interface = Some(local.interface.clone());
        state.mac = Some(Mac(attached.mac));
        state.mtu = Some(attached.mtu.into());
        // The IPv6 gateway is an address of the link, which no list of resolvers can name.
        if agent.wanted.options.resolver && local.addresses.iter().any(IpAddr::is_ipv4) {
            state.nameservers.push(GATEWAY_V4.into());
        }
    }
    if !netns || !mac {
        state.reason = Some("vrouterd still has an earlier version of the endpoint".to_owned());
    } else if endpoint.attached.is_none() {
        let problem = endpoint.problem.clone();
        state.reason = Some(problem.unwrap_or_else(|| "it has no device yet".to_owned()));
    } else if !is_published(agent, endpoint) {
        let problems = agent.problems.join("; ");
        state.reason = Some(format!("tables do not name it yet: {problems}"));
    } else {
        state.live = true;
    }
    state
}

/// Whether the tables in force know the endpoint's interface.
fn is_published(agent: &Agent, endpoint: &Endpoint) -> bool {
    let Some(attached) = &endpoint.attached else {
        return false;
    };
    let tables = agent.node.shared.tables.load();
    let interface = tables.interface(attached.id);
    tables.generation == agent.generation()
        && interface.is_some_and(|it| matches!(it.kind, InterfaceKind::Workload(_)))
}
