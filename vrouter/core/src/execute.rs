//! Steps are done by a node, through traits small enough for one in memory.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use encap::{Family, Tunnel};
use ipnet::IpNet;
use rustc_hash::FxHashMap;
use vrouter_api::Key;
use vrouter_dataplane::adjacency::Mac;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::tables::Tables;

use crate::desired::Local;
use crate::forwarding::View;
use crate::kernel::KernelRoute;
use crate::learned::{Changes, Hops};
use crate::observed::{Attached, Endpoint, Endpoints, Observed, Socket};
use crate::plan;
use crate::pod_link::PodLink;
use crate::rib::NextHops;
use crate::statics::{By, Nodes};
use crate::step::Step;
use crate::wanted::Wanted;

/// What a node does, or why it did not.
pub type Done<T = ()> = Result<T, String>;

/// Tunnels' sockets and workloads' interfaces.
pub trait Devices {
    /// Opens a tunnel's sockets and gives them to the workers.
    fn open_tunnel(&mut self, tunnel: Tunnel, socket: Socket) -> Done;
    /// Takes a tunnel's sockets from the workers and closes them.
    fn close_tunnel(&mut self, tunnel: Tunnel) -> Done;
    /// Opens a workload's TAP or veth and gives it to the workers; its MAC.
    fn attach(&mut self, local: &Local, mtu: u16, id: InterfaceId, link: PodLink) -> Done<Mac>;
    /// Brings an open interface to a changed resource or MTU; its MAC.
    fn configure(&mut self, local: &Local, mtu: u16) -> Done<Mac>;
    /// Lets go of a workload's namespace, and removes its veth.
    fn detach(&mut self, endpoint: &Key) -> Done;
    /// Takes an interface from all workers and closes it.
    fn close_interface(&mut self, id: InterfaceId) -> Done;
}

/// The host's TUN and routing table.
pub trait HostStack {
    /// Sets the TUN's MTU.
    fn set_mtu(&mut self, mtu: u16) -> Done;
    /// Gives the TUN an address.
    fn add_address(&mut self, address: IpAddr) -> Done;
    /// Removes an address of the TUN.
    fn remove_address(&mut self, address: IpAddr) -> Done;
    /// Makes a route.
    fn set_route(&mut self, route: &KernelRoute) -> Done;
    /// Removes a route.
    fn remove_route(&mut self, route: &KernelRoute) -> Done;
    /// Addresses of all interfaces of the host.
    fn addresses(&mut self) -> Done<BTreeSet<IpAddr>>;
}

/// Who reads the tables.
pub trait Readers {
    /// Publishes tables; `endpoints` are the workloads behind their interfaces.
    fn publish(&mut self, tables: Tables, endpoints: &Endpoints) -> Done;
    /// Waits until all workers have seen a generation.
    fn await_workers(&mut self, generation: u32) -> Done;
}

/// A node that does steps.
pub trait Node: Devices + HostStack + Readers {}

impl<T: Devices + HostStack + Readers> Node for T {}

/// How steps went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What went wrong, in words for an operator.
    pub problems: Vec<String>,
    /// Whether a step was done.
    pub any: bool,
}

/// Does everything that brings a node to what it should have. What failed is in the next plan
/// again.
pub fn converge(observed: &mut Observed, wanted: &Wanted, node: &mut impl Node) -> Outcome {
    let mut outcome = Outcome::default();
    let steps = plan::devices(observed, wanted);
    run(&steps, observed, node, &mut outcome);
    let steps = plan::kernel(observed, wanted);
    run(&steps, observed, node, &mut outcome);
    match node.addresses() {
        Ok(addresses) => observed.host.addresses = addresses,
        Err(problem) => outcome.problems.push(problem),
    }
    publish(observed, wanted, node, &mut outcome);
    outcome
}

/// Attaches workloads that wait; whether anything was done. Workers are not told yet.
pub fn attach_waiting(observed: &mut Observed, wanted: &Wanted, node: &mut impl Node) -> bool {
    let mut outcome = Outcome::default();
    let steps = plan::workloads(observed, wanted);
    run(&steps, observed, node, &mut outcome);
    outcome.any
}

/// Publishes what workers do not know, then closes what they no longer name.
pub fn publish(
    observed: &mut Observed,
    wanted: &Wanted,
    node: &mut impl Node,
    outcome: &mut Outcome,
) {
    let steps = plan::publication(observed, wanted);
    if run(&steps, observed, node, outcome) {
        let steps = plan::release(observed);
        run(&steps, observed, node, outcome);
    }
}

