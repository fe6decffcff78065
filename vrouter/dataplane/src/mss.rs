//! The segment size of a connection, for paths on which no ICMP error gets through: a SYN does not
//! announce more than the links towards both ends carry (RFC 6691, RFC 4459 section 3.2).

use encap::{tcp, tcp_mss};

use crate::packet::Transport;
use crate::tables::Tables;
use crate::worker::Packet;

/// Lowers the segment size a SYN announces to what fits `mtu`, the next link's, and the link
/// towards its sender: what the size allows the other end to send goes that way.
#[inline]
pub(crate) fn clamp(tables: &Tables, packet: &mut Packet, mtu: u16) {
    if let Transport::Tcp { flags } = packet.headers.transport
        && flags & tcp::SYN != 0
    {
        clamp_syn(tables, packet, mtu);
    }
}

#[cold]
fn clamp_syn(tables: &Tables, packet: &mut Packet, mtu: u16) {
    let back = tables
        .route(packet.headers.source, packet.flow_hash())
        .and_then(|id| tables.adjacency(id))
        .and_then(|adjacency| adjacency.mtu(packet.headers.family));
    let mss = tcp_mss::for_mtu(
        back.map_or(mtu, |back| back.min(mtu)),
        packet.headers.family,
    );
    let offload = packet.buffer.meta.offload;
    let layers = packet.headers.layers();
    tcp_mss::clamp(packet.buffer.bytes_mut(), &layers, offload, mss);
}
