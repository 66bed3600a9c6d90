//! Two sides of results against each other: paired where their runs were interleaved, and refused where their settings differ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::judged::{paired_within, policy};
use crate::result::{DesignSummary, Figure, Judged, RoundFigures, RunResult, Status};
use crate::scenario::{Design, FrameSize, Lineup};
use crate::stats::{self, Verdict, benjamini_hochberg};

/// Share of false alarms among the regressions that are told.
const FALSE_DISCOVERIES: f64 = 0.05;

/// What two sides of results say of each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// Whether values were compared within blocks.
    pub paired: bool,
    /// What the blocks are, or why there are none.
    pub how: String,
    /// What each side is, in words: base, new.
    pub sides: [String; 2],
    /// What speaks against the comparison, in words: runs that did not come to their end, or that are on both sides.
    pub cautions: Vec<String>,
    /// Settings and circumstances in which runs differ from the first of the base, the first of each kind: name, there, elsewhere.
    pub differences: Vec<(String, String, String)>,
    /// Each design at each frame size that both sides have.
    pub cells: Vec<ComparedCell>,
}

/// A design at a frame size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedCell {
    /// What stands at the layers.
    pub engines: Lineup,
    /// The design.
    pub design: Design,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// Its figures; ratios are new / base.
    pub judged: Vec<Judged>,
}

impl Compared {
    /// The figures that are worse by more than the margin, with at most 5 % of false alarms among them (Benjamini and Hochberg).
    pub fn regressions(&self) -> Vec<(&ComparedCell, &Judged)> {
        let all: Vec<(&ComparedCell, &Judged)> =
            self.cells.iter().flat_map(|cell| cell.judged.iter().map(move |judged| (cell, judged))).collect();
        let p_values: Vec<f64> = all.iter().map(|(_, judged)| judged.comparison.p_difference).collect();
        let adjusted = benjamini_hochberg(&p_values);
        let worse = |judged: &Judged| judged.comparison.verdict == Verdict::Worse { beyond_margin: true };
        let told = all.into_iter().zip(adjusted).filter(|((_, judged), p)| worse(judged) && *p <= FALSE_DISCOVERIES);
        told.map(|(found, _)| found).collect()
    }
}

/// Compares `new` with `base`, each one result or several runs of the same thing. Differences up to `margin`, relative, do not matter.
pub fn compare(base: &[RunResult], new: &[RunResult], margin: f64) -> Compared {
    let blocks = Blocks::of(base, new);
    let cells = base.first().map_or(&[][..], |result| &result.designs);
    let judge = |cell: &DesignSummary| {
        let [base, new] = [base, new].map(|side| blocks.values(side, cell));
        let judged = Figure::ALL.into_iter().filter_map(|figure| {
            if blocks.paired {
                return paired_within(figure, &base, &new, margin);
            }
            let [base, new] =
                [&base, &new].map(|side| side.iter().filter_map(|round| figure.of(round)).collect::<Vec<f64>>());
            let comparison = stats::compare_unpaired(&base, &new, &policy(figure, margin))?;
            Some(Judged { figure, comparison, bootstrap: None })
        });
        let judged: Vec<Judged> = judged.collect();
        let (engines, design, frame_size) = (cell.engines, cell.design, cell.frame_size);
        (!judged.is_empty()).then_some(ComparedCell { engines, design, frame_size, judged })
    };
    let mut differing: Vec<(String, String, String)> = Vec::new();
    if let Some(first) = base.first() {
        for found in base[1..].iter().chain(new).flat_map(|other| differences(first, other)) {
            if !differing.iter().any(|(name, ..)| *name == found.0) {
                differing.push(found);
            }
        }
    }
    let cells = cells.iter().filter_map(judge).collect();
    let (sides, cautions) = ([base, new].map(told), cautions(base, new));
    Compared { paired: blocks.paired, how: blocks.how, sides, cautions, differences: differing, cells }
}

/// What a side is.
fn told(side: &[RunResult]) -> String {
    let [first, .., last] = side else { return side.first().map_or_else(|| "nothing".to_owned(), run) };
    format!("{} runs, from {} to {}", side.len(), run(first), run(last))
}

/// Which run.
fn run(result: &RunResult) -> String {
    let commit = result.natrig.commit.as_ref().map_or_else(String::new, |commit| format!(", natrig {commit}"));
    format!("“{}” of {}{commit}", result.scenario.title, result.started_at)
}

fn cautions(base: &[RunResult], new: &[RunResult]) -> Vec<String> {
    let twice = base.iter().filter(|result| new.contains(result));
    let twice = twice.map(|result| format!("on both sides, so that nothing can differ: {}", run(result)));
    let ended = |result: &&RunResult| !matches!(result.status, Status::Complete | Status::TimeLimit);
    let cut_short = base.iter().chain(new).filter(ended).map(|result| {
        let how = match &result.status {
            Status::Interrupted => "interrupted",
            Status::Failed(_) => "failed",
            Status::Running | Status::Complete | Status::TimeLimit => "killed, or still running",
        };
        format!("not come to its end ({how}): {}", run(result))
    });
    twice.chain(cut_short).collect()
}

