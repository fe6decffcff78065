//! One rule with its selectors as set numbers and its prefixes as intervals.

use std::cell::OnceCell;
use std::net::IpAddr;

use ipnet::IpNet;

use super::addresses::{Addresses, Members};
use super::membership::SetId;
use super::registry::RuleId;
use crate::model::{
    Action, EntityRule, IcmpMatch, IpVersion, PacketTuple, PortMatch, PortName, PortRange,
    Protocol, Rule, ServiceKey,
};
use crate::selector::Selector;

/// What a set holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum SetKey {
    /// Addresses of the endpoints and network sets that a selector matches.
    Selector(Selector),
    /// Address, protocol and port of the endpoints that a selector matches and that name a port so.
    Named(Selector, PortName, Protocol),
    /// Addresses, and address, protocol and port, of a service's endpoints.
    Service(ServiceKey),
}

/// A packet and, once a rule asks, the sets its addresses are in.
pub(super) struct Packet<'a> {
    pub(super) tuple: &'a PacketTuple,
    addresses: &'a Addresses,
    source: OnceCell<Members<'a>>,
    destination: OnceCell<Members<'a>>,
}

impl<'a> Packet<'a> {
    pub(super) fn new(tuple: &'a PacketTuple, addresses: &'a Addresses) -> Self {
        Self {
            tuple,
            addresses,
            source: OnceCell::new(),
            destination: OnceCell::new(),
        }
    }

    /// The sets of the source address.
    pub(super) fn source(&self) -> &Members<'a> {
        self.source
            .get_or_init(|| self.addresses.find(self.tuple.source))
    }

    /// The sets of the destination address.
    pub(super) fn destination(&self) -> &Members<'a> {
        self.destination
            .get_or_init(|| self.addresses.find(self.tuple.destination))
    }
}

#[derive(Debug)]
pub(super) struct CompiledRule {
    /// Whether no packet matches, whatever the rest says.
    nothing: bool,
    pub(super) id: RuleId,
    pub(super) action: Action,
    version: Option<IpVersion>,
    pub(super) protocol: Option<u8>,
    not_protocol: Option<u8>,
    pub(super) icmp: Option<IcmpMatch>,
    not_icmp: Option<IcmpMatch>,
    pub(super) source: Side,
    pub(super) destination: Side,
}

/// One side of a rule. What most rules do without is behind a pointer.
#[derive(Debug)]
pub(super) struct Side {
    /// The address must be in this.
    pub(super) set: Option<SetId>,
    /// The port must lie in these bounds.
    pub(super) bounds: (u16, u16),
    /// Ports that the bounds alone do not say.
    ports: Option<Box<Ports>>,
    rest: Option<Box<Rest>>,
}

impl Default for Side {
    fn default() -> Self {
        Self {
            set: None,
            bounds: (0, u16::MAX),
            ports: None,
            rest: None,
        }
    }
}

/// The rarer parts of a side.
#[derive(Debug, Default)]
struct Rest {
    /// A service by address.
    service: Option<SetId>,
    not_set: Option<SetId>,
    /// The prefixes as written, for the index.
    prefixes: Box<[IpNet]>,
    nets: Nets,
    not_nets: Nets,
    not_ports: Option<Ports>,
    /// A service by address, protocol and port.
    port_set: Option<SetId>,
}

/// Ports by number, or by membership in sets of named ports.
#[derive(Debug, Default)]
struct Ports {
    ranges: Box<[PortRange]>,
    named: Box<[SetId]>,
}

/// Prefixes as sorted, disjoint, inclusive intervals.
#[derive(Debug, Default)]
struct Nets {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Side {
    /// A match depends on the port.
    fn heeds_port(&self) -> bool {
        let by_rest = |rest: &Rest| rest.not_ports.is_some() || rest.port_set.is_some();
        self.bounds != (0, u16::MAX)
            || self.ports.is_some()
            || self.rest.as_deref().is_some_and(by_rest)
    }
}

impl CompiledRule {
    /// A match depends on the packet's source port.
    pub(super) fn heeds_source_port(&self) -> bool {
        self.source.heeds_port()
    }

