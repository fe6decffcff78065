//! Tunnel headers and the offloads of a network card, in software.
//!
//! This crate owns what happens to the bytes of one packet on its way into and out of a tunnel:
//! headers ([`vxlan`], [`ipip`], [`ethernet`], [`icmp`]'s quotations), the rules for their TOS and TTL fields ([`ecn`]),
//! [`checksum`]s, the [`offload`] word that travels with a packet, and the three ways of changing
//! a packet's size: [`segment`] (GSO), [`coalesce`] (GRO) and [`fragment`] with [`reassemble`];
//! [`tcp_mss`] keeps the last from being needed.
//!
//! Nothing here does I/O, reads a clock or allocates per packet; a function that needs the time
//! takes it as an argument. Every public function is total: whatever the bytes, it returns.
//! All header fields are in network byte order on the wire and in host order in our types.
#![forbid(unsafe_code)]

mod bytes;
pub mod checksum;
pub mod coalesce;
pub mod ecn;
pub mod ethernet;
mod family;
pub mod fragment;
pub mod icmp;
pub mod ip;
pub mod ipip;
pub mod offload;
pub mod protocol;
pub mod reassemble;
pub mod segment;
pub mod tcp;
pub mod tcp_mss;
mod tunnel;
pub mod udp;
pub mod vxlan;

pub use family::{Family, UnknownFamily};
pub use tunnel::Tunnel;
