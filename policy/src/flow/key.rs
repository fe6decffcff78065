//! The flow key: addresses, protocol and ports of one direction of a connection.
//!
//! A key is five words. IPv4 keeps both addresses in the first, so that the table compares two
//! words instead of five. The table files a connection under the *canonical* one of its two
//! directions; one entry is then found by packets of either direction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocol numbers the table treats specially (IANA "Protocol Numbers").
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

const V4: u64 = 4;
const V6: u64 = 6;

/// One direction of a flow, 40 bytes.
///
/// Protocols without ports use zero for both. An ICMP echo uses its identifier for both
/// (see [`FlowKey::echo`]), so that the reply is the reverse of the request.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// IPv4: `src << 32 | dst`, then zeros. IPv6: source, destination, two words each.
    pub(super) addresses: [u64; 4],
    /// `source port << 48 | destination port << 32 | protocol << 8 | family`.
    pub(super) ports: u64,
}

impl FlowKey {
    /// A key of IPv4 addresses in host byte order.
    #[inline]
    pub const fn v4(src: u32, dst: u32, protocol: u8, sport: u16, dport: u16) -> Self {
        Self {
            addresses: [(src as u64) << 32 | dst as u64, 0, 0, 0],
            ports: pack(sport, dport, protocol, V4),
        }
    }

    /// A key of IPv6 addresses in host byte order.
    #[inline]
    pub const fn v6(src: u128, dst: u128, protocol: u8, sport: u16, dport: u16) -> Self {
        Self {
            addresses: [
                (src >> 64) as u64,
                src as u64,
                (dst >> 64) as u64,
                dst as u64,
            ],
            ports: pack(sport, dport, protocol, V6),
        }
    }

    /// A key from addresses of one family; `None` when the families differ.
    pub const fn new(
        src: IpAddr,
        dst: IpAddr,
        protocol: u8,
        sport: u16,
        dport: u16,
    ) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                Some(Self::v4(s.to_bits(), d.to_bits(), protocol, sport, dport))
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                Some(Self::v6(s.to_bits(), d.to_bits(), protocol, sport, dport))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// The key of an ICMP or ICMPv6 echo, request or reply, with this identifier.
    pub const fn echo(src: IpAddr, dst: IpAddr, protocol: u8, identifier: u16) -> Option<Self> {
        Self::new(src, dst, protocol, identifier, identifier)
    }

    /// The key of packets in the other direction.
    #[inline]
    #[must_use]
    pub const fn reverse(&self) -> Self {
        let [a, b, c, d] = self.addresses;
        let addresses = if self.is_v6() {
            [c, d, a, b]
        } else {
            [a.rotate_left(32), 0, 0, 0]
        };
        Self {
            addresses,
            ports: swap_ports(self.ports),
        }
    }

    /// A seeded hash, the same for both directions. Its quality suffices for tables; it is not
    /// cryptographic, so the seed should be random and stay secret.
    #[inline]
    pub fn hash(&self, seed: u64) -> u64 {
        hash_canonical(&self.canonical().0, seed)
    }

    /// Whether the addresses are IPv6.
    #[inline]
    pub const fn is_v6(&self) -> bool {
        self.ports as u8 as u64 == V6
    }

    /// Source address.
    pub const fn src(&self) -> IpAddr {
        if self.is_v6() {
            let [a, b, _, _] = self.addresses;
            IpAddr::V6(Ipv6Addr::from_bits((a as u128) << 64 | b as u128))
        } else {
            IpAddr::V4(Ipv4Addr::from_bits((self.addresses[0] >> 32) as u32))
        }
    }

    /// Destination address.
    pub const fn dst(&self) -> IpAddr {
        self.reverse().src()
    }

    /// IP protocol number.
    #[inline]
    pub const fn protocol(&self) -> u8 {
        (self.ports >> 8) as u8
    }

    /// Source port, or the identifier of an ICMP echo.
    #[inline]
    pub const fn src_port(&self) -> u16 {
        (self.ports >> 48) as u16
    }

    /// Destination port, or the identifier of an ICMP echo.
    #[inline]
    pub const fn dst_port(&self) -> u16 {
        (self.ports >> 32) as u16
    }

