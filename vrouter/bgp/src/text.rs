//! A configuration as the text that BIRD 2 and 3 read, with comments for people.

use std::fmt::Write;

use vrouter_api::bgp::Community;

use crate::config::{
    Condition, Config, Family, Function, Logging, NextHop, Number, Routes, Session, Statement,
};

/// Whether passwords are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passwords {
    /// As they are: for BIRD.
    Shown,
    /// As asterisks: for people.
    Hidden,
}

/// Interfaces that are never neighbors' networks: pods', tunnels', and kube-proxy's.
const OWN_INTERFACES: &[&str] = &[
    "cali*",
    "kube-ipvs*",
    "tunl0",
    "vxlan*",
    "vrouter-*",
    "wireguard.*",
    "wg-v6.cali",
];

impl Config {
    /// The whole file.
    #[must_use]
    pub fn text(&self, passwords: Passwords) -> String {
        let mut out = Text::default();
        out.line(&format!(
            "# BGP of node {}. Written from Calico's resources: changes made here are lost.",
            self.node
        ));
        for warning in &self.warnings {
            out.line(&format!("# Not done: {}", one_line(warning)));
        }
        out.line("");
        out.line(match self.logging {
            Logging::Debug => "log stderr all;",
            Logging::Info => "log stderr { info, remote, warning, error, auth, fatal, bug };",
            Logging::Quiet => "log stderr { warning, error, auth, fatal, bug };",
        });
        out.line(&format!("router id {};", self.router_id));
        out.line("timeformat protocol \"%T\" 72000 \"%F\";");
        out.line("# After a restart nothing is told until neighbors have told theirs, or so long.");
        out.line("graceful restart wait 30;");
        match self.logging {
            Logging::Debug => out.line("debug protocols all;"),
            Logging::Info => out.line("debug protocols { states };"),
            Logging::Quiet => {}
        }
        out.line("");
        out.line("protocol device device1 { scan time 2; }");
        self.direct(&mut out);
        for routes in &self.routes {
            out.line("");
            routes.text(&mut out);
        }
        for function in &self.functions {
            out.line("");
            function.text(&mut out);
        }
        for family in Family::ALL {
            if self.sessions.iter().any(|it| it.family == family) {
                out.line("");
                self.template(family, &mut out);
            }
        }
        if self.sessions.iter().any(|session| session.bfd.is_some()) {
            out.line("");
            out.line("# Fast detection of neighbors that are gone.");
            out.line("protocol bfd bfd1 { }");
        }
        for session in &self.sessions {
            out.line("");
            session.text(passwords, &mut out);
        }
        out.text
    }

    fn direct(&self, out: &mut Text) {
        let ignored = self.ignored_interfaces.iter().map(String::as_str);
        let patterns: Vec<String> = ignored
            .chain(OWN_INTERFACES.iter().copied())
            .map(|pattern| format!("-\"{pattern}\""))
            .collect();
        out.line("# The networks neighbors are on.");
        out.open("protocol direct direct1 {");
        out.line("ipv4;");
        out.line("ipv6;");
        out.line(&format!("interface {}, \"*\";", patterns.join(", ")));
        out.close();
    }

    fn template(&self, family: Family, out: &mut Text) {
        out.open(&format!("template bgp bgp{} {{", family.number()));
        out.line("multihop;");
        out.line("connect delay time 2;");
        out.line("connect retry time 5;");
        out.line("error wait time 5, 30;");
        out.line("hold time 240;");
        out.line("graceful restart on;");
        match self.logging {
            Logging::Debug => out.line("debug all;"),
            Logging::Info => out.line("debug { states, routes, filters, events };"),
            Logging::Quiet => {}
        }
        out.open(&format!("ipv{} {{", family.number()));
        out.line("gateway recursive;");
        out.line("add paths on;");
        out.line("import none;");
        out.line("export none;");
        out.close_with("};");
        out.close();
    }
}

