//! Sessions of the flow table.

use std::net::IpAddr;

use ::policy::compile::RuleId;
use ::policy::flow::{Flow, NO_ENDPOINT, State, Verdict};
use ::policy::model::Direction;
use encap::Tunnel;
use vrouter_control::ErrorBody;
use vrouter_control::model::{self, Page, Protocol, Traffic, Tuple};
use vrouter_control::params::{self, ShowFlows};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::repeat::End;

use super::policy::rule_reference;
use super::{Outcome, known, ports};
use crate::agent::Agent;

/// Sessions looked at for one page, so that a filter that matches nothing still answers soon.
const LOOKED_AT: usize = 200_000;

pub(super) fn show(agent: &Agent, params: &ShowFlows) -> Outcome<Page<model::Flow>> {
    known(agent, params.endpoint.as_deref())?;
    let mut from: u32 = match &params.after {
        None => 0,
        Some(text) => text
            .parse()
            .map_err(|_| ErrorBody::bad_params(format!("after: {text:?} is no page of ours")))?,
    };
    let limit = params::rows(params.limit);
    let now = agent.node.shared.now_ms();
    let mut items = Vec::new();
    let mut looked = 0;
    let next = loop {
        let page = agent
            .node
            .shared
            .flows
            .flows(from, limit - items.len(), now);
        looked += page.flows.len();
        let rows = page
            .flows
            .iter()
            .filter(|flow| matches(agent, params, flow));
        items.extend(rows.map(|flow| row(agent, flow)));
        match page.next {
            None => break None,
            Some(next) if items.len() >= limit || looked >= LOOKED_AT => {
                break Some(next.to_string());
            }
            Some(next) => from = next,
        }
    };
    let total = agent.node.shared.flows.statistics().live;
    Ok(Page {
        items,
        next,
        total: Some(total),
    })
}

fn owner(agent: &Agent, owner: u32) -> Option<String> {
    if owner == NO_ENDPOINT {
        return None;
    }
    let id = InterfaceId(u16::try_from(owner).ok()?);
    agent
        .observed
        .endpoints
        .behind(id)
        .map(|endpoint| endpoint.local.name())
}

fn matches(agent: &Agent, params: &ShowFlows, flow: &Flow) -> bool {
    let key = &flow.key;
    let within = |net: &ipnet::IpNet| {
        let ends: [IpAddr; 4] = [
            key.src(),
            key.dst(),
            flow.reply_key.src(),
            flow.reply_key.dst(),
        ];
        ends.iter().any(|end| net.contains(end))
    };
    let named = |name: &String| {
        let ends = flow.owners.iter().filter_map(|id| {
            agent
                .observed
                .endpoints
                .behind(InterfaceId(u16::try_from(*id).ok()?))
        });
        let mut ends = ends;
        ends.any(|end| end.local.is_called(name))
    };
    params.address.as_ref().is_none_or(within)
        && params
            .port
            .is_none_or(|port| key.src_port() == port || key.dst_port() == port)
        && params
            .protocol
            .is_none_or(|protocol| protocol.0 == key.protocol())
        && params.endpoint.as_ref().is_none_or(named)
}

fn row(agent: &Agent, flow: &Flow) -> model::Flow {
    let protocol = Protocol(flow.key.protocol());
    let tuple = |key: &::policy::flow::FlowKey| {
        let numbers = [key.src_port(), key.dst_port()];
        let [source_port, destination_port] = ports(protocol, numbers, Some(key.src_port()));
        Tuple {
            source: key.src(),
            source_port,
            destination: key.dst(),
            destination_port,
        }
    };
    let traffic = |side: usize| Traffic {
        packets: flow.packets[side].into(),
        bytes: flow.bytes[side],
    };
    let [source, destination] = flow.owners.map(|id| owner(agent, id));
    let mut rules = Vec::new();
    let sides = [Direction::Egress, Direction::Ingress];
    for (rule, direction) in flow.rules.iter().zip(sides) {
        if *rule != 0 {
            rules.push(rule_reference(agent, direction, RuleId::from_index(*rule)));
        }
    }
    model::Flow {
        protocol,
        original: tuple(&flow.key),
        reply: tuple(&flow.reply_key),
        state: match flow.verdict {
            Verdict::Allow => state(flow.state),
            Verdict::Deny => "cut",
        }
        .to_owned(),
        age_ms: flow.age_ms,
        idle_ms: flow.idle_ms,
        timeout_ms: timeout(agent, flow),
        original_traffic: traffic(0),
        reply_traffic: traffic(1),
        generation: flow.generation.into(),
        offload: agent
            .node
            .flow_offload
            .as_ref()
            .and_then(|offload| offload.repeats(flow))
            .map(|end| offload(&end).to_owned()),
        source_endpoint: source,
        destination_endpoint: destination,
        rules,
    }
}

/// How clients know the way of flows that the kernel repeats.
fn offload(end: &End) -> &'static str {
    match end {
        End::Workload { .. } => "pod",
        End::Host => "host",
        End::Node {
            tunnel: Tunnel::Vxlan(_),
            ..
        } => "vxlan",
        End::Node {
            tunnel: Tunnel::Ipip,
            ..
        } => "ipip",
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::HalfOpen => "half-open",
        State::Established => "established",
        State::FinsSeen => "closing",
        State::Reset => "reset",
    }
}

fn timeout(agent: &Agent, flow: &Flow) -> u64 {
    let timeouts = agent.node.shared.flows.timeouts();
    match (flow.key.protocol(), flow.state) {
        (6, State::HalfOpen) => timeouts.tcp_syn_sent_ms,
        (6, State::Established) => timeouts.tcp_established_ms,
        (6, State::FinsSeen) => timeouts.tcp_fins_seen_ms,
        (6, State::Reset) => timeouts.tcp_reset_ms,
        (17 | 136, _) => timeouts.udp_ms,
        (1 | 58, _) => timeouts.icmp_ms,
        (_, _) => timeouts.generic_ms,
    }
}
