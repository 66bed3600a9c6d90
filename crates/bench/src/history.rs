//! What runs found over time: a line for each, and where the level of a figure changed.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compare::settings;
use crate::result::{Figure, RunResult};
use crate::stats::{ChangePoint, ChangeSettings, change_points};

/// A run in a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// When it began, RFC 3339.
    pub started_at: String,
    /// The commit that natrig was built from.
    pub commit: Option<String>,
    /// The scenario's title.
    pub title: String,
    /// Stands for all settings and circumstances by which runs can be compared: lines with another are another series.
    pub settings: String,
    /// Medians over rounds, by `engines/design/frame size/figure`.
    pub figures: BTreeMap<String, f64>,
}

/// A figure whose level changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// The scenario's title.
    pub title: String,
    /// Which figure.
    pub figure: String,
    /// The first run after the change.
    pub started_at: String,
    /// The commit of that run.
    pub commit: Option<String>,
    /// How sure, and how large.
    pub change: ChangePoint,
}

impl Line {
    /// What there is to remember of a run.
    pub fn of(result: &RunResult) -> Self {
        let mut figures = BTreeMap::new();
        for design in &result.designs {
            let medians = [
                (Figure::RatePps, design.rate_pps),
                (Figure::NsPerPacket, design.ns_per_packet),
                (Figure::CpuNsPerPacket, design.cpu_ns_per_packet),
                (Figure::LatencyNsP50, design.latency_ns_p50),
                (Figure::LatencyNsP99, design.latency_ns_p99),
                (Figure::LatencyNsP999, design.latency_ns_p999),
                (Figure::ConnectionsPerS, design.connections_per_s),
            ];
            for (figure, interval) in medians {
                let Some(interval) = interval else { continue };
                let name = format!("{}/{}/{}/{}", design.engines, design.design, design.frame_size, figure.name());
                figures.insert(name, interval.median);
            }
        }
        Self {
            started_at: result.started_at.clone(),
            commit: result.natrig.commit.clone(),
            title: result.scenario.title.clone(),
            settings: format!("{:016x}", fingerprint(result)),
            figures,
        }
    }
}

/// FNV-1a of the settings: short, and the same on every machine.
fn fingerprint(result: &RunResult) -> u64 {
    let text: String = settings(result).into_iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// How many runs the longest series has: runs with the same settings.
pub fn longest_series(lines: &[Line]) -> usize {
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        *runs.entry(&line.settings).or_default() += 1;
    }
    runs.into_values().max().unwrap_or(0)
}

/// Where levels changed, by series of runs with the same settings; lines in the order in which they were made.
pub fn changes(lines: &[Line], how: &ChangeSettings) -> Vec<Change> {
    let mut series: BTreeMap<(&str, &str), Vec<(&Line, f64)>> = BTreeMap::new();
    for line in lines {
        for (figure, value) in &line.figures {
            series.entry((&line.settings, figure)).or_default().push((line, *value));
        }
    }
    let mut changes = Vec::new();
    for ((_, figure), runs) in &series {
        let values: Vec<f64> = runs.iter().map(|(_, value)| *value).collect();
        for change in change_points(&values, how) {
            let (line, _) = runs[change.index];
            changes.push(Change {
                title: line.title.clone(),
                figure: (*figure).to_owned(),
                started_at: line.started_at.clone(),
                commit: line.commit.clone(),
                change,
            });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(nth: usize, settings: &str, rate: f64) -> Line {
        Line {
            started_at: format!("2026-01-{:02}T00:00:00Z", nth + 1),
            commit: Some(format!("c{nth}")),
            title: "t".to_owned(),
            settings: settings.to_owned(),
            figures: BTreeMap::from([("userspace/both/64/rate_pps".to_owned(), rate)]),
        }
    }

    /// As good as random, always the same: ±2 %.
    fn noise(nth: usize) -> f64 {
        1.0 + 0.02 * ((nth * 7919 % 101) as f64 / 50.0 - 1.0)
    }

    #[test]
    fn a_known_drop_is_found_where_it_happened() {
        let rate = |nth| if nth < 14 { 100.0 } else { 90.0 };
        let mut lines: Vec<Line> = (0..28).map(|nth| line(nth, "a", rate(nth) * noise(nth))).collect();
        // Another machine in between is another series.
        lines.insert(5, line(5, "b", 10.0));
        assert_eq!((lines.len(), longest_series(&lines), longest_series(&[])), (29, 28, 0));
        let changes = changes(&lines, &ChangeSettings::default());
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert_eq!(changes[0].commit.as_deref(), Some("c14"));
        assert!((changes[0].change.relative_change() + 0.1).abs() < 0.01);
    }

    #[test]
    fn a_level_history_has_no_changes() {
        let lines: Vec<Line> = (0..28).map(|nth| line(nth, "a", 100.0 * noise(nth))).collect();
        assert_eq!(changes(&lines, &ChangeSettings::default()), []);
    }

    #[test]
    fn two_changes_are_two() {
        let rate = |nth: usize| [100.0, 120.0, 150.0][nth / 9 % 3];
        let lines: Vec<Line> = (0..27).map(|nth| line(nth, "a", rate(nth) * noise(nth))).collect();
        let found: Vec<String> =
            changes(&lines, &ChangeSettings::default()).into_iter().filter_map(|change| change.commit).collect();
        assert_eq!(found, ["c9", "c18"]);
    }
}
