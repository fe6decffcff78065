//! What clients of the control socket see: questions go to the agent's thread, which answers
//! from its own state.

mod counters;
mod endpoint;
mod flows;
mod hits;
mod interfaces;
mod policy;
mod resources;
mod routes;
mod rules;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam::channel::{Sender, bounded};
use vrouter_control::ErrorBody;
use vrouter_control::Service;
use vrouter_control::model::{self, Page};
use vrouter_control::params;

use crate::agent::{Agent, Input};
use crate::collector::Denials;
use crate::health::Health;

type Outcome<T> = Result<T, ErrorBody>;

/// How long a client waits for the agent, which may be busy making TAPs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service behind the socket.
pub struct AgentService {
    inputs: Sender<Input>,
    denials: Arc<Denials>,
    health: Health,
    started: SystemTime,
    version: &'static str,
    reload: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

impl AgentService {
    /// A service that asks through `inputs`. `reload` reads the configuration again, as SIGHUP
    /// does.
    pub fn new(
        agent: &Agent,
        inputs: Sender<Input>,
        version: &'static str,
        reload: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            inputs,
            denials: Arc::clone(&agent.node.collector.denials),
            health: Health::new(Arc::clone(&agent.vitals), agent.node.workers.pulses()),
            started: SystemTime::now(),
            version,
            reload: Box::new(reload),
        }
    }

    /// Has the agent's thread answer.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Agent) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let (reply, answer) = bounded(1);
        let job = Box::new(move |agent: &mut Agent| {
            // A client that gave up waits no more.
            let _ = reply.send(question(agent));
        });
        let stopping = || ErrorBody::unavailable("vrouterd is stopping");
        self.inputs.send(Input::Job(job)).map_err(|_| stopping())?;
        match answer.recv_timeout(PATIENCE) {
            Ok(outcome) => outcome,
            Err(crossbeam::channel::RecvTimeoutError::Disconnected) => Err(stopping()),
            Err(crossbeam::channel::RecvTimeoutError::Timeout) => {
                Err(ErrorBody::unavailable("the agent is busy; try again"))
            }
        }
    }
}

impl Service for AgentService {
    fn version(&self, _: params::GetVersion) -> Outcome<model::Version> {
        let (version, started) = (self.version.to_owned(), self.started);
        self.ask(move |agent| {
            Ok(model::Version {
                version,
                protocol: vrouter_control::PROTOCOL,
                node: agent.settings.node.clone(),
                pid: std::process::id(),
                started: started.into(),
                uptime_ms: agent.node.shared.now_ms(),
                workers: agent.node.workers.len() as u32,
                generation: agent.generation().into(),
            })
        })
    }

    fn interfaces(&self, params: params::ShowInterfaces) -> Outcome<Vec<model::Interface>> {
        self.ask(move |agent| interfaces::show(agent, &params))
    }

    fn routes(&self, params: params::ShowRoutes) -> Outcome<Page<model::Route>> {
        self.ask(move |agent| routes::show(agent, &params))
    }

    fn neighbors(&self, params: params::ShowNeighbors) -> Outcome<Vec<model::Neighbor>> {
        self.ask(move |agent| interfaces::neighbors(agent, &params))
    }

    fn tunnels(&self, params: params::ShowTunnels) -> Outcome<Vec<model::Tunnel>> {
        self.ask(move |agent| routes::tunnels(agent, &params))
    }

    fn flows(&self, params: params::ShowFlows) -> Outcome<Page<model::Flow>> {
        self.ask(move |agent| flows::show(agent, &params))
    }

    fn policy(&self, params: params::ShowPolicy) -> Outcome<Page<model::EndpointPolicy>> {
        self.ask(move |agent| policy::show(agent, &params))
    }

    fn hits(&self, _: params::ShowHits) -> Outcome<Vec<model::PolicyHits>> {
        self.ask(|agent| Ok(hits::show(agent)))
    }

    fn health(&self, _: params::ShowHealth) -> Outcome<model::HealthReport> {
        Ok(self.health.report())
    }

    fn drops(&self, params: params::ShowDrops) -> Outcome<model::DropReport> {
        let denials = Arc::clone(&self.denials);
        self.ask(move |agent| Ok(counters::drops(agent, &denials, params.recent)))
    }

    fn workers(&self, _: params::ShowWorkers) -> Outcome<Vec<model::Worker>> {
        self.ask(|agent| Ok(counters::workers(agent)))
    }

    fn resources(&self, _: params::ShowResources) -> Outcome<model::ResourceReport> {
        self.ask(|agent| Ok(resources::show(agent)))
    }

    fn counters(&self, _: params::ShowCounters) -> Outcome<model::CounterReport> {
        self.ask(|agent| Ok(counters::show(agent)))
    }

    fn explain(&self, params: params::Explain) -> Outcome<model::Explanation> {
        self.ask(move |agent| policy::explain(agent, &params))
    }

    fn await_endpoint(&self, params: params::AwaitEndpoint) -> Outcome<model::EndpointState> {
        endpoint::wait(&params, |params| {
            self.ask(move |agent| Ok(endpoint::state(agent, &params)))
        })
    }

    fn add_routes(&self, params: params::AddRoutes) -> Outcome<model::Done> {
        self.ask(move |agent| routes::add(agent, params))
    }

    fn delete_routes(&self, params: params::DeleteRoutes) -> Outcome<model::Removed> {
        self.ask(move |agent| {
            let prefixes: Vec<_> = params.prefixes.iter().map(|net| net.trunc()).collect();
            let removed = agent.remove_routes(&prefixes);
            let removed = removed.map_err(ErrorBody::unavailable)? as u64;
            Ok(model::Removed { removed })
        })
    }

    fn reload(&self, _: params::Reload) -> Outcome<model::Reloaded> {
        (self.reload)().map_err(ErrorBody::unavailable)?;
        self.ask(|agent| {
            agent.reconcile();
            Ok(model::Reloaded {
                generation: agent.generation().into(),
                notices: resources::notices(agent),
            })
        })
    }

    fn shutdown(&self, _: params::Shutdown) -> Outcome<model::Done> {
        self.ask(|agent| {
            agent.stop();
            Ok(model::Done {})
        })
    }
}

/// Refuses a filter for an endpoint or interface that nobody has.
fn known(agent: &Agent, name: Option<&str>) -> Outcome<()> {
    match name {
        Some(name)
            if !agent
                .observed
                .endpoints
                .iter()
                .any(|e| e.local.is_called(name)) =>
        {
            Err(unknown(name))
        }
        Some(_) | None => Ok(()),
    }
}

fn unknown(name: &str) -> ErrorBody {
    ErrorBody::not_found(format!("no interface or endpoint {name:?}"))
}

/// The ports of a tuple: those of its protocol, or the identifier of ICMP queries in both.
fn ports(protocol: model::Protocol, ports: [u16; 2], identifier: Option<u16>) -> [Option<u16>; 2] {
    if protocol.is_icmp() {
        [identifier; 2]
    } else {
        ports.map(|port| protocol.has_ports().then_some(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrouter_control::model::Protocol;

    #[test]
    fn ports_of_protocols() {
        assert_eq!(ports(Protocol::TCP, [1, 2], None), [Some(1), Some(2)]);
        assert_eq!(ports(Protocol::ICMP, [0, 0], Some(7)), [Some(7); 2]);
        assert_eq!(ports(Protocol::ICMPV6, [0, 0], None), [None; 2]);
        assert_eq!(ports(Protocol(47), [0, 0], None), [None; 2]);
    }
}
