//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::names::LabName;
use crate::spec::Spec;

/// Real network namespaces as nodes and pods on one machine.
#[derive(Debug, Parser)]
#[command(name = "vrouter-lab", version = vrouter_cli::VERSION)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build a lab.
    Up {
        /// Its name.
        name: LabName,
        /// Its options.
        #[command(flatten)]
        spec: Spec,
    },
    /// Take a lab down.
    Down {
        /// Its name.
        name: LabName,
    },
    /// Build a lab, run a command, take the lab down whatever happens. The command finds the lab
    /// in its environment: LAB_NAME, LAB_JSON, LAB_RESOURCES, LAB_POD1_1_NETNS, LAB_POD1_1_IPV4,
    /// LAB_NODE1_IPV4 and so on.
    Run {
        /// The lab's name.
        name: LabName,
        /// The lab's options.
        #[command(flatten)]
        spec: Spec,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Run a command inside a namespace of a lab: pod1-1, node1 or net.
    Exec {
        /// The lab's name.
        name: LabName,
        /// Which of its namespaces.
        member: String,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Show a lab's namespaces, addresses and processes.
    Status {
        /// Its name.
        name: LabName,
        /// In which form.
        #[arg(short, long, value_enum, default_value = "table")]
        output: Output,
    },
    /// Show the labs that are up.
    List,
    /// Write the manual, a page a command.
    Man(vrouter_cli::ManOptions),
    /// Try every kind of traffic in a lab and print a table; the exit code tells whether all of it
    /// worked.
    Check {
        /// The lab's name.
        name: LabName,
        /// What to try.
        #[command(flatten)]
        options: CheckOptions,
    },
    /// Send the frames of a pcap file onto a lab's underlay.
    Inject {
        /// The lab's name.
        name: LabName,
        /// `underlay`: as they are; a node's name: with that node's Ethernet address.
        #[arg(long, default_value = "underlay")]
        at: String,
        /// The frames, a pcap file of link type Ethernet.
        #[arg(long, value_name = "FILE")]
        frames: PathBuf,
    },
    /// Look whether this machine can hold a lab.
    Doctor,
    /// Started by up and run: takes the lab down when they end without a word.
    #[command(hide = true)]
    Guard {
        /// The lab's name.
        name: LabName,
    },
}

/// How `status` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// What `check` tries.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct CheckOptions {
    /// Only these paths (default: all that the lab has).
    #[arg(long, value_enum, value_delimiter = ',')]
    pub paths: Vec<PathKind>,
    /// Only these tests (default: all).
    #[arg(long, value_enum, value_delimiter = ',')]
    pub tests: Vec<Test>,
    /// Only failures are printed.
    #[arg(short, long)]
    pub quiet: bool,
}

/// From where to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PathKind {
    /// Two pods of one node.
    PodPodSame,
    /// Pods of different nodes.
    PodPodCross,
    /// A pod to its own node.
    PodNode,
    /// A pod to another node.
    PodNodeCross,
    /// A node to its own pod.
    NodePod,
    /// A node to another node's pod.
    NodePodCross,
}

/// The kinds of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Test {
    /// Echo requests, none may be lost.
    Ping,
    /// Echo requests of sizes around the MTU, with and without permission to fragment.
    PingSizes,
    /// iperf3 over TCP, forth.
    Tcp,
    /// iperf3 over TCP, back.
    TcpReverse,
    /// iperf3 over TCP, eight streams.
    TcpStreams,
    /// iperf3 over UDP, forth.
    Udp,
    /// iperf3 over UDP, back.
    UdpReverse,
    /// curl against nginx, the page compared byte by byte.
    Http,
    /// traceroute, the last hop being the target.
    Traceroute,
}
