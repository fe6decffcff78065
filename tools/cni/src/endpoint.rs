//! What ADD writes into the datastore: the profile of the network, the endpoint of the container.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use policy::selector::{Expr, LabelKey};
use vrouter_api::names::check_subdomain;
use vrouter_api::{
    Action, Key, Kind, Mac, Metadata, Profile, ProfileSpec, Resource, Rule, Selector,
    WorkloadEndpoint, WorkloadEndpointSpec,
};
use vrouter_datastore::{Datastore, StoreError};

use crate::config::Config;
use crate::error::{CniError, Code};
use crate::identity::Identity;
use crate::wishes::Wishes;

/// Where vrouterd finds the container's network namespace.
const NETNS: &str = "vrouter.io/netns";
/// The network an endpoint is of, for GC.
const NETWORK: &str = "vrouter.io/cni-network";
/// Where vrouterd finds the container's names, joined by commas.
const NAMES: &str = "vrouter.io/names";
/// Tries against others who change the same endpoint.
const TRIES: usize = 5;

/// The endpoint of this name, if there is one.
pub(crate) fn find(
    store: &dyn Datastore,
    identity: &Identity,
) -> Result<Option<WorkloadEndpoint>, CniError> {
    let name = identity.endpoint_name();
    let key = Key::namespaced(Kind::WorkloadEndpoint, &identity.namespace, &name);
    match store.get(&key) {
        Ok(Resource::WorkloadEndpoint(endpoint)) => Ok(Some(endpoint)),
        Ok(_) | Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(CniError::store("the endpoint cannot be read", &error)),
    }
}

/// Whether an endpoint is of that network.
pub(crate) fn is_of(endpoint: &WorkloadEndpoint, network: &str) -> bool {
    match endpoint.metadata.annotations.get(NETWORK) {
        Some(name) => name == network,
        None => endpoint.spec.profiles == [network],
    }
}

/// The endpoint as it is to be; labels and annotations that others gave it stay.
pub(crate) fn build(
    config: &Config,
    identity: &Identity,
    wishes: &Wishes,
    before: Option<&WorkloadEndpoint>,
    netns: &str,
    mac: Mac,
    addresses: &[IpAddr],
) -> WorkloadEndpoint {
    let mut metadata = match before {
        Some(before) => before.metadata.clone(),
        None => Metadata::named(&identity.endpoint_name()),
    };
    metadata.namespace.clone_from(&identity.namespace);
    let labels = [
        ("projectcalico.org/namespace", identity.namespace.as_str()),
        ("projectcalico.org/orchestrator", identity.orchestrator),
    ];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    metadata.labels.extend(wishes.labels.clone());
    metadata.labels.extend(labels);
    let annotations = [(NETNS, netns), (NETWORK, config.network.as_str())];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
    metadata.annotations.extend(annotations);
    let names = identity.names(&wishes.aliases).join(",");
    metadata.annotations.remove(NAMES);
    if !names.is_empty() {
        metadata.annotations.insert(NAMES.to_owned(), names);
    }
    let kept = before.map(|it| it.spec.clone()).unwrap_or_default();
    WorkloadEndpoint {
        metadata,
        spec: WorkloadEndpointSpec {
            orchestrator: identity.orchestrator.to_owned(),
            node: identity.node.clone(),
            container_id: identity.container_id.clone(),
            pod: identity.pod.clone().unwrap_or_default(),
            endpoint: identity.interface.clone(),
            ip_networks: addresses.iter().map(|it| IpNet::from(*it).into()).collect(),
            profiles: vec![config.network.clone()],
            interface_name: identity.host_interface(),
            mac: Some(mac),
            allow_spoofed_source_prefixes: wishes
                .source_prefixes
                .iter()
                .map(|it| (*it).into())
                .collect(),
            ports: kept.ports,
            service_account_name: kept.service_account_name,
            ..WorkloadEndpointSpec::default()
        },
    }
}

/// Writes an endpoint whether it is there or not; as it is in the store then.
pub(crate) fn write(
    store: &dyn Datastore,
    endpoint: &WorkloadEndpoint,
) -> Result<WorkloadEndpoint, CniError> {
    let mut next = endpoint.clone();
    next.metadata.resource_version = None;
    let mut last = None;
    for _ in 0..TRIES {
        let resource = Resource::from(next.clone());
        let written = match store.update(&resource) {
            Err(StoreError::NotFound { .. }) => store.create(&resource),
            outcome => outcome,
        };
        match written {
            Ok(Resource::WorkloadEndpoint(written)) => return Ok(written),
            Ok(_) => break,
            Err(error @ (StoreError::Conflict { .. } | StoreError::AlreadyExists { .. })) => {
                last = Some(error);
            }
            Err(error) => {
                return Err(CniError::store("the endpoint cannot be written", &error));
            }
        }
    }
    Err(match last {
        Some(error) => CniError::store("the endpoint cannot be written", &error),
        None => CniError::new(Code::Io, "the endpoint cannot be written"),
    })
}

/// Puts back what was there before ADD wrote: the earlier endpoint, or none.
pub(crate) fn restore(
    store: &dyn Datastore,
    written: &WorkloadEndpoint,
    before: Option<&WorkloadEndpoint>,
) -> Result<(), StoreError> {
    let revision = &written.metadata.resource_version;
    let outcome = match before {
        Some(before) => {
            let mut before = before.clone();
            before.metadata.resource_version.clone_from(revision);
            store.update(&before.into()).map(drop)
        }
        None => store.delete(&written.key(), revision.as_deref()).map(drop),
    };
    match outcome {
        // Somebody else took it on: it is theirs.
        Ok(()) | Err(StoreError::NotFound { .. } | StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the network's profile where there is none: pods of Kubernetes' may do everything; others
/// are reached from containers of the same network alone.
pub(crate) fn ensure_profile(
    store: &dyn Datastore,
    config: &Config,
    identity: &Identity,
) -> Result<(), CniError> {
    let name = &config.network;
    check_subdomain(name).map_err(|reason| {
        CniError::config(format!("name: {name:?} names the profile, and {reason}"))
    })?;
    match store.get(&Key::global(Kind::Profile, name)) {
        Ok(_) => return Ok(()),
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(CniError::store("the profile cannot be read", &error)),
    }
    let mut ingress = Rule::new(Action::Allow);
    let mut labels = BTreeMap::new();
    if identity.pod.is_none() {
        let label = LabelKey::new(name).map_err(|e| CniError::config(format!("name: {e}")))?;
        ingress.source.selector = Some(Selector::from(Expr::Has(label)).into());
        labels.insert(name.clone(), String::new());
    }
    let profile = Profile {
        metadata: Metadata::named(name),
        spec: ProfileSpec {
            ingress: vec![ingress],
            egress: vec![Rule::new(Action::Allow)],
            labels_to_apply: labels,
        },
    };
    match store.create(&profile.into()) {
        Ok(_) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(CniError::store("the profile cannot be made", &error)),
    }
}
