//! This node: steps are done by its devices, its kernel and its workers.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use encap::Tunnel;
use vrouter_api::Key;
use vrouter_core::desired::Local;
use vrouter_core::execute::{Devices, Done, HostStack, Readers};
use vrouter_core::kernel::KernelRoute;
use vrouter_core::observed::{Endpoints, Socket};
use vrouter_core::pod_link::PodLink;
use vrouter_dataplane::adjacency::Mac;
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::tables::Tables;
use vrouter_io::any::AnyDevice;

use crate::collector::Collector;
use crate::flow_offload::FlowOffload;
use crate::hits::{RetiredHits, Sources};
use crate::host::Host;
use crate::pods::{Pods, Queues};
use crate::tunnels;
use crate::workers::{Shared, Workers};

/// The parts of a node that steps are done with.
pub struct LocalNode {
    /// The host's TUN and routing table.
    pub host: Host,
    /// Workloads' interfaces.
    pub pods: Pods,
    /// What the kernel repeats, where pods are on veths.
    pub flow_offload: Option<FlowOffload>,
    /// The packet loops.
    pub workers: Workers,
    /// What the packet loops share.
    pub shared: Shared,
    /// What the packet path tells.
    pub collector: Collector,
    /// What rules matched before their numbers meant what they mean now.
    pub hits: RetiredHits,
}

impl LocalNode {
    /// The counters of what rules match.
    pub fn hit_sources(&self) -> Sources<'_> {
        let workers = self.workers.observers();
        Sources {
            workers: workers.map(|(observer, _)| &*observer.counters).collect(),
            others: [&*self.collector.expired]
                .into_iter()
                .chain(self.flow_offload.as_ref().map(FlowOffload::admitted))
                .collect(),
        }
    }
}

impl Devices for LocalNode {
    fn open_tunnel(&mut self, tunnel: Tunnel, socket: Socket) -> Done {
        let devices = tunnels::open(tunnel, socket, self.workers.len());
        let (devices, source_ports) = devices.map_err(|error| {
            let port = tunnel.udp_port().map(|_| socket.port);
            match port.and_then(vrouter_host::port_taken) {
                Some(holder) => format!("{error}: {holder}"),
                None => error.to_string(),
            }
        })?;
        self.workers.add(InterfaceId::tunnel(tunnel), devices);
        if let Some(offload) = &self.flow_offload {
            offload.ways().opened(tunnel, &socket, source_ports);
        }
        tracing::info!(%tunnel, local = %socket.local, "open");
        Ok(())
    }

    fn close_tunnel(&mut self, tunnel: Tunnel) -> Done {
        self.workers.remove(InterfaceId::tunnel(tunnel));
        if let Some(offload) = &self.flow_offload {
            offload.ways().closed(tunnel);
        }
        tracing::info!(%tunnel, "closed");
        Ok(())
    }

    fn attach(&mut self, local: &Local, mtu: u16, id: InterfaceId, link: PodLink) -> Done<Mac> {
        let queues = self.workers.len();
        let (mac, queues) = self.pods.attach(local, mtu, id, link, queues)?;
        match queues {
            Queues::Own(taps) => self.workers.add(id, taps.into_iter().map(AnyDevice::Tap)),
            Queues::Shared => self.workers.share(id),
        }
        Ok(mac)
    }

    fn configure(&mut self, local: &Local, mtu: u16) -> Done<Mac> {
        let configured = self.pods.configure(local, mtu);
        configured.inspect_err(|why| {
            tracing::warn!(endpoint = %local.key, why, "workload detached");
        })
    }

    fn detach(&mut self, endpoint: &Key) -> Done {
        self.pods.detach(endpoint);
        Ok(())
    }

    fn close_interface(&mut self, id: InterfaceId) -> Done {
        self.workers.remove(id);
        self.pods.close(id)
    }
}

impl HostStack for LocalNode {
    fn set_mtu(&mut self, mtu: u16) -> Done {
        self.host.set_mtu(mtu)
    }

    fn add_address(&mut self, address: IpAddr) -> Done {
        self.host.add_address(address)
    }

    fn remove_address(&mut self, address: IpAddr) -> Done {
        self.host.remove_address(address)
    }

    fn set_route(&mut self, route: &KernelRoute) -> Done {
        self.host.set_route(route)
    }

    fn remove_route(&mut self, route: &KernelRoute) -> Done {
        self.host.remove_route(route)
    }

    fn addresses(&mut self) -> Done<BTreeSet<IpAddr>> {
        self.host.addresses()
    }
}

impl Readers for LocalNode {
    fn publish(&mut self, tables: Tables, endpoints: &Endpoints) -> Done {
        // Counters for the rules of the tables to be published.
        let mut hits = std::mem::take(&mut self.hits);
        let sources = self.hit_sources();
        sources.reserve(&tables.policy);
        hits.notice(&tables.policy, endpoints.attached(), &sources);
        self.hits = hits;
        if let Some(offload) = &mut self.flow_offload {
            offload.adopt()?;
        }
        let tables = Arc::new(tables);
        self.workers.publish(Arc::clone(&tables));
        match &mut self.flow_offload {
            Some(offload) => offload.believe(&tables),
            None => Ok(()),
        }
    }

    fn await_workers(&mut self, generation: u32) -> Done {
        self.workers.wait_for(generation);
        Ok(())
    }
}
