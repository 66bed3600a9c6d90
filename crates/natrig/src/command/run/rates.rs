//! Rates: what `natrig run` measures unless the file names another test.

use std::fmt::Display;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use natrig_bench::result::{RunResult, Status, Trial};
use natrig_bench::scenario::{Scenario, bounds};
use natrig_bench::settings::Source;
use natrig_bench::{Carrier, Engines, Observer, RunError, environment, plan, run as measure, run_aa};
use natrig_lab::privilege::{self, Mode, Privilege};
use natrig_nat::Profile;
use natrig_report::{markdown, rates, terminal};

use super::{now, out_dir, program, unwritable, write_pages};
use crate::args::Run;
use crate::command::{compare, need_nft, print, terminal_options};
use crate::exit::{self, Code, Failure, Outcome};
use crate::progress::Progress;
use crate::signals::{Ended, with_signals};

/// Measures what a file says.
pub(crate) fn run(source: &Source, args: &Run) -> Outcome {
    let scenario = Scenario::from_source(source, Profile::names()).map_err(|error| Failure::new(exit::USAGE, error))?;
    run_scenario(scenario, args)
}

/// Measures, writes the result after every trial, and shows it.
pub(crate) fn run_scenario(mut scenario: Scenario, args: &Run) -> Outcome {
    override_settings(&mut scenario, args)?;
    if let Some(comparisons) = args.aa {
        within("--aa", 1..=100_000, comparisons)?;
        scenario.measure.time_limit_s = scenario.measure.time_limit_s.max(AA_TIME_LIMIT_S);
    }
    if let Some(name) = &args.save_baseline {
        compare::check_baseline(name)?;
        if args.aa.is_some() {
            let message = "--save-baseline keeps rates, and --aa measures none";
            return Err(Failure::failed(exit::USAGE, message));
        }
    }
    if args.dry_run {
        return dry_run(&scenario);
    }
    need_nft(&scenario)?;
    // Before any thread exists: only then can an ordinary user enter a user namespace.
    let privilege = privilege::enter();
    let carrier = Carrier::choose(&scenario, &privilege)
        .map_err(|refused| Failure::new(exit::ENVIRONMENT, format_args!("error: {refused}")))?;
    let mode = if carrier == Carrier::Memory { Mode::Memory } else { privilege.mode };
    let out = out_dir(args)?;
    let result = new_result(scenario, mode, &privilege)?;
    let file = out.join("result.json");
    // Written before anything is measured: whoever cannot keep a result learns it now, not when it is lost.
    result.write(&file).map_err(|error| unwritable(&file, &error))?;
    let aa = args.aa;
    let ended = with_signals(move |cancel| work(result, &carrier, &file, aa, &cancel))
        .map_err(|error| Failure::failed(exit::FAILED, format_args!("failed to start measuring: {error}")))?;
    let Ended::Finished((result, outcome)) = ended else {
        let kept = out.join("result.json");
        return Err(Failure::new(
            exit::FAILED,
            format_args!("error: a thread panicked (see above); what was measured is in {}", kept.display()),
        ));
    };
    if let Err(Failed::Writing(error)) = &outcome {
        eprintln!("warning: the result could not be written to {}: {error}", out.display());
    }
    show(&result, &out, args.json)?;
    match outcome {
        Err(Failed::Run(error)) if error.is_environment() => Err(Failure::failed(exit::ENVIRONMENT, error)),
        Err(Failed::Run(error)) => Err(Failure::failed(exit::FAILED, error)),
        Err(Failed::Writing(_)) => Ok(exit::FAILED),
        Ok(()) => {
            keep(&result, args);
            Ok(verdict(&result))
        }
    }
}

/// Two hundred comparisons take a minute or two; more take longer.
const AA_TIME_LIMIT_S: u32 = 900;

/// Remembers a run that came to its end: in the history beside the directories that runs are kept in, and as a baseline if that is asked for.
fn keep(result: &RunResult, args: &Run) {
    if verdict(result) != exit::OK || result.aa.is_some() {
        if let Some(name) = &args.save_baseline {
            eprintln!("warning: not kept as the baseline {name}: the run was interrupted, or its figures do not count");
        }
        return;
    }
    if args.out.is_none() {
        compare::remember(result);
    }
    if let Some(name) = &args.save_baseline {
        compare::save_baseline(name, result);
    }
}

/// Why measuring, or keeping what was measured, failed.
enum Failed {
    Run(RunError),
    Writing(io::Error),
}

fn work(
    mut result: RunResult,
    carrier: &Carrier,
    file: &Path,
    aa: Option<u32>,
    cancel: &AtomicBool,
) -> (RunResult, Result<(), Failed>) {
    let scenario = result.scenario.clone();
    let mut watcher = Watcher { progress: Progress::new(), file: file.to_owned(), write_error: None };
    let outcome = match aa {
        None => measure(&scenario, carrier, &mut result, &mut watcher, cancel),
        Some(comparisons) => run_aa(&scenario, carrier, &mut result, &mut watcher, cancel, comparisons),
    };
    if let Err(error) = &outcome {
        result.status = Status::Failed(error.to_string());
    }
    watcher.result(&result);
    watcher.progress.finish();
    let outcome = match (outcome, watcher.write_error) {
        (Err(error), _) => Err(Failed::Run(error)),
        (Ok(()), Some(error)) => Err(Failed::Writing(error)),
        (Ok(()), None) => Ok(()),
    };
    (result, outcome)
}

