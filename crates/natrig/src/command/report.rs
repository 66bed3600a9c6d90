//! `natrig report`.

use std::path::{Path, PathBuf};

use natrig_bench::result::{RunResult, SCHEMA_VERSION};
use natrig_report::{markdown, terminal};

use super::{print, terminal_options};
use crate::args::{Format, Report};
use crate::exit::{self, Failure, Outcome};

/// Shows results that were written earlier.
pub(crate) fn report(args: &Report) -> Outcome {
    for path in &args.results {
        let result = read(path)?;
        print(&match args.format {
            Format::Terminal => terminal::render(&result, terminal_options()),
            Format::Markdown => markdown::render(&result),
        })?;
    }
    Ok(exit::OK)
}

fn read(path: &Path) -> Result<RunResult, Failure> {
    let file: PathBuf = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::failed(exit::USAGE, format_args!("failed to read {}: {error}", file.display())))?;
    let not_ours = |why: &dyn std::fmt::Display| {
        Failure::failed(exit::USAGE, format_args!("failed to read {} as a result: {why}", file.display()))
    };
    let version = serde_json::from_str::<Version>(&text).map_err(|error| not_ours(&error))?.schema_version;
    if version > SCHEMA_VERSION {
        return Err(not_ours(&format_args!(
            "its format is version {version}, this natrig knows up to {SCHEMA_VERSION}\nhelp: use the natrig that wrote it, or a newer one"
        )));
    }
    serde_json::from_str(&text).map_err(|error| not_ours(&error))
}

/// What every version of the format begins with.
#[derive(serde::Deserialize)]
struct Version {
    schema_version: u32,
}
