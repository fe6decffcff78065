//! Clamping the maximum segment size a SYN announces: RFC 6691, RFC 9293 section 3.7.1; what
//! `xt_TCPMSS` does in Linux.
//!
//! For paths on which ICMP is blocked: no packet of the connection will need fragmenting.

use crate::Family;
use crate::bytes::{put_u16, u16_at};
use crate::checksum::Delta;
use crate::ip::{Layers, Part};
use crate::offload::Offload;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;

/// The segment size that fills packets of `mtu` bytes without IP and TCP options (RFC 6691).
pub fn for_mtu(mtu: u16, family: Family) -> u16 {
    mtu.saturating_sub(match family {
        Family::V4 => 40,
        Family::V6 => 60,
    })
}

/// Lowers the MSS option of a SYN or SYN-ACK to `mss`, the checksum incrementally; returns what
/// it was, or `None` when nothing was changed.
///
/// Nothing is changed in other packets, in a SYN whose option is `mss` or less already, and in
/// one without the option: its peer assumes 536 over IPv4 and 1220 over IPv6 (RFC 9293), and
/// there is no room to add one. A checksum that is still to be filled in, as `offload` says, does
/// not cover the option yet.
pub fn clamp(packet: &mut [u8], layers: &Layers, offload: Offload, mss: u16) -> Option<u16> {
    if layers.part == Part::Later {
        return None;
    }
    let l4 = layers.l4;
    let header = layers.tcp_header_len(packet)?;
    let tcp = packet.get_mut(l4..l4 + header)?;
    if tcp[13] & crate::tcp::SYN == 0 {
        return None;
    }
    let at = option(tcp)?;
    let old = u16_at(tcp, at);
    if old <= mss {
        return None;
    }
    put_u16(tcp, at, mss);
    if offload.partial().is_none() {
        // An option may start anywhere; at an odd place its bytes are swapped in the sum.
        let (from, to) = if at % 2 == 0 {
            (old, mss)
        } else {
            (old.swap_bytes(), mss.swap_bytes())
        };
        let checksum = Delta::default().u16(from, to).apply(u16_at(tcp, 16));
        put_u16(tcp, 16, checksum);
    }
    Some(old)
}

/// Where in the TCP header the value of the MSS option stands.
fn option(tcp: &[u8]) -> Option<usize> {
    let mut at = 20;
    loop {
        match (*tcp.get(at)?, tcp.get(at + 1)) {
            (END, _) => return None,
            (NOP, _) => at += 1,
            (MSS, Some(4)) if at + 4 <= tcp.len() => return Some(at + 2),
            // A length below 2 is malformed, and would not end.
            (_, Some(length @ 2..)) => at += usize::from(*length),
            (_, _) => return None,
        }
    }
}