impl Routes {
    fn text(&self, out: &mut Text) {
        let digit = self.family.number();
        out.line(&format!(
            "# What this node tells of itself over IPv{digit}."
        ));
        out.open(&format!("protocol static static{digit} {{"));
        out.line(&format!("ipv{digit};"));
        for route in &self.statics {
            let by = match route.gateway {
                Some(gateway) => format!("via {gateway}"),
                None => "blackhole".to_owned(),
            };
            let why = one_line(&route.why);
            out.line(&format!("route {} {by}; # {why}", route.prefix));
        }
        out.close();
        out.line("");
        out.line("# Learned routes become the host's.");
        out.open(&format!("protocol kernel kernel{digit} {{"));
        out.line("learn;");
        out.line("persist;");
        out.line("scan time 2;");
        out.line("graceful restart on;");
        out.line("merge paths on;");
        out.line("metric 0;");
        out.open(&format!("ipv{digit} {{"));
        out.block("import filter {", &self.from_kernel);
        out.block("export filter {", &self.to_kernel);
        out.close_with("};");
        out.close();
    }
}

impl Function {
    fn text(&self, out: &mut Text) {
        let arguments = if self.takes_internal {
            "bool same_as"
        } else {
            ""
        };
        out.open(&format!("function {}({arguments}) {{", quoted(&self.name)));
        statements(&self.body, out);
        out.close();
    }
}

impl Session {
    fn text(&self, passwords: Passwords, out: &mut Text) {
        let digit = self.family.number();
        out.line(&format!("# {}", one_line(&self.why)));
        out.open(&format!("protocol bgp {} from bgp{digit} {{", self.name));
        let address = self.local.map_or_else(String::new, |it| format!("{it} "));
        out.line(&format!(
            "local {address}port {} as {};",
            self.local_port, self.local_as
        ));
        out.line(&format!(
            "neighbor {} port {} as {};",
            self.neighbor, self.neighbor_port, self.neighbor_as
        ));
        if self.strict_bind {
            out.line("strict bind on;");
        }
        if self.passive {
            out.line("passive on;");
        }
        if let Some(password) = &self.password {
            let text = match passwords {
                Passwords::Shown => password.text(),
                Passwords::Hidden => "********",
            };
            out.line(&format!("password \"{text}\";"));
        }
        if let Some(seconds) = self.keepalive {
            out.line(&format!("keepalive time {seconds};"));
        }
        if let Some(seconds) = self.restart_time {
            out.line(&format!("graceful restart time {seconds};"));
        }
        if let Some(hops) = self.ttl_security {
            out.line(&format!("multihop {hops};"));
            out.line("ttl security on;");
        }
        if let Some(times) = self.allow_local_as {
            out.line(&format!("allow local as {times};"));
        }
        if let Some(cluster) = self.reflector {
            out.line("rr client;");
            out.line(&format!("rr cluster id {cluster};"));
        }
        if let Some(interval) = self.bfd {
            out.line("bfd graceful;");
            out.line(&format!("bfd {{ interval {interval} ms; multiplier 3; }};"));
        }
        out.open(&format!("ipv{digit} {{"));
        match self.next_hop {
            NextHop::Auto => {}
            NextHop::Ourselves => out.line("next hop self;"),
            NextHop::Kept => out.line("next hop keep;"),
        }
        out.block("import filter {", &self.import);
        out.block("export filter {", &self.export);
        out.close_with("};");
        out.close();
    }
}

/// Lines, indented by the blocks they are in.
#[derive(Default)]
struct Text {
    text: String,
    depth: usize,
}

