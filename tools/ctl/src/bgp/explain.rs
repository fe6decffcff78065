//! `bgp explain`: to whom a prefix is told, and why.

use std::io::Write;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Serialize;
use vrouter_bgp::{Config, Origin, Outcome, Route, Session};

use super::running;
use crate::failure::Failure;
use crate::output::Output;

/// What is said of one session, or of the kernel.
#[derive(Serialize)]
struct Answer {
    to: String,
    told: bool,
    because: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    communities: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    as_path: Vec<u32>,
}

#[derive(Serialize)]
struct Explanation {
    prefix: IpNet,
    origin: String,
    answers: Vec<Answer>,
}

pub(super) fn run<W: Write>(
    out: &mut Output<W>,
    config: &Config,
    prefix: IpNet,
    peer: Option<&str>,
    sockets: &[PathBuf],
) -> Result<(), Failure> {
    let sessions: Vec<&Session> = match peer {
        None => config.sessions.iter().collect(),
        Some(named) => vec![config.session(named).ok_or_else(|| {
            let names: Vec<&str> = config.sessions.iter().map(|it| it.name.as_str()).collect();
            let there = if names.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", names.join(", "))
            };
            Failure::Missing(format!(
                "node {} has no session {named}: {there}",
                config.node
            ))
        })?],
    };
    let (route, origin) = route(config, prefix, sockets);
    let mut answers: Vec<Answer> = sessions
        .iter()
        .map(|session| answer(session.name.clone(), config.told(session, &route), &route))
        .collect();
    if peer.is_none()
        && let Some(outcome) = config.to_kernel(&route)
    {
        answers.push(answer("the host's kernel".to_owned(), outcome, &route));
    }
    let whole = Explanation {
        prefix,
        origin,
        answers,
    };
    if out.structured(&whole)? {
        return Ok(());
    }
    let mut text = format!("{prefix}: {}\n", whole.origin);
    for answer in &whole.answers {
        let told = if answer.told {
            "told to"
        } else {
            "not told to"
        };
        text += &format!("{told} {}: {}\n", answer.to, answer.because);
        if !answer.communities.is_empty() {
            text += &format!("    with communities {}\n", answer.communities.join(" "));
        }
        if !answer.as_path.is_empty() {
            let path: Vec<String> = answer.as_path.iter().map(ToString::to_string).collect();
            text += &format!("    with the AS path {}\n", path.join(" "));
        }
    }
    out.text(&text)
}

fn answer(to: String, outcome: Outcome, before: &Route) -> Answer {
    let route = outcome.route;
    let told = outcome.accepted;
    let communities = route.communities.iter().filter(|_| told);
    Answer {
        to,
        told,
        because: outcome.step,
        communities: communities.map(ToString::to_string).collect(),
        as_path: if told && route.path != before.path {
            route.path
        } else {
            Vec::new()
        },
    }
}

/// The route as it is here, else as BIRD has it, else as a neighbor might tell it.
fn route(config: &Config, prefix: IpNet, sockets: &[PathBuf]) -> (Route, String) {
    let statics = config.routes.iter().flat_map(|routes| &routes.statics);
    for (own, route) in statics.zip(config.own_routes()) {
        if own.prefix == prefix {
            return (route, format!("this node's own ({})", own.why));
        }
    }
    if let Some(details) = running::best(prefix, sockets) {
        let learned = details.kind == "BGP";
        let origin = match (learned, details.blackhole) {
            (true, _) => Origin::Learned(details.from.clone()),
            (false, blackhole) if details.kind == "static" => Origin::Static { blackhole },
            (false, _) if details.kind == "device" => Origin::Device,
            (false, _) => Origin::Kernel(0),
        };
        let text = format!("BIRD has it from {}", details.from);
        let route = Route {
            interface: details.interface,
            next_hop: details.next_hop,
            local_pref: details.local_pref,
            communities: details.communities,
            path: details.path,
            ..Route::new(prefix, origin)
        };
        return (route, text);
    }
    let mut route = Route::new(prefix, Origin::Learned("a neighbor".to_owned()));
    route.local_pref = Some(100);
    let text = "not this node's own, and no BIRD that answers has it; as if a neighbor told it, \
                without communities and path";
    (route, text.to_owned())
}
