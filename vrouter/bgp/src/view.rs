//! What one node is among the others: addresses, AS, ports, pools, blocks.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use sha2::{Digest, Sha256};
use vrouter_api::bgp::{BindMode, ClusterRoutes, Configuration, SecretReference};
use vrouter_api::{AffinityKind, AffinityState, EncapsulationMode, IpPoolSpec, NodeSpec};

use crate::cluster::{Cluster, Labels};
use crate::config::{Family, Password, family_of};

/// Calico's AS for nodes that nobody gave another.
const DEFAULT_AS: u32 = 64_512;
/// Where BGP listens.
pub(crate) const PORT: u16 = 179;
/// Calico's metric of routes that nobody gave another.
const NORMAL_PRIORITY: u32 = 1024;

/// What is told to a node beside the resources: Calico's environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The node.
    pub node: String,
    /// `CALICO_ROUTER_ID`.
    pub router_id: Option<RouterId>,
    /// `CALICO_ADVERTISE_CLUSTER_IPS`: replaces serviceClusterIPs.
    pub advertise_cluster_ips: Option<IpNet>,
    /// `NAMESPACE`: where Secrets are read; `kube-system` when empty.
    pub namespace: String,
}

/// BIRD's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterId {
    /// The first bytes of the SHA-256 of the node's name.
    Hash,
    /// This.
    Address(Ipv4Addr),
}

impl std::str::FromStr for RouterId {
    type Err = String;

    /// As `CALICO_ROUTER_ID` has it.
    fn from_str(text: &str) -> Result<RouterId, String> {
        if text == "hash" {
            return Ok(RouterId::Hash);
        }
        let address = text.parse().map(RouterId::Address);
        address.map_err(|_| "must be an IPv4 address or hash".to_owned())
    }
}

/// Why there is no configuration for a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// Nobody knows the node.
    #[error("there is no Node {0}: create it, or name another with --node")]
    NoNode(String),
    /// A router ID is four bytes.
    #[error(
        "Node {0} has no spec.bgp.ipv4Address to take BIRD's router ID from: set it, or set \
         CALICO_ROUTER_ID to an IPv4 address or to hash"
    )]
    NoRouterId(String),
}

/// A node, seen by itself.
pub(crate) struct View<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) settings: &'a Settings,
    pub(crate) labels: &'a Labels,
    pub(crate) node: &'a NodeSpec,
    global: Configuration,
    own: Configuration,
}

impl<'a> View<'a> {
    pub(crate) fn new(cluster: &'a Cluster, settings: &'a Settings) -> Result<Self, Impossible> {
        let name = &settings.node;
        let found = cluster.nodes.get(name);
        let (labels, node) = found.ok_or_else(|| Impossible::NoNode(name.clone()))?;
        let configuration = |name: &str| {
            let found = cluster.configurations.get(name);
            found.cloned().unwrap_or_default()
        };
        Ok(View {
            cluster,
            settings,
            labels,
            node,
            global: configuration("default"),
            own: configuration(&format!("node.{name}")),
        })
    }

    /// The settings of all nodes.
    pub(crate) fn global(&self) -> &Configuration {
        &self.global
    }

    /// Those of this node.
    pub(crate) fn own(&self) -> &Configuration {
        &self.own
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.node
    }

    pub(crate) fn address(&self, family: Family) -> Option<IpAddr> {
        address_of(self.node, family)
    }

    /// The IPv4 network the node is in.
    pub(crate) fn network4(&self) -> Option<IpNet> {
        let bgp = self.node.bgp.as_ref()?;
        bgp.ipv4_address
            .as_ref()
            .map(|net| IpNet::V4(**net).trunc())
    }

    pub(crate) fn default_as(&self) -> u32 {
        self.global.as_number.unwrap_or(DEFAULT_AS)
    }

    pub(crate) fn as_of(&self, node: &NodeSpec) -> u32 {
        let own = node.bgp.as_ref().and_then(|bgp| bgp.as_number);
        own.filter(|number| *number != 0)
            .unwrap_or_else(|| self.default_as())
    }

    pub(crate) fn cluster_id_of(node: &NodeSpec) -> Option<Ipv4Addr> {
        node.bgp.as_ref()?.route_reflector_cluster_id
    }

    /// The port somebody asked a node to listen at.
    pub(crate) fn listen_port_of(&self, node: &str) -> Option<u16> {
        let own = self.cluster.configurations.get(&format!("node.{node}"));
        let set = |it: &Configuration| it.listen_port.filter(|port| *port != 0);
        own.and_then(set).or_else(|| set(&self.global))
    }

    pub(crate) fn listen_port(&self) -> u16 {
        self.listen_port_of(self.name()).unwrap_or(PORT)
    }

    pub(crate) fn binds_strictly(&self) -> bool {
        self.global.bind_mode.unwrap_or_default() == BindMode::NodeIP
    }

    pub(crate) fn cluster_routes(&self) -> ClusterRoutes {
        self.global.program_cluster_routes.unwrap_or_default()
    }

    pub(crate) fn normal_priority(&self, family: Family) -> u32 {
        let set = match family {
            Family::V4 => self.global.ipv4_normal_route_priority,
            Family::V6 => self.global.ipv6_normal_route_priority,
        };
        set.unwrap_or(NORMAL_PRIORITY)
    }

    pub(crate) fn log_severity(&self) -> &str {
        let own = self.own.log_severity_screen.as_deref();
        own.or(self.global.log_severity_screen.as_deref())
            .unwrap_or("info")
    }

