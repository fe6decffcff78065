//! Resources into the policy compiler, each in the compiler's own types.
//!
//! The compiler's specs carry Calico's field names, as the resources do, so a resource crosses
//! over as the JSON both understand; what the compiler will not have it says itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::compile::{Compiled, Graph, Update};
use policy::model::spec::{PolicySpec, ProfileSpec, TierSpec};
use policy::model::{
    Endpoint, EndpointKey, EndpointSpec, Invalid, Name, NamedPort, NetworkSet, NetworkSetKey,
    Policy, PolicyKey, PolicyKind, Profile, Tier,
};
use policy::selector::Labels;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vrouter_api::{HostEndpoint, Key, Kind, Metadata, Resource, WorkloadEndpoint};

/// The profile Calico serves without anybody having written it: allow everything.
const DEFAULT_ALLOW: &str = "projectcalico-default-allow";

/// The compiler and what it would not take.
pub struct Policies {
    graph: Graph,
    problems: BTreeMap<Key, String>,
}

impl Policies {
    /// An empty compiler for a node.
    ///
    /// # Errors
    /// The node's name is no name.
    pub fn new(node: &str) -> Result<Self, Invalid> {
        let mut graph = Graph::new(Name::new(node)?);
        graph.apply(Profile::allowing(DEFAULT_ALLOW, Labels::default())?.into());
        Ok(Self {
            graph,
            problems: BTreeMap::new(),
        })
    }

    /// Takes a new or changed resource. One the compiler refuses leaves what was there in force.
    pub fn upsert(&mut self, resource: &Resource) {
        let key = resource.key();
        match update(resource) {
            Ok(Some(update)) => {
                self.problems.remove(&key);
                self.graph.apply(update);
            }
            Ok(None) => {}
            Err(problem) => {
                tracing::warn!(resource = %key, problem, "not in force");
                self.problems.insert(key, problem);
            }
        }
    }

    /// Forgets a resource.
    pub fn delete(&mut self, key: &Key) {
        self.problems.remove(key);
        match removal(key) {
            Ok(Some(update)) => self.graph.apply(update),
            // What never was in the compiler need not leave it.
            Ok(None) | Err(_) => {}
        }
    }

    /// Compiles what changed; the tables now.
    pub fn compile(&mut self) -> Arc<Compiled> {
        self.graph.flush();
        self.graph.snapshot()
    }

    /// Resources the compiler refused, in words.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.problems
            .iter()
            .map(|(key, problem)| format!("{key}: {problem}"))
    }
}

fn update(resource: &Resource) -> Result<Option<Update>, String> {
    let metadata = resource.metadata();
    let name = metadata.name.as_str();
    let said = |invalid: Invalid| invalid.to_string();
    Ok(Some(match resource {
        Resource::Tier(tier) => Tier::new(name, &spec::<TierSpec>(&tier.spec)?)
            .map_err(said)?
            .into(),
        Resource::NetworkPolicy(policy) => {
            enforced(PolicyKind::NetworkPolicy, metadata, &policy.spec)?
        }
        Resource::GlobalNetworkPolicy(policy) => {
            enforced(PolicyKind::GlobalNetworkPolicy, metadata, &policy.spec)?
        }
        Resource::StagedNetworkPolicy(policy) => {
            enforced(PolicyKind::StagedNetworkPolicy, metadata, &policy.spec)?
        }
        Resource::StagedGlobalNetworkPolicy(policy) => enforced(
            PolicyKind::StagedGlobalNetworkPolicy,
            metadata,
            &policy.spec,
        )?,
        Resource::Profile(profile) => Profile::new(name, &spec::<ProfileSpec>(&profile.spec)?)
            .map_err(said)?
            .into(),
        Resource::NetworkSet(set) => network_set(metadata, &set.spec.nets).map_err(said)?.into(),
        Resource::GlobalNetworkSet(set) => {
            network_set(metadata, &set.spec.nets).map_err(said)?.into()
        }
        Resource::WorkloadEndpoint(endpoint) => workload(endpoint).map_err(said)?.into(),
        Resource::HostEndpoint(endpoint) => host(endpoint).map_err(said)?.into(),
        Resource::KubernetesNetworkPolicy(_) | Resource::StagedKubernetesNetworkPolicy(_) => {
            return Err("Kubernetes network policies are not enforced yet".to_owned());
        }
        Resource::Node(_)
        | Resource::IpPool(_)
        | Resource::BlockAffinity(_)
        | Resource::FelixConfiguration(_)
        | Resource::Other(_) => return Ok(None),
    }))
}

