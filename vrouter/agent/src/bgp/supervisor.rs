//! When BIRD is started, asked, given another configuration or ended: a state machine without
//! clock, process or socket.
//!
//! [`Supervisor::next`] says what is due, whoever does it says with [`Supervisor::notify`] what came of
//! it. Changes of resources are gathered; a configuration that BIRD refused is not offered to the same
//! BIRD again, and what it had stays in force.

use std::time::{Duration, Instant};

use vrouter_bgp::Config;

/// A change waits so long for another one, and at most so long in all.
const QUIET: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);
/// Between two questions whether BIRD answers.
const PROBE: Duration = Duration::from_secs(2);
/// Questions without an answer after which BIRD hangs.
const SILENCE: u32 = 3;
/// Before the first new start after an end; doubled with each start that failed.
const RESTART: Duration = Duration::from_millis(250);
const RESTART_LIMIT: Duration = Duration::from_secs(30);
/// A BIRD that ran so long ends for another reason than the one before it.
const SETTLED: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Make the configuration that the resources ask for.
    Render,
    /// Start BIRD with this configuration, or with the last good one where it refuses this one.
    Start(Box<Config>),
    /// Give the running BIRD this configuration.
    Apply(Box<Config>),
    /// Ask BIRD whether it answers.
    Probe,
    /// End a BIRD that hangs.
    Kill,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Event {
    /// Resources changed.
    Changed,
    /// The resources ask for this configuration, or there is none.
    Rendered(Result<Box<Config>, String>),
    /// BIRD was started; whether with the configuration asked for, and if not, why.
    Started(Result<Verdict, String>),
    /// BIRD was given the configuration asked for; whether it took it. The error: it does not answer.
    Applied(Result<Verdict, String>),
    /// BIRD said when it was started; or why it says nothing.
    Probed(Result<String, String>),
    /// BIRD ended.
    Ended(String),
}

/// What BIRD said to a configuration.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    Accepted,
    /// What was in force before stays; why.
    Refused(String),
}

/// The state of one BIRD.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// Whether BIRD is a child of this process.
    managed: bool,
    /// The first and the last change that no configuration was made of.
    changed: Option<(Instant, Instant)>,
    wanted: Option<Box<Config>>,
    in_force: Option<Box<Config>>,
    refused: Option<Box<Config>>,
    phase: Phase,
    /// Starts in a row that came to nothing.
    failures: u32,
    problems: Problems,
}

/// What is wrong, by what it is wrong with.
#[derive(Debug, Default)]
struct Problems {
    resources: Option<String>,
    process: Option<String>,
    configuration: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    /// Nothing answers; tried again then.
    Down { due: Instant },
    Up {
        since: Instant,
        /// When BIRD was started, in its words.
        boot: Option<String>,
        probe: Instant,
        silent: u32,
    },
}

impl Supervisor {
    pub(super) fn new(managed: bool, now: Instant) -> Supervisor {
        Supervisor {
            managed,
            changed: None,
            wanted: None,
            in_force: None,
            refused: None,
            phase: Phase::Down { due: now },
            failures: 0,
            problems: Problems::default(),
        }
    }

    /// What is due.
    pub(super) fn next(&self, now: Instant) -> Option<Action> {
        if self.render_due().is_some_and(|due| due <= now) {
            return Some(Action::Render);
        }
        match &self.phase {
            Phase::Down { due } if *due > now => None,
            Phase::Down { .. } if self.managed => self.wanted.clone().map(Action::Start),
            Phase::Down { .. } => Some(Action::Probe),
            Phase::Up { silent, .. } if self.managed && *silent >= SILENCE => Some(Action::Kill),
            Phase::Up { probe, silent, .. } => {
                if *silent == 0
                    && let Some(wanted) = self.to_apply()
                {
                    return Some(Action::Apply(Box::new(wanted.clone())));
                }
                (*probe <= now).then_some(Action::Probe)
            }
        }
    }