impl Text {
    fn line(&mut self, line: &str) {
        if !line.is_empty() {
            self.text.extend(std::iter::repeat_n("    ", self.depth));
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    fn open(&mut self, line: &str) {
        self.line(line);
        self.depth += 1;
    }

    fn close_with(&mut self, end: &str) {
        self.depth -= 1;
        self.line(end);
    }

    fn close(&mut self) {
        self.close_with("}");
    }

    /// A filter in place.
    fn block(&mut self, head: &str, body: &[Statement]) {
        self.open(head);
        statements(body, self);
        self.close_with("};");
    }
}

fn statements(body: &[Statement], out: &mut Text) {
    for statement in body {
        match statement {
            Statement::Step(text) => out.line(&format!("# {}", one_line(text))),
            Statement::If(when, then) => match &then[..] {
                [one] if simple(one).is_some() => {
                    let inner = simple(one).unwrap_or_default();
                    out.line(&format!("if {} then {inner}", condition(when)));
                }
                _ => {
                    out.open(&format!("if {} then {{", condition(when)));
                    statements(then, out);
                    out.close();
                }
            },
            other => out.line(&simple(other).unwrap_or_default()),
        }
    }
}

/// A statement of one line.
fn simple(statement: &Statement) -> Option<String> {
    Some(match statement {
        Statement::Step(_) | Statement::If(..) => return None,
        Statement::Call(name) => format!("{}();", quoted(name)),
        Statement::CallWith(name, internal) => format!("{}({internal});", quoted(name)),
        Statement::Metric(value) => format!("krt_metric = {};", number(*value)),
        Statement::LocalPref(value) => format!("bgp_local_pref = {};", number(*value)),
        Statement::Preference(value) => format!("preference = {value};"),
        Statement::AddCommunity(community) => {
            format!("{}.add({});", list_of(community), spelled(community))
        }
        Statement::Prepend(number) => format!("bgp_path.prepend({number});"),
        // In this order: BIRD refuses a gateway that is on no network of an interface before it
        // knows that the interface reaches everybody.
        Statement::ByTunnel(interface) => {
            format!("{{ ifname = \"{interface}\"; onlink = true; gw = bgp_next_hop; }}")
        }
        Statement::Accept => "accept;".to_owned(),
        Statement::Reject => "reject;".to_owned(),
    })
}

fn number(value: Number) -> String {
    let highest = crate::config::HIGHEST;
    match value {
        Number::Is(value) => value.to_string(),
        Number::MissingLocalPref => format!("{highest} - bgp_local_pref"),
        Number::MissingMetric => format!("{highest} - krt_metric"),
    }
}

fn list_of(community: &Community) -> &'static str {
    match community {
        Community::Standard(..) => "bgp_community",
        Community::Large(..) => "bgp_large_community",
    }
}

fn spelled(community: &Community) -> String {
    match community {
        Community::Standard(a, b) => format!("({a}, {b})"),
        Community::Large(a, b, c) => format!("({a}, {b}, {c})"),
    }
}

fn condition(condition: &Condition) -> String {
    let mut out = String::new();
    match condition {
        Condition::Never => out.push_str("false"),
        Condition::Always => out.push_str("true"),
        Condition::All(all) => {
            let all: Vec<String> = all.iter().map(operand).collect();
            out.push_str(&all.join(" && "));
        }
        Condition::Not(inner) => {
            let _ = write!(out, "!({})", self::condition(inner));
        }
        Condition::Inside(net, low, high) => {
            let _ = write!(out, "net ~ [ {net}{{{low},{high}}} ]");
        }
        Condition::Is(net) => {
            let _ = write!(out, "net = {net}");
        }
        Condition::Learned => out.push_str("source = RTS_BGP"),
        Condition::Device => out.push_str("source = RTS_DEVICE"),
        Condition::Blackhole => out.push_str("dest = RTD_BLACKHOLE"),
        Condition::Interface(pattern) => {
            let _ = write!(out, "ifname ~ \"{pattern}\"");
        }
        Condition::Community(community) => {
            let _ = write!(out, "{} ~ {}", spelled(community), list_of(community));
        }
        Condition::PathBegins(path) => {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            let _ = write!(out, "bgp_path ~ [= {} * =]", path.join(" "));
        }
        Condition::LocalPrefIs(value) => {
            let _ = write!(out, "bgp_local_pref = {value}");
        }
        Condition::LocalPrefAbove(value) => {
            let _ = write!(out, "bgp_local_pref > {value}");
        }
        Condition::MetricBelow(value) => {
            let _ = write!(out, "krt_metric < {value}");
        }
        Condition::NoMetric => out.push_str("!defined(krt_metric)"),
        Condition::KernelProtocol(number) => {
            let _ = write!(out, "krt_source = {number}");
        }
        Condition::NextHopInside(net) => {
            let _ = write!(out, "bgp_next_hop ~ {net}");
        }
        Condition::Internal => out.push_str("same_as"),
    }
    out
}

fn operand(condition: &Condition) -> String {
    match condition {
        Condition::Internal | Condition::Never | Condition::Always | Condition::Not(_) => {
            self::condition(condition)
        }
        other => format!("({})", self::condition(other)),
    }
}

/// A symbol with letters that are no part of a plain one.
fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{name}'")
    }
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(clean).collect()
}
