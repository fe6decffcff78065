//! The TOS and TTL fields through a tunnel: RFC 6040 and RFC 2983, the way Linux does them.
//!
//! Sources: `include/net/inet_ecn.h` (`INET_ECN_encapsulate`, `__INET_ECN_decapsulate`,
//! `INET_ECN_decapsulate`), `net/ipv4/ip_tunnel.c` (`ip_tunnel_xmit`) for IPIP and
//! `drivers/net/vxlan/vxlan_core.c` (`vxlan_xmit_one`) for VXLAN.

use crate::Family;
use crate::bytes::{put_u16, u16_at};
use crate::checksum::update_u16;

const MASK: u8 = 0b11;

/// The two ECN bits of a TOS or traffic-class byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// The transport does not know ECN.
    NotEct,
    /// ECN-capable, codepoint 1.
    Ect1,
    /// ECN-capable, codepoint 0.
    Ect0,
    /// Congestion experienced.
    Ce,
}

impl Ecn {
    /// The bits of a TOS byte.
    pub fn of(tos: u8) -> Self {
        match tos & MASK {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// `tos` with these bits.
    pub fn on(self, tos: u8) -> u8 {
        let bits = match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        };
        tos & !MASK | bits
    }
}

/// What DSCP the outer header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dscp {
    /// A fixed one, six bits in the upper part of the TOS byte; zero is the default of Linux'
    /// tunnels and of Calico.
    Fixed(u8),
    /// The inner packet's (`tos inherit`, the uniform model of RFC 2983).
    Inherit,
}

/// What TTL or hop limit the outer header carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// A fixed one. VXLAN devices without a `ttl` use the route's hop limit, which is
    /// `net.ipv4.ip_default_ttl` = 64 (`ip4_dst_hoplimit` in `vxlan_xmit_one`).
    Fixed(u8),
    /// The inner packet's after it was decremented for forwarding: what `tunl0` does, having
    /// `ttl` 0 (`ip_tunnel_xmit`).
    Inherit,
}

impl Ttl {
    /// VXLAN's rule.
    pub const VXLAN: Self = Self::Fixed(64);
    /// IPIP's rule.
    pub const IPIP: Self = Self::Inherit;

    /// The outer TTL for an inner one.
    pub fn outer(self, inner: u8) -> u8 {
        match self {
            Self::Fixed(ttl) => ttl,
            Self::Inherit => inner,
        }
    }
}

/// The outer TOS byte for an inner one: `INET_ECN_encapsulate`.
///
/// CE inside becomes ECT(0) outside (RFC 3168's full functionality without the copy of CE; RFC
/// 6040 would copy it, Linux does not, and the inner mark is there anyway).
pub fn encapsulate(dscp: Dscp, inner: u8) -> u8 {
    let outer = match dscp {
        Dscp::Fixed(tos) => tos,
        Dscp::Inherit => inner,
    };
    match Ecn::of(inner) {
        Ecn::Ce => Ecn::Ect0.on(outer),
        ecn @ (Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1) => ecn.on(outer),
    }
}

/// A packet marked CE underway whose transport would not understand the mark: it must be dropped,
/// or congestion would go unnoticed (RFC 6040 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("congestion was marked on a packet that does not know ECN")]
pub struct Congested;

/// The inner TOS byte after the tunnel, from the outer and the inner one: `INET_ECN_decapsulate`.
pub fn decapsulate(outer: u8, inner: u8) -> Result<u8, Congested> {
    match (Ecn::of(outer), Ecn::of(inner)) {
        (Ecn::Ce, Ecn::NotEct) => Err(Congested),
        (Ecn::Ce, Ecn::Ect0 | Ecn::Ect1 | Ecn::Ce) => Ok(Ecn::Ce.on(inner)),
        (Ecn::Ect1, Ecn::Ect0) => Ok(Ecn::Ect1.on(inner)),
        // ECT outside and Not-ECT inside is odd (Linux may log it) but harmless.
        (Ecn::NotEct | Ecn::Ect0 | Ecn::Ect1, Ecn::NotEct | Ecn::Ect1 | Ecn::Ce)
        | (Ecn::NotEct | Ecn::Ect0, Ecn::Ect0) => Ok(inner),
    }
}

/// The TOS byte of an IPv4 header or traffic class of an IPv6 header; `None` for other bytes.
pub fn tos(header: &[u8]) -> Option<u8> {
    let &[first, second, ..] = header else {
        return None;
    };
    Some(tos_of(&[first, second], family(header)?))
}

/// The same of a header of `family` that is known to be whole.
#[inline]
pub(crate) fn tos_of(header: &[u8], family: Family) -> u8 {
    match family {
        Family::V4 => header[1],
        Family::V6 => header[0] << 4 | header[1] >> 4,
    }
}

/// Sets the TOS byte or traffic class in place, the IPv4 checksum incrementally; `false` and no
/// change when `header` is no whole IP header.
pub fn set_tos(header: &mut [u8], tos: u8) -> bool {
    match family(header) {
        Some(Family::V4) => {
            let old = u16_at(header, 0);
            let new = old & 0xff00 | u16::from(tos);
            if old != new {
                put_u16(header, 0, new);
                let checksum = update_u16(u16_at(header, 10), old, new);
                put_u16(header, 10, checksum);
            }
            true
        }
        Some(Family::V6) => {
            let word = u16_at(header, 0);
            put_u16(header, 0, word & 0xf00f | u16::from(tos) << 4);
            true
        }
        None => false,
    }
}

/// Carries the outer header's congestion mark over to the inner header in place.
///
/// Bytes that are no IP header are left alone: who parses them next will say so.
pub fn decapsulate_into(outer: u8, header: &mut [u8]) -> Result<(), Congested> {
    if let Some(inner) = tos(header) {
        let new = decapsulate(outer, inner)?;
        if new != inner {
            set_tos(header, new);
        }
    }
    Ok(())
}

/// The TTL or hop limit of an IP header; `None` for other bytes.
pub fn ttl(header: &[u8]) -> Option<u8> {
    match family(header)? {
        Family::V4 => Some(header[8]),
        Family::V6 => Some(header[7]),
    }
}

/// Decrements the TTL or hop limit in place, the IPv4 checksum incrementally.
///
/// `None`, and nothing changed, when it is 1 or 0 (the packet has expired) or when `header` is no
/// whole IP header; otherwise the new value.
pub fn decrement_ttl(header: &mut [u8]) -> Option<u8> {
    match family(header)? {
        Family::V4 => {
            let old = u16_at(header, 8);
            if old < 0x0200 {
                return None;
            }
            let new = old - 0x0100;
            put_u16(header, 8, new);
            let checksum = update_u16(u16_at(header, 10), old, new);
            put_u16(header, 10, checksum);
            Some(header[8])
        }
        Family::V6 => {
            if header[7] <= 1 {
                return None;
            }
            header[7] -= 1;
            Some(header[7])
        }
    }
}

/// The version, when the header without options is whole.
fn family(header: &[u8]) -> Option<Family> {
    match header.first()? >> 4 {
        4 if header.len() >= crate::ip::IPV4_HEADER => Some(Family::V4),
        6 if header.len() >= crate::ip::IPV6_HEADER => Some(Family::V6),
        _ => None,
    }
}
