//! The resources as last told, and what a change of each touches.
//!
//! [`Graph::apply`] only records: it replaces the resource and marks what depends on it. The work
//! is done once per [`Graph::flush`] (in `flush`), from the resources as they then are, which is
//! why the order of updates cannot matter.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustc_hash::{FxHashMap, FxHashSet};

use super::addresses::{Addresses, Membership, SetId};
use super::build::Programs;
use super::matching::MatchIndex;
use super::postings::Postings;
use super::program::Block;
use super::registry::Registry;
use super::rule::SetKey;
use super::slots::Slots;
use super::snapshot::{Compiled, EndpointPrograms, Failsafes};
use super::symbols::{Pair, Symbol, Symbols};
use crate::model::{
    Endpoint, EndpointKey, Name, NetworkSet, NetworkSetKey, Policy, PolicyKey, Profile, Service,
    ServiceKey, Tier,
};

/// One change of the resources: a new or changed one, or the key of one that is gone.
#[derive(Clone, Debug)]
pub enum Update {
    /// A tier. The built-in ones are there from the start.
    Tier(Tier),
    /// A tier is gone; a built-in one falls back to its default.
    RemoveTier(Name),
    /// A policy of any kind.
    Policy(Arc<Policy>),
    /// A policy is gone.
    RemovePolicy(PolicyKey),
    /// A profile.
    Profile(Arc<Profile>),
    /// A profile is gone.
    RemoveProfile(Name),
    /// A network set, global or not.
    NetworkSet(NetworkSet),
    /// A network set is gone.
    RemoveNetworkSet(NetworkSetKey),
    /// A workload or host endpoint of any node.
    Endpoint(Endpoint),
    /// An endpoint is gone.
    RemoveEndpoint(EndpointKey),
    /// The endpoints of a Kubernetes service.
    Service(Service),
    /// A service is gone.
    RemoveService(ServiceKey),
    /// The failsafe ports of host endpoints.
    Failsafes(Failsafes),
}

impl From<Policy> for Update {
    fn from(policy: Policy) -> Self {
        Self::Policy(Arc::new(policy))
    }
}

impl From<Profile> for Update {
    fn from(profile: Profile) -> Self {
        Self::Profile(Arc::new(profile))
    }
}

impl From<Tier> for Update {
    fn from(tier: Tier) -> Self {
        Self::Tier(tier)
    }
}

impl From<Endpoint> for Update {
    fn from(endpoint: Endpoint) -> Self {
        Self::Endpoint(endpoint)
    }
}

impl From<NetworkSet> for Update {
    fn from(set: NetworkSet) -> Self {
        Self::NetworkSet(set)
    }
}

/// The incremental compiler of one node.
///
/// ```
/// use policy::compile::Graph;
/// let mut graph = Graph::new(policy::model::Name::new("node-1").unwrap());
/// // graph.apply(update); …
/// graph.flush();
/// let tables = graph.snapshot();
/// assert_eq!(tables.endpoints().count(), 0);
/// ```
pub struct Graph {
    pub(super) node: Name,
    pub(super) symbols: Symbols,
    pub(super) tiers: FxHashMap<Name, Tier>,
    pub(super) policies: Slots<PolicyKey, PolicyState>,
    pub(super) profiles: Slots<Name, ProfileState>,
    pub(super) items: Slots<ItemKey, Item>,
    /// Own labels of items, and those that profiles hand on.
    pub(super) item_labels: Postings,
    pub(super) profile_labels: Postings,
    pub(super) services: FxHashMap<ServiceKey, Vec<IpAddr>>,
    pub(super) owners: FxHashMap<IpNet, Owners>,
    pub(super) sets: Sets,
    pub(super) policy_index: MatchIndex<u32>,
    pub(super) locals: Vec<Option<Local>>,
    pub(super) free_locals: VecDeque<u32>,
    pub(super) registry: Registry,
    pub(super) programs: Programs,
    pub(super) addresses: Addresses,
    pub(super) memberships: FxHashSet<Membership>,
    pub(super) memberships_limit: usize,
    pub(super) failsafes: Arc<Failsafes>,
    pub(super) dirty: Dirty,
    pub(super) endpoints: Arc<Vec<Option<Arc<EndpointPrograms>>>>,
    pub(super) published: Arc<Compiled>,
}

/// What changed since the last flush.
#[derive(Default)]
pub(super) struct Dirty {
    pub(super) items: Vec<u32>,
    pub(super) policies: FxHashSet<u32>,
    /// Profiles whose rules changed.
    pub(super) profiles: FxHashSet<u32>,
    /// Prefixes whose owners, or the owners' memberships, changed.
    pub(super) nets: FxHashSet<IpNet>,
    /// Local endpoints whose programs must be built again.
    pub(super) locals: FxHashSet<u32>,
    /// Places of policies.
    pub(super) order: bool,
    /// Tiers, which all programs depend on.
    pub(super) tiers: bool,
    pub(super) failsafes: bool,
    /// The set of local endpoints.
    pub(super) endpoints: bool,
}

