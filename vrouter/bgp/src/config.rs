//! BIRD's configuration as values: what is rendered as text ([`text`](crate::text)), evaluated
//! ([`evaluate`](crate::evaluate)) and compared ([`plan`](crate::plan)).
//!
//! Only what the renderer needs of BIRD's language is here, so that every construct has one
//! meaning and one spelling.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

pub use encap::Family;
use ipnet::IpNet;
use vrouter_api::bgp::Community;

/// The highest local preference of Calico's routes; a priority is what is missing to it.
pub const HIGHEST: u32 = 2_147_483_647;

/// The family of a prefix.
pub(crate) fn family_of(net: &IpNet) -> Family {
    Family::from(net.addr())
}

/// How long the longest prefix of a family is.
pub(crate) fn longest(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

/// One BIRD's whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node it is of.
    pub node: String,
    /// BIRD's identity.
    pub router_id: Ipv4Addr,
    /// How much it logs.
    pub logging: Logging,
    /// Interfaces whose own networks are none of BGP's, as patterns.
    pub ignored_interfaces: Vec<String>,
    /// What each family has: IPv4, IPv6.
    pub routes: Vec<Routes>,
    /// Statements that filters share, in the order of their definition.
    pub functions: Vec<Function>,
    /// BGP sessions by name.
    pub sessions: Vec<Session>,
    /// What the resources ask for and is not done, and why.
    pub warnings: Vec<String>,
}

/// How much BIRD logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logging {
    /// Everything.
    Debug,
    /// State changes, and routes and events of sessions.
    Info,
    /// Faults alone.
    Quiet,
}

/// Routes of a family that come from here, and what becomes of learned ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    pub family: Family,
    /// Static routes by prefix.
    pub statics: Vec<Static>,
    /// Which of the kernel's routes BIRD takes.
    pub from_kernel: Vec<Statement>,
    /// Which of BIRD's routes the kernel gets.
    pub to_kernel: Vec<Statement>,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Static {
    /// Where to.
    pub prefix: IpNet,
    /// By whom; `None`: a blackhole, told to neighbors and given to no kernel.
    pub gateway: Option<IpAddr>,
    pub why: String,
}

/// Statements with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Name, unique among all symbols.
    pub name: String,
    /// Whether it has the argument `same_as`: that the session is to a neighbor of our own AS.
    pub takes_internal: bool,
    pub body: Vec<Statement>,
}

/// A BGP session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Name, which says why there is one.
    pub name: String,
    /// The family of its addresses and of the routes it carries.
    pub family: Family,
    /// The resource that asks for it.
    pub why: String,
    /// The neighbor.
    pub neighbor: IpAddr,
    /// Where the neighbor listens.
    pub neighbor_port: u16,
    /// The neighbor's AS.
    pub neighbor_as: u32,
    /// Our address, if it is not left to the kernel.
    pub local: Option<IpAddr>,
    /// Where we listen.
    pub local_port: u16,
    /// Our AS in this session.
    pub local_as: u32,
    /// Whether we listen at our address alone.
    pub strict_bind: bool,
    /// Whether the neighbor connects.
    pub passive: bool,
    /// What both sides must know.
    pub password: Option<Password>,
    /// Seconds between keepalives.
    pub keepalive: Option<u16>,
    /// Seconds for which our routes stay when we are gone.
    pub restart_time: Option<u16>,
    /// How many hops away the neighbor may be; `None`: any.
    pub ttl_security: Option<u8>,
    /// How often our own AS may be in a path.
    pub allow_local_as: Option<u32>,
    /// The next hop that the neighbor is told.
    pub next_hop: NextHop,
    /// We reflect for this neighbor, as that cluster.
    pub reflector: Option<Ipv4Addr>,
    /// Milliseconds between BFD's packets; `None`: no BFD.
    pub bfd: Option<u32>,
    /// What is done with routes of the neighbor.
    pub import: Vec<Statement>,
    /// What is done with routes for the neighbor.
    pub export: Vec<Statement>,
}

impl Session {
    /// Whether the neighbor is of our AS.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.local_as == self.neighbor_as
    }
}

/// The next hop that a neighbor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// As BGP has it.
    Auto,
    /// Ourselves.
    Ourselves,
    /// As it was learned.
    Kept,
}

/// A session's password; it is shown by nothing but the file that BIRD reads.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Most bytes that a TCP MD5 key has.
    const LONGEST: usize = 80;

    /// A password that BIRD's language can spell.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn new(bytes: &[u8]) -> Result<Password, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        if text.is_empty() {
            return Err("it is empty");
        }
        if text.len() > Password::LONGEST {
            return Err("it has more than 80 bytes");
        }
        if text.chars().any(|c| c == '"' || c.is_control()) {
            return Err("it has a quotation mark or a control character");
        }
        Ok(Password(text.to_owned()))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

/// A statement of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// What the following statements are, for people and for explanations.
    Step(String),
    /// Statements for routes that meet a condition.
    If(Condition, Vec<Statement>),
    /// A function's statements.
    Call(String),
    /// The same, of one that has the argument `same_as`.
    CallWith(String, bool),
    /// The metric is set.
    Metric(Number),
    /// The local preference is set.
    LocalPref(Number),
    /// How BIRD chooses between sources is set.
    Preference(u32),
    /// A community more.
    AddCommunity(Community),
    /// An AS number before the path.
    Prepend(u32),
    /// The route leaves by this interface, straight to its BGP next hop.
    ByTunnel(&'static str),
    /// The route is taken.
    Accept,
    Reject,
}

/// A number that a route's attribute becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// This one.
    Is(u32),
    /// What is missing from the local preference to the highest.
    MissingLocalPref,
    /// What is missing from the metric.
    MissingMetric,
}

/// What a route may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// No route.
    Never,
    /// Every route.
    Always,
    /// All of these.
    All(Vec<Condition>),
    /// Not this.
    Not(Box<Condition>),
    /// Prefix is inside, with a length of these.
    Inside(IpNet, u8, u8),
    /// Prefix is this one.
    Is(IpNet),
    /// A neighbor told it.
    Learned,
    /// It is of a network of an interface.
    Device,
    Blackhole,
    /// It leaves by an interface of this pattern.
    Interface(String),
    Community(Community),
    /// Path begins with these.
    PathBegins(Vec<u32>),
    /// Local preference is this.
    LocalPrefIs(u32),
    /// Local preference is above.
    LocalPrefAbove(u32),
    MetricBelow(u32),
    NoMetric,
    /// Another program of that number gave it to the kernel.
    KernelProtocol(u32),
    /// BGP next hop is inside.
    NextHopInside(IpNet),
    /// The session is to a neighbor of our own AS; in functions that have the argument.
    Internal,
}

impl Condition {
    /// Everything inside a prefix, and the prefix.
    #[must_use]
    pub fn inside(net: IpNet) -> Condition {
        Condition::Inside(net, net.prefix_len(), longest(family_of(&net)))
    }

    /// The negation.
    #[must_use]
    pub fn negated(self) -> Condition {
        match self {
            Condition::Never => Condition::Always,
            Condition::Always => Condition::Never,
            Condition::Not(inner) => *inner,
            other => Condition::Not(Box::new(other)),
        }
    }

    /// All of them, without those that are always met.
    #[must_use]
    pub fn all(conditions: Vec<Condition>) -> Condition {
        let mut left = conditions;
        left.retain(|condition| *condition != Condition::Always);
        if left.contains(&Condition::Never) {
            return Condition::Never;
        }
        match left.len() {
            0 => Condition::Always,
            1 => left.remove(0),
            _ => Condition::All(left),
        }
    }
}
