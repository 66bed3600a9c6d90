//! `natrig report`.

use std::path::{Path, PathBuf};

use natrig_bench::result::{RunResult, SCHEMA_VERSION};
use natrig_report::{markdown, rates, terminal};

use super::run::TESTS;
use super::{print, terminal_options};
use crate::args::{Format, Report};
use crate::exit::{self, Failure, Outcome};

/// Shows results that were written earlier.
pub(crate) fn report(args: &Report) -> Outcome {
    for path in &args.results {
        print(&page(path, args.format)?)?;
    }
    Ok(exit::OK)
}

/// Reads a result of rates.
pub(super) fn rates_result(file: &Path) -> Result<RunResult, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::failed(exit::USAGE, format_args!("failed to read {} as a result of rates: {why}", file.display()))
    };
    let json = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    let head = head(&json).map_err(|why| wrong(&why))?;
    match head.test {
        Some(test) => Err(wrong(&format_args!("it is of the test {test}"))),
        None => serde_json::from_str(&json).map_err(|error| wrong(&error)),
    }
}

fn page(path: &Path, format: Format) -> Result<String, Failure> {
    let file: PathBuf = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
    let json = std::fs::read_to_string(&file)
        .map_err(|error| Failure::failed(exit::USAGE, format_args!("failed to read {}: {error}", file.display())))?;
    let not_ours = |why: &dyn std::fmt::Display| {
        Failure::failed(exit::USAGE, format_args!("failed to read {} as a result: {why}", file.display()))
    };
    let head = head(&json).map_err(|why| not_ours(&why))?;
    let Some(name) = head.test else {
        let result: RunResult = serde_json::from_str(&json).map_err(|error| not_ours(&error))?;
        return Ok(match format {
            Format::Terminal => terminal::render(&result, terminal_options()),
            Format::Markdown => markdown::render(&result),
            Format::Html => rates::html(&result),
        });
    };
    let known = TESTS.iter().find(|test| test.name == name);
    let test =
        known.ok_or_else(|| not_ours(&format_args!("it is of a test that this natrig does not know: {name:?}")))?;
    (test.show)(&json, format, terminal_options()).map_err(|error| not_ours(&error))
}

/// What a result begins with, if this natrig knows its format; else why not.
fn head(json: &str) -> Result<Head, String> {
    let head = serde_json::from_str::<Head>(json).map_err(|error| error.to_string())?;
    if head.schema_version > SCHEMA_VERSION {
        return Err(format!(
            "its format is version {}, this natrig knows up to {SCHEMA_VERSION}\nhelp: use the natrig that wrote it, or a newer one",
            head.schema_version
        ));
    }
    Ok(head)
}

/// What every version of the format begins with.
#[derive(serde::Deserialize)]
struct Head {
    schema_version: u32,
    /// Absent in results of rates.
    test: Option<String>,
}
