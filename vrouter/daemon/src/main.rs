//! `vrouterd`: wires configuration, agent and control socket together; nothing else.
#![forbid(unsafe_code)]

mod config;
mod departures;

use std::io::IsTerminal;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use crossbeam::channel::{Sender, unbounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};
use vrouter_agent::agent::{Agent, Input};
use vrouter_agent::bgp;
use vrouter_agent::service::AgentService;
use vrouter_agent::settings::PodLink;
use vrouter_agent::veths;
use vrouter_api::Kind;
use vrouter_bgp::{Cluster, render};
use vrouter_cli::ManOptions;
use vrouter_control::{Server, Service};
use vrouter_core::notices;
use vrouter_core::policies::Policies;
use vrouter_core::resources::Resources;
use vrouter_datastore::{Connection, Event, StoreError};
use vrouter_observe::Observer;

use crate::config::{Arguments, Config};
use crate::departures::Departures;

/// How long clients are given to take their answers at the end.
const GRACE: Duration = Duration::from_millis(500);

type LogLevel = reload::Handle<LevelFilter, Registry>;

fn main() -> ExitCode {
    let start = Instant::now();
    let arguments = Arguments::parse();
    if let Some(directory) = arguments.man {
        let manual = ManOptions { directory };
        return match manual.write(Arguments::command(), &mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("vrouterd: the manual: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let config = match arguments.resolve() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("vrouterd: {error}");
            return ExitCode::from(2);
        }
    };
    if arguments.check {
        return check(&config);
    }
    if arguments.detach {
        return detach(&config);
    }
    let level = log(&config);
    match run(arguments, config, level, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn log(config: &Config) -> LogLevel {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(config.log_level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    handle
}

/// All that the store says now.
fn load(store: &Connection) -> Result<Vec<Event>, StoreError> {
    let watch = store.open()?.watch(Kind::ALL)?;
    let mut events = Vec::new();
    for event in watch.events() {
        match event {
            Event::InSync => break,
            Event::Away { store, reason } => {
                return Err(StoreError::Unreachable { store, reason });
            }
            event @ (Event::Upsert(_)
            | Event::Delete(_)
            | Event::Fault { .. }
            | Event::Mended { .. }
            | Event::Notice(_)
            | Event::Back) => events.push(event),
        }
    }
    Ok(events)
}

/// `--check`: everything that can be found wrong without touching the machine.
fn check(config: &Config) -> ExitCode {
    let events = match load(&config.store) {
        Ok(events) => events,
        Err(error) => {
            eprintln!("vrouterd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut policies = match Policies::new(&config.agent.node) {
        Ok(policies) => policies,
        Err(error) => {
            eprintln!("vrouterd: nodeName: {error}");
            return ExitCode::from(2);
        }
    };
    policies.set_tie_break(config.agent.policy_tie_break);
    let mut resources = Resources::default();
    let mut cluster = Cluster::default();
    let (mut count, mut faults) = (0, 0);
    for event in events {
        match event {
            Event::Upsert(resource) => {
                count += 1;
                policies.upsert(&resource);
                cluster.upsert(resource.clone());
                resources.upsert(resource);
            }
            Event::Fault { errors, .. } => {
                faults += errors.len();
                errors.iter().for_each(|error| eprintln!("{error}"));
            }
            Event::Notice(notice) => eprintln!("{notice}"),
            Event::Delete(_)
            | Event::Mended { .. }
            | Event::Away { .. }
            | Event::Back
            | Event::InSync => {}
        }
    }
    for problem in policies.problems() {
        faults += 1;
        eprintln!("{problem}");
    }
    if config.agent.bgp.mode != bgp::Mode::Off {
        match render(&cluster, &config.agent.bgp.node) {
            Ok(bird) => bird
                .warnings
                .iter()
                .for_each(|warning| eprintln!("warning: BGP: {warning}")),
            Err(reason) => {
                faults += 1;
                eprintln!("BGP: {reason}");
            }
        }
    }
    policies.compile();
    for case in notices::silent_cases(&resources, &policies, &config.agent.node) {
        eprintln!("warning: {case}");
    }
    println!("{}", pod_link(config));
    println!(
        "node {}: {count} resources in order, {faults} faults",
        config.agent.node
    );
    if faults == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `--detach`: nothing of ours stays on the node.
fn detach(config: &Config) -> ExitCode {
    let done = only_here().and_then(|_only| vrouter_agent::detach::detach(&config.agent));
    match done {
        Ok(removed) => {
            println!("{removed}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("vrouterd: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What pods would hang on, and why not on what the configuration asks for.
fn pod_link(config: &Config) -> String {
    match config.agent.pod_link {
        PodLink::Tap => "pod link: tap".to_owned(),
        PodLink::Veth => match veths::probe(&config.agent.bpf_directory) {
            Ok(()) => "pod link: veth".to_owned(),
            Err(why) => format!("pod link: tap, not veth: {why}"),
        },
    }
}

fn run(
    arguments: Arguments,
    config: Config,
    level: LogLevel,
    start: Instant,
) -> Result<(), Box<dyn std::error::Error>> {
    // First of all: a second instance must not touch what the first one has.
    let server = Server::bind(&config.control_socket)?;
    let _only = only_here()?;
    let (inputs, inbox) = unbounded();
    let store = config.store.open_cached(config.cache.as_deref())?;
    let departures = Departures::start(&config.cni_state_directory, Arc::clone(&store))?;
    let mut agent = Agent::start(config.agent.clone(), store, start)?;
    let reload = Arc::new(reloader(arguments, config, level));
    let by_signal = Arc::clone(&reload);
    signals(inputs.clone(), move || by_signal())?;
    let service = AgentService::new(&agent, inputs, env!("CARGO_PKG_VERSION"), move || reload());
    let service: Arc<dyn Service> = Arc::new(service);
    let observer = Observer::start(Arc::clone(&service))?;
    agent.observe_with(Box::new(observer.settings()));
    let mut serving = None;
    let outcome = agent.run(&inbox, || {
        tracing::info!("ready");
        match server.serve(service) {
            Ok(handle) => serving = Some(handle),
            Err(error) => tracing::error!(%error, "the control socket is not served"),
        }
    });
    if let Some(serving) = serving {
        serving.stop(GRACE);
    }
    drop(observer);
    drop(departures);
    tracing::info!("stopped");
    Ok(outcome?)
}

/// Keeps a second `vrouterd` out of this network namespace, whatever its control socket: it would remove
/// the routes of the first. An abstract socket belongs to the namespace and ends with the process.
fn only_here() -> Result<UnixListener, String> {
    let name = SocketAddr::from_abstract_name("vrouterd").map_err(|error| error.to_string())?;
    UnixListener::bind_addr(&name).map_err(|error| match vrouter_host::holder::other_vrouterd() {
        Some(other) => format!("{other} runs in this network namespace: end it first"),
        None => format!("the abstract socket vrouterd, which keeps a second one out: {error}"),
    })
}

/// What SIGHUP and `reload` do: the file is read again; what can change at run time does.
fn reloader(
    arguments: Arguments,
    before: Config,
    level: LogLevel,
) -> impl Fn() -> Result<(), String> + Send + Sync {
    move || {
        let config = arguments.resolve().map_err(|error| error.to_string())?;
        level
            .modify(|filter| *filter = LevelFilter::from_level(config.log_level))
            .map_err(|error| error.to_string())?;
        if config.agent != before.agent
            || config.store != before.store
            || config.cache != before.cache
            || config.control_socket != before.control_socket
        {
            tracing::warn!("changed settings other than logLevel take effect at the next start");
        }
        Ok(())
    }
}

fn signals(
    inputs: Sender<Input>,
    reload: impl Fn() -> Result<(), String> + Send + 'static,
) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let body = move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                match reload() {
                    Ok(()) => tracing::info!("configuration read again"),
                    Err(error) => tracing::error!("configuration kept as it was: {error}"),
                }
                continue;
            }
            if inputs.send(Input::Stop).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(body)?;
    Ok(())
}
