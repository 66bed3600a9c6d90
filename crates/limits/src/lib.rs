//! Path limits: how fast the packet path is on each backend and placement, beside the kernel's own masquerade on the same veths, held
//! against targets.
//!
//! `targets` says what is to be shown, and by which `cells`; `measure` measures all cells in random order within each round.
#![forbid(unsafe_code)]

mod alone;
mod apart;
mod cells;
mod measure;
mod record;
mod stand;
mod targets;
mod tell;

use std::path::Path;

use natrig_bench::result::Status;
use natrig_bench::scenario::{Scenario, bounds};
use natrig_bench::settings::kinds::{one_or_more, text, whole};
use natrig_bench::settings::{Fault, walk};
use natrig_bench::test::{Options, RecordOf, Session, Test, TestError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use record::{CellRecord, Measured, RoleCost, Round, Target};

/// The test.
#[derive(Debug)]
pub struct PathLimits;

/// What its files say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// What the report is headed with.
    pub title: String,
    /// The question that is answered.
    pub question: String,
    /// What all randomness comes from.
    pub seed: u64,
    /// How often everything is measured.
    pub rounds: u32,
    /// How long a trial sends, in milliseconds.
    pub trial_ms: u32,
    /// When to start no further round, in seconds.
    pub time_limit_s: u32,
    /// How many flows there are where there are many.
    pub flows: u32,
    /// The claims that are held against targets, and nothing else is measured then; without any: all.
    #[serde(default)]
    pub targets: Vec<String>,
}

impl Settings {
    fn new() -> Self {
        Self {
            title: "Path limits".to_owned(),
            question: "How near does the packet path come to this machine's limits, and how does it compare with the kernel's \
                       own masquerade?"
                .to_owned(),
            seed: 1,
            rounds: 5,
            trial_ms: 100,
            time_limit_s: 600,
            flows: 1 << 16,
            targets: Vec::new(),
        }
    }
}

impl Test for PathLimits {
    const NAME: &'static str = "path-limits";
    type Scenario = Settings;
    type Measured = Measured;

    fn read(input: &str, _: &Path, _: &[&str]) -> Result<Settings, Fault> {
        let mut settings = Settings::new();
        walk(input, |top| {
            top.set("title", &mut settings.title, text);
            top.set("question", &mut settings.question, text);
            top.set("seed", &mut settings.seed, whole(bounds::SEED));
            top.set("flows", &mut settings.flows, whole(2..=stand::FLOWS_MAX));
            let mut targets = Vec::new();
            top.set("targets", &mut targets, one_or_more(targets::rows().len(), targets::claim));
            settings.targets = targets.into_iter().map(|(_, claim)| claim).collect();
            top.section("measure", |section| {
                section.set("rounds", &mut settings.rounds, whole(bounds::ROUNDS));
                section.set("trial_ms", &mut settings.trial_ms, whole(20..=1000));
                section.set("time_limit_s", &mut settings.time_limit_s, whole(bounds::TIME_LIMIT_S));
            });
        })?;
        Ok(settings)
    }

    fn heading(settings: &Settings) -> (String, String) {
        (settings.title.clone(), settings.question.clone())
    }

    fn change(settings: &mut Settings, options: &Options) -> Result<Vec<String>, String> {
        options.refuse(&["--design", "--link", "--effort"])?;
        settings.rounds = options.rounds.unwrap_or(settings.rounds);
        settings.seed = options.seed.unwrap_or(settings.seed);
        Ok(Vec::new())
    }

    fn plan(settings: &Settings) -> Result<Vec<String>, String> {
        let cells = targets::cells(settings);
        let line = |cell: &cells::Cell| format!("{}: {}", cell.name(settings), cell.offer.words());
        Ok(cells.iter().map(line).collect())
    }

    fn run(session: &mut Session<'_, Self>) -> Result<Status, TestError> {
        measure::run(session)
    }

    fn counts(record: &RecordOf<Self>) -> bool {
        record.measured.targets.iter().any(|target| target.measured.is_some()) && record.measured.wrong == 0
    }
}

/// The scenario that every stand is a variation of.
fn base(settings: &Settings) -> Scenario {
    let mut scenario = Scenario::quick();
    scenario.seed = settings.seed;
    scenario.traffic.flows = settings.flows;
    scenario.measure.trial_ms = settings.trial_ms;
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(targets: &str) -> Result<Settings, Fault> {
        PathLimits::read(&format!("test = \"path-limits\"\ntargets = {targets}\n"), Path::new(""), &[])
    }

    #[test]
    fn only_what_the_named_targets_need_is_measured() {
        let settings = read("\"latency p50 / nftables, at half its rate\"").unwrap();
        let plan = PathLimits::plan(&settings).unwrap();
        // For one flow and for many: both sides, the rate that they go by, and what feeds them alone.
        assert_eq!(plan.len(), 10, "{plan:?}");
        assert!(plan.iter().all(|cell| !cell.contains("memory")), "{plan:?}");
        assert!(PathLimits::plan(&Settings::new()).unwrap().len() > 40);
    }

    #[test]
    fn a_target_that_is_none_is_refused() {
        let fault = read("[\"rootless (AF_PACKET) / nftable\"]").unwrap_err();
        assert!(fault.help.contains("did you mean \"rootless (AF_PACKET) / nftables\""), "{fault:?}");
    }
}