pub(super) struct PolicyState {
    pub(super) policy: Arc<Policy>,
    /// Local endpoints that the policy applies to.
    pub(super) users: u32,
    /// Per direction, while it has users.
    pub(super) blocks: Option<[Option<Arc<Block>>; 2]>,
    pub(super) held: Vec<SetId>,
    /// Place among all policies of all tiers.
    pub(super) rank: u32,
}

pub(super) struct ProfileState {
    pub(super) name: Name,
    /// None while it is only named by others.
    pub(super) profile: Option<Arc<Profile>>,
    pub(super) labels: Box<[Pair]>,
    pub(super) users: FxHashSet<u32>,
    pub(super) blocks: Option<[Arc<Block>; 2]>,
    pub(super) held: Vec<SetId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum ItemKey {
    Endpoint(EndpointKey),
    NetworkSet(NetworkSetKey),
    /// One address of a service.
    Service(ServiceKey, IpAddr),
}

/// Something with addresses that sets can have as a member.
#[derive(Default)]
pub(super) struct Item {
    pub(super) own: Box<[Pair]>,
    pub(super) parents: Box<[u32]>,
    pub(super) nets: Box<[IpNet]>,
    /// Name, protocol, number. The name is unused in services.
    pub(super) ports: Box<[(Symbol, u8, u16)]>,
    pub(super) membership: Membership,
    /// Of an address of a service, whose.
    pub(super) service: Option<Box<ServiceKey>>,
    pub(super) local: Option<u32>,
    pub(super) dirty: bool,
}

/// The items that have a prefix: one, nearly always.
pub(super) enum Owners {
    One(u32),
    Many(Vec<u32>),
}

impl Owners {
    pub(super) fn as_slice(&self) -> &[u32] {
        match self {
            Self::One(item) => std::slice::from_ref(item),
            Self::Many(items) => items,
        }
    }
}

pub(super) struct Local {
    pub(super) key: EndpointKey,
    pub(super) item: u32,
    /// Policies that apply, sorted by slot.
    pub(super) policies: Vec<u32>,
}

/// The sets that rules name.
#[derive(Default)]
pub(super) struct Sets {
    pub(super) states: Vec<Option<SetState>>,
    pub(super) by_key: FxHashMap<SetKey, SetId>,
    pub(super) free: Vec<SetId>,
    pub(super) index: MatchIndex<SetId>,
    /// Sets that no item was matched against yet.
    pub(super) fresh: Vec<SetId>,
    /// Sets that no rule names; kept for a while, for most come back.
    pub(super) unused: usize,
}

pub(super) struct SetState {
    pub(super) key: SetKey,
    pub(super) refs: u32,
    /// Of named ports: the name and protocol.
    pub(super) named: Option<(Symbol, u8)>,
}

impl Graph {
    /// A compiler for the endpoints of this node. Calico's built-in tiers are there already.
    #[must_use]
    pub fn new(node: Name) -> Self {
        let registry = Registry::new();
        let failsafes = Arc::new(Failsafes::default());
        let published = Compiled {
            generation: 0,
            addresses: Addresses::default(),
            endpoints: Arc::default(),
            by_key: Arc::default(),
            rules: registry.infos(),
            failsafes: failsafes.clone(),
        };
        Self {
            node,
            symbols: Symbols::default(),
            tiers: Tier::built_in()
                .into_iter()
                .map(|t| (t.name().clone(), t))
                .collect(),
            policies: Slots::default(),
            profiles: Slots::default(),
            items: Slots::default(),
            item_labels: Postings::default(),
            profile_labels: Postings::default(),
            services: FxHashMap::default(),
            owners: FxHashMap::default(),
            sets: Sets::default(),
            policy_index: MatchIndex::default(),
            locals: Vec::new(),
            free_locals: VecDeque::new(),
            registry,
            programs: Programs::new(),
            addresses: Addresses::default(),
            memberships: FxHashSet::default(),
            memberships_limit: 1024,
            failsafes,
            dirty: Dirty::default(),
            endpoints: Arc::default(),
            published: Arc::new(published),
        }
    }

    /// The tables as of the last [`Self::flush`].
    #[must_use]
    pub fn snapshot(&self) -> Arc<Compiled> {
        self.published.clone()
    }

    /// Records a change. Nothing is visible before [`Self::flush`]; call that after a batch.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Tier(tier) => self.put_tier(tier),
            Update::RemoveTier(name) => self.remove_tier(&name),
            Update::Policy(policy) => self.put_policy(policy),
            Update::RemovePolicy(key) => self.remove_policy(&key),
            Update::Profile(profile) => self.put_profile(profile),
            Update::RemoveProfile(name) => self.remove_profile(&name),
            Update::NetworkSet(set) => self.put_network_set(&set),
            Update::RemoveNetworkSet(key) => self.remove_item(&ItemKey::NetworkSet(key)),
            Update::Endpoint(endpoint) => self.put_endpoint(&endpoint),
            Update::RemoveEndpoint(key) => self.remove_item(&ItemKey::Endpoint(key)),
            Update::Service(service) => self.put_service(&service),
            Update::RemoveService(key) => {
                self.put_service(&Service {
                    key,
                    endpoints: Vec::new(),
                });
            }
            Update::Failsafes(failsafes) => {
                self.failsafes = Arc::new(failsafes);
                self.dirty.failsafes = true;
            }
        }
    }
}
