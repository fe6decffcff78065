//! Named ports of endpoints, for rules that name them.

use policy::model::Protocol;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::kinds::rule::protocol;
use crate::names::check_port_name;
use crate::place::Place;

/// A port of an endpoint, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointPort {
    /// The name rules use; a port that only has a host port may have none.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The number, from 1.
    pub port: u16,
    /// What leads here from the node, for workloads.
    #[serde(flatten)]
    pub host: Option<HostPort>,
}

/// The port of a node that leads to one of a workload; not acted on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostPort {
    /// The port; 0: none.
    #[serde(rename = "hostPort")]
    pub port: u16,
    /// The node's address; absent: all of them.
    #[serde(rename = "hostIP", serialize_with = "address_or_empty")]
    pub address: Option<IpAddr>,
}

/// Calico writes no address as an empty text.
#[allow(clippy::ref_option, reason = "serde asks for it")]
fn address_or_empty<S: Serializer>(
    address: &Option<IpAddr>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match address {
        Some(address) => serializer.collect_str(address),
        None => serializer.serialize_str(""),
    }
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
            let protocol = protocol(&place)?;
            if !protocol.has_ports() {
                place.error("must be TCP, UDP or SCTP");
                return None;
            }
            Some(protocol)
        });
        let port = fields
            .required("port")
            .and_then(|place| place.integer(1..=u16::MAX));
        let host = with_host.then(|| {
            let port = fields.optional("hostPort").and_then(|place| {
                let port = place.integer(0..=u16::MAX)?;
                if port != 0 {
                    place.not_acted_on("there is no port mapping yet");
                }
                Some(port)
            });
            let address = fields
                .optional("hostIP")
                .filter(|place| place.text() != Some(""))
                .and_then(|place| place.parse("an IP address"));
            HostPort {
                port: port.unwrap_or_default(),
                address,
            }
        });
        if name.is_none() && host.as_ref().is_none_or(|host| host.port == 0) {
            fields.error_at("name", "must be set");
        }
        fields.finish();
        Some(EndpointPort {
            name: name.unwrap_or_else(|| Some(String::new()))?,
            protocol: protocol?,
            port: port?,
            host,
        })
    }
}
