//! What another configuration does to a running BIRD: which sessions come, go, restart or only
//! look at their routes anew.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::Serialize;

use crate::config::{Config, Function, Session, Statement};

/// What a change does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Sessions that are new.
    pub added: Vec<String>,
    /// Sessions that end.
    pub removed: Vec<String>,
    /// Sessions that end and come back, and why.
    pub restarted: BTreeMap<String, Vec<&'static str>>,
    /// Sessions that stay up and look at their routes anew.
    pub reloaded: Vec<String>,
    /// Prefixes that the node begins to tell.
    pub routes_added: Vec<IpNet>,
    /// Prefixes that it tells no more.
    pub routes_removed: Vec<IpNet>,
    /// Whether the kernel's routes are looked at anew.
    pub kernel: bool,
}

impl Plan {
    /// From one configuration to another; `None`: nothing runs.
    #[must_use]
    pub fn new(before: Option<&Config>, after: &Config) -> Plan {
        let empty = Config {
            routes: Vec::new(),
            functions: Vec::new(),
            sessions: Vec::new(),
            ..after.clone()
        };
        let before = before.unwrap_or(&empty);
        let mut plan = Plan::default();
        let named = |config: &'_ Config, name: &str| {
            let mut sessions = config.sessions.iter();
            sessions.find(|session| session.name == name).cloned()
        };
        for session in &before.sessions {
            if named(after, &session.name).is_none() {
                plan.removed.push(session.name.clone());
            }
        }
        for session in &after.sessions {
            let name = session.name.clone();
            let Some(old) = named(before, &name) else {
                plan.added.push(name);
                continue;
            };
            let mut why = differences(&old, session);
            if before.router_id != after.router_id {
                why.push("router ID");
            }
            if !why.is_empty() {
                plan.restarted.insert(name, why);
            } else if used(before, &old) != used(after, session) || old.next_hop != session.next_hop
            {
                plan.reloaded.push(name);
            }
        }
        let prefixes = |config: &Config| -> BTreeSet<IpNet> {
            let all = config.routes.iter().flat_map(|routes| &routes.statics);
            all.map(|route| route.prefix).collect()
        };
        let (old, new) = (prefixes(before), prefixes(after));
        plan.routes_added = new.difference(&old).copied().collect();
        plan.routes_removed = old.difference(&new).copied().collect();
        let filters = |config: &Config| -> Vec<_> {
            let all = config.routes.iter();
            all.map(|it| (it.from_kernel.clone(), it.to_kernel.clone()))
                .collect()
        };
        plan.kernel = filters(before) != filters(after);
        plan
    }

    /// Whether nothing that runs is touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Plan::default()
    }
}

/// What of a session cannot change while it is up, in the words of its resource.
fn differences(old: &Session, new: &Session) -> Vec<&'static str> {
    let checks = [
        ("neighbor's address", old.neighbor != new.neighbor),
        ("neighbor's port", old.neighbor_port != new.neighbor_port),
        ("neighbor's AS", old.neighbor_as != new.neighbor_as),
        ("source address", old.local != new.local),
        ("listen port", old.local_port != new.local_port),
        ("own AS", old.local_as != new.local_as),
        ("bind mode", old.strict_bind != new.strict_bind),
        ("which side connects", old.passive != new.passive),
        ("password", old.password != new.password),
        ("keepalive time", old.keepalive != new.keepalive),
        ("restart time", old.restart_time != new.restart_time),
        ("TTL security", old.ttl_security != new.ttl_security),
        ("allowed own AS", old.allow_local_as != new.allow_local_as),
        ("route reflector", old.reflector != new.reflector),
    ];
    let differ = checks.into_iter().filter(|(_, differs)| *differs);
    differ.map(|(name, _)| name).collect()
}

/// A session's filters with the functions they call.
fn used<'a>(config: &'a Config, session: &'a Session) -> Vec<(&'a [Statement], Vec<&'a Function>)> {
    let both = [&session.import[..], &session.export[..]];
    both.map(|filter| {
        let called = filter.iter().filter_map(|statement| match statement {
            Statement::Call(name) | Statement::CallWith(name, _) => {
                let mut functions = config.functions.iter();
                functions.find(|function| function.name == *name)
            }
            Statement::Step(_)
            | Statement::If(..)
            | Statement::Metric(_)
            | Statement::LocalPref(_)
            | Statement::Preference(_)
            | Statement::AddCommunity(_)
            | Statement::Prepend(_)
            | Statement::ByTunnel(_)
            | Statement::Accept
            | Statement::Reject => None,
        });
        (filter, called.collect())
    })
    .into()
}
