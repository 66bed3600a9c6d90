//! Progress on stderr, and only on a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use natrig_bench::result::{Purpose, Trial};

/// A bar, or nothing.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

const STEPS: u64 = 1000;

impl Progress {
    /// A bar if stderr is a terminal.
    pub(crate) fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(STEPS) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed:>4}  {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// What is being done.
    pub(crate) fn phase(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.tick();
    }

    /// What is being done, and how much of all is behind.
    pub(crate) fn step(&self, what: &str, done: f64) {
        self.bar.set_position((done * STEPS as f64) as u64);
        self.phase(what);
    }

    /// A trial is over.
    pub(crate) fn trial(&self, trial: &Trial, done: f64) {
        let purpose = match trial.purpose {
            Purpose::Search => "searching",
            Purpose::Fixed => "fixed rate",
            Purpose::Latency => "latency",
            Purpose::StampCost => "cost of stamps",
            Purpose::Load => "latency under load",
        };
        self.bar.set_position((done * STEPS as f64) as u64);
        self.bar.set_message(format!(
            "round {}: {}, {purpose} at {:.0} kpps",
            trial.round,
            trial.design,
            trial.rate_pps_offered / 1e3
        ));
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
