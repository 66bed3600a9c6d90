//! What can be typed about results that are there.

use std::path::PathBuf;

use clap::ValueEnum;

#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// What to compare with: a result.json, a directory that holds one, a directory of several such runs, or a baseline's name
    pub(crate) base: PathBuf,
    /// What to compare: the same kinds of things
    pub(crate) new: PathBuf,
    /// Relative changes up to so many percent do not matter
    #[arg(long, default_value_t = 3.0, value_name = "PERCENT")]
    pub(crate) margin: f64,
    /// Compare although settings or machines differ
    #[arg(long)]
    pub(crate) anyway: bool,
    /// End with code 3 if anything is worse by more than the margin
    #[arg(long)]
    pub(crate) fail_on_regression: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// The history, a line for each run
    #[arg(default_value = "natrig-results/history.jsonl")]
    pub(crate) file: PathBuf,
    /// Changes of level below so many percent are not told
    #[arg(long, default_value_t = 3.0, value_name = "PERCENT")]
    pub(crate) min_change: f64,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// A result.json, or a directory that holds one
    pub(crate) result: PathBuf,
    /// The form
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Comma-separated values, a line for each figure
    Csv,
    /// OpenMetrics text
    Openmetrics,
    /// Percentile curves for HdrHistogram's plotter
    Hgrm,
    /// For github-action-benchmark, tool customSmallerIsBetter
    Github,
    /// Bencher Metric Format
    Bmf,
}
