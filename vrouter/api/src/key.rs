//! What identifies a resource: its [`Kind`], namespace and name.

use std::fmt;

use serde::{Serialize, Serializer};

/// The API group and version of most kinds.
pub(crate) const CALICO_V3: &str = "projectcalico.org/v3";
/// Kubernetes' own NetworkPolicy.
pub(crate) const KUBERNETES_V1: &str = "networking.k8s.io/v1";
/// The API version of Kubernetes' oldest kinds.
pub(crate) const CORE_V1: &str = "v1";
/// That of EndpointSlice.
pub(crate) const DISCOVERY_V1: &str = "discovery.k8s.io/v1";
/// Where Calico keeps its IPAM kinds when Kubernetes is its store; accepted for those alone.
pub(crate) const CRD_V1: &str = "crd.projectcalico.org/v1";

/// The one table of kinds, given to the macro `$then`: those with a type of their own, whose file
/// in `kinds/` says everything else of them, and those that are kept as they were written.
macro_rules! kinds_table {
    ($then:ident) => {
        $then! {
            typed {
                /// A node of the cluster: its underlay and tunnel addresses.
                Node "Node" "nodes" CALICO_V3 global;
                /// A range of pod addresses and how they travel between nodes.
                IpPool "IPPool" "ippools" CALICO_V3 global;
                /// One interface of one pod.
                WorkloadEndpoint "WorkloadEndpoint" "workloadendpoints" CALICO_V3 namespaced;
                /// An interface of a host.
                HostEndpoint "HostEndpoint" "hostendpoints" CALICO_V3 global;
                /// Which node owns which block of addresses.
                BlockAffinity "BlockAffinity" "blockaffinities" CALICO_V3 global;
                /// An order of policies, first to last.
                Tier "Tier" "tiers" CALICO_V3 global;
                /// Rules for the endpoints of a namespace.
                NetworkPolicy "NetworkPolicy" "networkpolicies" CALICO_V3 namespaced;
                /// Rules for endpoints of every namespace.
                GlobalNetworkPolicy "GlobalNetworkPolicy" "globalnetworkpolicies" CALICO_V3 global;
                /// A NetworkPolicy that is only watched.
                StagedNetworkPolicy "StagedNetworkPolicy" "stagednetworkpolicies" CALICO_V3 namespaced;
                /// A GlobalNetworkPolicy that is only watched.
                StagedGlobalNetworkPolicy "StagedGlobalNetworkPolicy" "stagedglobalnetworkpolicies" CALICO_V3 global;
                /// A Kubernetes NetworkPolicy that is only watched.
                StagedKubernetesNetworkPolicy "StagedKubernetesNetworkPolicy" "stagedkubernetesnetworkpolicies" CALICO_V3 namespaced;
                /// Kubernetes' own NetworkPolicy (`networking.k8s.io/v1`).
                KubernetesNetworkPolicy "NetworkPolicy" "networkpolicies" KUBERNETES_V1 namespaced;
                /// Labelled prefixes for the rules of one namespace.
                NetworkSet "NetworkSet" "networksets" CALICO_V3 namespaced;
                /// Labelled prefixes for the rules of every namespace.
                GlobalNetworkSet "GlobalNetworkSet" "globalnetworksets" CALICO_V3 global;
                /// Rules and labels inherited by the endpoints that name it.
                Profile "Profile" "profiles" CALICO_V3 global;
                /// Settings of the node agent, for all nodes (`default`) or one (`node.<name>`).
                FelixConfiguration "FelixConfiguration" "felixconfigurations" CALICO_V3 global;
            }
            stored {
                /// Known, not acted on.
                BgpConfiguration "BGPConfiguration" "bgpconfigurations" CALICO_V3 global;
                /// Known, not acted on.
                BgpPeer "BGPPeer" "bgppeers" CALICO_V3 global;
                /// Known, not acted on.
                BgpFilter "BGPFilter" "bgpfilters" CALICO_V3 global;
                /// Known, not acted on.
                IpamConfiguration "IPAMConfiguration" "ipamconfigurations" CALICO_V3 global;
                /// Known, not acted on.
                IpReservation "IPReservation" "ipreservations" CALICO_V3 global;
                /// Known, not acted on.
                IpamBlock "IPAMBlock" "ipamblocks" CALICO_V3 global;
                /// Known, not acted on.
                IpamHandle "IPAMHandle" "ipamhandles" CALICO_V3 global;
                /// Known, not acted on.
                ClusterInformation "ClusterInformation" "clusterinformations" CALICO_V3 global;
                /// Known, not acted on.
                KubeControllersConfiguration "KubeControllersConfiguration" "kubecontrollersconfigurations" CALICO_V3 global;
                /// Known, not acted on.
                CalicoNodeStatus "CalicoNodeStatus" "caliconodestatuses" CALICO_V3 global;
                /// A service of Kubernetes: addresses that stand for pods.
                Service "Service" "services" CORE_V1 namespaced;
                /// Some of the endpoints of a Service.
                EndpointSlice "EndpointSlice" "endpointslices" DISCOVERY_V1 namespaced;
                /// Passwords of Kubernetes.
                Secret "Secret" "secrets" CORE_V1 namespaced;
            }
        }
    };
}
pub(crate) use kinds_table;

