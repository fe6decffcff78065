//! What is told to neighbors and believed of them: BGPFilters, then Calico's own steps, in
//! Calico's order.

use std::fmt::Write;

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use vrouter_api::bgp::{Action, Community, Filter, Operation, Operator, PeerType, Rule};

use crate::config::{
    Condition, Family, Function, HIGHEST, Number, Session, Statement, family_of, longest,
};
use crate::services::Services;
use crate::view::{Carried, View, carried};

/// The host's routes of vrouterd: they are made from the same resources and not learned back.
const OWN_PROTOCOL: u32 = 80;
/// BIRD's preference of BGP routes is 100, of static ones 200.
const ELEVATED: u32 = 200;

/// Gives a session its filters.
pub(crate) fn attach(view: &View<'_>, session: &mut Session, filters: &[String]) {
    let family = session.family;
    let digit = family.number();
    let internal = session.is_internal();
    let call = |direction| {
        let called = filters.iter().filter_map(move |name| {
            let filter = view.cluster.filters.get(name)?;
            let rules = rules(filter, direction, family);
            (!rules.is_empty())
                .then(|| Statement::CallWith(function_name(name, direction, family), internal))
        });
        called.collect::<Vec<_>>()
    };
    session.import = call(Direction::Import);
    session
        .import
        .push(Statement::Call(format!("import{digit}")));
    session.export = vec![Statement::Call(format!("priorities{digit}"))];
    session.export.extend(call(Direction::Export));
    session
        .export
        .push(Statement::CallWith(format!("export{digit}"), internal));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Import,
    Export,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Direction::Import => "import",
            Direction::Export => "export",
        }
    }
}

fn rules(filter: &Filter, direction: Direction, family: Family) -> &[Rule] {
    match (direction, family) {
        (Direction::Import, Family::V4) => &filter.import_v4,
        (Direction::Import, Family::V6) => &filter.import_v6,
        (Direction::Export, Family::V4) => &filter.export_v4,
        (Direction::Export, Family::V6) => &filter.export_v6,
    }
}

/// A symbol of BIRD has at most 64 characters; long names are shortened as Calico does.
fn function_name(filter: &str, direction: Direction, family: Family) -> String {
    let mut name = filter.to_owned();
    if name.len() > 45 {
        name.truncate(28);
        name.push('_');
        for byte in Sha256::digest(filter.as_bytes()).iter().take(8) {
            let _ = write!(name, "{byte:02X}");
        }
    }
    format!("bgp_{name}_{}FilterV{}", direction.word(), family.number())
}

/// The functions that sessions' filters call, in the order in which they must be defined.
pub(crate) fn functions(view: &View<'_>, services: &Services) -> Vec<Function> {
    let mut all = Vec::new();
    for family in Family::ALL {
        for (name, filter) in &view.cluster.filters {
            for direction in [Direction::Import, Direction::Export] {
                let rules = rules(filter, direction, family);
                if !rules.is_empty() {
                    all.push(Function {
                        name: function_name(name, direction, family),
                        takes_internal: true,
                        body: filter_body(name, rules, direction, family),
                    });
                }
            }
        }
        all.push(priorities(view, family));
        all.push(import(view, family));
        all.push(export(view, services, family));
    }
    all
}

fn filter_body(name: &str, rules: &[Rule], direction: Direction, family: Family) -> Vec<Statement> {
    let mut body = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let (word, digit) = (direction.word(), family.number());
        let number = index + 1;
        body.push(Statement::Step(format!(
            "BGPFilter {name}, {word}V{digit} rule {number}"
        )));
        let mut then: Vec<Statement> = Vec::new();
        for operation in &rule.operations {
            then.extend(change(operation));
        }
        then.push(match rule.action {
            Action::Accept => Statement::Accept,
            Action::Reject => Statement::Reject,
        });
        match matched(rule, family) {
            Condition::Always => {
                body.extend(then);
                // Nothing comes after what is done to every route.
                return body;
            }
            condition => body.push(Statement::If(condition, then)),
        }
    }
    body
}

fn change(operation: &Operation) -> Vec<Statement> {
    if let Some(add) = operation.add_community {
        return vec![Statement::AddCommunity(add.value)];
    }
    if let Some(prepend) = &operation.prepend_as_path {
        // The last one prepended is the first of the path.
        let numbers = prepend.prefix.iter().rev();
        return numbers.map(|number| Statement::Prepend(*number)).collect();
    }
    match operation.set_priority {
        Some(set) => vec![Statement::LocalPref(Number::Is(HIGHEST - set.value))],
        None => Vec::new(),
    }
}

