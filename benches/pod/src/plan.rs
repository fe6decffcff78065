//! What a run is going to do, in groups that share their labs.

use std::net::IpAddr;

use encap::Family;
use serde::{Deserialize, Serialize};
use vrouter_lab::names::LabName;
use vrouter_lab::spec::{Encap, Families, KernelRules, PodLink, Spec, Tunnel};
use vrouter_lab::topology::Lab;

use crate::cases::{Backend, Case, Dimension, EncapName, Path, Step, Test, name};
use crate::cli::{Common, RunOptions, ScaleOptions};
use crate::error::{BenchError, Result};
use crate::settle::Settle;

/// Who is measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// In tables.
    pub name: String,
    /// What it is; absent for places that others set up.
    pub backend: Option<Backend>,
    /// Workers of its vrouterd.
    pub workers: Option<usize>,
}

/// Cases that are measured in the same labs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// How packets travel between nodes.
    pub encap: Encap,
    /// Policy rules.
    pub rules: usize,
    /// 4 or 6.
    pub family: u8,
    /// Pods on each node, where a number was asked for.
    pub pods: Option<usize>,
    /// Routes to blocks of nodes that do not exist.
    pub routes: usize,
    /// What is measured.
    pub cases: Vec<Case>,
}

/// All that a run is going to do. A run can be resumed when this is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Who.
    pub subjects: Vec<Subject>,
    /// What.
    pub groups: Vec<Group>,
    /// How often.
    pub rounds: usize,
    /// The length of a test.
    pub seconds: u64,
    /// Of the order.
    pub seed: u64,
    /// Who is compared with.
    pub reference: String,
    /// Until when rounds are added to what scatters, if they are.
    #[serde(default)]
    pub settle: Option<Settle>,
    /// The congestion control of iperf3's streams, if not the kernel's.
    #[serde(default)]
    pub congestion: Option<String>,
}

/// What a verb does where the options do not say.
#[derive(Debug, Clone, Copy)]
struct Defaults {
    rounds: usize,
    seconds: u64,
    /// Per cent; zero for no more rounds.
    settle: f64,
}

const WHOLE: Defaults = Defaults {
    rounds: 5,
    seconds: 2,
    settle: SETTLED,
};
const SHORT: Defaults = Defaults {
    rounds: 3,
    seconds: 1,
    settle: 0.0,
};
/// What a ratio is settled at, in per cent.
const SETTLED: f64 = 5.0;
/// The most rounds until then.
const MAX_ROUNDS: usize = 25;

const QUICK_TESTS: [Test; 8] = [
    Test::Ping,
    Test::Tcp,
    Test::Tcp4,
    Test::UdpPps,
    Test::Rr,
    Test::Ab,
    Test::AbKeepalive,
    Test::NewConns,
];
const ALL_TESTS: [Test; 11] = [
    Test::Ping,
    Test::Tcp,
    Test::Tcp4,
    Test::TcpRev,
    Test::UdpPps,
    Test::UdpSizes,
    Test::Rr,
    Test::RrLoad,
    Test::Ab,
    Test::AbKeepalive,
    Test::NewConns,
];

fn or<T: Clone>(given: &[T], default: &[T]) -> Vec<T> {
    if given.is_empty() { default } else { given }.to_vec()
}

