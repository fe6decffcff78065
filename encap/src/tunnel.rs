//! The tunnels: every kind there is, and everything that follows from the kind alone.
//!
//! A new encapsulation is a variant here; the compiler then names each place that must decide
//! about it.

use std::fmt;

use crate::{Family, ethernet, ip, udp, vxlan};

/// A kind of tunnel between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tunnel {
    /// RFC 7348 over an underlay of this family.
    Vxlan(Family),
    /// RFC 2003: IPv4 in IPv4.
    Ipip,
}

impl Tunnel {
    /// All kinds, in the order of their interfaces.
    pub const ALL: [Self; 3] = [Self::Vxlan(Family::V4), Self::Vxlan(Family::V6), Self::Ipip];

    /// The place in [`Self::ALL`].
    pub const fn index(self) -> u16 {
        match self {
            Self::Vxlan(Family::V4) => 0,
            Self::Vxlan(Family::V6) => 1,
            Self::Ipip => 2,
        }
    }

    /// The most datagrams one `UDP_SEGMENT` message holds: `UDP_MAX_SEGMENTS` before Linux 6.9,
    /// which has 128.
    pub const MAX_SEGMENTS: usize = 64;

    /// IPIP for pools of a family: Calico has it for IPv4 alone.
    pub const fn ipip(pool: Family) -> Option<Self> {
        match pool {
            Family::V4 => Some(Self::Ipip),
            Family::V6 => None,
        }
    }

    /// The family of the outer header, and of the pools whose packets go by it, as in Calico.
    pub const fn family(self) -> Family {
        match self {
            Self::Vxlan(family) => family,
            Self::Ipip => Family::V4,
        }
    }

    /// Whether its inner packets may be of a family.
    pub const fn carries(self, inner: Family) -> bool {
        match (self, inner) {
            (Self::Vxlan(_), Family::V4 | Family::V6) | (Self::Ipip, Family::V4) => true,
            (Self::Ipip, Family::V6) => false,
        }
    }

    /// Bytes in front of the inner packet, from the outer IP header on.
    pub const fn overhead(self) -> usize {
        self.family().header_len() + self.transport_len() + self.prefix_len()
    }

    /// Bytes between the outer IP header and the tunnel's own: the UDP header, where there is one.
    const fn transport_len(self) -> usize {
        match self {
            Self::Vxlan(_) => udp::HEADER_LEN,
            Self::Ipip => 0,
        }
    }

    /// Bytes between the outer transport and the inner packet: what a socket's payload begins with.
    pub const fn prefix_len(self) -> usize {
        match self {
            Self::Vxlan(_) => vxlan::HEADER_LEN + ethernet::HEADER_LEN,
            Self::Ipip => 0,
        }
    }

    /// The largest inner packet, in bytes, where an outer packet has up to `outer`.
    pub const fn inner_mtu(self, outer: u32) -> u16 {
        let outer = if outer > ip::LONGEST as u32 {
            ip::LONGEST
        } else {
            outer as usize
        };
        outer.saturating_sub(self.overhead()) as u16
    }

    /// Bytes of the longest inner packet that fits one outer IP packet, whose length field states
    /// the whole packet for IPv4.
    pub const fn longest_inner(self) -> usize {
        ip::LONGEST - self.overhead()
    }

    /// The UDP port, unless `FelixConfiguration` names another.
    pub const fn udp_port(self) -> Option<u16> {
        match self {
            Self::Vxlan(_) => Some(vxlan::PORT),
            Self::Ipip => None,
        }
    }

    /// The protocol number of the outer IP header.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Vxlan(_) => crate::protocol::UDP,
            Self::Ipip => crate::protocol::IPIP,
        }
    }

    /// The name of its interface in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan(Family::V4) => "vxlan.calico",
            Self::Vxlan(Family::V6) => "vxlan-v6.calico",
            Self::Ipip => "ipip",
        }
    }

    /// The name of its device in Calico, by which a `HostEndpoint` means it.
    ///
    /// IPIP's is not the name in tables: `tunl0` is there the TUN to the host's stack.
    pub const fn calico_device(self) -> &'static str {
        match self {
            Self::Vxlan(_) => self.name(),
            Self::Ipip => "tunl0",
        }
    }

    /// The name of the TAP by which the kernel segments for it.
    pub const fn segmenting_device(self) -> &'static str {
        match self {
            Self::Vxlan(_) => "vrouter-vxlan",
            Self::Ipip => "vrouter-ipip",
        }
    }

    /// The name of its kind, whatever the underlay: `vxlan` or `ipip`.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Vxlan(_) => "vxlan",
            Self::Ipip => "ipip",
        }
    }

    /// The IPAM handle of a node's address on it.
    pub fn handle(self, node: &str) -> String {
        let prefix = match self {
            Self::Vxlan(Family::V4) => "vxlan",
            Self::Vxlan(Family::V6) => "vxlan-v6",
            Self::Ipip => "ipip",
        };
        format!("{prefix}-tunnel-addr-{node}")
    }

    /// The `type` attribute of that address in IPAM.
    pub const fn ipam_type(self) -> &'static str {
        match self {
            Self::Vxlan(Family::V4) => "vxlanTunnelAddress",
            Self::Vxlan(Family::V6) => "vxlanV6TunnelAddress",
            Self::Ipip => "ipipTunnelAddress",
        }
    }
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overheads_are_calicos() {
        let overheads = Tunnel::ALL.map(Tunnel::overhead);
        assert_eq!(overheads, [50, 70, 20]);
    }

    #[test]
    fn the_index_is_the_place_in_the_list() {
        assert_eq!(Tunnel::ALL.map(Tunnel::index), [0, 1, 2]);
    }

    #[test]
    fn names_differ() {
        for names in [
            Tunnel::ALL.map(Tunnel::name),
            Tunnel::ALL.map(Tunnel::ipam_type),
        ] {
            assert!(names[0] != names[1] && names[1] != names[2] && names[0] != names[2]);
        }
        assert_eq!(
            Tunnel::Vxlan(Family::V6).handle("n1"),
            "vxlan-v6-tunnel-addr-n1"
        );
    }
}
