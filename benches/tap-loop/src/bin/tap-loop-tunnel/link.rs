//! The pod's link: an Ethernet header before and off an IP packet.

use encap::ethernet::HEADER_LEN;
use vrouter_dataplane::buffer::Buffer;

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// The sender of every frame to a pod, as of `vrouterd`'s.
const GATEWAY: Mac = [0xee; 6];

/// Reads `02:00:00:00:00:01`.
pub(crate) fn mac(text: &str) -> Result<Mac, String> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| format!("{text:?} is no Ethernet address"))
}

/// Takes `n` bytes off the front; what is known of the packet moves along.
#[must_use]
pub(crate) fn strip(packet: &mut Buffer, n: usize) -> bool {
    let Ok(offload) = packet.meta.offload.shift(-(n as isize)) else {
        return false;
    };
    packet.meta.offload = offload;
    packet.strip(n)
}

/// Puts `bytes` in front; what is known of the packet moves along.
#[must_use]
pub(crate) fn prepend(packet: &mut Buffer, bytes: &[u8]) -> bool {
    let Ok(offload) = packet.meta.offload.shift(bytes.len() as isize) else {
        return false;
    };
    packet.meta.offload = offload;
    packet
        .prepend(bytes.len())
        .map(|room| room.copy_from_slice(bytes))
        .is_some()
}

/// Makes an IP packet a frame for the pod; `false` when it is none.
#[must_use]
pub(crate) fn to_pod(packet: &mut Buffer, pod: Mac) -> bool {
    let kind: [u8; 2] = match packet.bytes().first().map(|byte| byte >> 4) {
        Some(4) => [0x08, 0x00],
        Some(6) => [0x86, 0xdd],
        Some(_) | None => return false,
    };
    let mut header = [0; HEADER_LEN];
    header[..6].copy_from_slice(&pod);
    header[6..12].copy_from_slice(&GATEWAY);
    header[12..].copy_from_slice(&kind);
    prepend(packet, &header)
}