impl Plan {
    /// The plan of `run` over labs.
    ///
    /// # Errors
    /// The options contradict each other.
    pub fn of_run(options: &RunOptions) -> Result<Self> {
        let common = &options.common;
        let quick = options.quick;
        let all_paths: &[Path] = if quick {
            &[Path::PodPodSame, Path::PodPodCross]
        } else {
            &[
                Path::PodPodSame,
                Path::PodPodCross,
                Path::PodNode,
                Path::NodePod,
                Path::NodeNode,
            ]
        };
        let all_encaps: &[Encap] = if quick {
            &[Encap::Vxlan]
        } else {
            &[Encap::Vxlan, Encap::Ipip, Encap::None]
        };
        let paths = or(&options.paths, all_paths);
        let tests = or(&common.tests, if quick { &QUICK_TESTS } else { &ALL_TESTS });
        let subjects = subjects(common, &options.workers);
        let mut groups = Vec::new();
        for (first_rules, rules) in flagged(&or(&options.rules, &[8])) {
            for family in or(&options.family, &[4]) {
                if family == 5 {
                    return Err(BenchError::Invalid("--family: 4 or 6".to_owned()));
                }
                for (first_encap, encap) in flagged(&or(&options.encap, all_encaps)) {
                    let wanted = paths.iter().filter(|path| {
                        (first_encap || path.is_encapsulated())
                            && (first_rules || **path != Path::NodeNode)
                    });
                    let cases = wanted
                        .flat_map(|path| {
                            tests.iter().map(move |test| Case {
                                path: *path,
                                encap: path.is_encapsulated().then_some(EncapName(encap)),
                                rules: (*path != Path::NodeNode).then_some(rules),
                                family,
                                step: None,
                                test: *test,
                            })
                        })
                        .collect::<Vec<_>>();
                    if !cases.is_empty() {
                        groups.push(Group {
                            encap,
                            rules,
                            family,
                            pods: None,
                            routes: 0,
                            cases,
                        });
                    }
                }
            }
        }
        let defaults = if quick { SHORT } else { WHOLE };
        Self::new(common, subjects, groups, defaults)
    }

    /// The plan of `scale`.
    ///
    /// # Errors
    /// No dimension is given.
    pub fn of_scale(options: &ScaleOptions) -> Result<Self> {
        let common = &options.common;
        let dimensions = [
            (Dimension::Pods, &options.pods),
            (Dimension::Flows, &options.flows),
            (Dimension::Routes, &options.routes),
            (Dimension::Rules, &options.rules),
        ];
        let tests = or(&common.tests, &[Test::UdpPps, Test::Rr, Test::NewConns]);
        let mut groups = Vec::new();
        for (dimension, values) in dimensions {
            for &value in values {
                let step = Step { dimension, value };
                let is = |other| dimension == other;
                let rules = if is(Dimension::Rules) { value } else { 8 };
                // Routes lie on the way to another node; all else is the same on one node.
                let path = if is(Dimension::Routes) {
                    Path::PodPodCross
                } else {
                    Path::PodPodSame
                };
                let of_flows = |test: &&Test| !is(Dimension::Flows) || **test == Test::UdpPps;
                groups.push(Group {
                    encap: Encap::Vxlan,
                    rules,
                    family: 4,
                    pods: is(Dimension::Pods).then_some(value.max(2)),
                    routes: if is(Dimension::Routes) { value } else { 0 },
                    cases: tests
                        .iter()
                        .filter(of_flows)
                        .map(|test| Case {
                            path,
                            encap: path.is_encapsulated().then_some(EncapName(Encap::Vxlan)),
                            rules: Some(rules),
                            family: 4,
                            step: Some(step),
                            test: *test,
                        })
                        .collect(),
                });
            }
        }
        groups.retain(|group| !group.cases.is_empty());
        if groups.is_empty() {
            return Err(BenchError::Invalid(
                "say what to vary: --pods, --flows (with udp-pps among --tests), --routes or \
                 --rules, each with numbers"
                    .to_owned(),
            ));
        }
        let mut subjects = subjects(common, &[]);
        if common.backends.is_empty() {
            subjects.retain(|subject| !subject.backend.is_some_and(Backend::has_no_node));
        }
        Self::new(common, subjects, groups, SHORT)
    }

    /// The plan for places that others set up.
    ///
    /// # Errors
    /// The reference is not among them.
    pub fn of_places(common: &Common, places: &[(String, IpAddr)]) -> Result<Self> {
        let tests = or(&common.tests, &ALL_TESTS);
        let subjects = places
            .iter()
            .map(|(name, _)| Subject {
                name: name.clone(),
                backend: None,
                workers: None,
            })
            .collect();
        let v6 = places.iter().any(|(_, address)| address.is_ipv6());
        let family = if v6 { 6 } else { 4 };
        let cases = tests
            .into_iter()
            .map(|test| Case {
                path: Path::External,
                encap: None,
                rules: None,
                family,
                step: None,
                test,
            })
            .collect();
        let group = Group {
            encap: Encap::None,
            rules: 0,
            family,
            pods: None,
            routes: 0,
            cases,
        };
        let defaults = Defaults {
            settle: 0.0,
            ..WHOLE
        };
        Self::new(common, subjects, vec![group], defaults)
    }

