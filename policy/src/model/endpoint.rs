//! Endpoints, network sets and services: what selectors and rules speak about.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::invalid::each;
use super::{EndpointKey, Invalid, Name, NetworkSetKey, PortName, Prefixes, Protocol, ServiceKey};
use crate::selector::{LABEL_NAMESPACE, LABEL_ORCHESTRATOR, LABEL_SERVICE_ACCOUNT, Labels};

/// A port that an endpoint names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NamedPort {
    /// The name rules use.
    pub name: PortName,
    pub protocol: Protocol,
    pub port: u16,
}

impl NamedPort {
    /// A named port; the protocol must have ports.
    pub fn new(name: &str, protocol: Protocol, port: u16) -> Result<Self, Invalid> {
        if !protocol.has_ports() {
            return Err(Invalid::new(
                "protocol",
                protocol,
                "must be TCP, UDP or SCTP",
            ));
        }
        Ok(Self {
            name: PortName::new(name).map_err(|e| e.within("name"))?,
            protocol,
            port,
        })
    }
}

/// What is needed to make an [`Endpoint`], as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Node the endpoint is on.
    pub node: String,
    /// Labels of the resource.
    pub labels: Labels,
    /// Profiles by name, in order.
    pub profiles: Vec<String>,
    /// `ipNetworks` of a workload, `expectedIPs` of a host endpoint.
    pub addresses: Vec<String>,
    /// Named ports.
    pub ports: Vec<NamedPort>,
    /// Service account of a workload.
    pub service_account: Option<String>,
    /// `k8s` for pods.
    pub orchestrator: Option<String>,
    /// Interface of a host endpoint, `*` for all.
    pub interface: Option<String>,
}

/// A workload's or host's interface, with what selects it and how rules find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    key: EndpointKey,
    node: Name,
    labels: Labels,
    profiles: Vec<Name>,
    addresses: Vec<IpNet>,
    ports: Vec<NamedPort>,
    interface: Option<Name>,
}

impl Endpoint {
    /// An endpoint. The labels `projectcalico.org/namespace`, `…/serviceaccount` and
    /// `…/orchestrator` are added from the key and the spec, as Calico's client does.
    pub fn new(key: EndpointKey, spec: &EndpointSpec) -> Result<Self, Invalid> {
        let mut labels = spec.labels.clone();
        let mut add = |label: &str, value: Option<&str>| match value {
            Some(value) if !value.is_empty() => labels.insert(label, value),
            Some(_) | None => Ok(()),
        };
        add(LABEL_NAMESPACE, key.namespace().map(Name::as_str))?;
        add(LABEL_SERVICE_ACCOUNT, spec.service_account.as_deref())?;
        add(LABEL_ORCHESTRATOR, spec.orchestrator.as_deref())?;
        Ok(Self {
            key,
            node: Name::new(&spec.node).map_err(|e| e.within("spec.node"))?,
            labels,
            profiles: each(&spec.profiles, |name| Name::new(name))
                .map_err(|e| e.within("spec.profiles"))?,
            addresses: each(&spec.addresses, |text| net(text))
                .map_err(|e| e.within("spec.ipNetworks"))?,
            ports: spec.ports.clone(),
            interface: spec
                .interface
                .as_deref()
                .filter(|name| !name.is_empty())
                .map(Name::new)
                .transpose()
                .map_err(|e| e.within("spec.interfaceName"))?,
        })
    }

    /// The endpoint's identity.
    #[must_use]
    pub fn key(&self) -> &EndpointKey {
        &self.key
    }

    /// The node it is on.
    #[must_use]
    pub fn node(&self) -> &Name {
        &self.node
    }

    /// Its own labels, the well-known ones included, inherited ones not.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Its profiles, in order.
    #[must_use]
    pub fn profiles(&self) -> &[Name] {
        &self.profiles
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }

    /// The ports it names.
    #[must_use]
    pub fn ports(&self) -> &[NamedPort] {
        &self.ports
    }

    /// The interface of a host endpoint.
    #[must_use]
    pub fn interface(&self) -> Option<&Name> {
        self.interface.as_ref()
    }
}

/// Prefixes with labels: `NetworkSet` and `GlobalNetworkSet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSet {
    key: NetworkSetKey,
    labels: Labels,
    profiles: Vec<Name>,
    nets: Prefixes,
}

impl NetworkSet {
    /// A network set of prefixes in text form.
    pub fn new(key: NetworkSetKey, labels: &Labels, nets: &[String]) -> Result<Self, Invalid> {
        let nets = each(nets, |text| net(text)).map_err(|e| e.within("spec.nets"))?;
        Self::with_nets(key, labels, nets)
    }

    /// A network set. A namespaced one gets the label `projectcalico.org/namespace` and inherits
    /// from its namespace's profile `kns.<namespace>`, as in Calico.
    pub fn with_nets(
        key: NetworkSetKey,
        labels: &Labels,
        nets: impl IntoIterator<Item = IpNet>,
    ) -> Result<Self, Invalid> {
        let mut labels = labels.clone();
        let mut profiles = Vec::new();
        if let Some(namespace) = key.namespace() {
            labels.insert(LABEL_NAMESPACE, namespace)?;
            profiles.push(Name::new(&format!("kns.{namespace}"))?);
        }
        Ok(Self {
            key,
            labels,
            profiles,
            nets: nets.into_iter().map(|net| net.trunc()).collect(),
        })
    }

    /// The set's identity.
    #[must_use]
    pub fn key(&self) -> &NetworkSetKey {
        &self.key
    }

    /// Its own labels.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The profiles it inherits labels from.
    #[must_use]
    pub fn profiles(&self) -> &[Name] {
        &self.profiles
    }

    /// Its prefixes.
    #[must_use]
    pub fn nets(&self) -> &Prefixes {
        &self.nets
    }
}

/// The endpoints of a Kubernetes service, for rules with a `services` match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The service's identity.
    pub key: ServiceKey,
    /// Address, protocol and port of each endpoint.
    pub endpoints: Vec<(IpAddr, Protocol, u16)>,
}

/// A prefix or a plain address, host bits cleared.
pub(super) fn net(text: &str) -> Result<IpNet, Invalid> {
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| Invalid::new("", text, "not an address or prefix, such as 10.0.0.0/8"))
}
