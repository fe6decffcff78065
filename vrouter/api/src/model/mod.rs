//! From resources to what the policy crate compiles: tiers, policies, profiles, endpoints, sets.
//!
//! [`parse`](crate::parse) runs every resource through here too, so that whatever the model
//! refuses is an error at its line; on a parsed resource none of these functions fails.

mod kubernetes;
mod rules;

use policy::model::spec::{PolicySpec, ProfileSpec, TierSpec};
use policy::model::{
    Endpoint, EndpointKey, EndpointSpec, Invalid, NamedPort, NetworkSet, NetworkSetKey, Policy,
    PolicyKey, PolicyKind, Profile, Tier,
};
use policy::selector::Labels;

use crate::key::{Key, Kind};
use crate::kinds::{
    self, EndpointPort, GlobalNetworkPolicySpec, HostEndpoint, NetworkPolicySpec, StagedAction,
    TierDefaultAction, WorkloadEndpoint,
};
use crate::metadata::Metadata;
use crate::resource::Resource;

/// The policy that a resource of any of the six policy kinds is; none for other kinds, and for
/// staged policies that would not be set (`Delete`, `Learn`, `Ignore`).
///
/// # Errors
/// What the model cannot hold, with its path from the resource's root.
pub fn policy(resource: &Resource) -> Result<Option<Policy>, Invalid> {
    let set = |action| action == StagedAction::Set;
    let spec = match resource {
        Resource::NetworkPolicy(policy) => namespaced(&policy.spec),
        Resource::GlobalNetworkPolicy(policy) => global(&policy.spec),
        Resource::StagedNetworkPolicy(policy) if set(policy.spec.staged_action) => {
            namespaced(&policy.spec.policy)
        }
        Resource::StagedGlobalNetworkPolicy(policy) if set(policy.spec.staged_action) => {
            global(&policy.spec.policy)
        }
        Resource::KubernetesNetworkPolicy(policy) => kubernetes::spec(&policy.spec),
        Resource::StagedKubernetesNetworkPolicy(policy) if set(policy.spec.staged_action) => {
            kubernetes::spec(&policy.spec.policy)
        }
        Resource::StagedNetworkPolicy(_)
        | Resource::StagedGlobalNetworkPolicy(_)
        | Resource::StagedKubernetesNetworkPolicy(_)
        | Resource::Node(_)
        | Resource::IpPool(_)
        | Resource::WorkloadEndpoint(_)
        | Resource::HostEndpoint(_)
        | Resource::BlockAffinity(_)
        | Resource::Tier(_)
        | Resource::NetworkSet(_)
        | Resource::GlobalNetworkSet(_)
        | Resource::Profile(_)
        | Resource::FelixConfiguration(_)
        | Resource::Other(_) => return Ok(None),
    };
    match policy_key(&resource.key())? {
        Some(key) => Policy::new(key, &spec).map(Some),
        None => Ok(None),
    }
}

