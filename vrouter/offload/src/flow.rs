//! One direction of a session as the kernel repeats it (`struct flow_key`, `struct flow`).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use encap::vxlan::Vni;
use vrouter_dataplane::adjacency::{Encap, Mac};
use vrouter_dataplane::id::InterfaceId;

/// One direction of a session, as its packets come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The workload's interface, the host's TUN or the tunnel they come in by.
    pub interface: InterfaceId,
    /// Their source.
    pub source: IpAddr,
    /// Their destination, of the same family.
    pub destination: IpAddr,
    /// TCP, UDP, or the family's ICMP.
    pub protocol: u8,
    /// The source port, or ICMP's identifier.
    pub source_port: u16,
    /// The destination port, or ICMP's identifier.
    pub destination_port: u16,
}

/// How its packets are sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowEntry {
    /// Of the tables by which it was decided.
    pub generation: u32,
    /// From whom they must come.
    pub sender: Sender,
    pub target: Target,
    /// The largest IP packet.
    pub mtu: u16,
    /// This is the direction of the session's first packet.
    pub original: bool,
}

/// From whom packets must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A workload's MAC.
    Workload(Mac),
    /// Another node, by its underlay address.
    Node(Ipv4Addr),
    /// The host's stack.
    Host,
}

/// Where packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A workload of this node.
    Workload {
        /// The workload's interface.
        out: InterfaceId,
        /// The workload's MAC.
        mac: Mac,
    },
    /// The host's stack, by the TUN with this number.
    Host { tun: u32 },
    /// Another node, by a tunnel.
    Node {
        /// The number of the underlay's interface.
        underlay: u32,
        encap: Encap,
        /// Outer source.
        local: Ipv4Addr,
        /// Outer destination.
        remote: Ipv4Addr,
        /// Outer source and destination port, of VXLAN.
        ports: (u16, u16),
    },
}

/// A flow that an earlier process inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EarlierFlow {
    pub key: FlowKey,
    /// Of the tables by which it was decided.
    pub generation: u32,
    /// The workload's interface its packets leave by; `None` for those that go elsewhere.
    pub to: Option<InterfaceId>,
    /// This is the direction of the session's first packet.
    pub original: bool,
}

/// What the kernel counted of a flow since it was inserted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// IP packets; each segment of a super-packet is one.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the last one came, since the machine started; `None` if none did.
    pub last_seen: Option<Duration>,
    /// TCP flags seen.
    pub tcp_flags: u8,
}

/// A verdict for all connections of a pair of addresses to one TCP port: what their first packet is given
/// without user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// One of these connections, as its packets come in; the source port is any.
    pub key: FlowKey,
    pub forward: FlowEntry,
    /// Where replies come in.
    pub reply_interface: InterfaceId,
    pub reply: FlowEntry,
}

pub(crate) const GRANT_KEY: usize = 40;
pub(crate) const GRANT: usize = 2 * ENTRY + 8;
/// `struct admitted`.
pub(crate) const ADMITTED: usize = KEY + 4;

pub(crate) const KEY: usize = 44;
pub(crate) const ENTRY: usize = 80;

/// `enum way`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Device,
    Peer,
    Vxlan,
    Ipip,
    Host,
}

/// The part of a key that stands for an index where packets come in by the host or a tunnel.
pub(crate) const FIXED_INTERFACE: u32 = 0xffff_0000;

/// A key with the interface's index in place of its number.
pub(crate) fn key_bytes(key: &FlowKey, ifindex: u32) -> Option<[u8; KEY]> {
    let mut bytes = [0; KEY];
    match (key.source, key.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes[..4].copy_from_slice(&source.octets());
            bytes[16..20].copy_from_slice(&destination.octets());
            bytes[41] = 4;
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            bytes[..16].copy_from_slice(&source.octets());
            bytes[16..32].copy_from_slice(&destination.octets());
            bytes[41] = 6;
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    }
    bytes[32..36].copy_from_slice(&ifindex.to_ne_bytes());
    bytes[36..38].copy_from_slice(&key.source_port.to_be_bytes());
    bytes[38..40].copy_from_slice(&key.destination_port.to_be_bytes());
    bytes[40] = key.protocol;
    Some(bytes)
}

/// A grant's key from a flow's.
pub(crate) fn grant_key_bytes(flow: &[u8; KEY]) -> [u8; GRANT_KEY] {
    let mut bytes = [0; GRANT_KEY];
    bytes[..36].copy_from_slice(&flow[..36]);
    bytes[36..38].copy_from_slice(&flow[38..40]);
    bytes[38] = flow[41];
    bytes
}

/// The index in a key, and the rest of it; `interface` is left for the caller to fill in.
pub(crate) fn parse_key(bytes: &[u8; KEY]) -> (u32, FlowKey) {
    let [source, destination] = [0, 16].map(|at| {
        if bytes[41] == 4 {
            IpAddr::from(array::<4>(bytes, at))
        } else {
            IpAddr::from(array::<16>(bytes, at))
        }
    });
    let key = FlowKey {
        interface: InterfaceId(0),
        source,
        destination,
        protocol: bytes[40],
        source_port: u16::from_be_bytes(array(bytes, 36)),
        destination_port: u16::from_be_bytes(array(bytes, 38)),
    };
    (u32::from_ne_bytes(array(bytes, 32)), key)
}

