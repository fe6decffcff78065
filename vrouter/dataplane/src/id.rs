//! Index types: every table of the packet path has its own, so that none is used for another.

use encap::Tunnel;

/// Declares a copyable index newtype.
macro_rules! index {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The position in the table this index belongs to.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index! {
    /// An interface of this node: a pod's, the host's TUN, or one kind of tunnel.
    InterfaceId(u16)
}

index! {
    /// A row of the adjacency table. Never given to another adjacency while a worker may still
    /// hold tables in which it meant the old one.
    AdjacencyId(u32)
}

impl InterfaceId {
    /// The TUN to the host's stack.
    pub const HOST: Self = Self(0);
    /// The TUN to the process's own resolver.
    pub const RESOLVER: Self = Self(Self::HOST.0 + 1 + Tunnel::ALL.len() as u16);
    /// The device shared by workloads on veths, `vrouter0`: in no tables, its frames name theirs.
    pub const ROUTER: Self = Self(Self::RESOLVER.0 + 1);
    /// The first of a workload: those before it are fixed.
    pub const FIRST_WORKLOAD: Self = Self(Self::ROUTER.0 + 1);
    /// How many interfaces one process can have; counters are sized by it.
    pub const LIMIT: usize = 4096;

    /// The interface of a tunnel.
    pub const fn tunnel(tunnel: Tunnel) -> Self {
        Self(Self::HOST.0 + 1 + tunnel.index())
    }

    /// Those that are no workload's.
    pub fn fixed() -> impl Iterator<Item = Self> {
        (0..Self::FIRST_WORKLOAD.0).map(Self)
    }
}