macro_rules! kinds {
    (@scope namespaced) => { true };
    (@scope global) => { false };
    ($($section:ident {
        $($(#[$doc:meta])* $variant:ident $name:literal $plural:literal $api:ident $scope:ident;)*
    })*) => {
        /// Every kind this parser knows by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($($(#[$doc])* $variant,)*)*
        }

        impl Kind {
            /// Every kind, in order of declaration.
            pub const ALL: &[Kind] = &[$($(Kind::$variant,)*)*];

            /// The kind as written in a resource: `IPPool`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($(Kind::$variant => $name,)*)* }
            }

            /// The plural in lower case, as in etcd's keys: `ippools`.
            #[must_use]
            pub fn plural(self) -> &'static str {
                match self { $($(Kind::$variant => $plural,)*)* }
            }

            /// The `apiVersion` it is printed with.
            #[must_use]
            pub fn api_version(self) -> &'static str {
                match self { $($(Kind::$variant => $api,)*)* }
            }

            /// Whether its resources live in a namespace.
            #[must_use]
            pub fn namespaced(self) -> bool {
                match self { $($(Kind::$variant => kinds!(@scope $scope),)*)* }
            }
        }
    };
}

kinds_table!(kinds);

impl Kind {
    /// The kind of that name and API version.
    ///
    /// # Errors
    /// A sentence that says which of the two is wrong and what is expected.
    pub(crate) fn find(name: &str, api_version: &str) -> Result<Kind, WrongKind> {
        let mut expected = None;
        for &kind in Kind::ALL.iter().filter(|kind| kind.name() == name) {
            if kind.api_version() == api_version {
                return Ok(kind);
            }
            if kind.stored_as_crd() && api_version == CRD_V1 {
                return Ok(kind);
            }
            expected.get_or_insert(kind);
        }
        match expected {
            Some(kind) => Err(WrongKind::Version(kind)),
            None => Err(WrongKind::Name),
        }
    }

    /// Whether what it holds must not be shown to others than its owner.
    #[must_use]
    pub fn is_secret(self) -> bool {
        self == Kind::Secret
    }

    fn stored_as_crd(self) -> bool {
        matches!(
            self,
            Kind::BlockAffinity | Kind::IpamBlock | Kind::IpamHandle
        )
    }
}

/// Why [`Kind::find`] found nothing.
#[derive(Debug)]
pub(crate) enum WrongKind {
    /// No kind has that name.
    Name,
    /// The name is known under another API version.
    Version(Kind),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What identifies one resource in a datastore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for kinds that have none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// The key of a resource without a namespace.
    #[must_use]
    pub fn global(kind: Kind, name: &str) -> Key {
        Key {
            kind,
            namespace: String::new(),
            name: name.to_owned(),
        }
    }

    /// The key of a resource in a namespace.
    #[must_use]
    pub fn namespaced(kind: Kind, namespace: &str, name: &str) -> Key {
        Key {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// `IPPool(default)`, `NetworkPolicy(prod/web)`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}({})", self.kind, self.name)
        } else {
            write!(f, "{}({}/{})", self.kind, self.namespace, self.name)
        }
    }
}
