//! What is asked for: the options of a lab, checked for contradictions.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
pub use encap::{Family, Tunnel};
use serde::{Deserialize, Serialize};

use crate::addresses::blocks_per_node;
use crate::error::{LabError, Result};

/// How packets of pods travel between nodes. CrossSubnet modes put the nodes into two subnets,
/// joined by a router: odd nodes in the first, even nodes in the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Encap {
    /// VXLAN between all nodes (vxlanMode Always).
    Vxlan,
    /// IP in IP between all nodes (ipipMode Always). IPv6 pools are routed: there is no IPIP for
    /// IPv6, as in Calico.
    Ipip,
    /// Plain routes between the nodes.
    None,
    /// VXLAN between the subnets, plain routes inside one (vxlanMode CrossSubnet).
    CrossSubnet,
    /// IP in IP between the subnets, plain routes inside one (ipipMode CrossSubnet). IPv6 pools use
    /// VXLAN there.
    IpipCrossSubnet,
}

impl Encap {
    /// Whether the nodes are spread over two subnets.
    pub fn crosses_subnets(self) -> bool {
        match self {
            Self::CrossSubnet | Self::IpipCrossSubnet => true,
            Self::Vxlan | Self::Ipip | Self::None => false,
        }
    }

    /// The tunnel used between nodes for one address family, if any.
    pub fn tunnel(self, family: Family) -> Option<Tunnel> {
        match (self, family) {
            (Self::Vxlan | Self::CrossSubnet, family)
            | (Self::IpipCrossSubnet, family @ Family::V6) => Some(Tunnel::Vxlan(family)),
            (Self::Ipip | Self::IpipCrossSubnet, Family::V4) => Some(Tunnel::Ipip),
            (Self::None, _) | (Self::Ipip, Family::V6) => None,
        }
    }
}

/// The address families of pods and nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Families {
    /// IPv4 alone.
    #[value(name = "4")]
    #[serde(rename = "4")]
    V4,
    /// IPv6 alone.
    #[value(name = "6")]
    #[serde(rename = "6")]
    V6,
    /// Both.
    #[value(name = "dual")]
    #[serde(rename = "dual")]
    Dual,
}

impl Families {
    /// Whether IPv4 is among them.
    pub fn has_v4(self) -> bool {
        self != Self::V6
    }

    /// Whether IPv6 is among them.
    pub fn has_v6(self) -> bool {
        self != Self::V4
    }

    /// Whether `family` is among them.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.has_v4(),
            Family::V6 => self.has_v6(),
        }
    }
}

/// What forwards the packets of a lab's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// One vrouterd per node.
    Vrouter,
    /// The kernel, set up as Calico does it: veth pods, iptables or nft chains, ipsets, conntrack.
    Kernel,
    /// Two pods on one veth, with no node between them: the upper reference.
    Direct,
    /// Two pods on the plainest copy loop between TAPs: the yardstick of a userspace path. With two
    /// nodes, one loop on each, between its one pod and the underlay (IPv4, vxlan or none).
    TapLoop,
}

/// The kernel backend's packet filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum KernelRules {
    /// Calico-shaped iptables chains and ipsets.
    Iptables,
    /// The same in nftables, with verdict maps for the dispatch.
    Nft,
    /// No rules and no conntrack.
    None,
}

/// Whether the underlay's interfaces segment and sum in (pretended) hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Offload {
    /// As veth devices come: super-packets and partial checksums cross the underlay.
    On,
    /// Every packet on the wire is at most the MTU and carries its checksums.
    Off,
}

/// What pods of vRouter nodes hang on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PodLink {
    /// TAPs that vrouterd reads itself.
    Tap,
    /// Veths with an end on the node.
    Veth,
}

/// Where the nodes' vRouters find their resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Store {
    /// A directory of files that all nodes watch.
    #[default]
    Directory,
    /// An etcd in a namespace of its own, reached over the underlay.
    Etcd,
}

