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

use super::addresses::Addresses;
use super::matching::MatchIndex;
use super::membership::{GroupId, Membership, SetId};
use super::owners::Owners;
use super::postings::Postings;
use super::program::Block;
use super::programs::Programs;
use super::registry::Registry;
use super::rule::SetKey;
use super::slots::Slots;
use super::snapshot::{Compiled, EndpointPrograms, Failsafes};
use super::symbols::{Pair, Symbol, Symbols};
use crate::model::{
    Endpoint, EndpointKey, Name, NetworkSet, NetworkSetKey, Policy, PolicyKey, Prefixes, Profile,
    Service, ServiceKey, TieBreak, Tier,
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
    /// The text that orders policies of equal order.
    TieBreak(TieBreak),
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
    pub(super) owners: Owners,
    /// Numbers of groups that no item has, and how many there are.
    pub(super) free_groups: Vec<GroupId>,
    pub(super) groups: u32,
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
    pub(super) tie_break: TieBreak,
    pub(super) dirty: Dirty,
    pub(super) work: Work,
    pub(super) endpoints: Arc<Vec<Option<Arc<EndpointPrograms>>>>,
    pub(super) published: Arc<Compiled>,
}

/// Steps of the compiler since it was made: what a change costs, whatever the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Endpoints, network sets and service addresses matched against selectors.
    pub items: u64,
    /// Policies put in order, and matched against local endpoints one by one.
    pub policies: u64,
    /// Prefixes of items compared that are not at equal ends of the old and new list, and
    /// prefixes filed or cleared in the table of addresses.
    pub prefixes: u64,
    /// Rules compiled.
    pub rules: u64,
    /// Rules laid out in programs.
    pub entries: u64,
}

impl Work {
    /// All steps.
    #[must_use]
    pub fn total(self) -> u64 {
        self.items + self.policies + self.prefixes + self.rules + self.entries
    }
}

/// What changed since the last flush.
#[derive(Default)]
pub(super) struct Dirty {
    pub(super) items: Vec<u32>,
    pub(super) policies: FxHashSet<u32>,
    /// Profiles whose rules changed.
    pub(super) profiles: FxHashSet<u32>,
    /// Prefixes whose owners, or the owners' memberships, changed; some more than once.
    pub(super) nets: Vec<IpNet>,
    /// Memberships of groups.
    pub(super) groups: bool,
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
    pub(super) nets: Prefixes,
    /// Of an item that has, or had, many prefixes.
    pub(super) group: Option<Box<Group>>,
    /// Name, protocol, number. The name is unused in services.
    pub(super) ports: Box<[(Symbol, u8, u16)]>,
    pub(super) membership: Membership,
    /// Of an address of a service, whose.
    pub(super) service: Option<Box<ServiceKey>>,
    pub(super) local: Option<u32>,
    pub(super) dirty: bool,
}

/// What the many prefixes of one item have in common.
pub(super) struct Group {
    pub(super) id: GroupId,
    /// What its prefixes have in the table of addresses.
    pub(super) reference: Membership,
    /// Prefixes that other items have too, which have memberships of their own.
    pub(super) shared: FxHashSet<IpNet>,
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
            owners: Owners::default(),
            free_groups: Vec::new(),
            groups: 0,
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
            tie_break: TieBreak::default(),
            dirty: Dirty::default(),
            work: Work::default(),
            endpoints: Arc::default(),
            published: Arc::new(published),
        }
    }

    /// The tables as of the last [`Self::flush`].
    #[must_use]
    pub fn snapshot(&self) -> Arc<Compiled> {
        self.published.clone()
    }

    /// The steps taken so far.
    #[must_use]
    pub fn work(&self) -> Work {
        self.work
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
            Update::TieBreak(by) => {
                if by != self.tie_break {
                    self.tie_break = by;
                    (self.dirty.order, self.dirty.tiers) = (true, true);
                }
            }
        }
    }
}