/// What a rule asks of a route.
fn matched(rule: &Rule, family: Family) -> Condition {
    let mut all = Vec::new();
    if let Some((net, operator)) = rule.cidr.zip(rule.match_operator) {
        let net = net.trunc();
        let lengths = rule.prefix_length;
        let (low, high) = (
            lengths
                .and_then(|it| it.min)
                .unwrap_or(0)
                .max(net.prefix_len()),
            lengths
                .and_then(|it| it.max)
                .unwrap_or(longest(family))
                .min(longest(family)),
        );
        let inside = if low > high {
            Condition::Never
        } else {
            Condition::Inside(net, low, high)
        };
        // Calico compares a prefix with a set of prefixes: never equal.
        let same = match lengths {
            Some(_) => Condition::Never,
            None => Condition::Is(net),
        };
        all.push(match operator {
            Operator::In => inside,
            Operator::NotIn => inside.negated(),
            Operator::Equal => same,
            Operator::NotEqual => same.negated(),
        });
    }
    if rule.source.is_some() {
        all.push(Condition::Learned);
    }
    if let Some(pattern) = &rule.interface {
        all.push(Condition::Interface(pattern.clone()));
    }
    match rule.peer_type {
        Some(PeerType::Internal) => all.push(Condition::Internal),
        Some(PeerType::External) => all.push(Condition::Internal.negated()),
        None => {}
    }
    if let Some(communities) = &rule.communities {
        all.extend(
            communities
                .values
                .iter()
                .map(|it| Condition::Community(*it)),
        );
    }
    if !rule.as_path_prefix.is_empty() {
        all.push(Condition::PathBegins(rule.as_path_prefix.clone()));
    }
    if let Some(priority) = rule.priority {
        all.push(Condition::LocalPrefIs(HIGHEST.saturating_sub(priority)));
    }
    Condition::all(all)
}

/// Every route has a metric and a local preference that say the same.
fn priorities(view: &View<'_>, family: Family) -> Function {
    let normal = view.normal_priority(family);
    let learned = Condition::Learned;
    Function {
        name: format!("priorities{}", family.number()),
        takes_internal: false,
        body: vec![
            Statement::Step("A priority is a metric here and a local preference on the way".into()),
            Statement::If(
                learned.clone(),
                vec![Statement::Metric(Number::MissingLocalPref)],
            ),
            Statement::If(
                learned.negated(),
                vec![
                    Statement::If(
                        Condition::NoMetric,
                        vec![Statement::Metric(Number::Is(normal))],
                    ),
                    Statement::LocalPref(Number::MissingMetric),
                ],
            ),
        ],
    }
}

fn import(view: &View<'_>, family: Family) -> Function {
    let normal = HIGHEST.saturating_sub(view.normal_priority(family));
    Function {
        name: format!("import{}", family.number()),
        takes_internal: false,
        body: vec![
            Statement::Step("Routes of a higher priority win over static ones".into()),
            Statement::If(
                Condition::LocalPrefAbove(normal),
                vec![Statement::Preference(ELEVATED)],
            ),
            Statement::Step("No BGPFilter decides: routes are believed".into()),
            Statement::Accept,
        ],
    }
}

fn export(view: &View<'_>, services: &Services, family: Family) -> Function {
    let mut body = Vec::new();
    let mut step = |text: String, when: Condition, then: Vec<Statement>| {
        body.push(Statement::Step(text));
        body.push(Statement::If(when, then));
    };
    let pools = view.pools(family);
    for pool in pools.iter().filter(|pool| pool.disable_bgp_export) {
        step(
            format!("The pool {} has disableBGPExport", pool.cidr),
            Condition::inside(pool.cidr),
            vec![Statement::Reject],
        );
    }
    let mut own = vec!["*.cali", "*.calico"];
    if !view.cluster_routes().makes_ipip() {
        own.push("tunl0");
    }
    for pattern in own {
        step(
            format!("Routes by the node's own device {pattern} stay within the AS's node"),
            Condition::all(vec![
                Condition::Internal,
                Condition::Interface(pattern.to_owned()),
            ]),
            vec![Statement::Reject],
        );
    }
    step(
        "Routes by the devices of Calico's eBPF stay here".into(),
        Condition::Interface("bpf*.cali".into()),
        vec![Statement::Reject],
    );
    for (net, communities) in advertised(view, family) {
        step(
            format!("prefixAdvertisements of {net}"),
            Condition::inside(net),
            communities
                .into_iter()
                .map(Statement::AddCommunity)
                .collect(),
        );
    }
    for block in view.blocks(family) {
        step(
            format!("The node's block {block}"),
            Condition::Is(block),
            vec![Statement::Accept],
        );
        let normal = view.normal_priority(family);
        step(
            format!("Inside the node's block {block} only routes of a higher priority"),
            Condition::inside(block),
            vec![
                Statement::If(Condition::MetricBelow(normal), vec![Statement::Accept]),
                Statement::Reject,
            ],
        );
    }
    for route in services.statics(family) {
        step(
            route.why.clone(),
            Condition::inside(route.prefix),
            vec![Statement::Accept],
        );
    }
    if View::cluster_id_of(view.node).is_some() {
        for range in services.reflected(family) {
            step(
                format!("A route reflector passes on services of {range}"),
                Condition::inside(range),
                vec![Statement::Accept],
            );
        }
    }
    for pool in pools.iter().filter(|pool| !pool.disable_bgp_export) {
        step(
            format!("The pool {}", pool.cidr),
            Condition::inside(pool.cidr),
            vec![Statement::Accept],
        );
    }
    body.push(Statement::Step(
        "Nothing but pools and services is told without a BGPFilter".into(),
    ));
    body.push(Statement::Reject);
    Function {
        name: format!("export{}", family.number()),
        takes_internal: true,
        body,
    }
}

