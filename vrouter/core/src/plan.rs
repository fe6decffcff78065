//! The steps from what a node has to what it should have.
//!
//! The order keeps packets safe: a workload's interface is open before tables name it, prefixes point
//! only to adjacencies all workers know, and an interface is closed, and its number given again,
//! only after every worker has seen tables without it.

use std::collections::BTreeSet;

use vrouter_dataplane::id::InterfaceId;

use crate::desired::Local;
use crate::forwarding::Forwarding;
use crate::observed::{Endpoint, Observed};
use crate::pod_link::PodLink;
use crate::step::Step;
use crate::wanted::Wanted;

/// All steps that are due, in their order. A plan that was executed without a fault leaves
/// nothing for the next.
pub fn plan(observed: &Observed, wanted: &Wanted) -> Vec<Step> {
    let mut steps = devices(observed, wanted);
    steps.extend(kernel(observed, wanted));
    steps.extend(publication(observed, wanted));
    steps.extend(release(observed));
    steps
}

/// Steps for tunnels and workloads.
pub fn devices(observed: &Observed, wanted: &Wanted) -> Vec<Step> {
    let mut steps = tunnels(observed, wanted);
    steps.extend(workloads(observed, wanted));
    steps
}

fn tunnels(observed: &Observed, wanted: &Wanted) -> Vec<Step> {
    let stays = |tunnel, socket| wanted.sockets.get(tunnel) == Some(socket);
    let closing = observed.tunnels.iter();
    let closing = closing.filter(|(tunnel, socket)| !stays(tunnel, socket));
    let opening = wanted.sockets.iter();
    let opening = opening.filter(|(tunnel, socket)| observed.tunnels.get(*tunnel) != Some(*socket));
    let closing = closing.map(|(tunnel, _)| Step::CloseTunnel(*tunnel));
    let opening = opening.map(|(tunnel, socket)| Step::OpenTunnel(*tunnel, *socket));
    closing.chain(opening).collect()
}

/// Steps for workloads alone.
pub fn workloads(observed: &Observed, wanted: &Wanted) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for endpoint in observed.endpoints.iter() {
        if !wanted.locals.contains_key(&endpoint.local.key) {
            steps.push(Step::Forget(endpoint.local.key.clone()));
        }
    }
    let mut used: BTreeSet<InterfaceId> = observed.endpoints.attached().map(|(id, _)| id).collect();
    used.extend(observed.closing.iter().chain(&observed.closed));
    let mut free = numbers().filter(move |id| !used.contains(id));
    let link = wanted.options.pod_link;
    for local in wanted.locals.values() {
        let endpoint = observed.endpoints.find(&local.key);
        if let Some(attached) = endpoint.and_then(|e| e.attached) {
            let unchanged = endpoint.is_some_and(|e| e.local == *local);
            if unchanged && attached.mtu == wanted.mtu && attached.link == link {
                continue;
            }
            if !endpoint.is_some_and(|e| remakes(e, local, link)) {
                steps.push(Step::Configure(Box::new(local.clone()), wanted.mtu));
                continue;
            }
            let reason = "it is being made anew";
            steps.push(Step::Detach(local.key.clone(), reason));
        }
        let local = Box::new(local.clone());
        steps.push(match free.next() {
            Some(id) => Step::Attach(local, wanted.mtu, id, link),
            None => Step::Postpone(local),
        });
    }
    steps
}

/// The numbers workloads can have.
fn numbers() -> impl Iterator<Item = InterfaceId> {
    (InterfaceId::FIRST_WORKLOAD.0..InterfaceId::LIMIT as u16).map(InterfaceId)
}

/// Whether a changed resource or setting needs another TAP or veth.
fn remakes(endpoint: &Endpoint, local: &Local, link: PodLink) -> bool {
    let renamed = endpoint.local.interface != local.interface;
    let relinked = endpoint.attached.is_some_and(|it| it.link != link);
    relinked
        || (link == PodLink::Veth && renamed)
        || endpoint.local.netns != local.netns
        || endpoint.local.device != local.device
        || (local.mac.is_some() && endpoint.attached.map(|attached| attached.mac) != local.mac)
}

/// Steps for the host's own side.
pub fn kernel(observed: &Observed, wanted: &Wanted) -> Vec<Step> {
    let (has, wants) = (&observed.kernel, &wanted.kernel);
    let mut steps = Vec::new();
    if has.mtu != wants.mtu {
        steps.extend(wants.mtu.map(Step::SetMtu));
    }
    let gone = has.addresses.difference(&wants.addresses);
    steps.extend(gone.map(|address| Step::RemoveAddress(*address)));
    let new = wants.addresses.difference(&has.addresses);
    steps.extend(new.map(|address| Step::AddAddress(*address)));
    for (prefix, route) in &has.routes {
        // A route by another interface is another route to the kernel.
        if wants.routes.get(prefix) != Some(route) {
            steps.push(Step::RemoveRoute(route.clone()));
        }
    }
    for (prefix, route) in &wants.routes {
        if has.routes.get(prefix) != Some(route) {
            steps.push(Step::SetRoute(route.clone()));
        }
    }
    steps
}

/// Steps for the tables workers read.
pub fn publication(observed: &Observed, wanted: &Wanted) -> Vec<Step> {
    let mut steps = observed.publication.rest();
    let forwarding = Forwarding::new(observed, wanted);
    if !observed.publication.is(&forwarding) {
        steps.push(Step::Prepare(Box::new(forwarding)));
        steps.extend([Step::Announce, Step::AwaitWorkers, Step::Commit]);
        steps.extend([Step::Publish, Step::AwaitWorkers, Step::Collect]);
    }
    steps
}

/// Steps for interfaces no tables name any more.
pub fn release(observed: &Observed) -> Vec<Step> {
    let closing = observed.closing.iter();
    let closing = closing.flat_map(|id| [Step::CloseInterface(*id), Step::RetireId(*id)]);
    let closed = observed.closed.iter().map(|id| Step::RetireId(*id));
    closing.chain(closed).collect()
}