    /// The smaller of the two directions, and whether that is the other one. Without a branch:
    /// which side is smaller is a coin toss, and a wrong guess costs more than the whole swap.
    #[inline(always)]
    pub(super) fn canonical(&self) -> (Self, bool) {
        let [a, b, c, d] = self.addresses;
        let reversed_ports = swap_ports(self.ports);
        if self.is_v6() {
            let (src, dst) = (wide(a, b), wide(c, d));
            let swapped = (src > dst) | ((src == dst) & (self.ports > reversed_ports));
            let mask = 0u64.wrapping_sub(u64::from(swapped));
            let (x, y) = ((a ^ c) & mask, (b ^ d) & mask);
            let ports = self.ports ^ ((self.ports ^ reversed_ports) & mask);
            (
                Self {
                    addresses: [a ^ x, b ^ y, c ^ x, d ^ y],
                    ports,
                },
                swapped,
            )
        } else {
            let reversed = a.rotate_left(32);
            let swapped = wide(a, self.ports) > wide(reversed, reversed_ports);
            let mask = 0u64.wrapping_sub(u64::from(swapped));
            let addresses = [a ^ ((a ^ reversed) & mask), 0, 0, 0];
            let ports = self.ports ^ ((self.ports ^ reversed_ports) & mask);
            (Self { addresses, ports }, swapped)
        }
    }
}

impl std::fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sport, dport) = (self.src_port(), self.dst_port());
        write!(
            f,
            "{} {}:{} > {}:{}",
            self.protocol(),
            self.src(),
            sport,
            self.dst(),
            dport
        )
    }
}

/// The hash of a key already canonical.
#[inline(always)]
pub(super) fn hash_canonical(key: &FlowKey, seed: u64) -> u64 {
    let [a, b, c, d] = key.addresses;
    let mut h = fold(a ^ seed, key.ports ^ 0x9e37_79b9_7f4a_7c15);
    if key.is_v6() {
        h = fold(h ^ b, c ^ 0xe703_7ed1_a0b4_28db) ^ fold(d ^ seed, h ^ 0x8ebc_6af0_9c88_c6e3);
    }
    fold(h ^ 0x589_965c_c753_74cc, seed ^ 0xa076_1d64_78bd_642f)
}

/// Both halves of the 128-bit product, folded: every input bit reaches every output bit.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

const fn wide(high: u64, low: u64) -> u128 {
    (high as u128) << 64 | low as u128
}

const fn pack(sport: u16, dport: u16, protocol: u8, family: u64) -> u64 {
    (sport as u64) << 48 | (dport as u64) << 32 | (protocol as u64) << 8 | family
}

const fn swap_ports(ports: u64) -> u64 {
    let high = ports >> 32;
    (high << 48) | ((high >> 16) << 32) | (ports & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_takes_forty_bytes_and_gives_back_its_fields() {
        assert_eq!(size_of::<FlowKey>(), 40);
        let key = FlowKey::v4(0x0a00_0001, 0x0a00_0002, 6, 1234, 80);
        assert_eq!(format!("{key:?}"), "6 10.0.0.1:1234 > 10.0.0.2:80");
        assert_eq!(
            format!("{:?}", key.reverse()),
            "6 10.0.0.2:80 > 10.0.0.1:1234"
        );
        let key = FlowKey::new(
            "fd00::1".parse().unwrap(),
            "fd00::2".parse().unwrap(),
            17,
            1,
            2,
        );
        assert_eq!(format!("{:?}", key.unwrap()), "17 fd00::1:1 > fd00::2:2");
        let mixed = FlowKey::new(
            "10.0.0.1".parse().unwrap(),
            "fd00::2".parse().unwrap(),
            17,
            1,
            2,
        );
        assert_eq!(mixed, None);
    }

    fn keys() -> impl Strategy<Value = FlowKey> {
        let v4 = (0u32..4, 0u32..4, 0u8..3, 0u16..3, 0u16..3);
        let v6 = (0u128..4, 0u128..4, 0u8..3, 0u16..3, 0u16..3);
        prop_oneof![
            v4.prop_map(|(s, d, p, x, y)| FlowKey::v4(s, d, p, x, y)),
            v6.prop_map(|(s, d, p, x, y)| FlowKey::v6(s << 63, d << 63, p, x, y)),
            any::<(u128, u128, u8, u16, u16)>()
                .prop_map(|(s, d, p, x, y)| FlowKey::v6(s, d, p, x, y)),
        ]
    }

    proptest! {
        #[test]
        fn both_directions_have_one_canonical_key(key in keys(), seed: u64) {
            let (canonical, swapped) = key.canonical();
            let (other, reverse_swapped) = key.reverse().canonical();
            prop_assert_eq!(canonical, other);
            prop_assert_eq!(key.reverse().reverse(), key);
            prop_assert_eq!(if swapped { canonical.reverse() } else { canonical }, key);
            if key != key.reverse() {
                prop_assert_ne!(swapped, reverse_swapped);
            }
            prop_assert_eq!(key.hash(seed), key.reverse().hash(seed));
        }
    }
}
