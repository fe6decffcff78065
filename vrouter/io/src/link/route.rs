//! Routes of the main table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};

use super::Link;
use crate::error::Result;

/// The routing protocol number by which our routes are known (`rtm_protocol`, `rtnetlink(7)`):
/// not used by any daemon named in `linux/rtnetlink.h`, and the one Calico's agent uses too.
pub const PROTOCOL: u8 = 80;

/// What a route does with a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Sends it on.
    #[default]
    Unicast,
    /// Drops it silently.
    Blackhole,
    /// Drops it with Destination Unreachable.
    Unreachable,
    /// Another kind, not made by us: `rtm_type`.
    Other(u8),
}

/// How far away a route's destinations are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Anywhere.
    #[default]
    Universe,
    /// On the link itself. Only IPv4 knows the difference.
    Link,
    /// Another scope, not made by us: `rtm_scope`.
    Other(u8),
}

/// One route of the main table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where to; host bits are cut off.
    pub destination: IpNet,
    pub kind: RouteKind,
    /// The next hop, if it is not on the link.
    pub via: Option<IpAddr>,
    /// The number of the outgoing interface.
    pub interface: Option<u32>,
    /// The source address the node itself uses on it.
    pub source: Option<IpAddr>,
    /// How far.
    pub scope: Scope,
    /// The next hop is on the link, whatever the addresses of the interface say.
    pub onlink: bool,
    /// The lower wins. The kernel takes 0 as 1024 for IPv6.
    pub metric: Option<u32>,
    /// Who made it: [`PROTOCOL`] is us.
    pub protocol: u8,
}

impl Route {
    /// A route of ours to `destination`, still without a next hop.
    pub fn to(destination: IpNet) -> Self {
        Self {
            destination: destination.trunc(),
            kind: RouteKind::Unicast,
            via: None,
            interface: None,
            source: None,
            scope: Scope::Universe,
            onlink: false,
            metric: None,
            protocol: PROTOCOL,
        }
    }

    /// A route of ours to neighbors on `interface`.
    pub fn on_link(destination: IpNet, interface: u32) -> Self {
        Self {
            interface: Some(interface),
            scope: Scope::Link,
            ..Self::to(destination)
        }
    }

    /// A route of ours through `via` on `interface`.
    pub fn via(destination: IpNet, via: IpAddr, interface: u32) -> Self {
        Self {
            via: Some(via),
            interface: Some(interface),
            ..Self::to(destination)
        }
    }

    /// A route of ours that drops.
    pub fn blackhole(destination: IpNet) -> Self {
        Self {
            kind: RouteKind::Blackhole,
            ..Self::to(destination)
        }
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(&self.destination.addr());
        header.destination_prefix_length = self.destination.prefix_len();
        header.table = RouteHeader::RT_TABLE_MAIN;
        header.protocol = RouteProtocol::from(self.protocol);
        header.scope = match self.scope {
            Scope::Universe => RouteScope::Universe,
            Scope::Link => RouteScope::Link,
            Scope::Other(number) => RouteScope::from(number),
        };
        header.kind = match self.kind {
            RouteKind::Unicast => RouteType::Unicast,
            RouteKind::Blackhole => RouteType::BlackHole,
            RouteKind::Unreachable => RouteType::Unreachable,
            RouteKind::Other(number) => RouteType::from(number),
        };
        if self.onlink {
            header.flags |= RouteFlags::Onlink;
        }
        let mut put = |attribute| message.attributes.push(attribute);
        if self.destination.prefix_len() != 0 {
            put(RouteAttribute::Destination(self.destination.addr().into()));
        }
        if let Some(via) = self.via {
            put(match (self.destination, via) {
                // An IPv4 destination through an IPv6 neighbor (RFC 5549).
                (IpNet::V4(_), IpAddr::V6(via)) => RouteAttribute::Via(RouteVia::Inet6(via)),
                (IpNet::V4(_) | IpNet::V6(_), via) => RouteAttribute::Gateway(via.into()),
            });
        }
        if let Some(interface) = self.interface {
            put(RouteAttribute::Oif(interface));
        }
        if let Some(source) = self.source {
            put(RouteAttribute::PrefSource(source.into()));
        }
        if let Some(metric) = self.metric {
            put(RouteAttribute::Priority(metric));
        }
        message
    }

