//! Containers' names: the resolver at their gateway, and what it may answer.

use std::net::IpAddr;
use std::path::Path;

use vrouter_api::WorkloadEndpoint;
use vrouter_core::resources::Resources;
use vrouter_dataplane::id::InterfaceId;
use vrouter_io::any::AnyDevice;
use vrouter_io::resolver;
use vrouter_names::{Container, Directory, Server, is_name};

use crate::agent::AgentError;
use crate::workers::Workers;

/// The names of a container, joined by commas.
const NAMES: &str = "vrouter.io/names";
/// The network of a container.
const NETWORK: &str = "vrouter.io/cni-network";

/// The resolver of this node.
#[derive(Debug)]
pub(crate) struct Names {
    server: Server,
}

impl Names {
    /// Starts it, behind an interface of its own.
    pub(crate) fn start(resolv_conf: &Path, workers: &Workers) -> Result<Names, AgentError> {
        let link = resolver::open(workers.len())?;
        let server = Server::start(link.udp, link.tcp, resolv_conf.to_owned())?;
        let queues = link.queues.into_iter().map(AnyDevice::Tun);
        workers.add(InterfaceId::RESOLVER, queues);
        Ok(Names { server })
    }

    /// Answers with the names that the resources have now.
    pub(crate) fn update(&self, resources: &Resources) {
        let containers = resources.endpoints().filter_map(container);
        self.server.set(Directory::new(containers));
    }
}

/// The container of an endpoint with names.
fn container(endpoint: &WorkloadEndpoint) -> Option<Container> {
    let annotations = &endpoint.metadata.annotations;
    let names = annotations.get(NAMES)?.split(',').map(str::trim);
    let networks = endpoint.spec.ip_networks.iter();
    Some(Container {
        network: annotations.get(NETWORK)?.clone(),
        names: names.filter(|it| is_name(it)).map(str::to_owned).collect(),
        addresses: networks.map(|net| -> IpAddr { net.addr() }).collect(),
    })
}
