//! The meaning of a configuration, without BIRD: what becomes of a route in a filter, and which
//! step decided it.

use std::net::IpAddr;

use ipnet::IpNet;
use vrouter_api::bgp::Community;

use crate::config::{Condition, Config, Function, HIGHEST, Number, Session, Statement};

/// A route as filters see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub prefix: IpNet,
    /// Where it is from.
    pub origin: Origin,
    /// The interface it leaves by.
    pub interface: Option<String>,
    /// BGP's next hop.
    pub next_hop: Option<IpAddr>,
    pub local_pref: Option<u32>,
    /// Metric in the kernel.
    pub metric: Option<u32>,
    /// How BIRD chooses between sources.
    pub preference: Option<u32>,
    /// Communities, in no order.
    pub communities: Vec<Community>,
    pub path: Vec<u32>,
}

/// Where a route is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The configuration; without a gateway it leads nowhere.
    Static {
        /// Whether it is told only.
        blackhole: bool,
    },
    /// The network of an interface.
    Device,
    /// The kernel, where a program of that number put it.
    Kernel(u32),
    /// The neighbor of a session, by its name.
    Learned(String),
}

/// What became of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it was taken.
    pub accepted: bool,
    /// The step that decided.
    pub step: String,
    /// The route as the steps changed it.
    pub route: Route,
}

impl Route {
    /// A route with nothing but a prefix and an origin.
    #[must_use]
    pub fn new(prefix: IpNet, origin: Origin) -> Route {
        Route {
            prefix,
            origin,
            interface: None,
            next_hop: None,
            local_pref: None,
            metric: None,
            preference: None,
            communities: Vec::new(),
            path: Vec::new(),
        }
    }
}

impl Config {
    /// The routes that come from here.
    #[must_use]
    pub fn own_routes(&self) -> Vec<Route> {
        let all = self.routes.iter().flat_map(|routes| &routes.statics);
        all.map(|it| {
            let blackhole = it.gateway.is_none();
            Route::new(it.prefix, Origin::Static { blackhole })
        })
        .collect()
    }

    /// The session of a name, or of a neighbor's address.
    #[must_use]
    pub fn session(&self, named: &str) -> Option<&Session> {
        let mut all = self.sessions.iter();
        all.find(|it| it.name == named || it.neighbor.to_string() == named)
    }

    /// Whether a route is told to a session's neighbor, and how.
    #[must_use]
    pub fn told(&self, session: &Session, route: &Route) -> Outcome {
        let refused = |step: &str| Outcome {
            accepted: false,
            step: step.to_owned(),
            route: route.clone(),
        };
        if crate::config::family_of(&route.prefix) != session.family {
            return refused("The session carries the other family");
        }
        if let Origin::Learned(name) = &route.origin {
            if *name == session.name {
                return refused("The neighbor told it");
            }
            let from = self.sessions.iter().find(|it| it.name == *name);
            let between = from.is_some_and(Session::is_internal) && session.is_internal();
            let reflects =
                session.reflector.is_some() || from.is_some_and(|from| from.reflector.is_some());
            if between && !reflects {
                return refused("A neighbor of our own AS told it, and we reflect for neither");
            }
        }
        self.run(&session.export, route)
    }

    /// Whether a route of a session's neighbor is believed, and what becomes of it.
    #[must_use]
    pub fn believed(&self, session: &Session, route: &Route) -> Outcome {
        self.run(&session.import, route)
    }

    /// Whether the kernel gets a route.
    #[must_use]
    pub fn to_kernel(&self, route: &Route) -> Option<Outcome> {
        let family = crate::config::family_of(&route.prefix);
        let routes = self.routes.iter().find(|it| it.family == family)?;
        Some(self.run(&routes.to_kernel, route))
    }

    /// What a filter does to a route.
    fn run(&self, filter: &[Statement], route: &Route) -> Outcome {
        let mut run = Run {
            functions: &self.functions,
            route: route.clone(),
            step: String::new(),
        };
        // A filter that says nothing rejects.
        let accepted = run.body(filter, false).unwrap_or(false);
        Outcome {
            accepted,
            step: run.step,
            route: run.route,
        }
    }
}