/// The options of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Args)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Number of nodes.
    #[arg(long, default_value_t = 2)]
    pub nodes: usize,
    /// Number of pods on each node.
    #[arg(long, default_value_t = 2)]
    pub pods: usize,
    /// How packets of pods travel between nodes; the cross-subnet modes put odd and even nodes
    /// into different subnets.
    #[arg(long, value_enum, default_value = "vxlan")]
    pub encap: Encap,
    /// Puts odd and even nodes into different subnets with every encapsulation; the router between
    /// them knows the blocks of pods where there is no tunnel.
    #[arg(long)]
    #[serde(default)]
    pub two_subnets: bool,
    /// Address families of pods and nodes.
    #[arg(long, value_enum, default_value = "4")]
    pub family: Families,
    /// Workers of each vrouterd (its own default when absent).
    #[arg(long)]
    pub workers: Option<usize>,
    /// What forwards the packets.
    #[arg(long, value_enum, default_value = "vrouter")]
    pub backend: Backend,
    /// Where the nodes' vRouters find their resources.
    #[arg(long, value_enum, default_value = "directory")]
    #[serde(default)]
    pub datastore: Store,
    /// What pods of vRouter nodes hang on (vrouterd's own default when absent).
    #[arg(long, value_enum)]
    #[serde(default)]
    pub pod_link: Option<PodLink>,
    /// Policy rules before and with the one that matches, in each direction of every pod;
    /// 0: no policy, the profile decides.
    #[arg(long, default_value_t = 8)]
    pub rules: usize,
    /// The kernel backend's packet filter.
    #[arg(long, value_enum, default_value = "iptables")]
    pub kernel_rules: KernelRules,
    /// MTU of the underlay.
    #[arg(long, default_value_t = 1500)]
    pub mtu: usize,
    /// Segmentation and checksum offloads of the underlay.
    #[arg(long, value_enum, default_value = "on")]
    pub underlay_offload: Offload,
    /// Node 2 and up use the kernel, node 1 the vRouter.
    #[arg(long)]
    pub mixed: bool,
    /// The tap-loop backend of one node spins instead of sleeping in poll(2).
    #[arg(long)]
    pub spin: bool,
    /// The tap-loop backend spins this many nanoseconds for each packet: for tests that must see a
    /// slowdown.
    #[arg(long, hide = true, default_value_t = 0, value_name = "NANOSECONDS")]
    #[serde(default)]
    pub burden: u64,
    /// More arguments for the tap-loop backend, for example `--tap-loop-arg=--io-uring` on one node
    /// and `--tap-loop-arg=--spin=0` on two.
    #[arg(long = "tap-loop-arg", value_name = "ARG", allow_hyphen_values = true)]
    #[serde(default)]
    pub tap_loop_args: Vec<String>,
    /// The vrouterd to start (default: the one beside this program, then the one in PATH).
    #[arg(long, value_name = "PATH", env = "VROUTERD")]
    pub vrouterd: Option<PathBuf>,
    /// More arguments for each vrouterd, for example `--vrouterd-arg=--log-level=debug`.
    #[arg(long = "vrouterd-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub vrouterd_args: Vec<String>,
}

impl Default for Spec {
    /// What the command line gives when no option is named.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            spec: Spec,
        }
        let parsed = <Only as clap::Parser>::try_parse_from(["lab"]);
        parsed.expect("every option has a default").spec
    }
}

