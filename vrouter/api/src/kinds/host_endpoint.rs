//! HostEndpoint: an interface of a host, or all of them.

use policy::compile::Update;
use policy::model::{EndpointKey, Invalid};
use std::net::IpAddr;

use serde::Serialize;

use crate::key::{Key, Kind};
use crate::kinds::endpoint_port::EndpointPort;
use crate::metadata::Metadata;
use crate::model;
use crate::names::{check_interface, check_subdomain};
use crate::object::{Object, Read, Spec};
use crate::place::Fields;

/// An interface of a host.
pub type HostEndpoint = Object<HostEndpointSpec>;

/// Which interface, and its profiles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostEndpointSpec {
    /// The node.
    pub node: String,
    /// The interface, `*` for all, or empty when the addresses tell.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    /// Addresses that tell the interface.
    #[serde(rename = "expectedIPs", skip_serializing_if = "Vec::is_empty")]
    pub expected_ips: Vec<IpAddr>,
    /// The profiles that decide when no policy selects it, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
}

impl Spec for HostEndpointSpec {
    const KIND: Kind = Kind::HostEndpoint;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        model::host_endpoint(object).map(|endpoint| Some(endpoint.into()))
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        Ok(Some(Update::RemoveEndpoint(EndpointKey::host(&key.name)?)))
    }
}

impl Read for HostEndpointSpec {
    fn read(fields: &Fields<'_>, _metadata: &mut Metadata) -> Option<HostEndpointSpec> {
        let node = fields.required("node").and_then(|place| {
            place.partly(
                "policy holds for packets between the host and its pods or a tunnel, and for pods' \
                 packets that cross the interface; what the host sends and receives by its own \
                 interfaces does not pass vrouterd",
            );
            place.checked(check_subdomain)
        });
        let interface = fields
            .optional("interfaceName")
            .filter(|p| p.text() != Some(""));
        let interface = interface.map(|place| match place.text() {
            Some("*") => Some("*".to_owned()),
            _ => place.checked(check_interface),
        });
        let expected_ips = fields.list("expectedIPs", |place| place.parse("an IP address"));
        if interface.is_none() && expected_ips.is_empty() {
            fields.error("interfaceName or expectedIPs must be set");
        }
        let profiles = fields.list("profiles", |place| place.checked(check_subdomain));
        let ports = fields.list("ports", |place| EndpointPort::read(place, false));
        Some(HostEndpointSpec {
            node: node?,
            interface_name: interface.unwrap_or_else(|| Some(String::new()))?,
            expected_ips,
            profiles,
            ports,
        })
    }
}
