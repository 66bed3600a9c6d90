//! `natrig compare`, `history` and `export`: what can be made of results that are there.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use natrig_bench::compare::{Compared, compare as judge};
use natrig_bench::history::{Line, changes};
use natrig_bench::result::{Figure, RunResult};
use natrig_bench::stats::ChangeSettings;
use natrig_report::{compare as tell, export as form};

use super::report::rates_result;
use super::{print, terminal_options};
use crate::args::compare::{Compare, Export, ExportFormat, History};
use crate::exit::{self, Failure, Outcome};

/// Where results, baselines and the history are kept.
pub(super) const RESULTS: &str = "natrig-results";
const BASELINES: &str = "baselines";

/// Compares two sides of results.
pub(crate) fn compare(args: &Compare) -> Outcome {
    if !(args.margin >= 0.0 && args.margin < 1000.0) {
        return Err(Failure::failed(
            exit::USAGE,
            format_args!("--margin is {}, but must not be negative", args.margin),
        ));
    }
    let (base, new) = (side(&args.base)?, side(&args.new)?);
    let compared = judge(&base, &new, args.margin / 100.0);
    if !compared.differences.is_empty() && !args.anyway {
        return Err(Failure::failed(exit::USAGE, refusal(&compared)));
    }
    if compared.cells.is_empty() {
        return Err(Failure::failed(exit::USAGE, nothing_in_common(&base, &new)));
    }
    if args.json {
        print(&json(&compared)?)?;
    } else {
        print(&tell::compared(&compared).terminal(terminal_options()))?;
    }
    let regressed = args.fail_on_regression && !compared.regressions().is_empty();
    Ok(if regressed { exit::REGRESSION } else { exit::OK })
}

fn refusal(compared: &Compared) -> String {
    let lines = compared.differences.iter().map(|(name, base, new)| format!("\n  {name}: {base} against {new}"));
    format!(
        "the runs were not measured alike, so a difference would say nothing:{}\nhelp: --anyway compares them all the same",
        lines.collect::<String>()
    )
}

/// Why there is nothing to compare.
fn nothing_in_common(base: &[RunResult], new: &[RunResult]) -> String {
    for (name, side) in [("base", base), ("new", new)] {
        let trials = || side.iter().flat_map(|result| &result.trials);
        let mut rounds = side.iter().flat_map(|result| &result.designs).flat_map(|design| &design.rounds);
        if !rounds.any(|round| Figure::ALL.iter().any(|figure| figure.of(round).is_some())) {
            let valid = trials().filter(|trial| trial.is_valid()).count();
            let counts = format!("{valid} of its {} trials count", trials().count());
            return format!("the {name} has no figures to compare: {counts}\nhelp: `natrig report` says why");
        }
    }
    "the two sides have no design with figures of single rounds in common".to_owned()
}

/// The results that `path` stands for, the oldest first.
fn side(path: &Path) -> Result<Vec<RunResult>, Failure> {
    let baseline = baseline(path);
    let files: Vec<PathBuf> = if path.is_file() {
        vec![path.to_owned()]
    } else if path.join("result.json").is_file() {
        vec![path.join("result.json")]
    } else if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| {
            Failure::failed(exit::USAGE, format_args!("failed to read {}: {error}", path.display()))
        })?;
        entries.filter_map(|entry| Some(entry.ok()?.path().join("result.json"))).filter(|file| file.is_file()).collect()
    } else if baseline.is_file() {
        vec![baseline]
    } else {
        Vec::new()
    };
    if files.is_empty() {
        let kept = baselines();
        let help = if kept.is_empty() { String::new() } else { format!("\nhelp: baselines here: {}", kept.join(", ")) };
        let message = format!("failed to find a result in {}, nor a baseline of that name{help}", path.display());
        return Err(Failure::failed(exit::USAGE, message));
    }
    let mut results = files.iter().map(|file| rates_result(file)).collect::<Result<Vec<RunResult>, Failure>>()?;
    results.sort_by(|a, b| a.started_at.cmp(&b.started_at));
    Ok(results)
}

/// The names that results are kept under here.
fn baselines() -> Vec<String> {
    let files = std::fs::read_dir(Path::new(RESULTS).join(BASELINES)).into_iter().flatten().flatten();
    let name = |file: std::fs::DirEntry| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned());
    let mut names: Vec<String> = files.filter_map(name).collect();
    names.sort();
    names
}

fn baseline(name: &Path) -> PathBuf {
    let mut file = Path::new(RESULTS).join(BASELINES).join(name).into_os_string();
    file.push(".json");
    file.into()
}

/// Whether results can be kept under `name`.
pub(super) fn check_baseline(name: &str) -> Result<(), Failure> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(());
    }
    let message = format!("--save-baseline {name:?}: a name has letters, digits, dots, dashes and underscores");
    Err(Failure::failed(exit::USAGE, message))
}

/// Keeps a result under `name`, in place of what was kept so before.
pub(super) fn save_baseline(name: &str, result: &RunResult) {
    let file = baseline(Path::new(name));
    let kept = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| result.write(&file));
    match kept {
        Ok(()) => eprintln!("baseline: {}", file.display()),
        Err(error) => eprintln!("warning: {} could not be written: {error}", file.display()),
    }
}

/// Adds a run to the history.
pub(super) fn remember(result: &RunResult) {
    let file = Path::new(RESULTS).join("history.jsonl");
    let append = || {
        let mut line = serde_json::to_string(&Line::of(result))?;
        line.push('\n');
        std::fs::OpenOptions::new().create(true).append(true).open(&file)?.write_all(line.as_bytes())
    };
    if let Err(error) = append() {
        eprintln!("warning: {} could not be written: {error}", file.display());
    }
}

/// Shows where levels changed.
pub(crate) fn history(args: &History) -> Outcome {
    let unreadable = |why: &dyn std::fmt::Display| {
        Failure::failed(exit::USAGE, format_args!("failed to read {} as a history: {why}", args.file.display()))
    };
    let text = std::fs::read_to_string(&args.file).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let help =
            "\nhelp: `natrig run` adds a line for each run of rates that counts, unless --out says where it goes";
        unreadable(&format_args!("{error}{}", if missing { help } else { "" }))
    })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(|(nth, line)| {
        serde_json::from_str::<Line>(line).map_err(|error| unreadable(&format_args!("line {}: {error}", nth + 1)))
    });
    let lines = lines.collect::<Result<Vec<Line>, Failure>>()?;
    let how = ChangeSettings { min_change: args.min_change / 100.0, ..ChangeSettings::default() };
    let changes = changes(&lines, &how);
    if args.json {
        print(&json(&changes)?)?;
    } else {
        print(&tell::history(&lines, &changes).terminal(terminal_options()))?;
    }
    Ok(exit::OK)
}

/// Writes a result in the form of another program.
pub(crate) fn export(args: &Export) -> Outcome {
    let file = if args.result.is_dir() { args.result.join("result.json") } else { args.result.clone() };
    let result = rates_result(&file)?;
    print(&match args.format {
        ExportFormat::Csv => form::csv(&result),
        ExportFormat::Openmetrics => form::openmetrics(&result),
        ExportFormat::Hgrm => form::hgrm(&result),
        ExportFormat::Github => json(&form::github(&result))?,
        ExportFormat::Bmf => json(&form::bmf(&result))?,
    })?;
    Ok(exit::OK)
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::failed(exit::FAILED, format_args!("failed to write JSON: {error}")))
}