fn removal(key: &Key) -> Result<Option<Update>, Invalid> {
    let namespace = (!key.namespace.is_empty()).then_some(key.namespace.as_str());
    let policy = |kind| PolicyKey::new(kind, namespace, &key.name).map(Update::RemovePolicy);
    Ok(Some(match key.kind {
        Kind::Tier => Update::RemoveTier(Name::new(&key.name)?),
        Kind::NetworkPolicy => policy(PolicyKind::NetworkPolicy)?,
        Kind::GlobalNetworkPolicy => policy(PolicyKind::GlobalNetworkPolicy)?,
        Kind::StagedNetworkPolicy => policy(PolicyKind::StagedNetworkPolicy)?,
        Kind::StagedGlobalNetworkPolicy => policy(PolicyKind::StagedGlobalNetworkPolicy)?,
        // The static profile shows again when one that replaced it goes.
        Kind::Profile if key.name == DEFAULT_ALLOW => {
            Profile::allowing(DEFAULT_ALLOW, Labels::default())?.into()
        }
        Kind::Profile => Update::RemoveProfile(Name::new(&key.name)?),
        Kind::NetworkSet | Kind::GlobalNetworkSet => {
            Update::RemoveNetworkSet(NetworkSetKey::new(namespace, &key.name)?)
        }
        Kind::WorkloadEndpoint => Update::RemoveEndpoint(endpoint_key(key)?),
        Kind::HostEndpoint => Update::RemoveEndpoint(EndpointKey::host(&key.name)?),
        _ => return Ok(None),
    }))
}

/// The compiler's name for a workload endpoint.
///
/// # Errors
/// Its name or namespace is none; the parser of resources lets no such name through.
pub fn endpoint_key(key: &Key) -> Result<EndpointKey, Invalid> {
    EndpointKey::workload(&key.namespace, &key.name)
}

/// A resource's spec in the compiler's own type of the same fields.
fn spec<T: DeserializeOwned>(spec: &impl Serialize) -> Result<T, String> {
    serde_json::to_value(spec)
        .and_then(serde_json::from_value)
        .map_err(|error| error.to_string())
}

fn enforced(
    kind: PolicyKind,
    metadata: &Metadata,
    written: &impl Serialize,
) -> Result<Update, String> {
    let namespace = (!metadata.namespace.is_empty()).then_some(metadata.namespace.as_str());
    let key = PolicyKey::new(kind, namespace, &metadata.name).map_err(|e| e.to_string())?;
    let policy = Policy::new(key, &spec::<PolicySpec>(written)?).map_err(|e| e.to_string())?;
    Ok(policy.into())
}

fn network_set(metadata: &Metadata, nets: &[ipnet::IpNet]) -> Result<NetworkSet, Invalid> {
    let namespace = (!metadata.namespace.is_empty()).then_some(metadata.namespace.as_str());
    let key = NetworkSetKey::new(namespace, &metadata.name)?;
    let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
    NetworkSet::new(key, &labels(metadata)?, &nets)
}

fn labels(metadata: &Metadata) -> Result<Labels, Invalid> {
    Labels::from_pairs(metadata.labels.iter())
}

fn ports(ports: &[vrouter_api::EndpointPort]) -> Result<Vec<NamedPort>, Invalid> {
    let named = ports.iter().filter(|port| !port.name.is_empty());
    named
        .map(|port| {
            let protocol = policy::model::Protocol::try_from(port.protocol.number())?;
            NamedPort::new(&port.name, protocol, port.port)
        })
        .collect()
}

fn workload(endpoint: &WorkloadEndpoint) -> Result<Endpoint, Invalid> {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let spec = EndpointSpec {
        node: endpoint.spec.node.clone(),
        labels: labels(&endpoint.metadata)?,
        profiles: endpoint.spec.profiles.clone(),
        addresses: endpoint
            .spec
            .ip_networks
            .iter()
            .map(ToString::to_string)
            .collect(),
        ports: ports(&endpoint.spec.ports)?,
        service_account: some(&endpoint.spec.service_account_name),
        orchestrator: some(&endpoint.spec.orchestrator),
        interface: None,
    };
    Endpoint::new(endpoint_key(&endpoint.key())?, &spec)
}

fn host(endpoint: &HostEndpoint) -> Result<Endpoint, Invalid> {
    let spec = EndpointSpec {
        node: endpoint.spec.node.clone(),
        labels: labels(&endpoint.metadata)?,
        profiles: endpoint.spec.profiles.clone(),
        addresses: endpoint
            .spec
            .expected_ips
            .iter()
            .map(ToString::to_string)
            .collect(),
        ports: ports(&endpoint.spec.ports)?,
        service_account: None,
        orchestrator: None,
        interface: Some(endpoint.spec.interface_name.clone()),
    };
    Endpoint::new(EndpointKey::host(&endpoint.metadata.name)?, &spec)
}
