//! `natrig import`.

use std::path::Path;

use natrig_bench::settings::Source;
use natrig_cluster::import::{Concern, Surroundings, import as read};
use natrig_cluster::settings;

use super::print;
use crate::args::Import;
use crate::exit::{self, Failure, Outcome};

/// Writes the scenario, and says what in the file it does not know or believe.
pub(crate) fn import(args: &Import) -> Outcome {
    let usage = |message: &dyn std::fmt::Display| {
        Failure::failed(exit::USAGE, format_args!("failed to import {}: {message}", args.file.display()))
    };
    let source = Source::load(&args.file).map_err(|error| Failure::new(exit::USAGE, error))?;
    let surroundings = Surroundings { exit: args.exit, interfaces: args.interfaces.clone() };
    let imported = read(source.text(), &surroundings).map_err(|error| usage(&error))?;
    for finding in &imported.findings {
        eprintln!("{}: {finding}", args.file.display());
    }
    let toml = imported.toml();
    // Names on the command line may be none for interfaces, and blocks of the file overlap.
    Source::new(&toml, "the imported scenario")
        .read(settings::read)
        .map_err(|error| Failure::new(exit::USAGE, error))?;
    match &args.out {
        None => print(&toml)?,
        Some(out) => write(out, &toml)?,
    }
    let invalid = imported.findings.iter().any(|finding| finding.concern == Concern::Invalid);
    Ok(if invalid { exit::USAGE } else { exit::OK })
}

fn write(out: &Path, toml: &str) -> Result<(), Failure> {
    std::fs::write(out, toml)
        .map_err(|error| Failure::failed(exit::USAGE, format_args!("failed to write {}: {error}", out.display())))
}