/// Prefixes and their communities: the node's own list replaces that of all nodes.
fn advertised(view: &View<'_>, family: Family) -> Vec<(IpNet, Vec<Community>)> {
    let own = view.own();
    let from = if own.prefix_advertisements.is_empty() {
        view.global()
    } else {
        own
    };
    let mut all = Vec::new();
    for advertisement in &from.prefix_advertisements {
        let net = advertisement.cidr.trunc();
        if family_of(&net) != family {
            continue;
        }
        let mut texts: Vec<String> = Vec::new();
        for used in &advertisement.communities {
            let named = from.communities.iter().find(|it| it.name == *used);
            texts.push(named.map_or_else(|| used.clone(), |named| named.value.to_string()));
        }
        texts.sort();
        texts.dedup();
        let communities: Vec<Community> = texts.iter().filter_map(|it| it.parse().ok()).collect();
        if !communities.is_empty() {
            all.push((net, communities));
        }
    }
    all
}

/// Which of the kernel's routes BIRD takes.
pub(crate) fn from_kernel() -> Vec<Statement> {
    vec![
        Statement::Step("vrouterd's own routes".into()),
        Statement::If(
            Condition::KernelProtocol(OWN_PROTOCOL),
            vec![Statement::Reject],
        ),
        Statement::Step("The host's other routes".into()),
        Statement::Accept,
    ]
}

/// Which of BIRD's routes the kernel gets.
pub(crate) fn to_kernel(view: &View<'_>, services: &Services, family: Family) -> Vec<Statement> {
    let mut body = Vec::new();
    let mut step = |text: String, when: Condition, then: Vec<Statement>| {
        body.push(Statement::Step(text));
        body.push(Statement::If(when, then));
    };
    let reject = || vec![Statement::Reject];
    let at_home = "The kernel has the networks of its interfaces".into();
    step(at_home, Condition::Device, reject());
    step(
        "What is only told to neighbors: vrouterd drops or delivers it".into(),
        Condition::Blackhole,
        reject(),
    );
    for range in services.ranges(family) {
        step(
            format!("Services of {range} are led by nobody's route"),
            Condition::inside(range),
            reject(),
        );
    }
    step(
        "The metric is the priority".into(),
        Condition::Learned,
        vec![Statement::Metric(Number::MissingLocalPref)],
    );
    if view.node.wireguard.is_some() {
        let others = view.cluster.nodes.iter();
        for (name, (_, node)) in others.filter(|(name, _)| *name != view.name()) {
            let address = crate::view::address_of(node, family);
            if let Some(address) = address.filter(|_| node.wireguard.is_some()) {
                step(
                    format!("WireGuard leads to node {name}"),
                    Condition::all(vec![
                        Condition::Learned,
                        Condition::NextHopInside(address.into()),
                    ]),
                    reject(),
                );
            }
        }
    }
    let routes = view.cluster_routes();
    for pool in view.pools(family) {
        let cidr = pool.cidr;
        let inside = Condition::inside(cidr);
        let learned = || Condition::all(vec![Condition::Learned, Condition::inside(cidr)]);
        match carried(pool) {
            Carried::Vxlan => step(
                format!("The pool {cidr}: VXLAN has its own routes"),
                inside,
                reject(),
            ),
            Carried::Ipip { .. } if !routes.makes_ipip() => step(
                format!("The pool {cidr}: IPIP has its own routes (programClusterRoutes)"),
                inside,
                reject(),
            ),
            Carried::Plain if !routes.makes_plain() => step(
                format!("The pool {cidr}: its routes are not BIRD's (programClusterRoutes)"),
                inside,
                reject(),
            ),
            Carried::Ipip { cross_subnet } => {
                let mut then = Vec::new();
                if let Some(network) = view.network4().filter(|_| cross_subnet) {
                    then.push(Statement::If(
                        Condition::NextHopInside(network),
                        vec![Statement::Accept],
                    ));
                }
                then.push(Statement::ByTunnel("tunl0"));
                then.push(Statement::Accept);
                let how = if cross_subnet {
                    ", to other networks"
                } else {
                    ""
                };
                step(format!("The pool {cidr}: by IPIP{how}"), learned(), then);
            }
            Carried::Plain => step(
                format!("The pool {cidr}: without encapsulation"),
                inside,
                vec![Statement::Accept],
            ),
        }
    }
    body.push(Statement::Step("Routes outside of pools".into()));
    body.push(Statement::Accept);
    body
}