    fn new(
        common: &Common,
        subjects: Vec<Subject>,
        groups: Vec<Group>,
        defaults: Defaults,
    ) -> Result<Self> {
        let has = |wanted: &str| subjects.iter().any(|subject| subject.name == wanted);
        let reference = match &common.reference {
            Some(wanted) if has(wanted) => wanted.clone(),
            Some(wanted) => {
                let names: Vec<&str> = subjects.iter().map(|s| s.name.as_str()).collect();
                return Err(BenchError::Invalid(format!(
                    "--reference {wanted}: measured are {}",
                    names.join(", ")
                )));
            }
            None => ["kernel", "kernel-nft", "direct"]
                .into_iter()
                .find(|name| has(name))
                .map(str::to_owned)
                .or_else(|| subjects.first().map(|subject| subject.name.clone()))
                .unwrap_or_default(),
        };
        let count = |option: &str, given: Option<u64>, default: usize| {
            given
                .map_or(Ok(default), usize::try_from)
                .map_err(|_| BenchError::Invalid(format!("{option} is too large")))
        };
        let rounds = count("--rounds", common.rounds, defaults.rounds)?;
        let max_rounds = count("--max-rounds", common.max_rounds, MAX_ROUNDS.max(rounds))?;
        if max_rounds < rounds {
            return Err(BenchError::Invalid(format!(
                "--max-rounds {max_rounds} is less than the {rounds} rounds that everything has"
            )));
        }
        let percent = common.settle.unwrap_or(match common.max_rounds {
            Some(_) => SETTLED,
            None => defaults.settle,
        });
        Ok(Self {
            subjects,
            groups,
            rounds,
            seconds: common.seconds.unwrap_or(defaults.seconds),
            seed: common.seed,
            reference,
            settle: (percent > 0.0).then_some(Settle {
                percent,
                max_rounds,
            }),
            congestion: common.congestion.clone(),
        })
    }

    /// The subjects that a case can be measured of.
    pub fn subjects_of<'a>(&'a self, case: &'a Case) -> impl Iterator<Item = &'a Subject> {
        self.subjects
            .iter()
            .filter(|subject| subject.measures(case))
    }

    /// How many measurements there are, without rounds that are added.
    pub fn total(&self) -> usize {
        self.groups
            .iter()
            .flat_map(|group| &group.cases)
            .map(|case| self.subjects_of(case).count() * self.rounds)
            .sum()
    }

    /// About how many seconds it takes if no round is added.
    pub fn estimate(&self) -> f64 {
        self.lasts(|_| self.rounds)
    }

    /// About how many seconds it takes if no ratio settles.
    pub fn longest(&self) -> f64 {
        self.lasts(|case| match self.settle {
            Some(settle) if self.may_go_on(case) => settle.max_rounds,
            Some(_) | None => self.rounds,
        })
    }

    fn lasts(&self, rounds: impl Fn(&Case) -> usize) -> f64 {
        let of_test = |test: Test| {
            let seconds = self.seconds as f64;
            match test {
                Test::Ping => seconds + 0.1,
                Test::Tcp | Test::Tcp4 | Test::TcpRev => seconds + 0.2,
                Test::UdpSizes => 3.0 * ((seconds / 2.0).max(0.5) + 0.1),
                Test::RrLoad => seconds + 1.3,
                Test::UdpPps | Test::Rr | Test::NewConns | Test::Ab | Test::AbKeepalive => {
                    seconds + 0.1
                }
            }
        };
        let measuring: f64 = self
            .groups
            .iter()
            .flat_map(|group| &group.cases)
            .map(|case| {
                self.subjects_of(case).count() as f64 * rounds(case) as f64 * of_test(case.test)
            })
            .sum();
        // A lab up and down, and one warm-up of each path.
        let building: f64 = self
            .groups
            .iter()
            .map(|group| {
                let paths: std::collections::BTreeSet<Path> =
                    group.cases.iter().map(|case| case.path).collect();
                self.subjects.len() as f64 * (1.5 + 1.2 * paths.len() as f64)
            })
            .sum();
        measuring + building
    }
}

