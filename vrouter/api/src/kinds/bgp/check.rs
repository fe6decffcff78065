//! Checks of single values that several of BGP's kinds share.

use std::net::IpAddr;

use ipnet::IpNet;

use super::text::Community;
use crate::kinds::node::as_number_of;
use crate::kinds::rule::selector;
use crate::place::{Fields, Place};
use crate::tree::Value;

/// A reference to a key of a Secret.
pub(super) fn secret(place: &Place<'_>) {
    let Some(fields) = place.fields() else { return };
    if let Some(reference) = fields.optional("secretKeyRef")
        && let Some(fields) = reference.fields()
    {
        if let Some(key) = fields.required("key") {
            let _ = key.text();
        }
        if let Some(name) = fields.optional("name") {
            let _ = name.text();
        }
        if let Some(optional) = fields.optional("optional") {
            let _ = optional.boolean();
        }
        rest(&fields);
    }
    rest(&fields);
}

/// Fields that a newer Calico may have.
pub(super) fn rest(fields: &Fields<'_>) {
    for (_, place) in fields.rest() {
        place.not_acted_on("unknown field");
    }
}

/// An AS number; a dotted one must be text, or it is a fraction to Calico.
pub(super) fn as_number(place: &Place<'_>) {
    if let Value::Scalar { text, plain: true } = &place.tree().value
        && text.contains('.')
    {
        place.error("must be quoted when it is dotted, such as '1.10'");
        return;
    }
    let _ = as_number_of(place);
}

pub(super) fn as_number_list(place: &Place<'_>) {
    place.items().iter().for_each(as_number);
}

/// A selector of at most 1024 characters.
pub(super) fn short_selector(place: &Place<'_>) {
    if place.text().is_some_and(|text| text.len() > 1024) {
        place.error("may not be more than 1024 bytes");
    } else {
        let _ = selector(place);
    }
}

/// A network with its mask.
pub(super) fn net(place: &Place<'_>) -> Option<IpNet> {
    let net = place.text()?.parse::<IpNet>().ok();
    if net.is_none() {
        place.error("must be a CIDR with a mask, such as 10.0.0.0/8 or fd00::/8");
    }
    net
}

pub(super) fn some_net(place: &Place<'_>) {
    let _ = net(place);
}

pub(super) fn ipv4(place: &Place<'_>) {
    let _ = place.parse::<std::net::Ipv4Addr>("an IPv4 address");
}

pub(super) fn ipv6(place: &Place<'_>) {
    let _ = place.parse::<std::net::Ipv6Addr>("an IPv6 address");
}

/// An address with or without a port, 64 characters at most.
pub(super) fn peer_ip(place: &Place<'_>) {
    let Some(text) = place.text() else { return };
    if !text.is_empty() && (text.len() > 64 || host_and_port(text).is_none()) {
        place.error(
            "must be an IP address, with a port of 1–65535 as in 192.0.2.1:179 or \
             [2001:db8::1]:179",
        );
    }
}

/// The address and port of a `peerIP`.
pub(super) fn host_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address, None));
    }
    let socket = text.parse::<std::net::SocketAddr>().ok()?;
    (socket.port() != 0).then(|| (socket.ip(), Some(socket.port())))
}

/// Calico's interface patterns: a name in which `*` stands for anything.
fn is_pattern(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.*-".contains(&b))
}

pub(super) fn interface_pattern(place: &Place<'_>) {
    if place.text().is_some_and(|text| !is_pattern(text)) {
        place.error("must be 1–15 characters of a-z, A-Z, 0-9, '_', '.', '*', '-'");
    }
}

pub(super) fn ignored_interface(place: &Place<'_>) {
    if place.text() == Some("*") {
        place.error("must name some interfaces: * is all of them");
    } else {
        interface_pattern(place);
    }
}

/// A community as filters have it: no leading zeros, 32 characters at most.
pub(super) fn plain_community(place: &Place<'_>) {
    let Some(text) = place.text() else { return };
    match text.parse::<Community>() {
        Err(reason) => place.error(reason),
        Ok(community) if community.to_string() != text || text.len() > 32 => {
            place.error("must have no leading zeros and at most 32 characters");
        }
        Ok(_) => {}
    }
}

/// What a route's priority may be.
pub(super) const PRIORITY: std::ops::RangeInclusive<u32> = 1..=2_147_483_646;

pub(super) fn priority(place: &Place<'_>) {
    let _ = place.integer(PRIORITY);
}

pub(super) fn any_integer(place: &Place<'_>) {
    let _ = place.integer(i32::MIN..=i32::MAX);
}