impl Spec {
    /// Checks that the options can be met together.
    ///
    /// # Errors
    /// [`LabError::Invalid`] with the option to change.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(LabError::Invalid(text));
        if !(1..=200).contains(&self.nodes) {
            return invalid(format!("--nodes {}: between 1 and 200", self.nodes));
        }
        if !(1..=1000).contains(&self.pods) {
            return invalid(format!("--pods {}: between 1 and 1000", self.pods));
        }
        if self.nodes * blocks_per_node(self.pods) > 1024 {
            return invalid(format!(
                "--nodes {} --pods {}: the pools hold 1024 blocks of 64 addresses",
                self.nodes, self.pods
            ));
        }
        if self.rules > 100_000 {
            return invalid(format!("--rules {}: at most 100000", self.rules));
        }
        if !(576..=65_000).contains(&self.mtu) {
            return invalid(format!("--mtu {}: between 576 and 65000", self.mtu));
        }
        if self.family.has_v6() && self.mtu < 1280 + 70 {
            return invalid(format!(
                "--mtu {}: IPv6 in a tunnel needs at least 1350",
                self.mtu
            ));
        }
        if self.mixed && (self.backend != Backend::Vrouter || self.nodes < 2) {
            return invalid(
                "--mixed needs --backend vrouter and at least two nodes: node 1 is the vRouter's, \
                 the others are the kernel's"
                    .to_owned(),
            );
        }
        let kernel_nodes = self.backend == Backend::Kernel || self.mixed;
        let ipip = self.encap.tunnel(Family::V4) == Some(Tunnel::Ipip) && self.family.has_v4();
        if kernel_nodes && ipip && self.nodes > 1 {
            return invalid(
                "kernel nodes cannot do --encap ipip here: this kernel has no ipip device; use \
                 vxlan, none or cross-subnet, or --backend vrouter"
                    .to_owned(),
            );
        }
        if self.pod_link.is_some() && self.backend != Backend::Vrouter {
            return invalid("--pod-link needs --backend vrouter".to_owned());
        }
        if self.datastore == Store::Etcd
            && (self.backend != Backend::Vrouter || !self.family.has_v4())
        {
            return invalid(
                "--datastore etcd needs --backend vrouter and IPv4 on the underlay: --family 4 or \
                 dual"
                    .to_owned(),
            );
        }
        match self.backend {
            Backend::Vrouter | Backend::Kernel => Ok(()),
            Backend::Direct if (self.nodes, self.pods) == (1, 2) => Ok(()),
            Backend::Direct => invalid(
                "--backend direct joins exactly two pods: use --nodes 1 --pods 2".to_owned(),
            ),
            Backend::TapLoop => self.check_tap_loop(),
        }
    }

    fn check_tap_loop(&self) -> Result<()> {
        let reason = match (self.nodes, self.pods) {
            (1, 2) => return Ok(()),
            (2, 1) if !matches!(self.encap, Encap::Vxlan | Encap::None) => {
                "between nodes there is only --encap vxlan or none"
            }
            (2, 1) if self.family != Families::V4 => "between nodes there is only --family 4",
            (2, 1) if self.spin || self.burden > 0 => {
                "between nodes --spin takes a time, so use --tap-loop-arg=--spin=MICROSECONDS, and \
                 there is no --burden"
            }
            (2, 1) => return Ok(()),
            (_, _) => {
                "it joins exactly two pods: use --nodes 1 --pods 2, or --nodes 2 --pods 1 for one \
                 on each node"
            }
        };
        Err(LabError::Invalid(format!("--backend tap-loop: {reason}")))
    }

    /// Whether the nodes are spread over two subnets.
    pub fn crosses_subnets(&self) -> bool {
        self.two_subnets || self.encap.crosses_subnets()
    }

    /// What forwards the packets of node `node`, counted from one.
    pub fn backend_of(&self, node: usize) -> Backend {
        if self.mixed && node > 1 {
            Backend::Kernel
        } else {
            self.backend
        }
    }

    /// The MTU of pods: what the widest tunnel in use leaves of the underlay's, as Calico chooses
    /// it (20 bytes for IPIP, 50 for VXLAN over IPv4, 70 over IPv6).
    pub fn pod_mtu(&self) -> usize {
        let families = Family::ALL.into_iter().filter(|f| self.family.has(*f));
        let overhead =
            families.filter_map(|family| self.encap.tunnel(family).map(Tunnel::overhead));
        self.mtu - overhead.max().unwrap_or(0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        spec: Spec,
    }

    /// The spec that these flags give.
    pub(crate) fn spec(flags: &str) -> Spec {
        let words = std::iter::once("lab").chain(flags.split_whitespace());
        Only::try_parse_from(words).unwrap().spec
    }

    #[test]
    fn the_defaults_are_a_two_node_vxlan_lab() {
        let spec = spec("");
        assert_eq!((spec.nodes, spec.pods, spec.encap), (2, 2, Encap::Vxlan));
        spec.check().unwrap();
        assert_eq!(spec.pod_mtu(), 1450);
    }

    #[test]
    fn contradictions_are_refused_with_a_reason() {
        for (flags, word) in [
            ("--nodes 0", "--nodes"),
            ("--pods 5000", "--pods"),
            ("--nodes 200 --pods 1000", "blocks"),
            ("--backend kernel --encap ipip", "ipip"),
            ("--mixed --nodes 1", "--mixed"),
            ("--backend direct", "exactly two pods"),
            ("--backend direct --pods 1", "exactly two pods"),
            ("--backend tap-loop", "--nodes 2 --pods 1"),
            ("--backend tap-loop --nodes 3 --pods 1", "exactly two pods"),
            ("--backend tap-loop --nodes 1 --pods 3", "exactly two pods"),
            ("--backend tap-loop --pods 1 --encap ipip", "--encap"),
            (
                "--backend tap-loop --pods 1 --encap cross-subnet",
                "--encap",
            ),
            ("--backend tap-loop --pods 1 --family dual", "--family"),
            ("--backend tap-loop --pods 1 --family 6", "--family"),
            (
                "--backend tap-loop --pods 1 --spin",
                "--tap-loop-arg=--spin",
            ),
            ("--backend tap-loop --pods 1 --burden 1", "--burden"),
            ("--mtu 1300 --family dual", "--mtu"),
            ("--backend kernel --pod-link veth", "--pod-link"),
            ("--datastore etcd --family 6", "--datastore"),
            ("--datastore etcd --backend kernel", "--datastore"),
        ] {
            let error = spec(flags).check().unwrap_err().to_string();
            assert!(error.contains(word), "{flags}: {error}");
        }
        for flags in [
            "--backend kernel --encap ipip --family 6",
            "--backend tap-loop --nodes 1 --family dual",
            "--backend tap-loop --nodes 2 --pods 1",
            "--backend tap-loop --nodes 2 --pods 1 --encap none",
        ] {
            spec(flags).check().unwrap();
        }
    }

    #[test]
    fn the_pod_mtu_follows_the_widest_tunnel() {
        assert_eq!(spec("--encap none --family dual").pod_mtu(), 1500);
        assert_eq!(spec("--encap ipip").pod_mtu(), 1480);
        assert_eq!(spec("--encap vxlan --family dual").pod_mtu(), 1430);
    }
}