    /// A rule that matches everything.
    pub(super) fn everything(id: RuleId, action: Action) -> Self {
        Self {
            nothing: false,
            id,
            action,
            version: None,
            protocol: None,
            not_protocol: None,
            icmp: None,
            not_icmp: None,
            source: Side::default(),
            destination: Side::default(),
        }
    }

    pub(super) fn new(id: RuleId, rule: &Rule, set: &mut impl FnMut(SetKey) -> SetId) -> Self {
        let protocol = rule.named_port_protocol();
        let mut destination = Side::new(rule.destination(), protocol, set);
        if let Some(service) = rule.destination().service() {
            destination.rest.get_or_insert_default().port_set =
                Some(set(SetKey::Service(service.clone())));
        }
        let mut source = Side::new(rule.source(), protocol, set);
        if let Some(service) = rule.source().service() {
            source.rest.get_or_insert_default().service =
                Some(set(SetKey::Service(service.clone())));
        }
        Self {
            nothing: rule.matches_nothing(),
            id,
            action: rule.action(),
            version: rule.ip_version(),
            protocol: rule.protocol().map(Protocol::number),
            not_protocol: rule.not_protocol().map(Protocol::number),
            icmp: rule.icmp(),
            not_icmp: rule.not_icmp(),
            source,
            destination,
        }
    }

    pub(super) fn matches(&self, packet: &Packet<'_>) -> bool {
        let tuple = packet.tuple;
        !self.nothing
            && self.version.is_none_or(|v| v == tuple.ip_version())
            && self.protocol.is_none_or(|p| p == tuple.protocol)
            && self.not_protocol.is_none_or(|p| p != tuple.protocol)
            && self
                .icmp
                .is_none_or(|i| i.matches(tuple.icmp_type, tuple.icmp_code))
            && self
                .not_icmp
                .is_none_or(|i| !(tuple.is_icmp() && i.matches(tuple.icmp_type, tuple.icmp_code)))
            && self.destination.matches(
                tuple.destination,
                tuple.protocol,
                tuple.destination_port,
                || packet.destination(),
            )
            && self
                .source
                .matches(tuple.source, tuple.protocol, tuple.source_port, || {
                    packet.source()
                })
    }
}

impl Side {
    fn new(entity: &EntityRule, protocol: Protocol, set: &mut impl FnMut(SetKey) -> SetId) -> Self {
        let named_by = entity.selector().cloned().unwrap_or_else(Selector::all);
        let ports = Ports::new(entity.ports(), protocol, &named_by, set);
        let not_ports = Ports::new(entity.not_ports(), protocol, &Selector::all(), set);
        let mut one = |selector: Option<&Selector>| {
            selector.map(|selector| set(SetKey::Selector(selector.clone())))
        };
        let (own, not_set) = (one(entity.selector()), one(entity.not_selector()));
        let plain = not_set.is_none()
            && not_ports.is_none()
            && entity.nets().is_empty()
            && entity.not_nets().is_empty();
        let rest = (!plain).then(|| {
            Box::new(Rest {
                service: None,
                not_set,
                prefixes: entity.nets().into(),
                nets: Nets::new(entity.nets()),
                not_nets: Nets::new(entity.not_nets()),
                not_ports,
                port_set: None,
            })
        });
        Self {
            set: own,
            bounds: ports.as_ref().map_or((0, u16::MAX), Ports::bounds),
            ports: ports.filter(|ports| !ports.is_one_range()).map(Box::new),
            rest,
        }
    }

    fn matches<'a, 'b: 'a>(
        &self,
        address: IpAddr,
        protocol: u8,
        port: u16,
        members: impl Fn() -> &'a Members<'b>,
    ) -> bool {
        self.bounds.0 <= port
            && port <= self.bounds.1
            && self
                .ports
                .as_ref()
                .is_none_or(|p| p.contain(protocol, port, &members))
            && self
                .rest
                .as_ref()
                .is_none_or(|rest| rest.matches(address, protocol, port, &members))
            && self.set.is_none_or(|set| members().contain(set))
    }

