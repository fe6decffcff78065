//! Named ports of endpoints, for rules that name them.

use std::net::IpAddr;

use serde::Serialize;

use crate::kinds::rule::Protocol;
use crate::names::check_port_name;
use crate::place::Place;

/// A port of an endpoint, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    /// The name rules use; a port that only has a host port may have none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The number, from 1.
    pub port: u16,
    /// The port of the node that leads here; not acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// The node address that leads here; not acted on.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<IpAddr>,
}

impl EndpointPort {
    /// Reads one port; `with_host` when the kind knows host ports.
    pub(crate) fn read(place: &Place<'_>, with_host: bool) -> Option<EndpointPort> {
        let fields = place.fields()?;
        let name_place = fields
            .optional("name")
            .filter(|place| place.text() != Some(""));
        let name = name_place.map(|place| place.checked(check_port_name));
        let protocol = fields.required("protocol").and_then(|place| {
            let protocol = Protocol::read(&place)?;
            if !protocol.has_ports() {
                place.error("must be TCP, UDP or SCTP");
                return None;
            }
            Some(protocol)
        });
        let port = fields
            .required("port")
            .and_then(|place| place.integer(1..=u16::MAX));
        let (mut host_port, mut host_ip) = (None, None);
        if with_host {
            const WHY: &str = "there is no port mapping yet";
            if let Some(place) = fields.optional("hostPort") {
                host_port = place.integer(0..=u16::MAX).filter(|port| *port != 0);
                if host_port.is_some() {
                    place.not_acted_on(WHY);
                }
            }
            host_ip = fields
                .optional("hostIP")
                .filter(|place| place.text() != Some(""))
                .and_then(|place| place.parse("an IP address"));
        }
        if name.is_none() && host_port.is_none() {
            fields.error_at("name", "must be set");
        }
        fields.finish();
        Some(EndpointPort {
            name: name.unwrap_or_else(|| Some(String::new()))?,
            protocol: protocol?,
            port: port?,
            host_port,
            host_ip,
        })
    }
}