/// The key of the policy that a resource of that key is; none for kinds that are no policy.
///
/// # Errors
/// A name that the model cannot hold; no parsed resource has one.
pub fn policy_key(key: &Key) -> Result<Option<PolicyKey>, Invalid> {
    let kind = match key.kind {
        Kind::NetworkPolicy => PolicyKind::NetworkPolicy,
        Kind::GlobalNetworkPolicy => PolicyKind::GlobalNetworkPolicy,
        Kind::KubernetesNetworkPolicy => PolicyKind::KubernetesNetworkPolicy,
        Kind::StagedNetworkPolicy => PolicyKind::StagedNetworkPolicy,
        Kind::StagedGlobalNetworkPolicy => PolicyKind::StagedGlobalNetworkPolicy,
        Kind::StagedKubernetesNetworkPolicy => PolicyKind::StagedKubernetesNetworkPolicy,
        Kind::Node
        | Kind::IpPool
        | Kind::WorkloadEndpoint
        | Kind::HostEndpoint
        | Kind::BlockAffinity
        | Kind::Tier
        | Kind::NetworkSet
        | Kind::GlobalNetworkSet
        | Kind::Profile
        | Kind::FelixConfiguration
        | Kind::BgpConfiguration
        | Kind::BgpPeer
        | Kind::BgpFilter
        | Kind::IpamConfiguration
        | Kind::IpReservation
        | Kind::IpamBlock
        | Kind::IpamHandle
        | Kind::ClusterInformation
        | Kind::KubeControllersConfiguration
        | Kind::CalicoNodeStatus => return Ok(None),
    };
    let name = match kind {
        // The name Calico gives converted policies; it decides ties of order.
        PolicyKind::KubernetesNetworkPolicy | PolicyKind::StagedKubernetesNetworkPolicy => {
            format!("knp.default.{}", key.name)
        }
        PolicyKind::NetworkPolicy
        | PolicyKind::GlobalNetworkPolicy
        | PolicyKind::StagedNetworkPolicy
        | PolicyKind::StagedGlobalNetworkPolicy => key.name.clone(),
    };
    let namespace = kind.is_namespaced().then_some(key.namespace.as_str());
    PolicyKey::new(kind, namespace, &name).map(Some)
}

/// The tier.
///
/// # Errors
/// What the model cannot hold.
pub fn tier(tier: &kinds::Tier) -> Result<Tier, Invalid> {
    let default_action = match tier.spec.default_action {
        TierDefaultAction::Deny => "Deny",
        TierDefaultAction::Pass => "Pass",
    };
    let spec = TierSpec {
        order: tier.spec.order,
        default_action: Some(default_action.to_owned()),
    };
    Tier::new(&tier.metadata.name, &spec)
}

/// The profile.
///
/// # Errors
/// What the model cannot hold.
pub fn profile(profile: &kinds::Profile) -> Result<Profile, Invalid> {
    let spec = ProfileSpec {
        ingress: rules::specs(&profile.spec.ingress),
        egress: rules::specs(&profile.spec.egress),
        labels_to_apply: profile.spec.labels_to_apply.clone(),
    };
    Profile::new(&profile.metadata.name, &spec)
}

/// The endpoint of a pod.
///
/// # Errors
/// What the model cannot hold.
pub fn workload_endpoint(endpoint: &WorkloadEndpoint) -> Result<Endpoint, Invalid> {
    let WorkloadEndpoint { metadata, spec } = endpoint;
    let key = EndpointKey::workload(&metadata.namespace, &metadata.name)?;
    let text = |text: &str| {
        if text.is_empty() {
            None
        } else {
            Some(text.to_owned())
        }
    };
    let model = EndpointSpec {
        node: spec.node.clone(),
        labels: labels(metadata)?,
        profiles: spec.profiles.clone(),
        addresses: spec
            .ip_networks
            .iter()
            .map(|net| (**net).to_string())
            .collect(),
        ports: ports(&spec.ports)?,
        service_account: text(&spec.service_account_name),
        orchestrator: text(&spec.orchestrator),
        interface: None,
    };
    Endpoint::new(key, &model)
}

/// The endpoint of a host.
///
/// # Errors
/// What the model cannot hold.
pub fn host_endpoint(endpoint: &HostEndpoint) -> Result<Endpoint, Invalid> {
    let HostEndpoint { metadata, spec } = endpoint;
    let key = EndpointKey::host(&metadata.name)?;
    let model = EndpointSpec {
        node: spec.node.clone(),
        labels: labels(metadata)?,
        profiles: spec.profiles.clone(),
        addresses: spec.expected_ips.iter().map(ToString::to_string).collect(),
        ports: ports(&spec.ports)?,
        service_account: None,
        orchestrator: None,
        interface: Some(spec.interface_name.clone()),
    };
    Endpoint::new(key, &model)
}

