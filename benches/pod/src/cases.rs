//! What is measured: the subjects, the paths between a client and a server, the tests, and the
//! conditions they run under.

use std::fmt;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vrouter_lab::spec::Encap;

/// What forwards the packets that are measured.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// One vrouterd on each node, pods on veths: the kernel repeats what is decided.
    Vrouter,
    /// One vrouterd on each node, pods on TAPs: all in user space.
    VrouterTap,
    /// The kernel with Calico-shaped iptables chains, ipsets and conntrack.
    Kernel,
    /// The kernel with the same rules in nftables.
    KernelNft,
    /// The kernel's bare forwarding: no rules, no conntrack.
    KernelPlain,
    /// Two pods on one veth, with no node between them: the upper reference.
    Direct,
    /// Two pods on the plainest copy loop: of one node between their TAPs, of two nodes by our
    /// devices with nothing of ours between them.
    TapLoop,
}

impl Backend {
    /// Whether it is `vrouterd`.
    pub fn is_vrouter(self) -> bool {
        match self {
            Self::Vrouter | Self::VrouterTap => true,
            Self::Kernel | Self::KernelNft | Self::KernelPlain | Self::Direct | Self::TapLoop => {
                false
            }
        }
    }

    /// Whether it is two joined pods without anything to speak to but each other.
    pub fn has_no_node(self) -> bool {
        match self {
            Self::Direct | Self::TapLoop => true,
            Self::Vrouter
            | Self::VrouterTap
            | Self::Kernel
            | Self::KernelNft
            | Self::KernelPlain => false,
        }
    }
}

/// From where to where.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Two pods of one node.
    PodPodSame,
    /// Pods of different nodes.
    PodPodCross,
    /// A pod to its own node.
    PodNode,
    /// A node to its own pod.
    NodePod,
    /// A node to another node, past whatever forwards for pods.
    NodeNode,
    /// Between places that others set up, from `--targets` or `--client-ns`.
    #[value(skip)]
    External,
}

impl Path {
    /// Whether its packets cross the underlay as pods' packets do, so that encapsulation matters.
    pub fn is_encapsulated(self) -> bool {
        match self {
            Self::PodPodCross => true,
            Self::PodPodSame | Self::PodNode | Self::NodePod | Self::NodeNode | Self::External => {
                false
            }
        }
    }

    /// Whether it needs a second node.
    pub fn crosses_nodes(self) -> bool {
        match self {
            Self::PodPodCross | Self::NodeNode => true,
            Self::PodPodSame | Self::PodNode | Self::NodePod | Self::External => false,
        }
    }
}

/// What is done between client and server.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// fping, one echo request a millisecond, nothing else going on.
    Ping,
    /// iperf3, one TCP stream.
    Tcp,
    /// iperf3, four TCP streams.
    Tcp4,
    /// iperf3, one TCP stream from server to client.
    TcpRev,
    /// UDP datagrams of 64 bytes as fast as one sender can, counted where they arrive.
    UdpPps,
    /// The same with 64, 512 and 1,400 bytes.
    UdpSizes,
    /// One byte there and back over one TCP connection, one at a time.
    Rr,
    /// The same beside one iperf3 stream: latency under load.
    RrLoad,
    /// ab, 32 clients, a connection for each request of a 612-byte page of nginx.
    Ab,
    /// ab -k: the connections are kept.
    AbKeepalive,
    /// TCP connections opened and closed by 16 clients, with no byte on them.
    NewConns,
}

/// What was varied in `scale`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// Pods on the node.
    Pods,
    /// UDP flows that the packets belong to.
    Flows,
    /// Routes to blocks of other nodes.
    Routes,
    /// Policy rules in each direction.
    Rules,
}

/// One step of `scale`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Step {
    /// What was varied.
    pub dimension: Dimension,
    /// How much of it there was.
    pub value: usize,
}

/// The conditions of a measurement: everything but who is measured.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// From where to where.
    pub path: Path,
    /// How packets travel between nodes; absent where they do not.
    #[schemars(with = "Option<String>")]
    pub encap: Option<EncapName>,
    /// Policy rules in each direction; absent where others set things up.
    pub rules: Option<usize>,
    /// 4 or 6.
    pub family: u8,
    /// The step of a scaling run.
    pub step: Option<Step>,
    /// What was done.
    pub test: Test,
}

/// An encapsulation that can be ordered, so that cases can be keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncapName(pub Encap);

impl EncapName {
    fn text(self) -> String {
        name(&self.0)
    }
}

impl PartialOrd for EncapName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EncapName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text().cmp(&other.text())
    }
}

impl Case {
    /// The conditions without the test: `pod-pod-cross, vxlan, 8 rules, IPv4`.
    pub fn conditions(&self) -> String {
        let mut parts = vec![name(&self.path)];
        parts.extend(self.encap.map(EncapName::text));
        match self.step {
            Some(step) => {
                if step.dimension != Dimension::Rules {
                    parts.extend(self.rules.map(|rules| format!("{rules} rules")));
                }
                parts.push(format!("{} {}", step.value, name(&step.dimension)));
            }
            None => parts.extend(self.rules.map(|rules| format!("{rules} rules"))),
        }
        parts.push(format!("IPv{}", self.family));
        parts.join(", ")
    }

    /// The same conditions for another test or none: what groups a table.
    pub fn with_test(mut self, test: Test) -> Self {
        self.test = test;
        self
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.conditions(), name(&self.test))
    }
}

/// The name that a value has on the command line.
pub fn name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_else(|| "external".to_owned())
}