fn flagged<T: Clone>(all: &[T]) -> Vec<(bool, T)> {
    all.iter()
        .enumerate()
        .map(|(index, value)| (index == 0, value.clone()))
        .collect()
}

fn subjects(common: &Common, workers: &[usize]) -> Vec<Subject> {
    let default = [Backend::Vrouter, Backend::Kernel, Backend::Direct];
    let workers = or(workers, &[1]);
    let mut subjects = Vec::new();
    for backend in or(&common.backends, &default) {
        if !backend.is_vrouter() {
            subjects.push(Subject {
                name: name(&backend),
                backend: Some(backend),
                workers: None,
            });
            continue;
        }
        for &count in &workers {
            subjects.push(Subject {
                name: if workers.len() > 1 {
                    format!("{}-{count}w", name(&backend))
                } else {
                    name(&backend)
                },
                backend: Some(backend),
                workers: Some(count),
            });
        }
    }
    subjects.dedup();
    subjects
}

impl Subject {
    fn takes(&self, case: &Case) -> bool {
        let of_flows = case
            .step
            .is_none_or(|step| step.dimension == Dimension::Flows);
        match self.backend {
            Some(Backend::Direct) => case.path == Path::PodPodSame && of_flows,
            Some(Backend::TapLoop) => of_flows,
            Some(
                Backend::Vrouter
                | Backend::VrouterTap
                | Backend::Kernel
                | Backend::KernelNft
                | Backend::KernelPlain,
            )
            | None => true,
        }
    }

    /// Whether a case is planned of it and can be measured.
    pub fn measures(&self, case: &Case) -> bool {
        self.takes(case) && self.lacks(case).is_none()
    }

    /// Why a case cannot be measured of it, if so.
    pub fn lacks(&self, case: &Case) -> Option<&'static str> {
        let tunnel = case
            .encap
            .and_then(|encap| encap.0.tunnel(ip_family(case.family)));
        match self.backend {
            Some(Backend::Kernel | Backend::KernelNft | Backend::KernelPlain) => (tunnel
                == Some(Tunnel::Ipip))
            .then_some("the kernel lacks the ipip device here, so there is no figure"),
            Some(Backend::TapLoop) => match (case.path, case.encap.map(|encap| encap.0)) {
                (Path::PodPodSame | Path::External, _) => None,
                (Path::PodNode | Path::NodePod | Path::NodeNode, _) => {
                    Some("the loop joins pods alone, not nodes")
                }
                (Path::PodPodCross, _) if case.family == 6 => {
                    Some("the loop crosses nodes over IPv4 only")
                }
                (Path::PodPodCross, Some(Encap::Vxlan | Encap::None)) => None,
                (Path::PodPodCross, _) => {
                    Some("the loop crosses nodes by VXLAN or plain routes only")
                }
            },
            Some(Backend::Vrouter | Backend::VrouterTap | Backend::Direct) | None => None,
        }
    }

    /// A group's parts, each measured in a lab of its own. The loop joins two pods, so those of one
    /// node and those of two need two labs.
    pub fn parts(&self, group: &Group) -> Vec<Group> {
        if self.backend != Some(Backend::TapLoop) {
            return vec![group.clone()];
        }
        let (cross, same): (Vec<Case>, Vec<Case>) = group
            .cases
            .iter()
            .filter(|case| self.measures(case))
            .partition(|case| case.path.crosses_nodes());
        [same, cross]
            .into_iter()
            .filter(|cases| !cases.is_empty())
            .map(|cases| Group {
                cases,
                ..group.clone()
            })
            .collect()
    }

    /// The lab that a group is measured in.
    pub fn spec(&self, group: &Group, common: &Common) -> Spec {
        let backend = self.backend.unwrap_or(Backend::Direct);
        let none = backend.has_no_node();
        let any = |what: fn(&Path) -> bool| group.cases.iter().any(|case| what(&case.path));
        let crosses = any(|path| path.crosses_nodes());
        let two_pods = any(|path| *path == Path::PodPodSame);
        let (lab_backend, kernel_rules) = match backend {
            Backend::Vrouter | Backend::VrouterTap => {
                (vrouter_lab::spec::Backend::Vrouter, KernelRules::Iptables)
            }
            Backend::Kernel => (vrouter_lab::spec::Backend::Kernel, KernelRules::Iptables),
            Backend::KernelNft => (vrouter_lab::spec::Backend::Kernel, KernelRules::Nft),
            Backend::KernelPlain => (vrouter_lab::spec::Backend::Kernel, KernelRules::None),
            Backend::Direct => (vrouter_lab::spec::Backend::Direct, KernelRules::Iptables),
            Backend::TapLoop => (vrouter_lab::spec::Backend::TapLoop, KernelRules::Iptables),
        };
        let (nodes, pods) = match backend {
            Backend::TapLoop if crosses => (2, 1),
            Backend::TapLoop | Backend::Direct => (1, 2),
            Backend::Vrouter
            | Backend::VrouterTap
            | Backend::Kernel
            | Backend::KernelNft
            | Backend::KernelPlain => (
                if crosses { 2 } else { 1 },
                group.pods.unwrap_or(if two_pods { 2 } else { 1 }),
            ),
        };
        let no_tunnel = none && nodes == 1;
        Spec {
            nodes,
            pods,
            // Where a lab cannot have the tunnel, what does not need it is still measured.
            encap: if no_tunnel || group.cases.iter().any(|case| self.lacks(case).is_some()) {
                Encap::None
            } else {
                group.encap
            },
            family: match ip_family(group.family) {
                Family::V4 => Families::V4,
                Family::V6 => Families::V6,
            },
            workers: self.workers,
            backend: lab_backend,
            rules: group.rules,
            kernel_rules,
            underlay_offload: common.underlay_offload,
            burden: common.burden,
            pod_link: match backend {
                Backend::Vrouter => Some(PodLink::Veth),
                Backend::VrouterTap => Some(PodLink::Tap),
                Backend::Kernel
                | Backend::KernelNft
                | Backend::KernelPlain
                | Backend::Direct
                | Backend::TapLoop => None,
            },
            vrouterd: common.vrouterd.clone(),
            vrouterd_args: common.vrouterd_args.clone(),
            ..Spec::default()
        }
    }

    /// The name of its lab of so many nodes, which no other process's lab has.
    ///
    /// # Errors
    /// It is none.
    pub fn lab_name(&self, nodes: usize) -> Result<LabName> {
        Ok(format!("bench{}-{}{nodes}", std::process::id(), self.name).parse()?)
    }
}