/// A route on its way through a filter.
struct Run<'a> {
    functions: &'a [Function],
    route: Route,
    step: String,
}

impl Run<'_> {
    /// `Some`: it is decided.
    fn body(&mut self, body: &[Statement], internal: bool) -> Option<bool> {
        for statement in body {
            let decided = match statement {
                Statement::Step(text) => {
                    text.clone_into(&mut self.step);
                    None
                }
                Statement::If(when, then) => {
                    if self.meets(when, internal) {
                        self.body(then, internal)
                    } else {
                        None
                    }
                }
                Statement::Call(name) => self.call(name, false),
                Statement::CallWith(name, internal) => self.call(name, *internal),
                Statement::Metric(value) => {
                    self.route.metric = Some(self.number(*value));
                    None
                }
                Statement::LocalPref(value) => {
                    self.route.local_pref = Some(self.number(*value));
                    None
                }
                Statement::Preference(value) => {
                    self.route.preference = Some(*value);
                    None
                }
                Statement::AddCommunity(community) => {
                    if !self.route.communities.contains(community) {
                        self.route.communities.push(*community);
                    }
                    None
                }
                Statement::Prepend(number) => {
                    self.route.path.insert(0, *number);
                    None
                }
                Statement::ByTunnel(interface) => {
                    self.route.interface = Some((*interface).to_owned());
                    None
                }
                Statement::Accept => Some(true),
                Statement::Reject => Some(false),
            };
            if decided.is_some() {
                return decided;
            }
        }
        None
    }

    fn call(&mut self, name: &str, internal: bool) -> Option<bool> {
        let functions = self.functions;
        let function = functions.iter().find(|function| function.name == name)?;
        self.body(&function.body, internal)
    }

    fn number(&self, value: Number) -> u32 {
        let missing = |value: Option<u32>| HIGHEST.wrapping_sub(value.unwrap_or(0));
        match value {
            Number::Is(value) => value,
            Number::MissingLocalPref => missing(self.route.local_pref),
            Number::MissingMetric => missing(self.route.metric),
        }
    }

    fn meets(&self, condition: &Condition, internal: bool) -> bool {
        let route = &self.route;
        match condition {
            Condition::Never => false,
            Condition::Always => true,
            Condition::All(all) => all.iter().all(|one| self.meets(one, internal)),
            Condition::Not(inner) => !self.meets(inner, internal),
            Condition::Inside(net, low, high) => {
                let length = route.prefix.prefix_len();
                net.contains(&route.prefix.addr())
                    && length >= net.prefix_len()
                    && (*low..=*high).contains(&length)
            }
            Condition::Is(net) => route.prefix == *net,
            Condition::Learned => matches!(route.origin, Origin::Learned(_)),
            Condition::Device => route.origin == Origin::Device,
            Condition::Blackhole => route.origin == Origin::Static { blackhole: true },
            Condition::Interface(pattern) => {
                let name = route.interface.as_deref().unwrap_or_default();
                matches(pattern.as_bytes(), name.as_bytes())
            }
            Condition::Community(community) => route.communities.contains(community),
            Condition::PathBegins(path) => route.path.starts_with(path),
            Condition::LocalPrefIs(value) => route.local_pref == Some(*value),
            Condition::LocalPrefAbove(value) => route.local_pref.is_some_and(|it| it > *value),
            Condition::MetricBelow(value) => route.metric.is_none_or(|it| it < *value),
            Condition::NoMetric => route.metric.is_none(),
            Condition::KernelProtocol(number) => route.origin == Origin::Kernel(*number),
            Condition::NextHopInside(net) => {
                route.next_hop.is_some_and(|address| net.contains(&address))
            }
            Condition::Internal => internal,
        }
    }
}

/// BIRD's patterns: `*` is anything, nothing too.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
        Some((first, rest)) => text
            .split_first()
            .is_some_and(|(letter, left)| letter == first && matches(rest, left)),
    }
}