/// How the values of two sides belong together.
struct Blocks {
    paired: bool,
    how: String,
    /// Each run is one value, not each round.
    by_run: bool,
}

impl Blocks {
    fn of(base: &[RunResult], new: &[RunResult]) -> Self {
        if base.len() == 1 && new.len() == 1 {
            let how = "not paired: the two runs were made one after the other, so what the machine did in between is in the differences";
            return Self { paired: false, how: how.to_owned(), by_run: false };
        }
        let began =
            |side: &[RunResult]| -> Vec<String> { side.iter().map(|result| result.started_at.clone()).collect() };
        let (base_began, new_began) = (began(base), began(new));
        // Block by block: both runs of one before either of the next.
        let latest = |block: usize| base_began[block].as_str().max(new_began[block].as_str());
        let earliest = |block: usize| base_began[block].as_str().min(new_began[block].as_str());
        let interleaved = base.len() == new.len() && (1..base.len()).all(|block| latest(block - 1) <= earliest(block));
        let (base, new) = (base.len(), new.len());
        let how = if interleaved {
            format!("paired: {base} blocks, each a run of either side")
        } else {
            format!("not paired: {base} runs against {new} that did not take turns")
        };
        Self { paired: interleaved, how, by_run: true }
    }

    /// What each block, or round, says of a cell.
    fn values(&self, side: &[RunResult], cell: &DesignSummary) -> Vec<RoundFigures> {
        let same = |other: &&DesignSummary| {
            (other.engines, other.design, other.frame_size) == (cell.engines, cell.design, cell.frame_size)
        };
        let of_run = |result: &RunResult| {
            let rounds = result.designs.iter().find(same).map_or(&[][..], |summary| &summary.rounds);
            if self.by_run { vec![medians(rounds)] } else { rounds.to_vec() }
        };
        side.iter().flat_map(of_run).collect()
    }
}

fn medians(rounds: &[RoundFigures]) -> RoundFigures {
    let median =
        |figure: Figure| stats::median(&rounds.iter().filter_map(|round| figure.of(round)).collect::<Vec<f64>>());
    RoundFigures {
        rate_pps: median(Figure::RatePps),
        generator_bound: rounds.iter().any(|round| round.generator_bound),
        ns_per_packet: median(Figure::NsPerPacket),
        process_ns_per_packet: None,
        cpu_ns_per_packet: median(Figure::CpuNsPerPacket),
        latency_ns_p50: median(Figure::LatencyNsP50),
        latency_ns_p99: median(Figure::LatencyNsP99),
        latency_ns_p999: median(Figure::LatencyNsP999),
        latency_at_pps: None,
        connections_per_s: median(Figure::ConnectionsPerS),
        connections_generator_bound: rounds.iter().any(|round| round.connections_generator_bound),
        usable_ports: None,
    }
}

/// Settings that may differ between runs of the same thing: words, and how often and how long.
const FREE: [&str; 5] = ["title", "question", "seed", "measure.rounds", "measure.time_limit_s"];

/// The settings of a result by which it can be compared with another, by name: the scenario's, and those of machine and build.
pub fn settings(result: &RunResult) -> Vec<(String, String)> {
    let mut all = Vec::new();
    // A scenario is written without fail: it was read from the same form.
    flatten("", &serde_json::to_value(&result.scenario).unwrap_or_default(), &mut all);
    all.retain(|(name, _)| !FREE.contains(&name.as_str()));
    let host = &result.host;
    all.extend(
        [
            ("machine.processor", host.cpu_model.clone().unwrap_or_default()),
            ("machine.cores", host.cores.to_string()),
            ("machine.kernel", host.kernel_release.clone()),
            ("link in use", result.environment.link.kind.clone()),
            ("mode", result.environment.mode.clone()),
            ("build", result.natrig.profile.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    all
}

fn differences(base: &RunResult, new: &RunResult) -> Vec<(String, String, String)> {
    let (base, new) = (settings(base), settings(new));
    let of = |side: &[(String, String)], name: &str| {
        side.iter().find(|(other, _)| other == name).map_or_else(|| "–".to_owned(), |(_, value)| value.clone())
    };
    let mut names: Vec<&String> = base.iter().chain(&new).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    let all = names.into_iter().map(|name| (name.clone(), of(&base, name), of(&new, name)));
    all.filter(|(_, base, new)| base != new).collect()
}

fn flatten(path: &str, value: &Value, all: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        all.push((path.to_owned(), value.to_string()));
        return;
    };
    for (name, value) in fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        flatten(&path, value, all);
    }
}