fn ip_family(number: u8) -> Family {
    if number == 6 { Family::V6 } else { Family::V4 }
}

/// The client's member of a lab, the server's, and the server's address.
pub fn ends(lab: &Lab, path: Path, family: u8) -> Option<(&'static str, &'static str, IpAddr)> {
    let family = ip_family(family);
    let node = |at: usize| lab.nodes.get(at);
    let pod = |of: usize, at: usize| node(of).and_then(|node| node.pods.get(at));
    match path {
        Path::PodPodSame => Some(("pod1-1", "pod1-2", pod(0, 1)?.address(family)?)),
        Path::PodPodCross => Some(("pod1-1", "pod2-1", pod(1, 0)?.address(family)?)),
        Path::PodNode => Some(("pod1-1", "node1", node(0)?.address(family)?)),
        Path::NodePod => Some(("node1", "pod1-1", pod(0, 0)?.address(family)?)),
        Path::NodeNode => Some(("node1", "node2", node(1)?.address(family)?)),
        Path::External => None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    fn run(flags: &str) -> Result<Plan> {
        let words = ["b", "run"].into_iter().chain(flags.split_whitespace());
        match Cli::try_parse_from(words).unwrap().command {
            Verb::Run(options) => Plan::of_run(&options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_depends_on_it_is_repeated_for_each_encapsulation() {
        let plan = run("--tests tcp --backends vrouter,kernel,direct").unwrap();
        let texts: Vec<String> = plan
            .groups
            .iter()
            .flat_map(|group| &group.cases)
            .map(Case::conditions)
            .collect();
        assert_eq!(
            texts,
            [
                "pod-pod-same, 8 rules, IPv4",
                "pod-pod-cross, vxlan, 8 rules, IPv4",
                "pod-node, 8 rules, IPv4",
                "node-pod, 8 rules, IPv4",
                "node-node, IPv4",
                "pod-pod-cross, ipip, 8 rules, IPv4",
                "pod-pod-cross, none, 8 rules, IPv4",
            ]
        );
        // direct has one path only, and the kernel no IPIP.
        assert_eq!(plan.total(), (3 + 6 * 2 - 1) * 5);
        assert_eq!(plan.reference, "kernel");
    }

    #[test]
    fn the_loop_has_a_lab_for_one_node_and_one_for_two() {
        let paths = "pod-pod-same,pod-pod-cross,pod-node,node-node";
        let flags = format!("--tests tcp --backends kernel,tap-loop --paths {paths}");
        let options = ["b", "run"].into_iter().chain(flags.split(' '));
        let Verb::Run(options) = Cli::try_parse_from(options).unwrap().command else {
            panic!("run")
        };
        let plan = Plan::of_run(&options).unwrap();
        let [_, tap_loop] = &plan.subjects[..] else {
            panic!("{:?}", plan.subjects)
        };
        let specs: Vec<(usize, usize, Encap)> = plan
            .groups
            .iter()
            .flat_map(|group| tap_loop.parts(group))
            .map(|part| tap_loop.spec(&part, &options.common))
            .inspect(|spec| spec.check().unwrap())
            .map(|spec| (spec.nodes, spec.pods, spec.encap))
            .collect();
        assert_eq!(
            specs,
            [
                (1, 2, Encap::None),
                (2, 1, Encap::Vxlan),
                (2, 1, Encap::None)
            ]
        );
        let lacks: Vec<String> = plan
            .groups
            .iter()
            .flat_map(|group| &group.cases)
            .filter(|case| tap_loop.lacks(case).is_some())
            .map(Case::conditions)
            .collect();
        assert_eq!(
            lacks,
            [
                "pod-node, 8 rules, IPv4",
                "node-node, IPv4",
                "pod-pod-cross, ipip, 8 rules, IPv4",
            ]
        );
    }

    #[test]
    fn a_quick_run_is_promised_in_five_minutes() {
        let plan = run("--quick").unwrap();
        assert!(plan.estimate() < 270.0, "{}", plan.estimate());
    }

    #[test]
    fn rounds_are_added_to_whole_runs_unless_told_otherwise() {
        let settle =
            |flags: &str| run(flags).map(|plan| plan.settle.map(|s| (s.percent, s.max_rounds)));
        assert_eq!(settle("").unwrap(), Some((5.0, 25)));
        assert_eq!(settle("--rounds 40").unwrap(), Some((5.0, 40)));
        assert_eq!(settle("--settle 0").unwrap(), None);
        assert_eq!(settle("--settle 0 --max-rounds 9").unwrap(), None);
        assert_eq!(settle("--quick").unwrap(), None);
        assert_eq!(settle("--quick --settle 3").unwrap(), Some((3.0, 25)));
        assert_eq!(settle("--quick --max-rounds 9").unwrap(), Some((5.0, 9)));
        let error = settle("--rounds 8 --max-rounds 7").unwrap_err();
        assert!(error.to_string().contains("8 rounds"), "{error}");
    }

    #[test]
    fn only_what_may_settle_lengthens_a_run() {
        let flags = "--paths pod-pod-same --backends vrouter,kernel --seconds 1";
        let plan = run(&format!("{flags} --tests ping,tcp")).unwrap();
        // Twenty more rounds of tcp, 1.2 s each of two subjects.
        assert!((plan.longest() - plan.estimate() - 20.0 * 2.0 * 1.2).abs() < 1e-6);
        let alone = run("--paths pod-pod-cross --encap ipip --tests tcp").unwrap();
        assert_eq!(alone.longest(), alone.estimate());
    }

    #[test]
    fn a_reference_that_is_not_measured_is_refused() {
        let error = run("--backends vrouter --reference kernel").unwrap_err();
        assert!(error.to_string().contains("measured are vrouter"));
    }

    #[test]
    fn workers_make_subjects_of_their_own() {
        let plan = run("--backends vrouter,kernel --workers 1,2").unwrap();
        let names: Vec<&str> = plan.subjects.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["vrouter-1w", "vrouter-2w", "kernel"]);
    }
}