/// Does steps; whether all that must not fail were done.
fn run(
    steps: &[Step],
    observed: &mut Observed,
    node: &mut impl Node,
    outcome: &mut Outcome,
) -> bool {
    for step in steps {
        match execute(step, observed, node) {
            Ok(()) => outcome.any = true,
            Err(problem) => {
                outcome.problems.extend(problem);
                if step.is_barrier() {
                    return false;
                }
            }
        }
    }
    true
}

/// Does one step and notes what came of it.
///
/// # Errors
/// Why it was not done; `None` where that is said elsewhere.
pub fn execute(
    step: &Step,
    observed: &mut Observed,
    node: &mut impl Node,
) -> Result<(), Option<String>> {
    match step {
        Step::CloseTunnel(tunnel) => {
            node.close_tunnel(*tunnel)?;
            observed.tunnels.remove(tunnel);
        }
        Step::OpenTunnel(tunnel, socket) => {
            // One that could not be closed has the place.
            if observed.tunnels.contains_key(tunnel) {
                return Err(None);
            }
            node.open_tunnel(*tunnel, *socket)?;
            observed.tunnels.insert(*tunnel, *socket);
        }
        Step::Forget(key) => {
            node.detach(key)?;
            observed.lose(key, "its resource is gone");
            observed.endpoints.by_key.remove(key);
        }
        Step::Detach(key, reason) => {
            node.detach(key)?;
            observed.lose(key, reason);
        }
        Step::Configure(local, mtu) => match node.configure(local, *mtu) {
            Ok(mac) => {
                let endpoint = entry(observed, local);
                if let Some(attached) = &mut endpoint.attached {
                    (attached.mac, attached.mtu) = (mac, *mtu);
                }
                endpoint.problem = None;
            }
            Err(problem) => {
                // What the resource says now is noted when it is attached again.
                node.detach(&local.key)?;
                observed.lose(&local.key, &problem);
                return Err(None);
            }
        },
        Step::Attach(local, mtu, id, link) => {
            // One that could not be detached is still there, as its resource was.
            let before = observed.endpoints.find(&local.key);
            if before.is_some_and(|endpoint| endpoint.attached.is_some()) {
                return Err(None);
            }
            let attached = node.attach(local, *mtu, *id, *link);
            let endpoint = entry(observed, local);
            match attached {
                Ok(mac) => {
                    let (id, mtu, link) = (*id, *mtu, *link);
                    endpoint.attached = Some(Attached { id, mac, mtu, link });
                    endpoint.problem = None;
                }
                Err(problem) => {
                    endpoint.problem = Some(problem);
                    return Err(None);
                }
            }
        }
        Step::Postpone(local) => {
            let problem = format!("more than {} interfaces", InterfaceId::LIMIT);
            entry(observed, local).problem = Some(problem);
            return Err(None);
        }
        Step::SetMtu(mtu) => {
            node.set_mtu(*mtu)?;
            observed.kernel.mtu = Some(*mtu);
        }
        Step::RemoveAddress(address) => {
            node.remove_address(*address)?;
            observed.kernel.addresses.remove(address);
        }
        Step::AddAddress(address) => {
            node.add_address(*address)?;
            observed.kernel.addresses.insert(*address);
        }
        Step::RemoveRoute(route) => {
            node.remove_route(route)?;
            observed.kernel.routes.remove(&route.destination);
        }
        Step::SetRoute(route) => {
            // One that could not be removed would be forgotten.
            if observed.kernel.routes.contains_key(&route.destination) {
                return Err(None);
            }
            node.set_route(route)?;
            let route = route.clone();
            observed.kernel.routes.insert(route.destination, route);
        }
        Step::Prepare(forwarding) => {
            let prepared = observed.publication.prepare(forwarding);
            prepared.map_err(|error| error.to_string())?;
        }
        Step::Announce => {
            if let Some(tables) = observed.publication.announcement() {
                node.publish(tables, &observed.endpoints)?;
            }
            observed.publication.advance(step);
        }
        Step::Publish => {
            if let Some(tables) = observed.publication.next_tables() {
                node.publish(tables, &observed.endpoints)?;
            }
            observed.publication.advance(step);
        }
        Step::AwaitWorkers => {
            node.await_workers(observed.publication.generation())?;
            observed.publication.advance(step);
        }
        Step::Commit | Step::Collect => observed.publication.advance(step),
        Step::CloseInterface(id) => {
            node.close_interface(*id)?;
            observed.closing.remove(id);
            observed.closed.insert(*id);
        }
        Step::RetireId(id) => {
            observed.closed.remove(id);
        }
    }
    Ok(())
}

