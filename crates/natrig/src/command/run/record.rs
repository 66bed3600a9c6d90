//! Runs a [`Test`], whatever it tests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use natrig_bench::environment;
use natrig_bench::result::Status;
use natrig_bench::settings::Source;
use natrig_bench::test::{Options, Record, RecordOf, Session, Test, TestError, Watcher};
use natrig_lab::privilege::{self, Privilege};
use natrig_nat::Profile;
use natrig_report::document::Tell;
use natrig_report::record;
use natrig_report::terminal;

use super::{now, out_dir, program, unwritable, write_pages};
use crate::args::{Format, Run};
use crate::command::{print, terminal_options};
use crate::exit::{self, Code, Failure, Outcome};
use crate::progress::Progress;
use crate::signals::{Ended, with_signals};

/// Makes a page of the JSON of a result.
pub(crate) type Show = fn(&str, Format, terminal::Options) -> serde_json::Result<String>;

/// [`Show`] for `T`.
pub(crate) fn show<T: Tell>(json: &str, format: Format, options: terminal::Options) -> serde_json::Result<String> {
    let record: RecordOf<T> = serde_json::from_str(json)?;
    Ok(match format {
        Format::Terminal => record::terminal::<T>(&record, options),
        Format::Markdown => record::markdown::<T>(&record),
        Format::Html => record::html::<T>(&record),
    })
}

/// Measures what `source` describes.
pub(crate) fn run<T: Tell>(source: &Source, args: &Run) -> Outcome {
    let usage = |message: String| Failure::failed(exit::USAGE, message);
    let mut scenario = source
        .read(|text, file| T::read(text, file, Profile::names()))
        .map_err(|error| Failure::new(exit::USAGE, error))?;
    let Run { link, rounds, seed, effort, .. } = *args;
    let options = Options { designs: args.design.clone(), link, rounds, seed, effort };
    let warnings = T::change(&mut scenario, &options).map_err(usage)?;
    let plan = T::plan(&scenario).map_err(usage)?;
    if args.dry_run {
        print(&format!("{}\n", plan.join("\n")))?;
        return Ok(exit::OK);
    }
    // Before any thread exists: only then can an ordinary user enter a user namespace.
    let privilege = privilege::enter();
    let out = out_dir(args)?;
    let file = out.join("result.json");
    let record = begun::<T>(scenario, plan, warnings, &privilege);
    // Written before anything is measured: whoever cannot keep a result learns it now, not when it is lost.
    record.write(&file).map_err(|error| unwritable(&file, &error))?;
    let ended = with_signals(move |cancel| work::<T>(record, &privilege, file, &cancel))
        .map_err(|error| Failure::failed(exit::FAILED, format_args!("failed to start measuring: {error}")))?;
    let Ended::Finished(Done { record, outcome, write_error }) = ended else {
        let kept = out.join("result.json");
        return Err(Failure::new(
            exit::FAILED,
            format_args!("error: a thread panicked (see above); what was measured is in {}", kept.display()),
        ));
    };
    if let Some(error) = &write_error {
        eprintln!("warning: the result could not be written to {}: {error}", out.display());
    }
    tell::<T>(&record, &out, args.json)?;
    match outcome {
        Err(error @ TestError::Environment(_)) => Err(Failure::failed(exit::ENVIRONMENT, error)),
        Err(error @ TestError::Failed(_)) => Err(Failure::failed(exit::FAILED, error)),
        Ok(()) if write_error.is_some() => Ok(exit::FAILED),
        Ok(()) => Ok(verdict::<T>(&record)),
    }
}

fn begun<T: Test>(
    scenario: T::Scenario,
    plan: Vec<String>,
    warnings: Vec<String>,
    privilege: &Privilege,
) -> RecordOf<T> {
    let environment = environment(&privilege.mode.to_string(), privilege.why_memory(), plan);
    let begun = Record::begun(T::NAME, program(), now(), scenario, environment);
    Record { command: std::env::args().collect(), warnings, ..begun }
}

/// What became of it.
struct Done<T: Test> {
    record: RecordOf<T>,
    outcome: Result<(), TestError>,
    write_error: Option<io::Error>,
}

fn work<T: Test>(record: RecordOf<T>, privilege: &Privilege, file: PathBuf, cancel: &AtomicBool) -> Done<T> {
    let started = Instant::now();
    let mut keeper = Keeper { progress: Progress::new(), file, write_error: None };
    let mut session = Session { record, privilege, watcher: &mut keeper, cancel, started };
    let outcome = T::run(&mut session);
    let (status, outcome) = match outcome {
        Ok(status) => (status, Ok(())),
        Err(error) => (Status::Failed(error.to_string()), Err(error)),
    };
    session.record.status = status;
    session.save();
    let record = session.record;
    keeper.progress.finish();
    Done { record, outcome, write_error: keeper.write_error }
}

/// Shows progress and keeps the file up to date.
struct Keeper {
    progress: Progress,
    file: PathBuf,
    write_error: Option<io::Error>,
}

impl<T: Test> Watcher<T> for Keeper {
    fn phase(&mut self, what: &str, done: f64) {
        self.progress.step(what, done);
    }

    fn record(&mut self, record: &RecordOf<T>) {
        self.write_error = record.write(&self.file).err();
    }
}

fn tell<T: Tell>(result: &RecordOf<T>, out: &Path, json: bool) -> Result<(), Failure> {
    write_pages(out, &record::markdown::<T>(result), &record::html::<T>(result));
    if json {
        let text = serde_json::to_string_pretty(result)
            .map_err(|error| Failure::failed(exit::FAILED, format_args!("failed to write JSON: {error}")))?;
        return print(&format!("{text}\n"));
    }
    print(&record::terminal::<T>(result, terminal_options()))?;
    eprintln!("\nresult: {}", out.join("result.json").display());
    Ok(())
}

fn verdict<T: Test>(record: &RecordOf<T>) -> Code {
    match record.status {
        Status::Interrupted => exit::INTERRUPTED,
        Status::Failed(_) => exit::FAILED,
        Status::Running | Status::Complete | Status::TimeLimit if T::counts(record) => exit::OK,
        Status::Running | Status::Complete | Status::TimeLimit => exit::INVALID,
    }
}
