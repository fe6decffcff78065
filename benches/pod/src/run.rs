//! A run: labs up, rounds of tests with the subjects in turns, labs down, results written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use vrouter_lab::check::Servers;
use vrouter_lab::lifecycle::{self, Held};
use vrouter_lab::names::Netns;
use vrouter_lab::netns;

use crate::cases::{Case, Dimension, Path, Test};
use crate::cli::Common;
use crate::environment::{self, Environment};
use crate::error::{BenchError, Result};
use crate::measure::{Extent, Target, measure};
use crate::order::turn;
use crate::place::{Interrupt, Place, own_program};
use crate::plan::{Group, Plan, Subject, ends};
use crate::record::Record;
use crate::results::{FORMAT, Results, Sample, Unavailable};
use crate::targets::{External, page};

/// A machine that is busier than this before the start gives no figures worth having.
const BUSY: f64 = 0.12;

/// What a run has at hand.
#[derive(Debug)]
pub struct Run<'a> {
    plan: Plan,
    common: &'a Common,
    interrupt: Interrupt,
    results: Results,
    record: Record,
    started: Instant,
    bar: ProgressBar,
}

/// The places of one subject in a group, by path.
struct Stage {
    targets: BTreeMap<Path, Target>,
    // Servers end before their labs.
    servers: Vec<Servers>,
    labs: Vec<Held>,
}

