//! WorkloadEndpoint: one interface of one pod.

use policy::compile::Update;
use policy::model::{EndpointKey, Invalid};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Serialize;

use crate::address::Mac;
use crate::key::{Key, Kind};
use crate::kinds::endpoint_port::EndpointPort;
use crate::metadata::Metadata;
use crate::model;
use crate::names::{check_interface, check_subdomain, joined};
use crate::object::{Object, Read, Spec};
use crate::place::{Fields, Place};
use crate::written::Written;

/// One interface of one pod.
pub type WorkloadEndpoint = Object<WorkloadEndpointSpec>;

/// How Calico's components name a workload to each other: by its orchestrator's name for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId {
    /// The orchestrator: `k8s`, `cni`.
    pub orchestrator: String,
    /// `namespace/name`, where the name is the orchestrator's.
    pub workload: String,
    /// The interface in the workload.
    pub endpoint: String,
}

impl WorkloadId {
    /// That of an endpoint.
    #[must_use]
    pub fn of(endpoint: &WorkloadEndpoint) -> WorkloadId {
        let spec = &endpoint.spec;
        let name = match spec.orchestrator.as_str() {
            "k8s" => &spec.pod,
            "cni" => &spec.container_id,
            "libnetwork" => &spec.orchestrator,
            _ => &spec.workload,
        };
        WorkloadId {
            orchestrator: spec.orchestrator.clone(),
            workload: format!("{}/{name}", endpoint.metadata.namespace),
            endpoint: spec.endpoint.clone(),
        }
    }
}

/// Where the interface is and what it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadEndpointSpec {
    /// `k8s`, `cni`, `libnetwork` or another.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub orchestrator: String,
    /// The workload, for orchestrators that are neither of those.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// The node it runs on.
    pub node: String,
    /// The container runtime's identity of it.
    #[serde(rename = "containerID", skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// The pod.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// The interface's name inside the pod; `eth0` by default.
    pub endpoint: String,
    /// The pod's service account; rules may select by it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// Addresses, each of full length (/32 or /128).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_networks: Vec<Written<IpNet>>,
    /// Addresses that stand for one of its own (floating IPs); not acted on.
    #[serde(rename = "ipNATs", skip_serializing_if = "Vec::is_empty")]
    pub ip_nats: Vec<IpNat>,
    /// IPv4 gateway; not acted on: pods use 169.254.1.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_gateway: Option<Ipv4Addr>,
    /// IPv6 gateway; not acted on: pods use fe80::ecee:eeff:feee:eeee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// The profiles that decide when no policy selects it, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// The interface's name on the host side, at most 15 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    /// The pod side's hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
    /// Sources it may send from beside its addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_spoofed_source_prefixes: Vec<Written<IpNet>>,
    /// Rate limits, kept verbatim; not acted on.
    #[serde(rename = "qosControls", skip_serializing_if = "Option::is_none")]
    pub qos_controls: Option<serde_json::Value>,
}

/// An address that stands for one of the endpoint's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpNat {
    /// The endpoint's own address.
    #[serde(rename = "internalIP")]
    pub internal_ip: IpAddr,
    /// The address that stands for it.
    #[serde(rename = "externalIP")]
    pub external_ip: IpAddr,
}

impl Spec for WorkloadEndpointSpec {
    const KIND: Kind = Kind::WorkloadEndpoint;

    fn update(object: &Object<Self>) -> Result<Option<Update>, Invalid> {
        model::workload_endpoint(object).map(|endpoint| Some(endpoint.into()))
    }

    fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
        let key = EndpointKey::workload(&key.namespace, &key.name)?;
        Ok(Some(Update::RemoveEndpoint(key)))
    }
}