    pub(crate) fn router_id(&self) -> Result<Ipv4Addr, Impossible> {
        match (self.settings.router_id, self.address(Family::V4)) {
            (Some(RouterId::Address(address)), _) => Ok(address),
            (Some(RouterId::Hash), _) => Ok(hashed(self.name())),
            (None, Some(IpAddr::V4(address))) => Ok(address),
            (None, _) => Err(Impossible::NoRouterId(self.name().to_owned())),
        }
    }

    /// The pools of a family in the order of their ranges as text, as Calico has them.
    pub(crate) fn pools(&self, family: Family) -> Vec<&'a IpPoolSpec> {
        let mut pools: Vec<(String, &IpPoolSpec)> = self
            .cluster
            .pools
            .values()
            .filter(|pool| family_of(&pool.cidr) == family)
            .map(|pool| (pool.cidr.to_string(), pool))
            .collect();
        pools.sort_by(|a, b| a.0.cmp(&b.0));
        pools.into_iter().map(|(_, pool)| pool).collect()
    }

    /// The node's own blocks.
    pub(crate) fn blocks(&self, family: Family) -> Vec<IpNet> {
        let mut blocks: Vec<IpNet> = self
            .cluster
            .affinities
            .values()
            .filter(|it| {
                it.node == self.name()
                    && it.kind == AffinityKind::Host
                    && it.state == AffinityState::Confirmed
                    && !it.deleted
                    && family_of(&it.cidr) == family
            })
            .map(|it| it.cidr)
            .collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks
    }

    /// The node's own addresses in pools: its endpoints' and its tunnels'.
    pub(crate) fn addresses(&self, family: Family) -> Vec<(IpAddr, String)> {
        let mut all = Vec::new();
        for ((namespace, name), (_, endpoint)) in &self.cluster.endpoints {
            if endpoint.node == self.name() {
                let of = format!("WorkloadEndpoint {namespace}/{name}");
                let nets = endpoint.ip_networks.iter();
                all.extend(nets.map(|net| (net.addr(), of.clone())));
            }
        }
        let bgp = self.node.bgp.as_ref();
        let tunnels = [
            bgp.and_then(|bgp| bgp.ipv4_ipip_tunnel_addr)
                .map(IpAddr::from),
            self.node.ipv4_vxlan_tunnel_addr.map(IpAddr::from),
            self.node.ipv6_vxlan_tunnel_addr.map(IpAddr::from),
        ];
        let tunnels = tunnels.into_iter().flatten();
        all.extend(tunnels.map(|address| (address, "the node's tunnel".to_owned())));
        all.retain(|(address, _)| Family::from(address) == family);
        all.sort();
        all.dedup_by(|a, b| a.0 == b.0);
        all
    }

    /// The password a reference names: `Ok(None)` when none is asked for.
    pub(crate) fn password(
        &self,
        reference: Option<&SecretReference>,
    ) -> Result<Option<Password>, PasswordFault> {
        let Some(asked) = reference.and_then(|it| it.secret_key_ref.as_ref()) else {
            return Ok(None);
        };
        let namespace = match self.settings.namespace.as_str() {
            "" => "kube-system",
            named => named,
        };
        let secret = (namespace.to_owned(), asked.name.clone());
        let found = self.cluster.secrets.get(&secret);
        let Some(bytes) = found.and_then(|secret| secret.value(&asked.key)) else {
            let text = format!("Secret {namespace}/{} with key {}", asked.name, asked.key);
            return Err(PasswordFault::Missing(text));
        };
        match Password::new(&bytes) {
            Ok(password) => Ok(Some(password)),
            Err(why) => {
                let text = format!(
                    "key {} of Secret {namespace}/{}: {why}",
                    asked.key, asked.name
                );
                Err(PasswordFault::Unusable(text))
            }
        }
    }
}

/// Why there is no password though one is asked for.
pub(crate) enum PasswordFault {
    /// The Secret or its key is not there: the session is made without, as Calico does.
    Missing(String),
    /// It is there and cannot be one: the session is not made.
    Unusable(String),
}

pub(crate) fn address_of(node: &NodeSpec, family: Family) -> Option<IpAddr> {
    let bgp = node.bgp.as_ref()?;
    match family {
        Family::V4 => bgp.ipv4_address.as_ref().map(|net| net.addr().into()),
        Family::V6 => bgp.ipv6_address.as_ref().map(|net| net.addr().into()),
    }
}

/// Which tunnel carries a pool's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carried {
    Vxlan,
    Ipip { cross_subnet: bool },
    Plain,
}

pub(crate) fn carried(pool: &IpPoolSpec) -> Carried {
    match (pool.vxlan_mode, pool.ipip_mode) {
        (EncapsulationMode::Always | EncapsulationMode::CrossSubnet, _) => Carried::Vxlan,
        (EncapsulationMode::Never, EncapsulationMode::Always) => Carried::Ipip {
            cross_subnet: false,
        },
        (EncapsulationMode::Never, EncapsulationMode::CrossSubnet) => {
            Carried::Ipip { cross_subnet: true }
        }
        (EncapsulationMode::Never, EncapsulationMode::Never) => Carried::Plain,
    }
}

/// The first four bytes of the name's SHA-256, not in the range of multicast.
fn hashed(name: &str) -> Ipv4Addr {
    let digest = Sha256::digest(name.as_bytes());
    let first = if digest[0] > 223 {
        digest[0] - 32
    } else {
        digest[0]
    };
    Ipv4Addr::new(first, digest[1], digest[2], digest[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_id_from_a_name_is_calicos() {
        assert_eq!(hashed("kube-master"), Ipv4Addr::new(25, 79, 212, 8));
    }
}