impl<'a> Run<'a> {
    /// Looks at the machine, opens the record, tells how long it will take.
    ///
    /// # Errors
    /// The kernel has not the congestion control asked for, the machine is busy and that was not
    /// allowed, or the record cannot be opened.
    pub fn prepare(plan: Plan, common: &'a Common, interrupt: Interrupt) -> Result<Self> {
        // Places of others may have another kernel.
        let is_ours = plan
            .subjects
            .iter()
            .any(|subject| subject.backend.is_some());
        if let Some(name) = plan.congestion.as_deref().filter(|_| is_ours) {
            environment::require_congestion_control(name)?;
        }
        let load = crate::cpu::load(Duration::from_millis(1000));
        let percent = (load * 100.0).round().max(0.0) as u64;
        if load > BUSY && !common.force {
            return Err(BenchError::Invalid(format!(
                "{percent} % of the machine is busy with something else, which would be measured \
                 too: end that, or go on with --force"
            )));
        }
        let (record, samples) = Record::open(&common.out, &plan, common.resume)?;
        let results = Results {
            format: FORMAT.to_owned(),
            command: std::env::args().collect(),
            started: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            rounds: plan.rounds,
            settle: plan.settle,
            seconds_per_test: plan.seconds,
            seed: plan.seed,
            reference: plan.reference.clone(),
            subjects: plan.subjects.iter().map(|s| s.name.clone()).collect(),
            complete: false,
            environment: Environment::read(percent, plan.congestion.as_deref()),
            unavailable: Vec::new(),
            samples,
            summary: Vec::new(),
            ratios: Vec::new(),
        };
        let total = plan.total();
        eprintln!(
            "{total} measurements in {} rounds, about {}{}; results go to {}",
            plan.rounds,
            length(plan.estimate()),
            if plan.longest() > plan.estimate() {
                format!(", up to {} while ratios settle", length(plan.longest()))
            } else {
                String::new()
            },
            common.out.display()
        );
        if load > BUSY {
            eprintln!("note: {percent} % of the machine is busy with something else");
        }
        let bar = ProgressBar::new(total as u64);
        let style =
            ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed}, left {eta}: {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(500));
        Ok(Self {
            plan,
            common,
            interrupt,
            results,
            record,
            started: Instant::now(),
            bar,
        })
    }

    /// Measures in labs of its own.
    ///
    /// # Errors
    /// The record cannot be written. What fails inside a lab stays with its samples.
    pub fn in_labs(mut self) -> Result<Results> {
        lifecycle::require_root()?;
        for group in self.plan.groups.clone() {
            let mut stages = BTreeMap::new();
            for subject in self.plan.subjects.clone() {
                if self.interrupt.is_set() {
                    break;
                }
                self.lacking(&subject, &group);
                if !self.is_wanted(&subject, &group) {
                    continue;
                }
                self.bar
                    .set_message(format!("{} is being set up", subject.name));
                match self.stage(&subject, &group) {
                    Ok(stage) => {
                        stages.insert(subject.name.clone(), stage);
                    }
                    Err(error) => self.unavailable(&subject, &group, &error.to_string()),
                }
            }
            let outcome = self.rounds(&group, &stages);
            self.bar.set_message("taking labs down");
            drop(stages);
            outcome?;
        }
        self.finish()
    }

    /// Measures in places of others.
    ///
    /// # Errors
    /// The servers do not start, or the record cannot be written.
    pub fn in_places(mut self, mut places: Vec<External>) -> Result<Results> {
        let mut stages = BTreeMap::new();
        for place in &mut places {
            let own = self.common.out.join(format!("at-{}", place.name));
            place.serve(&own)?;
            stages.insert(
                place.name.clone(),
                Stage {
                    targets: BTreeMap::from([(Path::External, place.target.clone())]),
                    servers: Vec::new(),
                    labs: Vec::new(),
                },
            );
        }
        for group in self.plan.groups.clone() {
            self.rounds(&group, &stages)?;
        }
        drop(places);
        self.finish()
    }

    fn stage(&mut self, subject: &Subject, group: &Group) -> Result<Stage> {
        let mut stage = Stage {
            targets: BTreeMap::new(),
            servers: Vec::new(),
            labs: Vec::new(),
        };
        for part in subject.parts(group) {
            self.add_lab(&mut stage, subject, &part)?;
        }
        Ok(stage)
    }

    /// Builds the lab of a group, or of a part of one, and finds its places.
    fn add_lab(&mut self, stage: &mut Stage, subject: &Subject, group: &Group) -> Result<()> {
        let spec = subject.spec(group, self.common);
        let held = lifecycle::hold(&subject.lab_name(spec.nodes)?, &spec)?;
        let lab = held.lab();
        if group.routes > 0 {
            vrouter_lab::routes::add(lab, group.routes)?;
        }
        let program = own_program().map_err(BenchError::Invalid)?;
        let mut targets = BTreeMap::new();
        let mut places: Vec<(Netns, std::net::IpAddr)> = Vec::new();
        let paths: BTreeSet<Path> = group
            .cases
            .iter()
            .filter(|case| self.plan.subjects_of(case).any(|s| s == subject))
            .map(|case| case.path)
            .collect();
        if let Some(name) = &self.plan.congestion {
            // Not by iperf3 alone: a socket that was bbr's when it connected stays paced.
            let setting = ("ipv4/tcp_congestion_control".to_owned(), name.as_str());
            for namespace in lab.namespaces() {
                netns::sysctl(namespace, std::slice::from_ref(&setting))?;
            }
        }
        for path in paths {
            let Some((client, server, address)) = ends(lab, path, group.family) else {
                continue;
            };
            let (client, server) = (lab.namespace(client)?, lab.namespace(server)?);
            if !self
                .results
                .environment
                .offloads
                .contains_key(&subject.name)
                && let Some(on) = environment::offloads(client)
            {
                let offloads = &mut self.results.environment.offloads;
                offloads.insert(subject.name.clone(), on);
            }
            places.push((server.clone(), address));
            targets.insert(
                path,
                Target {
                    client: Place::Namespace(client.clone()),
                    server: Place::Namespace(server.clone()),
                    address,
                    page: Some(page(address)),
                    program: Some(program.display().to_string()),
                    forwarders: lab.processes.clone(),
                    servers: Vec::new(),
                },
            );
        }
        let directory = lab.state_directory.join("servers-bench");
        let servers = Servers::start(directory, places.iter().map(|(at, ip)| (at, *ip)))?;
        for target in targets.values_mut() {
            target.servers = servers.processes();
            // Neighbours are found, code is loaded, clocks are up.
            let extent = Extent {
                seconds: 1,
                flows: 1,
                congestion: self.plan.congestion.as_deref(),
            };
            let _told_by_the_rounds = measure(target, Test::Tcp, extent, &self.interrupt);
        }
        stage.targets.append(&mut targets);
        stage.servers.push(servers);
        stage.labs.push(held);
        Ok(())
    }

    /// Says what cannot be measured of a subject.
    fn lacking(&mut self, subject: &Subject, group: &Group) {
        let conditions: BTreeMap<String, &str> = group
            .cases
            .iter()
            .filter_map(|case| Some((case.conditions(), subject.lacks(case)?)))
            .collect();
        for (conditions, reason) in conditions {
            self.not_measured(subject, conditions, reason, false);
        }
    }

    fn not_measured(&mut self, subject: &Subject, conditions: String, reason: &str, failed: bool) {
        self.print(&format!("{}: {conditions}: {reason}", subject.name));
        self.results.unavailable.push(Unavailable {
            subject: subject.name.clone(),
            conditions,
            reason: reason.to_owned(),
            failed,
        });
    }

    fn unavailable(&mut self, subject: &Subject, group: &Group, reason: &str) {
        let conditions: BTreeSet<String> = group
            .cases
            .iter()
            .filter(|case| self.plan.subjects_of(case).any(|s| s == subject))
            .map(Case::conditions)
            .collect();
        let cases = group
            .cases
            .iter()
            .filter(|c| self.plan.subjects_of(c).any(|s| s == subject));
        self.bar.inc((cases.count() * self.plan.rounds) as u64);
        for conditions in conditions {
            self.not_measured(subject, conditions, reason, true);
        }
    }

    /// Whether something is still to be measured of a subject in a group. Where rounds may be added
    /// it is wanted as long as anybody is, to be measured right after.
    fn is_wanted(&self, subject: &Subject, group: &Group) -> bool {
        let samples = &self.results.samples;
        let lacks_figures = |case: &Case, of: &Subject| {
            (1..)
                .take_while(|&r| r <= self.plan.rounds || self.plan.goes_on(case, r, samples))
                .any(|round| !self.is_done(&of.name, case, round))
        };
        let mut cases = group.cases.iter();
        cases.any(|case| {
            self.plan.subjects_of(case).any(|s| s == subject)
                && self.plan.subjects_of(case).any(|of| {
                    (of == subject || self.plan.may_go_on(case)) && lacks_figures(case, of)
                })
        })
    }

    fn is_done(&self, subject: &str, case: &Case, round: usize) -> bool {
        self.results
            .samples
            .iter()
            .any(|s| s.subject == subject && s.case == *case && s.round == round)
    }

    fn rounds(&mut self, group: &Group, stages: &BTreeMap<String, Stage>) -> Result<()> {
        for round in 1.. {
            let samples = &self.results.samples;
            let mut cases = self.plan.cases_of_round(group, round, samples);
            if round > self.plan.rounds {
                // Without all labs there are no ratios to settle.
                cases.retain(|case| {
                    self.plan.subjects_of(case).all(|subject| {
                        stages
                            .get(&subject.name)
                            .is_some_and(|stage| stage.targets.contains_key(&case.path))
                    })
                });
                if cases.is_empty() {
                    break;
                }
                let added = cases.iter().map(|case| self.plan.subjects_of(case).count());
                self.bar.inc_length(added.sum::<usize>() as u64);
            }
            for case in cases {
                let mut names: Vec<String> = self
                    .plan
                    .subjects_of(&case)
                    .map(|subject| subject.name.clone())
                    .collect();
                turn(&mut names, round - 1);
                for name in names {
                    let Some(target) = stages
                        .get(&name)
                        .and_then(|stage| stage.targets.get(&case.path))
                    else {
                        continue;
                    };
                    if self.is_done(&name, &case, round) {
                        self.bar.inc(1);
                        continue;
                    }
                    if self.interrupt.is_set() {
                        self.write(false)?;
                        self.bar.finish_and_clear();
                        return Err(BenchError::Interrupted);
                    }
                    self.one(&name, &case, round, target)?;
                }
            }
            self.write(false)?;
        }
        Ok(())
    }

    fn one(&mut self, subject: &str, case: &Case, round: usize, target: &Target) -> Result<()> {
        self.bar
            .set_message(format!("round {round}: {subject}: {case}"));
        let flows = match case.step {
            Some(step) if step.dimension == Dimension::Flows => step.value,
            Some(_) | None => 1,
        };
        let extent = Extent {
            seconds: self.plan.seconds,
            flows,
            congestion: self.plan.congestion.as_deref(),
        };
        let at = self.started.elapsed().as_secs_f64();
        let outcome = measure(target, case.test, extent, &self.interrupt);
        if self.interrupt.is_set() {
            return Ok(());
        }
        let (outcome, error) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(error) => {
                self.print(&format!("round {round}: {subject}: {case}: {error}"));
                (crate::measure::Outcome::default(), Some(error))
            }
        };
        let sample = Sample {
            subject: subject.to_owned(),
            case: *case,
            round,
            at,
            metrics: outcome.metrics,
            cpu: outcome.cpu,
            latency: outcome.latency,
            error,
        };
        self.record.add(&sample)?;
        self.results.samples.push(sample);
        self.bar.inc(1);
        Ok(())
    }

    fn print(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    fn write(&mut self, complete: bool) -> Result<()> {
        self.results.complete = complete;
        self.results.summarise();
        self.results.write(&self.common.out)
    }

    fn finish(mut self) -> Result<Results> {
        self.bar.finish_and_clear();
        if self.interrupt.is_set() {
            self.write(false)?;
            return Err(BenchError::Interrupted);
        }
        self.write(true)?;
        Ok(self.results)
    }
}

/// A length of time as people say it.
pub fn length(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_readable() {
        assert_eq!(length(59.6), "1 min 0 s");
        assert_eq!(length(42.0), "42 s");
        assert_eq!(length(7322.0), "2 h 2 min");
    }
}
