//! What a node should have: the resources' wishes, on the host as it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use encap::Tunnel;
use ipnet::IpNet;
use policy::compile::Compiled;
use vrouter_api::bgp::{self, Configuration};
use vrouter_api::{EncapsulationMode, IpPool, Key, Kind, Resource};

use crate::desired::{Desired, Local};
use crate::host_endpoints::{self, HostEndpoints};
use crate::kernel::Kernel;
use crate::notices;
use crate::observed::{HostFacts, Socket};
use crate::pod_link::PodLink;
use crate::policies::failsafes;
use crate::state::State;

/// The MTU of interfaces before the underlay is known: Ethernet's.
pub const ETHERNET_MTU: u32 = 1500;

/// What the process's settings say, not the resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether both ends of a TCP connection that policy cuts get a reset.
    pub reset_cut: bool,
    /// What pods hang on.
    pub pod_link: PodLink,
    /// The name of the host's TUN.
    pub tun: String,
    /// Whether a BIRD does what the resources say.
    pub bird: bool,
    /// Whether the process answers DNS at the pods' gateway.
    pub resolver: bool,
}

/// What a node should have.
pub struct Wanted {
    pub desired: Desired,
    /// Local workloads.
    pub locals: BTreeMap<Key, Local>,
    /// MTU of pods and of the TUN.
    pub mtu: u16,
    /// MTU of the interface to the other nodes.
    pub underlay_mtu: u32,
    /// Tunnels, with the place of their sockets.
    pub sockets: BTreeMap<Tunnel, Socket>,
    /// Which host endpoint stands for which interface.
    pub host_endpoints: HostEndpoints,
    /// The host's own side.
    pub kernel: Kernel,
    /// Compiled policy.
    pub policy: Arc<Compiled>,
    /// The process's settings.
    pub options: Options,
    /// What cannot be done, in words for an operator.
    pub problems: Vec<String>,
}

impl Wanted {
    /// What `state` asks of a host. `desired` is the state's.
    pub fn new(
        state: &mut State,
        mut desired: Desired,
        host: &HostFacts,
        options: &Options,
    ) -> Wanted {
        let underlay = host.underlay.as_ref();
        let underlay_mtu = underlay.map_or(ETHERNET_MTU, |underlay| underlay.mtu);
        let mtu = desired.mtu(underlay_mtu);
        let mut problems = std::mem::take(&mut desired.problems);
        let locals = std::mem::take(&mut desired.locals);
        let sockets = sockets(&desired, host, underlay_mtu, &mut problems);
        let tunnels = sockets.keys().copied();
        let (host_endpoints, remarks) =
            host_endpoints::choose(&state.resources, &state.node, underlay, tunnels);
        problems.extend(remarks);
        state.policies.set_failsafes(failsafes(&desired.felix));
        let policy = state.policies.compile();
        problems.extend(state.policies.problems());
        problems.extend(notices::silent_cases(
            &state.resources,
            &state.policies,
            &state.node,
        ));
        problems.extend(without_bird(state, options));
        let left_to_bird = left_to_bird(state, options);
        Wanted {
            kernel: Kernel::wanted(&desired, underlay, mtu, &left_to_bird),
            locals: locals.into_iter().map(|it| (it.key.clone(), it)).collect(),
            desired,
            mtu,
            underlay_mtu,
            sockets,
            host_endpoints,
            policy,
            options: options.clone(),
            problems,
        }
    }
}

/// Resources of BGP where no BIRD runs.
fn without_bird(state: &State, options: &Options) -> Option<String> {
    let of_bgp = [Kind::BgpConfiguration, Kind::BgpPeer, Kind::BgpFilter];
    let mut all = state.resources.iter();
    let first = all.find(|resource| of_bgp.contains(&resource.kind()));
    let first = first.filter(|_| !options.bird)?.key();
    Some(format!(
        "{first}: BGP's resources have no effect: vrouterd runs no BIRD (bird: off)"
    ))
}

/// The pools without encapsulation, if the host's routes to other nodes' blocks in them are BIRD's.
fn left_to_bird(state: &State, options: &Options) -> Vec<IpNet> {
    let configuration = match state
        .resources
        .find(&Key::global(Kind::BgpConfiguration, "default"))
    {
        Some(Resource::Other(other)) => bgp::read::<Configuration>(other).unwrap_or_default(),
        Some(_) | None => Configuration::default(),
    };
    let routes = configuration.program_cluster_routes.unwrap_or_default();
    if !options.bird || !routes.makes_plain() {
        return Vec::new();
    }
    let plain = |pool: &&IpPool| {
        let modes = [pool.spec.vxlan_mode, pool.spec.ipip_mode];
        modes == [EncapsulationMode::Never; 2]
    };
    let pools = state.resources.pools().filter(plain);
    pools.map(|pool| pool.spec.cidr.trunc()).collect()
}

fn sockets(
    desired: &Desired,
    host: &HostFacts,
    mtu: u32,
    problems: &mut Vec<String>,
) -> BTreeMap<Tunnel, Socket> {
    let mut sockets = BTreeMap::new();
    for &tunnel in &desired.tunnels {
        let family = tunnel.family();
        let Some(net) = desired.address(family) else {
            problems.push(format!("{tunnel}: this node has no {family} address"));
            continue;
        };
        let socket = Socket {
            local: net.addr(),
            port: desired.felix.vxlan_port,
            mtu,
            underlay: host.underlay.as_ref().map(|found| found.index),
        };
        sockets.insert(tunnel, socket);
    }
    sockets
}