/// The network set that a NetworkSet or GlobalNetworkSet is; none for other kinds.
///
/// # Errors
/// What the model cannot hold.
pub fn network_set(resource: &Resource) -> Result<Option<NetworkSet>, Invalid> {
    let (namespace, nets) = match resource {
        Resource::NetworkSet(set) => (Some(set.metadata.namespace.as_str()), &set.spec.nets),
        Resource::GlobalNetworkSet(set) => (None, &set.spec.nets),
        Resource::Node(_)
        | Resource::IpPool(_)
        | Resource::WorkloadEndpoint(_)
        | Resource::HostEndpoint(_)
        | Resource::BlockAffinity(_)
        | Resource::Tier(_)
        | Resource::NetworkPolicy(_)
        | Resource::GlobalNetworkPolicy(_)
        | Resource::StagedNetworkPolicy(_)
        | Resource::StagedGlobalNetworkPolicy(_)
        | Resource::StagedKubernetesNetworkPolicy(_)
        | Resource::KubernetesNetworkPolicy(_)
        | Resource::Profile(_)
        | Resource::FelixConfiguration(_)
        | Resource::Other(_) => return Ok(None),
    };
    let key = NetworkSetKey::new(namespace, &resource.metadata().name)?;
    let nets: Vec<String> = nets.iter().map(|net| (**net).to_string()).collect();
    NetworkSet::new(key, &labels(resource.metadata())?, &nets).map(Some)
}

/// Whatever the model is for the resource's kind, made and thrown away.
pub(crate) fn check(resource: &Resource) -> Result<(), Invalid> {
    match resource {
        Resource::Tier(object) => tier(object).map(drop),
        Resource::Profile(object) => profile(object).map(drop),
        Resource::WorkloadEndpoint(object) => workload_endpoint(object).map(drop),
        Resource::HostEndpoint(object) => host_endpoint(object).map(drop),
        Resource::NetworkSet(_) | Resource::GlobalNetworkSet(_) => network_set(resource).map(drop),
        Resource::NetworkPolicy(_)
        | Resource::GlobalNetworkPolicy(_)
        | Resource::StagedNetworkPolicy(_)
        | Resource::StagedGlobalNetworkPolicy(_)
        | Resource::StagedKubernetesNetworkPolicy(_)
        | Resource::KubernetesNetworkPolicy(_) => policy(resource).map(drop),
        Resource::Node(_)
        | Resource::IpPool(_)
        | Resource::BlockAffinity(_)
        | Resource::FelixConfiguration(_)
        | Resource::Other(_) => Ok(()),
    }
}

fn labels(metadata: &Metadata) -> Result<Labels, Invalid> {
    Labels::from_pairs(&metadata.labels).map_err(|error| error.within("metadata.labels"))
}

fn ports(ports: &[EndpointPort]) -> Result<Vec<NamedPort>, Invalid> {
    let named = ports
        .iter()
        .enumerate()
        .filter(|(_, port)| !port.name.is_empty());
    let model = |(index, port): (usize, &EndpointPort)| {
        NamedPort::new(&port.name, port.protocol.into(), port.port)
            .map_err(|error| error.within(format!("spec.ports[{index}]")))
    };
    named.map(model).collect()
}

fn namespaced(spec: &NetworkPolicySpec) -> PolicySpec {
    PolicySpec {
        tier: Some(spec.tier.clone()),
        order: spec.order,
        selector: Some(spec.selector.clone()),
        namespace_selector: None,
        service_account_selector: spec.service_account_selector.clone(),
        types: spec.types.iter().map(|kind| format!("{kind:?}")).collect(),
        ingress: rules::specs(&spec.ingress),
        egress: rules::specs(&spec.egress),
        ..PolicySpec::default()
    }
}

fn global(spec: &GlobalNetworkPolicySpec) -> PolicySpec {
    PolicySpec {
        namespace_selector: spec.namespace_selector.clone(),
        do_not_track: spec.do_not_track,
        pre_dnat: spec.pre_dnat,
        apply_on_forward: spec.apply_on_forward,
        ..namespaced(&spec.policy)
    }
}