    /// When something is due if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let process = match &self.phase {
            Phase::Down { .. } if self.managed && self.wanted.is_none() => None,
            Phase::Down { due } => Some(*due),
            Phase::Up { probe, .. } => Some(*probe),
        };
        self.render_due().into_iter().chain(process).min()
    }

    /// The configuration that BIRD has, as far as it is known.
    pub(super) fn in_force(&self) -> Option<&Config> {
        self.in_force.as_deref()
    }

    /// What is wrong, in words for an operator.
    pub(super) fn problems(&self) -> Vec<String> {
        let Problems {
            resources,
            process,
            configuration,
        } = &self.problems;
        let all = [resources, process, configuration].into_iter().flatten();
        let mut all: Vec<String> = all.map(|problem| format!("BGP: {problem}")).collect();
        let warnings = self.wanted.iter().flat_map(|config| &config.warnings);
        all.extend(warnings.map(|warning| format!("BGP: {warning}")));
        all
    }

    /// Notes what happened.
    pub(super) fn notify(&mut self, now: Instant, event: Event) {
        match event {
            Event::Changed => {
                let first = self.changed.map_or(now, |(first, _)| first);
                self.changed = Some((first, now));
            }
            Event::Rendered(outcome) => {
                self.changed = None;
                self.problems.resources = outcome.as_ref().err().cloned();
                if let Ok(config) = outcome {
                    self.wanted = Some(config);
                    if self.wanted == self.in_force {
                        self.refused = None;
                        self.problems.configuration = None;
                    }
                }
            }
            Event::Started(Ok(verdict)) => {
                self.problems.process = None;
                self.up(now, None);
                self.judged(verdict);
            }
            Event::Started(Err(reason)) => self.down(now, reason),
            Event::Applied(Ok(verdict)) => self.judged(verdict),
            Event::Applied(Err(reason)) => self.silent(now, &reason),
            Event::Probed(Ok(boot)) => self.answered(now, boot),
            Event::Probed(Err(reason)) => self.silent(now, &reason),
            Event::Ended(reason) => {
                if let Phase::Up { since, .. } = self.phase
                    && now - since >= SETTLED
                {
                    self.failures = 0;
                }
                self.down(now, reason);
            }
        }
    }

    fn render_due(&self) -> Option<Instant> {
        self.changed
            .map(|(first, last)| (first + LONGEST).min(last + QUIET))
    }

    /// What BIRD does not have and did not refuse.
    fn to_apply(&self) -> Option<&Config> {
        let known = [self.in_force.as_deref(), self.refused.as_deref()];
        let wanted = self.wanted.as_deref();
        wanted.filter(|wanted| !known.contains(&Some(wanted)))
    }

    fn judged(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Accepted => {
                self.in_force.clone_from(&self.wanted);
                self.refused = None;
                self.problems.configuration = None;
            }
            Verdict::Refused(reason) => {
                self.refused.clone_from(&self.wanted);
                self.problems.configuration = Some(format!(
                    "BIRD refuses the configuration, the one before stays in force: {reason}"
                ));
            }
        }
    }

    fn answered(&mut self, now: Instant, boot: String) {
        self.problems.process = None;
        match &mut self.phase {
            Phase::Down { .. } => self.up(now, Some(boot)),
            Phase::Up {
                boot: before,
                probe,
                silent,
                ..
            } => {
                (*probe, *silent) = (now + PROBE, 0);
                let other = before.as_ref().is_some_and(|before| *before != boot);
                *before = Some(boot);
                if other {
                    self.forget();
                }
            }
        }
    }

    fn silent(&mut self, now: Instant, reason: &str) {
        match &mut self.phase {
            Phase::Up { probe, silent, .. } => {
                *silent += 1;
                *probe = now + PROBE;
                self.problems.process = Some(format!("BIRD does not answer: {reason}"));
                if !self.managed && *silent >= SILENCE {
                    self.forget();
                    self.phase = Phase::Down { due: now + PROBE };
                }
            }
            Phase::Down { due } => {
                *due = now + PROBE;
                self.problems.process = Some(format!("no BIRD answers: {reason}"));
            }
        }
    }

    fn up(&mut self, now: Instant, boot: Option<String>) {
        self.forget();
        self.phase = Phase::Up {
            since: now,
            boot,
            probe: now + PROBE,
            silent: 0,
        };
    }

    fn down(&mut self, now: Instant, reason: String) {
        self.forget();
        let wait = RESTART.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        self.problems.process = Some(reason);
        self.phase = Phase::Down {
            due: now + wait.min(RESTART_LIMIT),
        };
    }

    /// Another BIRD has another past.
    fn forget(&mut self) {
        self.in_force = None;
        self.refused = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrouter_bgp::{Cluster, Settings, render};

    fn config(addresses: &[&str]) -> Box<Config> {
        let mut text = String::new();
        for (index, address) in addresses.iter().enumerate() {
            text += &format!(
                "---\napiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {{name: n{index}}}\n\
                 spec: {{bgp: {{ipv4Address: {address}/24}}}}\n"
            );
        }
        let parsed = vrouter_api::parse(text.as_bytes(), "test.yaml");
        assert!(parsed.errors.is_empty(), "{:?}", parsed.errors);
        let cluster = Cluster::of(parsed.resources.into_iter().map(|it| it.value));
        let settings = Settings {
            node: "n0".to_owned(),
            ..Settings::default()
        };
        Box::new(render(&cluster, &settings).unwrap())
    }

    const ONE: &[&str] = &["10.0.0.1"];
    const TWO: &[&str] = &["10.0.0.1", "10.0.0.2"];

    /// A managed BIRD that runs with `config(ONE)` since `at`.
    fn running(at: Instant) -> Supervisor {
        let mut it = Supervisor::new(true, at);
        it.notify(at, Event::Rendered(Ok(config(ONE))));
        assert_eq!(it.next(at), Some(Action::Start(config(ONE))));
        it.notify(at, Event::Started(Ok(Verdict::Accepted)));
        assert_eq!(it.next(at), None);
        it
    }

    #[test]
    fn nothing_is_started_before_there_is_a_configuration() {
        let at = Instant::now();
        let mut it = Supervisor::new(true, at);
        assert_eq!((it.next(at), it.deadline()), (None, None));
        it.notify(at, Event::Rendered(Err("there is no Node".into())));
        assert_eq!((it.next(at), it.deadline()), (None, None));
        assert_eq!(it.problems(), ["BGP: there is no Node"]);
    }

    #[test]
    fn a_storm_of_changes_is_gathered() {
        let start = Instant::now();
        let mut it = running(start);
        let mut renders = 0;
        for change in 0..1_000 {
            let now = start + Duration::from_millis(10 * change);
            it.notify(now, Event::Changed);
            while let Some(action) = it.next(now) {
                let event = match action {
                    Action::Render => {
                        renders += 1;
                        Event::Rendered(Ok(config(if renders % 2 == 0 { ONE } else { TWO })))
                    }
                    Action::Apply(_) => Event::Applied(Ok(Verdict::Accepted)),
                    Action::Probe => Event::Probed(Ok("then".into())),
                    other => panic!("{other:?}"),
                };
                it.notify(now, event);
            }
        }
        assert!((4..=5).contains(&renders), "{renders} in ten seconds");
        // The last change is not forgotten.
        let due = it.deadline().unwrap();
        assert!(due <= start + Duration::from_secs(12));
        assert!(matches!(it.next(due), Some(Action::Render | Action::Probe)));
    }

    #[test]
    fn what_bird_refuses_is_not_offered_again_until_it_differs() {
        let at = Instant::now();
        let mut it = running(at);
        it.notify(at, Event::Rendered(Ok(config(TWO))));
        assert_eq!(it.next(at), Some(Action::Apply(config(TWO))));
        it.notify(at, Event::Applied(Ok(Verdict::Refused("line 3".into()))));
        assert_eq!(it.next(at), None);
        assert_eq!(it.in_force(), Some(&*config(ONE)));
        assert!(it.problems()[0].contains("line 3"), "{:?}", it.problems());
        it.notify(at, Event::Rendered(Ok(config(&["10.0.0.1", "10.0.0.3"]))));
        assert!(matches!(it.next(at), Some(Action::Apply(_))));
        // Back at what is in force, nothing is to be done.
        it.notify(at, Event::Rendered(Ok(config(ONE))));
        assert_eq!(it.next(at), None);
        assert_eq!(it.problems(), [""; 0]);
    }

    #[test]
    fn a_bird_that_ends_is_started_again_ever_later() {
        let mut now = Instant::now();
        let mut it = running(now);
        let mut waits = Vec::new();
        for _ in 0..10 {
            it.notify(now, Event::Ended("killed".into()));
            assert_eq!(it.next(now), None);
            let due = it.deadline().unwrap();
            waits.push((due - now).as_millis());
            now = due;
            assert!(matches!(it.next(now), Some(Action::Start(_))));
            it.notify(now, Event::Started(Ok(Verdict::Accepted)));
        }
        assert_eq!(waits[..3], [250, 500, 1000]);
        assert_eq!(waits[9], 30_000);
        // One that ran for a minute ends for another reason.
        now += Duration::from_secs(60);
        it.notify(now, Event::Ended("killed".into()));
        assert_eq!(it.deadline().unwrap() - now, RESTART);
        assert_eq!(it.problems(), ["BGP: killed"]);
    }

    #[test]
    fn a_bird_that_hangs_is_killed_if_it_is_ours() {
        let start = Instant::now();
        for managed in [true, false] {
            let mut now = start;
            let mut it = Supervisor::new(managed, now);
            it.notify(now, Event::Rendered(Ok(config(ONE))));
            if managed {
                it.notify(now, Event::Started(Ok(Verdict::Accepted)));
            } else {
                assert_eq!(it.next(now), Some(Action::Probe));
                it.notify(now, Event::Probed(Ok("then".into())));
                assert_eq!(it.next(now), Some(Action::Apply(config(ONE))));
                it.notify(now, Event::Applied(Ok(Verdict::Accepted)));
            }
            for _ in 0..SILENCE {
                now = it.deadline().unwrap();
                assert_eq!(it.next(now), Some(Action::Probe));
                it.notify(now, Event::Probed(Err("no answer".into())));
            }
            let next = it.next(now);
            assert_eq!(next, managed.then_some(Action::Kill));
            assert!(it.problems()[0].contains("no answer"));
        }
    }

    #[test]
    fn an_external_bird_that_was_restarted_gets_its_configuration_again() {
        let mut now = Instant::now();
        let mut it = Supervisor::new(false, now);
        it.notify(now, Event::Rendered(Ok(config(ONE))));
        it.notify(now, Event::Probed(Err("no such file".into())));
        assert_eq!(it.next(now), None);
        for boot in ["first", "second"] {
            now = it.deadline().unwrap();
            assert_eq!(it.next(now), Some(Action::Probe));
            it.notify(now, Event::Probed(Ok(boot.into())));
            assert_eq!(it.next(now), Some(Action::Apply(config(ONE))), "{boot}");
            it.notify(now, Event::Applied(Ok(Verdict::Accepted)));
            assert_eq!(it.next(now), None);
            assert_eq!(it.problems(), [""; 0]);
        }
    }
}