/// The workload with what its resource says now.
fn entry<'a>(observed: &'a mut Observed, local: &Local) -> &'a mut Endpoint {
    let key = local.key.clone();
    let endpoint = observed.endpoints.by_key.entry(key);
    let endpoint = endpoint.or_insert_with(|| Endpoint {
        local: local.clone(),
        attached: None,
        problem: None,
    });
    endpoint.local = local.clone();
    endpoint
}

/// Adds or replaces static routes, all or none.
///
/// # Errors
/// The first route that cannot be, in words.
pub fn add_routes(
    observed: &mut Observed,
    wanted: &Wanted,
    node: &mut impl Node,
    routes: &[(IpNet, Nodes)],
) -> Result<(), String> {
    settle(observed, node)?;
    let mut ways: BTreeMap<By, NextHops> = BTreeMap::new();
    for (prefix, nodes) in routes {
        if nodes.is_empty() {
            return Err(format!("{prefix}: names no node"));
        }
        if observed.publication.rib().is_of_resources(prefix) {
            return Err(format!("{prefix}: is routed by a resource"));
        }
        let family = Family::from(prefix.addr());
        if let Entry::Vacant(vacant) = ways.entry(By::Nodes(family, nodes.clone())) {
            let way = match observed.publication.ways().find(vacant.key()) {
                Some(way) => way.clone(),
                None => View { observed, wanted }
                    .way(nodes, family)
                    .map_err(|reason| format!("{prefix}: {reason}"))?,
            };
            vacant.insert(way);
        }
    }
    let by_way = routes.iter().filter_map(|(prefix, nodes)| {
        let family = Family::from(prefix.addr());
        Some((*prefix, ways.get(&By::Nodes(family, nodes.clone()))?))
    });
    let added = observed.publication.add(by_way, &ways);
    added.map_err(|error| error.to_string())?;
    settle(observed, node)
}

/// Removes static routes; how many of them there were.
///
/// # Errors
/// Workers could not be told.
pub fn remove_routes(
    observed: &mut Observed,
    node: &mut impl Node,
    prefixes: &[IpNet],
) -> Result<usize, String> {
    settle(observed, node)?;
    let removed = observed.publication.remove(prefixes);
    settle(observed, node)?;
    Ok(removed)
}

/// Brings learned routes to what the kernel says of them.
///
/// # Errors
/// Workers could not be told, or there are too many different next hops.
pub fn learn(
    observed: &mut Observed,
    wanted: &Wanted,
    node: &mut impl Node,
    changes: Changes,
) -> Result<(), String> {
    settle(observed, node)?;
    let Changes {
        all,
        set,
        gone: named,
    } = changes;
    let gone: Vec<(IpNet, u32)> = if all {
        let learned = observed.publication.rib().learned();
        learned
            .filter(|(prefix, _)| !set.contains_key(prefix))
            .collect()
    } else {
        named.into_iter().collect()
    };
    let mut ways: BTreeMap<By, NextHops> = BTreeMap::new();
    let mut by_hops: FxHashMap<&Hops, NextHops> = FxHashMap::default();
    let view = View { observed, wanted };
    for (_, hops) in set.values() {
        if !by_hops.contains_key(hops) {
            let by = By::Hops(hops.clone());
            let known = observed.publication.ways().find(&by).cloned();
            let way = known.unwrap_or_else(|| view.learned_way(hops));
            by_hops.insert(hops, way.clone());
            ways.insert(by, way);
        }
    }
    let routes = set.iter();
    let routes =
        routes.filter_map(|(prefix, (metric, hops))| Some((*prefix, *metric, by_hops.get(hops)?)));
    let added = observed.publication.learn(routes, &ways);
    added.map_err(|error| error.to_string())?;
    settle(observed, node)?;
    observed.publication.unlearn(gone);
    settle(observed, node)
}

/// Brings the change in hand to its end.
fn settle(observed: &mut Observed, node: &mut impl Node) -> Result<(), String> {
    let mut outcome = Outcome::default();
    let steps = observed.publication.rest();
    if run(&steps, observed, node, &mut outcome) {
        return Ok(());
    }
    Err(outcome.problems.join("; "))
}