    /// The ranges of ports, none when any port will do or some go by name.
    pub(super) fn ranges(&self) -> Option<Vec<PortRange>> {
        match &self.ports {
            Some(ports) => ports.named.is_empty().then(|| ports.ranges.to_vec()),
            None if self.bounds == (0, u16::MAX) => None,
            None => PortRange::new(self.bounds.0, self.bounds.1)
                .ok()
                .map(|range| vec![range]),
        }
    }

    /// The prefixes, empty when any address will do.
    pub(super) fn prefixes(&self) -> &[IpNet] {
        self.rest.as_ref().map_or(&[], |rest| &rest.prefixes)
    }

    /// A set that the address must be in.
    pub(super) fn any_set(&self) -> Option<SetId> {
        self.set.or_else(|| self.rest.as_ref()?.service)
    }
}

impl Rest {
    fn matches<'a, 'b: 'a>(
        &self,
        address: IpAddr,
        protocol: u8,
        port: u16,
        members: impl Fn() -> &'a Members<'b>,
    ) -> bool {
        (self.prefixes.is_empty() || self.nets.contain(address))
            && !self.not_nets.contain(address)
            && self
                .not_ports
                .as_ref()
                .is_none_or(|p| !p.contain(protocol, port, &members))
            && self.not_set.is_none_or(|set| !members().contain(set))
            && self.service.is_none_or(|set| members().contain(set))
            && self
                .port_set
                .is_none_or(|set| members().contain_port(set, protocol, port))
    }
}

impl Ports {
    /// The lowest and highest port that can match; all when some go by name.
    fn bounds(&self) -> (u16, u16) {
        match (
            self.ranges.first(),
            self.ranges.iter().map(|range| range.last()).max(),
        ) {
            (Some(first), Some(last)) if self.named.is_empty() => (first.first(), last),
            _ => (0, u16::MAX),
        }
    }

    fn is_one_range(&self) -> bool {
        self.named.is_empty() && self.ranges.len() == 1
    }
}

impl Ports {
    fn new(
        ports: &[PortMatch],
        protocol: Protocol,
        named_by: &Selector,
        set: &mut impl FnMut(SetKey) -> SetId,
    ) -> Option<Self> {
        if ports.is_empty() {
            return None;
        }
        let (mut ranges, mut named) = (Vec::new(), Vec::new());
        for port in ports {
            match port {
                PortMatch::Range(range) => ranges.push(*range),
                PortMatch::Named(name) => {
                    named.push(set(SetKey::Named(named_by.clone(), name.clone(), protocol)));
                }
            }
        }
        ranges.sort_unstable();
        Some(Self {
            ranges: ranges.into(),
            named: named.into(),
        })
    }

    fn contain<'a, 'b: 'a>(
        &self,
        protocol: u8,
        port: u16,
        members: impl Fn() -> &'a Members<'b>,
    ) -> bool {
        self.ranges.iter().any(|range| range.contains(port))
            || self
                .named
                .iter()
                .any(|&set| members().contain_port(set, protocol, port))
    }
}

impl Nets {
    fn new(nets: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self {
            v4: disjoint(v4),
            v6: disjoint(v6),
        }
    }

    fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }
}

/// Prefixes are nested or apart: sorted by start, the longest last first, a prefix that begins
/// within the one before lies within it.
fn disjoint<T: Copy + Ord>(mut intervals: Vec<(T, T)>) -> Box<[(T, T)]> {
    intervals.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut kept: Vec<(T, T)> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals {
        if kept.last().is_none_or(|&(_, end)| end < first) {
            kept.push((first, last));
        }
    }
    kept.into()
}

fn within<T: Copy + Ord>(intervals: &[(T, T)], value: T) -> bool {
    match intervals.partition_point(|&(first, _)| first <= value) {
        0 => false,
        after => value <= intervals[after - 1].1,
    }
}
