//! How an agent begins: its devices, threads and watches, before it forwards anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam::channel::unbounded;
use crossbeam::queue::ArrayQueue;
use policy::flow::{self, FlowTable};
use vrouter_api::Kind;
use vrouter_core::desired::desired;
use vrouter_core::observed::Observed;
use vrouter_core::publication::Publication;
use vrouter_core::state::State;
use vrouter_core::wanted::{ETHERNET_MTU, Options, Wanted};
use vrouter_dataplane::id::InterfaceId;
use vrouter_dataplane::worker;
use vrouter_datastore::Datastore;
use vrouter_io::any::AnyDevice;
use vrouter_io::path_mtu::{Mtus, PathMtuWatch};
use vrouter_io::tun;

use crate::bgp::{self, Bgp};
use crate::blocks::Blocks;
use crate::calico_files::CalicoFiles;
use crate::collector::Collector;
use crate::flow_offload::FlowOffload;
use crate::health::Vitals;
use crate::hits::RetiredHits;
use crate::host::Host;
use crate::learned;
use crate::names::Names;
use crate::node::LocalNode;
use crate::pods::Pods;
use crate::reporting::Reporting;
use crate::settings::Settings;
use crate::veths::{OpenVeths, Veths};
use crate::workers::{Shared, Workers};

use super::{Agent, AgentError, Inbox};

/// Events from the packet path that may wait for the collector.
const EVENTS: usize = 4096;

impl Agent {
    /// Makes the host's TUN, starts the workers and begins to read resources. Nothing is
    /// forwarded before [`Agent::run`].
    ///
    /// # Errors
    /// See [`AgentError`]. What was made until then is undone.
    pub fn start(
        settings: Settings,
        store: Arc<dyn Datastore>,
        start: Instant,
    ) -> Result<Self, AgentError> {
        let mut state = State::new(&settings.node).map_err(AgentError::NodeName)?;
        state.policies.set_tie_break(settings.policy_tie_break);
        let mut observed = Observed::default();
        let desired = desired(&state.resources, &settings.node);
        let veths = OpenVeths::open(&settings);
        let kernel = veths.veths.as_ref().map(Veths::kernel);
        if let Some(generation) = veths.generation {
            observed.publication = Publication::after(generation);
        }
        let options = Options {
            reset_cut: settings.reset_cut_connections,
            pod_link: veths.link(),
            tun: settings.tunnel_interface.clone(),
            bird: settings.bgp.mode != bgp::Mode::Off,
            resolver: settings.names.is_some(),
        };
        let wanted = Wanted::new(&mut state, desired, &observed.host, &options);
        let shared = Shared {
            tables: Arc::new(ArcSwap::from_pointee(
                observed.publication.nothing(Arc::clone(&wanted.policy)),
            )),
            flows: Arc::new(FlowTable::new(flow::Config {
                capacity: settings.flow_table_size,
                endpoints: InterfaceId::LIMIT,
                endpoint_limit: settings.flows_per_endpoint,
                admission: settings.new_flows,
                seed: seed(),
                ..flow::Config::default()
            })),
            events: Arc::new(ArrayQueue::new(EVENTS)),
            start,
        };
        // The limit is a workload's; what comes by the host or a tunnel is of many.
        for id in InterfaceId::fixed() {
            shared
                .flows
                .set_endpoint_limit(u32::from(id.0), Some(u32::MAX - 1));
        }
        let queues = tun::open(
            None,
            &settings.tunnel_interface,
            settings.workers,
            ETHERNET_MTU,
        )
        .map_err(
            |error| match vrouter_host::tun_taken(&settings.tunnel_interface) {
                Some(reason) => AgentError::Taken {
                    action: format!("open the TUN {}", settings.tunnel_interface),
                    reason,
                },
                None => error.into(),
            },
        )?;
        let host = Host::open(&settings.tunnel_interface, &settings.sysctl_record)?;
        let (death, died) = unbounded();
        let (failure, failed) = unbounded();
        let collector = Collector::start(shared.clone(), failure)?;
        let workers = Workers::start(
            settings.workers,
            settings.pin_workers,
            Duration::from_micros(settings.busy_poll_us),
            &worker::Config {
                buffers: settings.buffers,
                ..worker::Config::default()
            },
            &shared,
            &death,
        )?;
        workers.add(InterfaceId::HOST, queues.into_iter().map(AnyDevice::Tun));
        let tun = host.tun_index();
        let flow_offload = kernel.map(|kernel| FlowOffload::new(kernel, &shared, tun, &settings));
        let names = match &settings.names {
            Some(resolv_conf) => Some(Names::start(resolv_conf, &workers)?),
            None => None,
        };
        workers.add(InterfaceId::ROUTER, veths.router);
        let watch = store.watch(&watched())?;
        let (path_change, path_mtus) = unbounded();
        let path_watch = PathMtuWatch::start(move |mtus: &Mtus| {
            // The agent is gone when it ends.
            let _ = path_change.send(mtus.clone());
        })?;
        let reporting = Reporting::start(&settings, &store, start)?;
        let bgp = Bgp::start(&settings.bgp)?;
        let (learned_watch, learned) = learned::watch(options.bird)?;
        let calico_files = CalicoFiles::new(&settings.calico_state_directory, &settings.node);
        Ok(Self {
            vitals: Arc::new(Vitals::new(start, settings.observability.clone())),
            observer: None,
            settings,
            state,
            wanted,
            observed,
            node: LocalNode {
                host,
                pods: Pods::new(veths.veths),
                flow_offload,
                workers,
                shared,
                collector,
                hits: RetiredHits::default(),
            },
            no_veths: veths.why_not,
            store,
            reporting,
            bgp,
            names,
            calico_files,
            blocks: Blocks::default(),
            path_watch,
            _learned_watch: learned_watch,
            inbox: Inbox {
                watch,
                died,
                failed,
                path_mtus,
                learned,
            },
            problems: Vec::new(),
            bgp_problems: Vec::new(),
            retry: None,
            changed: None,
            stopping: false,
        })
    }
}

/// Every kind but what IPAM keeps for itself: large, often changed, and nothing to a node.
fn watched() -> Vec<Kind> {
    let all = Kind::ALL.iter().copied();
    all.filter(|kind| !matches!(kind, Kind::IpamBlock | Kind::IpamHandle))
        .collect()
}

/// A secret for the flow table's hash.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // The standard library's hasher has the system's randomness in its keys.
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
