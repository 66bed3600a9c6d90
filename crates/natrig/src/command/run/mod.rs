//! `natrig run`: which test a file describes, and what all of them have in common.

mod rates;
mod record;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use natrig_bench::result::Program;
use natrig_bench::scenario::{Scenario, Suite, SuiteError};
use natrig_bench::settings::{RATES, Source};
use natrig_cluster::test::ClusterTest;
use natrig_cutover::Toggle;
use natrig_exhaustion::Exhaustion;
use natrig_limits::PathLimits;
use natrig_report::document::Tell;
use natrig_rfc9693::Rfc9693;
use natrig_tcp::Tcp;

use crate::args::Run;
use crate::exit::{self, Failure, Outcome};

/// A test that records, by its name: how its files are run and its results shown.
pub(crate) struct Known {
    /// What `test` says.
    pub(crate) name: &'static str,
    run: fn(&Source, &Run) -> Outcome,
    /// Shows the JSON of a result.
    pub(crate) show: record::Show,
}

impl Known {
    const fn of<T: Tell>() -> Self {
        Self { name: T::NAME, run: record::run::<T>, show: record::show::<T> }
    }
}

/// All tests besides the rates.
pub(crate) const TESTS: &[Known] = &[
    Known::of::<Rfc9693>(),
    Known::of::<Tcp>(),
    Known::of::<Toggle>(),
    Known::of::<ClusterTest>(),
    Known::of::<Exhaustion>(),
    Known::of::<PathLimits>(),
];

/// Measures, writes the result after every step, and shows it.
pub(crate) fn run(args: &Run) -> Outcome {
    let Some(path) = &args.scenario else { return rates::run_scenario(Scenario::quick(), args) };
    if let Some(suite) = suite(path)? {
        return rates::run_scenario(suite.scenario(), args);
    }
    let source = Source::load(path).map_err(|error| Failure::new(exit::USAGE, error))?;
    let names: Vec<&'static str> = std::iter::once(RATES).chain(TESTS.iter().map(|test| test.name)).collect();
    let name = source.test(&names).map_err(|error| Failure::new(exit::USAGE, error))?;
    match TESTS.iter().find(|test| test.name == name) {
        Some(_) if args.aa.is_some() || args.save_baseline.is_some() => {
            let message = format!("--aa and --save-baseline are about rates, not about the test {name}");
            Err(Failure::failed(exit::USAGE, message))
        }
        Some(test) => (test.run)(&source, args),
        None => rates::run(&source, args),
    }
}

/// The suite that `path` names, where no file does.
fn suite(path: &Path) -> Result<Option<Suite>, Failure> {
    let name = path.to_string_lossy();
    if path.exists() || !name.starts_with("nat44-") {
        return Ok(None);
    }
    name.parse()
        .map(Some)
        .map_err(|error: SuiteError| Failure::failed(exit::USAGE, format_args!("{name} is no file, and {error}")))
}

/// The program that is running.
fn program() -> Program {
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("NATRIG_COMMIT").map(str::to_owned),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
    }
}

/// Now, as results write it.
fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// Where results go, and that they can.
fn out_dir(args: &Run) -> Result<PathBuf, Failure> {
    let out = args.out.clone().unwrap_or_else(|| default_out(args.scenario.as_deref()));
    std::fs::create_dir_all(&out).map_err(|error| unwritable(&out, &error))?;
    Ok(out)
}

fn default_out(scenario: Option<&Path>) -> PathBuf {
    let time = now().replace(':', "");
    let name = scenario.and_then(Path::file_stem).map_or_else(|| "quick".into(), |stem| stem.to_string_lossy());
    Path::new("natrig-results").join(format!("{time}-{name}"))
}

/// Writes the report beside the result; where that fails the result is still there, and `natrig report` makes it again.
fn write_pages(out: &Path, markdown: &str, html: &str) {
    for (name, text) in [("summary.md", markdown), ("report.html", html)] {
        let path = out.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            eprintln!("warning: {} could not be written: {error}", path.display());
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let hint = "help: choose another directory with --out";
    Failure::failed(exit::USAGE, format_args!("failed to write {}: {error}\n{hint}", path.display()))
}

#[cfg(test)]
mod tests {
    use natrig_bench::test::RecordOf;
    use schemars::schema_for;

    use super::*;

    /// After a change that is meant: `UPDATE_SCHEMA=1 cargo test -p natrig --bin natrig schema`.
    #[test]
    fn each_committed_schema_is_that_of_the_types() {
        for (test, schema) in [
            ("cluster", schema_for!(RecordOf<ClusterTest>)),
            ("exhaustion", schema_for!(RecordOf<Exhaustion>)),
            ("toggle", schema_for!(RecordOf<Toggle>)),
        ] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/{test}.schema.json"));
            let schema = serde_json::to_string_pretty(schema.as_value()).unwrap() + "\n";
            if std::env::var_os("UPDATE_SCHEMA").is_some() {
                std::fs::write(&file, &schema).unwrap();
            }
            assert!(std::fs::read_to_string(&file).unwrap() == schema, "{} is not what the types say", file.display());
        }
    }
}
