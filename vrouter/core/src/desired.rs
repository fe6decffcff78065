//! From resources to what this node should look like: a pure function, so that any order of
//! events ends in the same state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use encap::{Family, Tunnel};
use ipnet::IpNet;
use sha1::{Digest, Sha1};
use vrouter_api::{
    AffinityState, EncapsulationMode, FelixSettings, IpPool, Key, Node, WorkloadEndpoint,
    WorkloadId, WorkloadSourceSpoofing, names,
};
use vrouter_dataplane::adjacency::Mac;

use crate::resources::Resources;

/// Where a prefix leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A workload of this node.
    Endpoint(Key),
    /// Another node.
    Node {
        name: String,
        remote: IpAddr,
        /// The tunnel to it; `None` for packets as they are, which the kernel routes to the
        /// underlay.
        tunnel: Option<Tunnel>,
    },
    /// An address of this node.
    Host,
    /// Wherever the host's routes say.
    Uplink,
    /// An address of a block of this node that nobody has.
    Blackhole,
    /// An address of a pool that no node has.
    Unreachable,
}

/// A route with the resource it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub target: Target,
    /// The resource, as people name it.
    pub source: String,
}

/// A workload of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    pub key: Key,
    /// Pod, or the resource's name where that names none: what people call it.
    pub pod: String,
    /// Path or name of its network namespace; `None` when the resource names none.
    pub netns: Option<String>,
    /// The TAP's name inside.
    pub device: String,
    /// The name tables show.
    pub interface: String,
    /// The MAC asked for.
    pub mac: Option<Mac>,
    pub addresses: Vec<IpAddr>,
    /// Sources it may send from.
    pub sources: Vec<IpNet>,
    /// How others are told of it.
    pub id: WorkloadId,
}

impl Local {
    /// What people call it: `namespace/pod`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.key.namespace, self.pod)
    }

    /// Whether a filter means it: `namespace/pod`, the resource's `namespace/name`, or its
    /// interface.
    pub fn is_called(&self, name: &str) -> bool {
        let Some((namespace, rest)) = name.split_once('/') else {
            let default = self.key.namespace == "default";
            return name == self.interface
                || default && (name == self.pod || name == self.key.name);
        };
        namespace == self.key.namespace && (rest == self.pod || rest == self.key.name)
    }
}

/// Another node, as tunnels know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    /// Underlay address for IPv4.
    pub v4: Option<Ipv4Addr>,
    /// Underlay address for IPv6.
    pub v6: Option<Ipv6Addr>,
    /// VTEP's MAC for IPv4.
    pub mac_v4: Mac,
    /// VTEP's MAC for IPv6.
    pub mac_v6: Mac,
}

impl Peer {
    /// Its underlay address of a family.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    /// Its VTEP's MAC on an underlay of a family.
    pub fn mac(&self, family: Family) -> Mac {
        match family {
            Family::V4 => self.mac_v4,
            Family::V6 => self.mac_v6,
        }
    }
}

/// What this node should look like.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Our underlay address for IPv4, with its subnet.
    pub v4: Option<IpNet>,
    /// Our underlay address for IPv6, with its subnet.
    pub v6: Option<IpNet>,
    /// Our VTEPs' MACs.
    pub mac_v4: Mac,
    /// For IPv6.
    pub mac_v6: Mac,
    /// The other nodes by name.
    pub peers: BTreeMap<String, Peer>,
    /// Local workloads.
    pub locals: Vec<Local>,
    /// Prefix to target.
    pub routes: BTreeMap<IpNet, Route>,
    /// Blocks (or single addresses) of this node, for the host's routes.
    pub blocks: BTreeSet<IpNet>,
    /// Addresses of the host's TUN.
    pub tunnel_addresses: BTreeSet<IpAddr>,
    /// Tunnels in use: each needs sockets.
    pub tunnels: BTreeSet<Tunnel>,
    /// Settings in force.
    pub felix: FelixSettings,
    /// What cannot be done, in words for an operator.
    pub problems: Vec<String>,
}

impl Desired {
    /// The MTU of pods and of the host's TUN: what the most expensive encapsulation in use
    /// leaves of the underlay's.
    pub fn mtu(&self, underlay: u32) -> u16 {
        let tunnels = self.tunnels.iter();
        let limits = tunnels.map(|tunnel| self.tunnel_mtu(*tunnel, underlay));
        limits
            .chain([underlay.min(65_535) as u16])
            .min()
            .unwrap_or(u16::MAX)
    }

