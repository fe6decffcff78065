//! A node in memory: does steps, fails where it is told to, and refuses what would harm packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use encap::Tunnel;
use vrouter_api::Key;
use vrouter_core::desired::Local;
use vrouter_core::execute::{Devices, Done, HostStack, Readers};
use vrouter_core::kernel::KernelRoute;
use vrouter_core::observed::{Endpoints, Socket};
use vrouter_core::pod_link::PodLink;
use vrouter_dataplane::adjacency::{Adjacency, Mac};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::tables::Tables;

/// What a node has, as a kernel would say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) tunnels: BTreeMap<Tunnel, Socket>,
    /// Pods' interfaces: what they hang on, MTU and addresses.
    pub(crate) pods: BTreeMap<Key, (PodLink, u16, Vec<IpAddr>)>,
    pub(crate) mtu: Option<u16>,
    pub(crate) addresses: BTreeSet<IpAddr>,
    pub(crate) routes: BTreeSet<String>,
}

/// A node in memory.
#[derive(Default)]
pub(crate) struct MemoryNode {
    pub(crate) has: Made,
    /// Interfaces that workers have open.
    pub(crate) open: BTreeSet<InterfaceId>,
    /// Tables published last, and those that all workers have seen.
    published: Option<Tables>,
    pub(crate) seen: Option<Tables>,
    /// Calls until one fails.
    pub(crate) fails_after: Option<usize>,
    pub(crate) calls: usize,
}

impl MemoryNode {
    fn call(&mut self) -> Done {
        self.calls += 1;
        match &mut self.fails_after {
            Some(0) => {
                self.fails_after = None;
                Err("the node refuses".to_owned())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The adjacency that workers use for an address.
    pub(crate) fn adjacency(&self, address: IpAddr) -> Option<Adjacency> {
        let tables = self.seen.as_ref()?;
        let id = tables.fib.lookup(address)?;
        Some(tables.adjacencies[id.index()].clone())
    }
}

/// Addresses of a small cluster, and one elsewhere.
pub(crate) fn addresses() -> impl Iterator<Item = IpAddr> {
    let pods = (0..4).flat_map(|block| (0..12).map(move |host| [10, 65, block, host]));
    let others = [
        [172, 16, 0, 1],
        [172, 16, 0, 7],
        [8, 8, 8, 8],
        [192, 0, 2, 1],
    ];
    pods.chain(others).map(IpAddr::from)
}

fn route_text(route: &KernelRoute) -> String {
    format!("{route:?}")
}

fn names(tables: &Tables, id: InterfaceId) -> bool {
    tables.interface(id).is_some()
}

impl Devices for MemoryNode {
    fn open_tunnel(&mut self, tunnel: Tunnel, socket: Socket) -> Done {
        self.call()?;
        let before = self.has.tunnels.insert(tunnel, socket);
        assert_eq!(before, None, "{tunnel:?} is opened twice");
        Ok(())
    }

    fn close_tunnel(&mut self, tunnel: Tunnel) -> Done {
        self.call()?;
        let before = self.has.tunnels.remove(&tunnel);
        assert!(before.is_some(), "{tunnel:?} is closed twice");
        Ok(())
    }

    fn attach(&mut self, local: &Local, mtu: u16, id: InterfaceId, link: PodLink) -> Done<Mac> {
        self.call()?;
        assert!(!InterfaceId::fixed().any(|fixed| fixed == id));
        assert!(self.open.insert(id), "{id} is in use");
        for tables in self.seen.iter().chain(&self.published) {
            assert!(!names(tables, id), "workers know {id} as another's");
        }
        let pod = (link, mtu, local.addresses.clone());
        let before = self.has.pods.insert(local.key.clone(), pod);
        assert_eq!(before, None, "{} is attached twice", local.key);
        Ok(local.mac.unwrap_or([2, 0, 0, 0, 0, 1]))
    }

    fn configure(&mut self, local: &Local, mtu: u16) -> Done<Mac> {
        self.call()?;
        let pod = self.has.pods.get_mut(&local.key).expect("it is attached");
        *pod = (pod.0, mtu, local.addresses.clone());
        Ok(local.mac.unwrap_or([2, 0, 0, 0, 0, 1]))
    }

    fn detach(&mut self, endpoint: &Key) -> Done {
        self.call()?;
        self.has.pods.remove(endpoint);
        Ok(())
    }

    fn close_interface(&mut self, id: InterfaceId) -> Done {
        self.call()?;
        let seen = self.seen.as_ref().expect("tables were published");
        assert!(!names(seen, id), "workers still send by {id}");
        assert!(self.open.remove(&id), "{id} is closed twice");
        Ok(())
    }
}

impl HostStack for MemoryNode {
    fn set_mtu(&mut self, mtu: u16) -> Done {
        self.call()?;
        self.has.mtu = Some(mtu);
        Ok(())
    }

    fn add_address(&mut self, address: IpAddr) -> Done {
        self.call()?;
        assert!(self.has.addresses.insert(address), "{address} is there");
        Ok(())
    }

    fn remove_address(&mut self, address: IpAddr) -> Done {
        self.call()?;
        assert!(
            self.has.addresses.remove(&address),
            "{address} is not there"
        );
        Ok(())
    }

    fn set_route(&mut self, route: &KernelRoute) -> Done {
        self.call()?;
        assert!(self.has.routes.insert(route_text(route)), "{route:?}");
        Ok(())
    }

    fn remove_route(&mut self, route: &KernelRoute) -> Done {
        self.call()?;
        assert!(self.has.routes.remove(&route_text(route)), "{route:?}");
        Ok(())
    }

    fn addresses(&mut self) -> Done<BTreeSet<IpAddr>> {
        let own: IpAddr = [172, 16, 0, 1].into();
        Ok(self.has.addresses.iter().copied().chain([own]).collect())
    }
}

impl Readers for MemoryNode {
    fn publish(&mut self, tables: Tables, _: &Endpoints) -> Done {
        self.call()?;
        for id in self.open.iter().filter(|id| names(&tables, **id)) {
            assert!(tables.workload(*id).is_some(), "{id} is no workload's");
        }
        for interface in tables.interfaces.iter().flatten() {
            let fixed = InterfaceId::fixed().any(|id| id == interface.id);
            assert!(
                fixed || self.open.contains(&interface.id),
                "tables name {}, which is not open",
                interface.name
            );
        }
        self.published = Some(tables);
        Ok(())
    }

    fn await_workers(&mut self, generation: u32) -> Done {
        self.call()?;
        if let Some(tables) = &self.published {
            assert_eq!(tables.generation, generation);
            self.seen = Some(tables.clone());
        }
        // The FIB changes under the workers' eyes: what it names, they know.
        if let Some(tables) = &self.seen {
            for address in addresses() {
                if let Some(id) = tables.fib.lookup(address) {
                    assert!(id.index() < tables.adjacencies.len(), "{address}");
                }
            }
        }
        Ok(())
    }
}