/// An entry that nothing was counted of; `workload` is the index of the workload's interface it goes
/// to, and whether that has a peer.
pub(crate) fn entry_bytes(entry: &FlowEntry, workload: (u32, bool)) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..4].copy_from_slice(&entry.generation.to_ne_bytes());
    bytes[8..10].copy_from_slice(&entry.mtu.to_ne_bytes());
    bytes[11] = entry.original.into();
    match entry.sender {
        Sender::Workload(mac) => bytes[12..18].copy_from_slice(&mac),
        Sender::Node(address) => bytes[52..56].copy_from_slice(&address.octets()),
        Sender::Host => {}
    }
    let (ifindex, way) = match entry.target {
        Target::Workload { mac, .. } => {
            bytes[18..24].copy_from_slice(&mac);
            let (ifindex, has_peer) = workload;
            (ifindex, if has_peer { Way::Peer } else { Way::Device })
        }
        Target::Host { tun } => (tun, Way::Host),
        Target::Node {
            underlay,
            encap,
            local,
            remote,
            ports,
        } => {
            bytes[56..60].copy_from_slice(&local.octets());
            bytes[60..64].copy_from_slice(&remote.octets());
            let way = match encap {
                Encap::Ipip => Way::Ipip,
                Encap::Vxlan {
                    vni,
                    source,
                    destination,
                } => {
                    bytes[18..24].copy_from_slice(&destination);
                    bytes[64..68].copy_from_slice(&vni_word(vni));
                    bytes[68..70].copy_from_slice(&ports.0.to_be_bytes());
                    bytes[70..72].copy_from_slice(&ports.1.to_be_bytes());
                    bytes[72..78].copy_from_slice(&source);
                    Way::Vxlan
                }
            };
            (underlay, way)
        }
    };
    bytes[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    bytes[10] = way as u8;
    bytes
}

/// A network as VXLAN's header has it (RFC 7348 section 5).
pub(crate) fn vni_word(vni: Vni) -> [u8; 4] {
    (vni.number() << 8).to_be_bytes()
}

/// Generation, the index of the workload's interface packets go to, if they go to one, and whether the
/// direction is the first packet's.
pub(crate) fn parse_entry(bytes: &[u8; ENTRY]) -> (u32, Option<u32>, bool) {
    let [generation, ifindex] = [0, 4].map(|at| u32::from_ne_bytes(array(bytes, at)));
    let to_workload = bytes[10] == Way::Device as u8 || bytes[10] == Way::Peer as u8;
    (generation, to_workload.then_some(ifindex), bytes[11] != 0)
}

/// What was counted of an entry.
pub(crate) fn parse_counted(bytes: &[u8; ENTRY]) -> Counted {
    let [packets, bytes_seen, last_seen] =
        [24, 32, 40].map(|at| u64::from_ne_bytes(array(bytes, at)));
    Counted {
        packets,
        bytes: bytes_seen,
        last_seen: (last_seen > 0).then(|| Duration::from_nanos(last_seen)),
        tcp_flags: u32::from_ne_bytes(array(bytes, 48)) as u8,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back() {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let key = FlowKey {
                interface: InterfaceId(0),
                source: source.parse().expect("an address"),
                destination: destination.parse().expect("an address"),
                protocol: 6,
                source_port: 40_000,
                destination_port: 80,
            };
            let bytes = key_bytes(&key, 77).expect("one family");
            assert_eq!(parse_key(&bytes), (77, key));
        }
    }

    #[test]
    fn an_entry_is_read_back() {
        for original in [true, false] {
            let mut entry = FlowEntry {
                generation: 5,
                sender: Sender::Workload([1; 6]),
                target: Target::Workload {
                    out: InterfaceId(9),
                    mac: [2; 6],
                },
                mtu: 1_500,
                original,
            };
            let bytes = entry_bytes(&entry, (78, true));
            assert_eq!(parse_entry(&bytes), (5, Some(78), original));
            assert_eq!(parse_counted(&bytes), Counted::default());
            entry.target = Target::Node {
                underlay: 3,
                encap: Encap::Ipip,
                local: [192, 0, 2, 1].into(),
                remote: [192, 0, 2, 2].into(),
                ports: (0, 0),
            };
            let bytes = entry_bytes(&entry, (0, false));
            assert_eq!(parse_entry(&bytes), (5, None, original));
        }
    }

    #[test]
    fn fixed_interfaces_have_the_numbers_that_programs_know() {
        use encap::{Family, Tunnel};
        let number = |tunnel| InterfaceId::tunnel(tunnel).0;
        assert_eq!(InterfaceId::HOST.0, 0);
        assert_eq!(number(Tunnel::Vxlan(Family::V4)), 1);
        assert_eq!(number(Tunnel::Ipip), 3);
    }
}