    fn read(message: &RouteMessage) -> Option<Self> {
        let header = &message.header;
        let any = match header.address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let destination = IpNet::new(any, header.destination_prefix_length).ok()?;
        let mut route = Self {
            protocol: header.protocol.into(),
            ..Self::to(destination)
        };
        route.kind = match header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::BlackHole => RouteKind::Blackhole,
            RouteType::Unreachable => RouteKind::Unreachable,
            other => RouteKind::Other(other.into()),
        };
        route.scope = match header.scope {
            RouteScope::Universe => Scope::Universe,
            RouteScope::Link => Scope::Link,
            other => Scope::Other(other.into()),
        };
        route.onlink = header.flags.contains(RouteFlags::Onlink);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(to) => {
                    route.destination =
                        IpNet::new(ip(to)?, header.destination_prefix_length).ok()?;
                }
                RouteAttribute::Oif(interface) => route.interface = Some(*interface),
                RouteAttribute::PrefSource(source) => route.source = ip(source),
                RouteAttribute::Priority(metric) => route.metric = Some(*metric),
                other => route.via = route.via.or_else(|| gateway(other)),
            }
        }
        Some(route)
    }
}

impl Link {
    /// Adds a route. Returns `false` when there is one to the same destination with the same
    /// metric.
    ///
    /// # Errors
    /// The interface or next hop is refused.
    pub fn add_route(&self, route: &Route) -> Result<bool> {
        let request = self.handle.route().add(route.message());
        match self.wait(|| format!("add the route {route}"), request.execute()) {
            Err(e) if e.os_error() == Some(libc::EEXIST) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Adds a route, or replaces the one to the same destination with the same metric, whoever
    /// made that.
    ///
    /// # Errors
    /// The interface or next hop is refused.
    pub fn replace_route(&self, route: &Route) -> Result<()> {
        let request = self.handle.route().add(route.message()).replace();
        self.wait(|| format!("replace the route {route}"), request.execute())
    }

    /// Removes the route that agrees in all that `route` says, its protocol too. Returns `false`
    /// when there was none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove_route(&self, route: &Route) -> Result<bool> {
        let request = self.handle.route().del(route.message());
        match self.wait(|| format!("remove the route {route}"), request.execute()) {
            Err(e) if matches!(e.os_error(), Some(libc::ESRCH | libc::ENODEV)) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// The routes of the main table made by `protocol`, or all, IPv4 first.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn routes(&self, protocol: Option<u8>) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        for address_family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = address_family;
            let answers: Vec<_> = self.wait(
                || "list the routes".into(),
                self.handle.route().get(question).execute().try_collect(),
            )?;
            routes.extend(
                answers
                    .iter()
                    .filter(|answer| answer.header.table == RouteHeader::RT_TABLE_MAIN)
                    .filter_map(Route::read)
                    .filter(|route| protocol.is_none_or(|wanted| route.protocol == wanted)),
            );
        }
        Ok(routes)
    }

    /// The way the kernel would send to `address`: interface, next hop and source address; `None`
    /// without a route.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn route_to(&self, address: IpAddr) -> Result<Option<Route>> {
        self.look_up(address, RouteFlags::empty())
    }

    /// The route by which the kernel would send to `address`, as it stands in its table; `None`
    /// without one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn longest_match(&self, address: IpAddr) -> Result<Option<Route>> {
        self.look_up(address, RouteFlags::FibMatch)
    }

    fn look_up(&self, address: IpAddr, flags: RouteFlags) -> Result<Option<Route>> {
        let mut question = RouteMessage::default();
        question.header.flags = flags;
        question.header.address_family = family(&address);
        question.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
        question
            .attributes
            .push(RouteAttribute::Destination(address.into()));
        let answer = self.wait(
            || format!("look for a route to {address}"),
            self.handle
                .route()
                .get(question)
                .execute()
                .try_collect::<Vec<_>>(),
        );
        match answer {
            Ok(found) => Ok(found.first().and_then(Route::read)),
            Err(e) if matches!(e.os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH)) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

impl std::fmt::Display for Route {
    /// As `ip route` writes it, with interface numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            RouteKind::Unicast => {}
            RouteKind::Blackhole => f.write_str("blackhole ")?,
            RouteKind::Unreachable => f.write_str("unreachable ")?,
            RouteKind::Other(number) => write!(f, "type {number} ")?,
        }
        write!(f, "{}", self.destination)?;
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, " dev #{interface}")?;
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if let Some(metric) = self.metric {
            write!(f, " metric {metric}")?;
        }
        f.write_str(if self.onlink { " onlink" } else { "" })
    }
}

fn family(address: &IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The next hop, if that is what an attribute says.
pub(crate) fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(via) => ip(via),
        RouteAttribute::Via(RouteVia::Inet6(via)) => Some(IpAddr::V6(*via)),
        _ => None,
    }
}

pub(crate) fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