impl Read for WorkloadEndpointSpec {
    fn read(fields: &Fields<'_>, metadata: &mut Metadata) -> Option<WorkloadEndpointSpec> {
        const GATEWAY: &str = "pods always use the link-local gateway";
        let text = |name| fields.string(name).unwrap_or_default();
        let node = fields
            .required("node")
            .and_then(|place| place.checked(check_subdomain));
        let endpoint = match fields.optional("endpoint").filter(|p| p.text() != Some("")) {
            Some(place) => place.checked(check_interface),
            None => Some("eth0".to_owned()),
        };
        let ipv4_gateway = fields.optional("ipv4Gateway").and_then(|place| {
            place.not_acted_on(GATEWAY);
            place.parse("an IPv4 address")
        });
        let ipv6_gateway = fields.optional("ipv6Gateway").and_then(|place| {
            place.not_acted_on(GATEWAY);
            place.parse("an IPv6 address")
        });
        let ip_networks = fields.list("ipNetworks", full_length);
        let spec = WorkloadEndpointSpec {
            orchestrator: text("orchestrator"),
            workload: text("workload"),
            container_id: text("containerID"),
            pod: text("pod"),
            service_account_name: text("serviceAccountName"),
            ip_nats: fields.list("ipNATs", |place| IpNat::read(place, &ip_networks)),
            ip_networks,
            ipv4_gateway,
            ipv6_gateway,
            profiles: fields.list("profiles", |place| place.checked(check_subdomain)),
            interface_name: fields
                .optional("interfaceName")
                .filter(|place| place.text() != Some(""))
                .and_then(|place| place.checked(check_interface))
                .unwrap_or_default(),
            mac: fields
                .optional("mac")
                .filter(|place| place.text() != Some(""))
                .and_then(|place| place.parse("a MAC such as ee:ee:ee:ee:ee:ee")),
            ports: fields.list("ports", |place| EndpointPort::read(place, true)),
            allow_spoofed_source_prefixes: fields
                .list("allowSpoofedSourcePrefixes", Place::written_net),
            qos_controls: fields.verbatim("qosControls", "there are no rate limits yet"),
            node: node?,
            endpoint: endpoint?,
        };
        spec.name(fields, metadata);
        Some(spec)
    }
}

impl WorkloadEndpointSpec {
    /// Gives the endpoint the name its spec implies, or refuses another.
    fn name(&self, fields: &Fields<'_>, metadata: &mut Metadata) {
        let id = match self.orchestrator.as_str() {
            "k8s" => ("pod", &self.pod),
            "cni" => ("containerID", &self.container_id),
            "libnetwork" => ("orchestrator", &self.orchestrator),
            _ => ("workload", &self.workload),
        };
        if self.orchestrator.is_empty() {
            fields.error_at("orchestrator", "must be set, usually to k8s");
            return;
        }
        let (field, part) = id;
        if part.is_empty() {
            let orchestrator = &self.orchestrator;
            fields.error_at(
                field,
                format!("must be set when orchestrator is {orchestrator}"),
            );
            return;
        }
        let name = joined(&[&self.node, &self.orchestrator, part, &self.endpoint]);
        if let Err(reason) = check_subdomain(&name) {
            fields.error(format!(
                "node, orchestrator, {field} and endpoint make the name {name}, which {reason}"
            ));
            return;
        }
        if metadata.name.is_empty() {
            metadata.name = name;
        } else if metadata.name != name {
            let have = &metadata.name;
            fields.error(format!(
                "node, orchestrator, {field} and endpoint make the name {name}, but \
                 metadata.name is {have}"
            ));
        }
    }
}

/// A prefix of full length.
fn full_length(place: &Place<'_>) -> Option<Written<IpNet>> {
    let prefix = place.written_prefix()?;
    if prefix.prefix_len() != prefix.max_prefix_len() {
        place.error("must be one address: a /32 or /128");
        return None;
    }
    Some(prefix)
}

impl IpNat {
    fn read(place: &Place<'_>, own: &[Written<IpNet>]) -> Option<IpNat> {
        place.not_acted_on("there are no floating IPs yet");
        let fields = place.fields()?;
        let address = |name| fields.required(name).and_then(|p| p.parse("an IP address"));
        let internal_ip: Option<IpAddr> = address("internalIP");
        let external_ip: Option<IpAddr> = address("externalIP");
        if let Some(internal) = internal_ip
            && !own.iter().any(|prefix| prefix.addr() == internal)
        {
            fields.error_at("internalIP", "must be one of the endpoint's ipNetworks");
        }
        if let (Some(internal), Some(external)) = (internal_ip, external_ip)
            && internal.is_ipv4() != external.is_ipv4()
        {
            fields.error_at("externalIP", "must be of the same family as internalIP");
        }
        fields.finish();
        Some(IpNat {
            internal_ip: internal_ip?,
            external_ip: external_ip?,
        })
    }
}