/// Shows progress and keeps the file up to date.
struct Watcher {
    progress: Progress,
    file: PathBuf,
    write_error: Option<io::Error>,
}

impl Observer for Watcher {
    fn phase(&mut self, what: &str) {
        self.progress.phase(what);
    }

    fn trial(&mut self, trial: &Trial, done: f64) {
        self.progress.trial(trial, done);
        let Some(wrong) = &trial.wrong_frame else { return };
        let capture = self.file.with_file_name(format!("wrong-frame-trial-{}.pcap", trial.number));
        if let Err(error) = std::fs::write(&capture, wrong.pcap()) {
            eprintln!("warning: {} could not be written: {error}", capture.display());
        }
    }

    fn result(&mut self, result: &RunResult) {
        self.write_error = result.write(&self.file).err();
    }
}

fn show(result: &RunResult, out: &Path, json: bool) -> Result<(), Failure> {
    write_pages(out, &markdown::render(result), &rates::html(result));
    if json {
        let text = serde_json::to_string_pretty(result)
            .map_err(|error| Failure::failed(exit::FAILED, format_args!("failed to write JSON: {error}")))?;
        return print(&format!("{text}\n"));
    }
    print(&terminal::render(result, terminal_options()))?;
    eprintln!("\nresult: {}", out.join("result.json").display());
    Ok(())
}

fn verdict(result: &RunResult) -> Code {
    let broken = result.tcp_checks.iter().any(|check| !check.passed)
        || result.trials.iter().any(|trial| trial.invalid.iter().any(|reason| !reason.is_disturbance()));
    match result.status {
        Status::Interrupted => exit::INTERRUPTED,
        Status::Failed(_) => exit::FAILED,
        Status::Running | Status::Complete | Status::TimeLimit => {
            let figures = result.designs.iter().all(|design| design.rate_pps.is_some());
            let alarms = result.aa.as_ref().is_some_and(natrig_bench::result::AaResult::exceeds);
            if broken || !figures || alarms { exit::INVALID } else { exit::OK }
        }
    }
}

fn override_settings(scenario: &mut Scenario, args: &Run) -> Result<(), Failure> {
    if !args.design.is_empty() {
        scenario.designs.clone_from(&args.design);
        scenario.designs.sort();
        scenario.designs.dedup();
    }
    if let Some(effort) = args.effort {
        scenario.set_effort(effort);
    }
    scenario.link.kind = args.link.unwrap_or(scenario.link.kind);
    scenario.measure.rounds = args.rounds.unwrap_or(scenario.measure.rounds);
    scenario.seed = args.seed.unwrap_or(scenario.seed);
    within("--rounds", bounds::ROUNDS, scenario.measure.rounds)?;
    within("--seed", bounds::SEED, scenario.seed)?;
    scenario.check().map_err(|violation| Failure::failed(exit::USAGE, violation))
}

/// Refuses what a scenario file could not say either.
fn within<T: PartialOrd + Display>(option: &str, bounds: RangeInclusive<T>, value: T) -> Result<(), Failure> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let (low, high) = (bounds.start(), bounds.end());
    Err(Failure::failed(exit::USAGE, format_args!("{option} is {value}, but must lie between {low} and {high}")))
}

fn new_result(scenario: Scenario, mode: Mode, privilege: &Privilege) -> Result<RunResult, Failure> {
    let reason = match (mode, privilege.mode) {
        (Mode::Memory, Mode::Memory) => privilege.why_memory(),
        (Mode::Memory, Mode::Root | Mode::Rootless) => Some("links in memory were asked for".to_owned()),
        (Mode::Root | Mode::Rootless, _) => None,
    };
    let plan = if mode == Mode::Memory { Vec::new() } else { planned(&scenario)? };
    let environment = environment(&mode.to_string(), reason, plan);
    Ok(RunResult::begun(program(), now(), std::env::args().collect(), environment, scenario))
}

/// The worlds in words.
fn planned(scenario: &Scenario) -> Result<Vec<String>, Failure> {
    let engines = Engines::new(scenario).map_err(|error| Failure::failed(exit::USAGE, error))?;
    plan(scenario, &engines).map_err(|error| Failure::failed(exit::USAGE, error))
}

fn dry_run(scenario: &Scenario) -> Outcome {
    let plan = planned(scenario)?;
    let engines: Vec<String> = scenario.lineups().iter().map(ToString::to_string).collect();
    let designs: Vec<String> = scenario.designs.iter().map(ToString::to_string).collect();
    let looks = scenario.measure.looks().map_or_else(String::new, |looks| {
        let rounds: Vec<String> = looks.blocks().iter().map(u32::to_string).collect();
        format!(
            "It ends sooner when all comparisons are decided; that is looked at after rounds {}.\n",
            rounds.join(", ")
        )
    });
    print(&format!(
        "{}\n\nThe world, unless links are in memory:\n{}\n\nThen: {} × designs {} by {}, at most {} s.\n{looks}",
        scenario.title,
        plan.join("\n"),
        scenario.measure.rounds,
        designs.join(", "),
        engines.join(", "),
        scenario.measure.time_limit_s
    ))?;
    Ok(exit::OK)
}
