//! From resources to what the policy crate compiles: tiers, policies, profiles, endpoints, sets.
//!
//! Each kind in `kinds/` says which of these it is. [`parse`](crate::parse) runs every resource
//! through here too, so that whatever the model refuses is an error at its line; on a parsed
//! resource none of these functions fails.

mod kubernetes;
mod rules;

pub(crate) use self::kubernetes::kubernetes;

use ipnet::IpNet;
use policy::compile::Update;
use policy::model::spec::{PolicySpec, ProfileSpec, TierSpec};
use policy::model::{
    Endpoint, EndpointKey, EndpointSpec, Invalid, Name, NamedPort, NetworkSet, NetworkSetKey,
    Policy, PolicyKey, PolicyKind, Profile, Tier,
};
use policy::selector::Labels;

use crate::key::Key;
use crate::kinds::{
    self, EndpointPort, GlobalNetworkPolicySpec, HostEndpoint, NetworkPolicySpec, WorkloadEndpoint,
};
use crate::metadata::Metadata;
use crate::written::Written;

/// A policy of a kind.
pub(crate) fn policy(
    kind: PolicyKind,
    metadata: &Metadata,
    spec: &PolicySpec,
) -> Result<Option<Update>, Invalid> {
    let key = policy_key(kind, &metadata.namespace, &metadata.name)?;
    Policy::new(key, spec).map(|policy| Some(policy.into()))
}

/// That a policy of a kind is gone.
pub(crate) fn policy_removal(kind: PolicyKind, key: &Key) -> Result<Option<Update>, Invalid> {
    let key = policy_key(kind, &key.namespace, &key.name)?;
    Ok(Some(Update::RemovePolicy(key)))
}

fn policy_key(kind: PolicyKind, namespace: &str, name: &str) -> Result<PolicyKey, Invalid> {
    let converted;
    let name = match kind {
        // The name Calico gives converted policies; it decides ties of order.
        PolicyKind::KubernetesNetworkPolicy | PolicyKind::StagedKubernetesNetworkPolicy => {
            converted = format!("knp.default.{name}");
            &converted
        }
        PolicyKind::NetworkPolicy
        | PolicyKind::GlobalNetworkPolicy
        | PolicyKind::StagedNetworkPolicy
        | PolicyKind::StagedGlobalNetworkPolicy => name,
    };
    let namespace = kind.is_namespaced().then_some(namespace);
    PolicyKey::new(kind, namespace, name)
}

/// The tier.
///
/// # Errors
/// What the model cannot hold.
pub(crate) fn tier(tier: &kinds::Tier) -> Result<Tier, Invalid> {
    let spec = TierSpec {
        order: tier.spec.order,
        default_action: tier.spec.default_action,
    };
    Tier::new(&tier.metadata.name, &spec)
}

/// The profile.
///
/// # Errors
/// What the model cannot hold.
pub(crate) fn profile(profile: &kinds::Profile) -> Result<Profile, Invalid> {
    let spec = ProfileSpec {
        ingress: rules::specs(&profile.spec.ingress, "ingress")?,
        egress: rules::specs(&profile.spec.egress, "egress")?,
        labels_to_apply: profile.spec.labels_to_apply.clone(),
    };
    Profile::new(&profile.metadata.name, &spec)
}

/// The endpoint of a pod.
///
/// # Errors
/// What the model cannot hold.
pub(crate) fn workload_endpoint(endpoint: &WorkloadEndpoint) -> Result<Endpoint, Invalid> {
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
pub(crate) fn host_endpoint(endpoint: &HostEndpoint) -> Result<Endpoint, Invalid> {
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

/// The network set of a NetworkSet, or of a GlobalNetworkSet where there is no namespace.
pub(crate) fn network_set(
    namespace: Option<&str>,
    metadata: &Metadata,
    nets: &[Written<IpNet>],
) -> Result<NetworkSet, Invalid> {
    let key = NetworkSetKey::new(namespace, &metadata.name)?;
    let nets = nets.iter().map(|net| **net);
    NetworkSet::with_nets(key, &labels(metadata)?, nets)
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
        NamedPort::new(&port.name, port.protocol, port.port)
            .map_err(|error| error.within(format!("spec.ports[{index}]")))
    };
    named.map(model).collect()
}

pub(crate) fn namespaced(spec: &NetworkPolicySpec) -> Result<PolicySpec, Invalid> {
    Ok(PolicySpec {
        tier: Some(Name::new(&spec.tier).map_err(|error| error.within("spec.tier"))?),
        order: spec.order,
        selector: rules::selector(spec.selector.as_ref()),
        service_account_selector: rules::selector(spec.service_account_selector.as_ref()),
        types: spec.types.clone(),
        ingress: rules::specs(&spec.ingress, "ingress")?,
        egress: rules::specs(&spec.egress, "egress")?,
        ..PolicySpec::default()
    })
}

pub(crate) fn global(spec: &GlobalNetworkPolicySpec) -> Result<PolicySpec, Invalid> {
    Ok(PolicySpec {
        namespace_selector: rules::selector(spec.namespace_selector.as_ref()),
        do_not_track: spec.do_not_track,
        pre_dnat: spec.pre_dnat,
        apply_on_forward: spec.apply_on_forward,
        ..namespaced(&spec.policy)?
    })
}