    /// The largest inner packet of a tunnel.
    pub fn tunnel_mtu(&self, tunnel: Tunnel, underlay: u32) -> u16 {
        let set = match tunnel {
            Tunnel::Vxlan(Family::V4) => self.felix.vxlan_mtu,
            Tunnel::Vxlan(Family::V6) => self.felix.vxlan_mtu_v6,
            Tunnel::Ipip => self.felix.ipip_mtu,
        };
        set.unwrap_or(tunnel.inner_mtu(underlay))
    }

    /// Our underlay address of a family, with its subnet.
    pub fn address(&self, family: Family) -> Option<IpNet> {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Our VTEP's MAC on an underlay of a family.
    pub fn mac(&self, family: Family) -> Mac {
        match family {
            Family::V4 => self.mac_v4,
            Family::V6 => self.mac_v6,
        }
    }

    /// Whether an address lies in our underlay subnet.
    pub fn on_subnet(&self, address: IpAddr) -> bool {
        [self.v4, self.v6]
            .into_iter()
            .flatten()
            .any(|subnet| subnet.contains(&address))
    }
}

/// The MAC of a node's VTEP when its resource names none, as Felix derives it.
pub fn vtep_mac(node: &str, family: Family) -> Mac {
    let suffix = match family {
        Family::V4 => "",
        Family::V6 => "-v6",
    };
    let digest = Sha1::digest(format!("{node}{suffix}").as_bytes());
    let mut mac = [b'f'; 6];
    mac[1..].copy_from_slice(&digest[..5]);
    mac
}

/// What `name`'s node should look like.
pub fn desired(resources: &Resources, name: &str) -> Desired {
    let own = resources.node(name);
    let mut wanted = Desired {
        v4: own.and_then(address_v4),
        v6: own.and_then(address_v6),
        mac_v4: own.map_or_else(|| vtep_mac(name, Family::V4), |node| mac(node, Family::V4)),
        mac_v6: own.map_or_else(|| vtep_mac(name, Family::V6), |node| mac(node, Family::V6)),
        peers: BTreeMap::new(),
        locals: Vec::new(),
        routes: BTreeMap::new(),
        blocks: BTreeSet::new(),
        tunnel_addresses: BTreeSet::new(),
        tunnels: BTreeSet::new(),
        felix: resources.felix(name),
        problems: Vec::new(),
    };
    let peers = resources
        .nodes()
        .filter(|node| node.metadata.name != name)
        .map(peer);
    wanted.peers = peers.map(|peer| (peer.name.clone(), peer)).collect();
    let pools: Vec<&IpPool> = resources.pools().collect();
    for pool in &pools {
        add_pool(&mut wanted, pool);
    }
    add_host(&mut wanted, own);
    add_blocks(&mut wanted, resources, &pools, name);
    add_tunnel_addresses(&mut wanted, resources, &pools, name);
    add_endpoints(&mut wanted, resources, &pools, name);
    wanted
}

fn address_v4(node: &Node) -> Option<IpNet> {
    node.spec
        .bgp
        .as_ref()?
        .ipv4_address
        .clone()
        .map(IpNet::from)
}

fn address_v6(node: &Node) -> Option<IpNet> {
    node.spec
        .bgp
        .as_ref()?
        .ipv6_address
        .clone()
        .map(IpNet::from)
}

fn mac(node: &Node, family: Family) -> Mac {
    let given = match family {
        Family::V4 => node.spec.vxlan_tunnel_mac_addr,
        Family::V6 => node.spec.vxlan_tunnel_mac_addr_v6,
    };
    given.map_or_else(|| vtep_mac(&node.metadata.name, family), |mac| mac.0)
}

fn peer(node: &Node) -> Peer {
    let bgp = node.spec.bgp.as_ref();
    Peer {
        name: node.metadata.name.clone(),
        v4: bgp.and_then(|bgp| Some(bgp.ipv4_address.as_ref()?.addr())),
        v6: bgp.and_then(|bgp| Some(bgp.ipv6_address.as_ref()?.addr())),
        mac_v4: mac(node, Family::V4),
        mac_v6: mac(node, Family::V6),
    }
}

/// What every node has: the way out for everything else.
fn add_host(wanted: &mut Desired, own: Option<&Node>) {
    let everywhere = [IpNet::V4(Default::default()), IpNet::V6(Default::default())];
    for prefix in everywhere {
        let source = "the host's routes".to_owned();
        wanted.routes.insert(
            prefix,
            Route {
                target: Target::Uplink,
                source,
            },
        );
    }
    for address in [wanted.v4, wanted.v6].into_iter().flatten() {
        let name = own.map_or("", |node| node.metadata.name.as_str());
        let route = Route {
            target: Target::Host,
            source: format!("Node({name})"),
        };
        wanted.routes.insert(IpNet::from(address.addr()), route);
    }
}

/// A pool's addresses go nowhere unless a block or an endpoint says so.
fn add_pool(wanted: &mut Desired, pool: &IpPool) {
    let source = format!("IPPool({})", pool.metadata.name);
    let route = Route {
        target: Target::Unreachable,
        source,
    };
    wanted.routes.insert(pool.spec.cidr.trunc(), route);
    let family = Family::from(pool.spec.cidr.addr());
    if pool.spec.vxlan_mode != EncapsulationMode::Never && wanted.felix.vxlan_enabled != Some(false)
    {
        wanted.tunnels.insert(Tunnel::Vxlan(family));
    }
    if pool.spec.ipip_mode != EncapsulationMode::Never && wanted.felix.ipip_enabled != Some(false) {
        wanted.tunnels.extend(Tunnel::ipip(family));
    }
}

/// How an address of another node is reached, by the pool it belongs to.
fn tunnel(wanted: &Desired, pools: &[&IpPool], address: IpAddr, peer: &Peer) -> Option<Tunnel> {
    let pool = pools
        .iter()
        .filter(|pool| pool.spec.cidr.contains(&address))
        .max_by_key(|pool| pool.spec.cidr.prefix_len())?;
    let family = Family::from(address);
    let same_subnet = within(wanted.address(family), peer.address(family));
    let chosen = |mode: EncapsulationMode| match mode {
        EncapsulationMode::Never => false,
        EncapsulationMode::Always => true,
        EncapsulationMode::CrossSubnet => !same_subnet,
    };
    if chosen(pool.spec.vxlan_mode) && wanted.felix.vxlan_enabled != Some(false) {
        Some(Tunnel::Vxlan(family))
    } else if chosen(pool.spec.ipip_mode) && wanted.felix.ipip_enabled != Some(false) {
        Tunnel::ipip(family)
    } else {
        None
    }
}

fn within(subnet: Option<IpNet>, address: Option<IpAddr>) -> bool {
    subnet
        .zip(address)
        .is_some_and(|(subnet, address)| subnet.contains(&address))
}

/// A route to something another node has; a problem when the node cannot be reached.
fn to_node(wanted: &mut Desired, pools: &[&IpPool], prefix: IpNet, node: &str, source: String) {
    let Some(peer) = wanted.peers.get(node) else {
        wanted.problems.push(format!(
            "{source}: no Node resource {node} says where {prefix} is"
        ));
        return;
    };
    let family = Family::from(prefix.addr());
    let Some(remote) = peer.address(family) else {
        wanted.problems.push(format!(
            "{source}: node {node} has no {family} address for {prefix}"
        ));
        return;
    };
    let tunnel = tunnel(wanted, pools, prefix.addr(), peer);
    let target = Target::Node {
        name: node.to_owned(),
        remote,
        tunnel,
    };
    wanted.routes.insert(prefix, Route { target, source });
}

fn add_blocks(wanted: &mut Desired, resources: &Resources, pools: &[&IpPool], own: &str) {
    for affinity in resources.affinities() {
        let spec = &affinity.spec;
        if spec.deleted || spec.state != AffinityState::Confirmed {
            continue;
        }
        let prefix = spec.cidr.trunc();
        let source = format!("BlockAffinity({})", affinity.metadata.name);
        if spec.node == own {
            wanted.blocks.insert(prefix);
            wanted.routes.insert(
                prefix,
                Route {
                    target: Target::Blackhole,
                    source,
                },
            );
        } else {
            to_node(wanted, pools, prefix, &spec.node, source);
        }
    }
}

fn tunnel_addresses(node: &Node) -> BTreeSet<IpAddr> {
    let ipip = node
        .spec
        .bgp
        .as_ref()
        .and_then(|bgp| bgp.ipv4_ipip_tunnel_addr)
        .map(IpAddr::V4);
    let v4 = node.spec.ipv4_vxlan_tunnel_addr.map(IpAddr::V4);
    let v6 = node.spec.ipv6_vxlan_tunnel_addr.map(IpAddr::V6);
    [ipip, v4, v6].into_iter().flatten().collect()
}

/// All addresses a node's resource says it has itself.
pub fn addresses_of(node: &Node) -> BTreeSet<IpAddr> {
    let underlay = [address_v4(node), address_v6(node)];
    let mut addresses = tunnel_addresses(node);
    addresses.extend(underlay.into_iter().flatten().map(|net| net.addr()));
    addresses
}

fn add_tunnel_addresses(wanted: &mut Desired, resources: &Resources, pools: &[&IpPool], own: &str) {
    for node in resources.nodes() {
        let name = &node.metadata.name;
        for address in tunnel_addresses(node) {
            let (prefix, source) = (IpNet::from(address), format!("Node({name})"));
            if name == own {
                wanted.tunnel_addresses.insert(address);
                wanted.routes.insert(
                    prefix,
                    Route {
                        target: Target::Host,
                        source,
                    },
                );
            } else if !covered(wanted, prefix, name) {
                to_node(wanted, pools, prefix, name, source);
            }
        }
    }
}

/// Whether a block of the same node has the prefix already.
fn covered(wanted: &Desired, prefix: IpNet, node: &str) -> bool {
    let mut shorter = prefix;
    while let Some(next) = shorter.supernet() {
        shorter = next;
        if let Some(Route { target, .. }) = wanted.routes.get(&shorter) {
            match target {
                Target::Node { name, .. } => return name == node,
                Target::Blackhole => return false,
                Target::Endpoint(_) | Target::Host | Target::Uplink | Target::Unreachable => {}
            }
        }
    }
    false
}

fn add_endpoints(wanted: &mut Desired, resources: &Resources, pools: &[&IpPool], own: &str) {
    for endpoint in resources.endpoints() {
        let key = endpoint.key();
        let local = endpoint.spec.node == own;
        if local {
            let spoofing = wanted.felix.workload_source_spoofing;
            wanted.locals.push(local_endpoint(endpoint, spoofing));
        }
        let metadata = &endpoint.metadata;
        let source = format!("WorkloadEndpoint({}/{})", metadata.namespace, metadata.name);
        for prefix in endpoint.spec.ip_networks.iter().map(|it| &**it) {
            if !local {
                if !covered(wanted, *prefix, &endpoint.spec.node) {
                    to_node(wanted, pools, *prefix, &endpoint.spec.node, source.clone());
                }
                continue;
            }
            if !wanted.blocks.iter().any(|block| block.contains(prefix)) {
                wanted.blocks.insert(*prefix);
            }
            let target = Target::Endpoint(key.clone());
            let route = Route {
                target,
                source: source.clone(),
            };
            let before = wanted.routes.insert(*prefix, route);
            if let Some(Route {
                target: Target::Endpoint(_) | Target::Host,
                source: before,
            }) = before
            {
                let text = format!("{source}: {prefix} is also an address of {before}");
                wanted.problems.push(text);
            }
        }
    }
}

/// A workload as its node has it.
pub fn local_endpoint(endpoint: &WorkloadEndpoint, spoofing: WorkloadSourceSpoofing) -> Local {
    let spec = &endpoint.spec;
    let mut sources: Vec<IpNet> = spec.ip_networks.iter().map(|it| **it).collect();
    match spoofing {
        WorkloadSourceSpoofing::Any => {
            sources.extend(spec.allow_spoofed_source_prefixes.iter().map(|it| **it));
        }
        WorkloadSourceSpoofing::Disabled => {}
    }
    let pod = if spec.pod.is_empty() {
        &endpoint.metadata.name
    } else {
        &spec.pod
    };
    let interface = if spec.interface_name.is_empty() {
        names::host_interface_name(&endpoint.metadata.namespace, pod)
    } else {
        spec.interface_name.clone()
    };
    Local {
        key: endpoint.key(),
        pod: pod.clone(),
        netns: endpoint.metadata.netns().map(str::to_owned),
        device: spec.endpoint.clone(),
        interface,
        mac: spec.mac.map(|mac| mac.0),
        addresses: spec.ip_networks.iter().map(|it| it.addr()).collect(),
        sources,
        id: WorkloadId::of(endpoint),
    }
}
