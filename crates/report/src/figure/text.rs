//! Figures where there is only text.

use super::scale::Range;
use super::{BarChart, HeatMap, LineChart};

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Most points of a curve that are shown.
const POINTS_MAX: usize = 40;

/// Columns of the longest bar.
const BAR_COLUMNS: f64 = 32.0;

pub(super) fn lines(chart: &LineChart) -> Vec<String> {
    let range =
        Range::of(chart.y.scale, chart.series.iter().flat_map(|series| &series.points).map(|point| point.y), false);
    let width = names(chart.series.iter().map(|series| series.name.as_str()));
    let mut lines = vec![format!("{} over {}", chart.y.title, chart.x.title)];
    lines.extend(chart.series.iter().map(|series| {
        let name = &series.name;
        let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else {
            return format!("{name:<width$}  –");
        };
        let every = series.points.len().div_ceil(POINTS_MAX);
        let level = |y: f64| range.at(y).map_or(' ', |at| LEVELS[(at * 7.0).round() as usize]);
        let shape: String = series.points.iter().step_by(every).map(|point| level(point.y)).collect();
        let at = |point: &super::Point| format!("{} at {}", chart.y.write(point.y), chart.x.write(point.x));
        format!("{name:<width$}  {shape}  {} … {}", at(first), at(last))
    }));
    lines
}

pub(super) fn bars(chart: &BarChart) -> Vec<String> {
    let range = Range::of(chart.axis.scale, chart.bars.iter().map(|bar| bar.value), true);
    let width = names(chart.bars.iter().map(|bar| bar.label.as_str()));
    let line = |bar: &super::Bar| {
        let length = range.at(bar.value).map_or(0, |at| (at * BAR_COLUMNS).round() as usize);
        let interval = match bar.range {
            Some((low, high)) => format!(" ({} to {})", chart.axis.write(low), chart.axis.write(high)),
            None => String::new(),
        };
        format!("{:<width$}  {}  {}{interval}", bar.label, "█".repeat(length), chart.axis.write(bar.value))
    };
    chart.bars.iter().map(line).collect()
}

pub(super) fn heat(map: &HeatMap) -> Vec<String> {
    let (column_title, columns) = &map.columns;
    let (row_title, rows) = &map.rows;
    let cell = |value: &Option<f64>| value.map_or_else(|| "–".to_owned(), |value| map.value.write(value));
    let texts: Vec<Vec<String>> = map.cells.iter().map(|row| row.iter().map(cell).collect()).collect();
    let width = names(texts.iter().flatten().chain(columns).map(String::as_str));
    let names = names(rows.iter().map(String::as_str));
    let row = |name: &str, cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>width$}")).collect();
        format!("{name:>names$}  {}", cells.join("  "))
    };
    let mut lines = vec![format!("{} by {row_title} (down) and {column_title} (across)", map.value.title)];
    lines.push(row("", columns));
    lines.extend(rows.iter().zip(&texts).map(|(name, cells)| row(name, cells)));
    lines
}

/// Columns of the longest name.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.map(|name| name.chars().count()).max().unwrap_or(0)
}
