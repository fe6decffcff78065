//! `vrouter-bench`: the command line of the benchmark. The exit code is 1 when something could not
//! be done, when a test failed, or when `compare` found a regression; 2 for a wrong command line;
//! 130 when it was interrupted.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use vrouter_bench::cli::{Cli, Common, Format, Verb};
use vrouter_bench::compare::{Options, compare};
use vrouter_bench::janitor::{Janitor, wait_and_sweep};
use vrouter_bench::place::Interrupt;
use vrouter_bench::plan::Plan;
use vrouter_bench::report::{html, markdown, table};
use vrouter_bench::results::{Results, schema};
use vrouter_bench::run::Run;
use vrouter_bench::{BenchError, Result, targets};

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vrouter-bench: {error}");
            match error {
                BenchError::Interrupted => ExitCode::from(130),
                BenchError::Invalid(_) | BenchError::Lab(_) | BenchError::Io { .. } => {
                    ExitCode::FAILURE
                }
            }
        }
    }
}

/// Prints; that nobody reads it any more is no failure.
fn show(text: &str) {
    let _nobody_reads = io::stdout().write_all(text.as_bytes());
}

fn act(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Run(options) => {
            if options.targets.is_some() || options.client_ns.is_some() {
                let places = targets::read(&options)?;
                let _janitor = Janitor::watch()?;
                let named: Vec<_> = places
                    .iter()
                    .map(|place| (place.name.clone(), place.target.address))
                    .collect();
                let plan = Plan::of_places(&options.common, &named)?;
                let run = Run::prepare(plan, &options.common, listen()?)?;
                return finish(&run.in_places(places)?, &options.common);
            }
            let run = Run::prepare(Plan::of_run(&options)?, &options.common, listen()?)?;
            finish(&run.in_labs()?, &options.common)
        }
        Verb::Scale(options) => {
            let run = Run::prepare(Plan::of_scale(&options)?, &options.common, listen()?)?;
            finish(&run.in_labs()?, &options.common)
        }
        Verb::Report { directory, format } => {
            let results = Results::read(&directory)?;
            match format {
                Format::Html => {
                    write_html(&results, &directory)?;
                }
                Format::Markdown => show(&markdown::render(&results)),
                Format::Table => show(&table::render(&results)),
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Compare {
            old,
            new,
            threshold,
            significance,
            absolute,
        } => {
            let options = Options {
                threshold: threshold / 100.0,
                significance,
                absolute,
            };
            let comparison = compare(&Results::read(&old)?, &Results::read(&new)?, options)?;
            show(&comparison.text());
            Ok(if comparison.has_regression() {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        Verb::Man(options) => {
            options
                .write(Cli::command(), &mut io::stdout())
                .map_err(BenchError::io("writing the manual"))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Schema => {
            show(&schema());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Traffic(traffic) => {
            traffic.run().map_err(BenchError::io("traffic"))?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Janitor { mark } => {
            wait_and_sweep(&mark);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The first signal asks for an orderly end; one that comes a second later or more ends at once, and
/// the guards clean up. (Some send the same signal twice, to the process and to its group.)
fn listen() -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(BenchError::io("listening for signals"))?;
    let flag = interrupt.0.clone();
    std::thread::spawn(move || {
        let mut first: Option<Instant> = None;
        for _ in &mut signals {
            // Relaxed: nothing else is handed over with it.
            flag.store(true, Ordering::Relaxed);
            if first.get_or_insert_with(Instant::now).elapsed() >= Duration::from_secs(1) {
                std::process::exit(130);
            }
        }
    });
    Ok(interrupt)
}

fn finish(results: &Results, common: &Common) -> Result<ExitCode> {
    show(&table::render(results));
    write_html(results, &common.out)?;
    let failed = results.samples.iter().filter(|s| s.error.is_some()).count();
    if failed > 0 {
        eprintln!("vrouter-bench: {failed} measurements failed; the report names them");
    }
    let missing = results.unavailable.iter().filter(|it| it.failed).count();
    if missing > 0 {
        eprintln!(
            "vrouter-bench: labs for {missing} conditions did not come up; the report names them"
        );
    }
    Ok(if failed + missing > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn write_html(results: &Results, directory: &Path) -> Result<()> {
    let directory = if directory.is_dir() {
        directory
    } else {
        directory.parent().unwrap_or(Path::new("."))
    };
    let path = directory.join("report.html");
    vrouter_lab::state::write_whole(&path, &html::render(results))?;
    show(&format!("report: {}\n", path.display()));
    Ok(())
}
