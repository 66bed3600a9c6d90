//! Lines and bars as SVG. Colours are classes of the page: `s0` to `s7`.

use super::scale::Range;
use super::svg::Svg;
use super::{BarChart, LineChart, Scale};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 84.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 52.0;

/// How many colours there are.
pub(super) const COLOURS: usize = 8;

pub(super) fn svg(chart: &LineChart) -> String {
    let legend = Legend::of(chart);
    let mut svg = Svg::new(WIDTH, HEIGHT + legend.below(), &chart.title);
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let x = Range::of(chart.x.scale, points().map(|point| point.x), false);
    let reach = |point: &super::Point| {
        let (low, high) = point.range.unwrap_or((point.y, point.y));
        [point.y, low, high]
    };
    let y = Range::of(chart.y.scale, points().flat_map(reach), chart.y.scale == Scale::Linear);
    let (right, bottom) = (legend.left_of(), HEIGHT - BOTTOM);
    let across = |at: f64| LEFT + at * (right - LEFT);
    let up = |at: f64| bottom - at * (bottom - TOP);
    for tick in y.ticks() {
        let Some(at) = y.at(tick).map(up) else { continue };
        svg.line("grid", (LEFT, at), (right, at));
        svg.text("tick", "end", (LEFT - 6.0, at + 4.0), &chart.y.write(tick));
    }
    for tick in x.ticks() {
        let Some(at) = x.at(tick).map(across) else { continue };
        svg.line("grid", (at, TOP), (at, bottom));
        svg.text("tick", "middle", (at, bottom + 17.0), &chart.x.write(tick));
    }
    svg.line("axis", (LEFT, bottom), (right, bottom));
    svg.line("axis", (LEFT, TOP), (LEFT, bottom));
    svg.text("label", "middle", (0.5 * (LEFT + right), HEIGHT - 12.0), &chart.x.title);
    svg.upright("label", (14.0, 0.5 * (TOP + bottom)), &chart.y.title);
    for (index, series) in chart.series.iter().enumerate() {
        let colour = colour(index);
        let places: Vec<(f64, f64)> =
            series.points.iter().filter_map(|point| Some((across(x.at(point.x)?), up(y.at(point.y)?)))).collect();
        svg.polyline(&format!("curve {colour}"), &places);
        for point in &series.points {
            let Some((at_x, at_y)) = x.at(point.x).zip(y.at(point.y)) else { continue };
            if let Some((low, high)) = point.range.and_then(|(low, high)| y.at(low).zip(y.at(high))) {
                svg.line(&format!("whisker {colour}"), (across(at_x), up(low)), (across(at_x), up(high)));
            }
            let hint = format!("{}: {} at {}", series.name, chart.y.write(point.y), chart.x.write(point.x));
            svg.dot(&format!("dot {colour}"), (across(at_x), up(at_y)), &hint);
        }
        let (at_x, at_y) = legend.at(index);
        svg.line(&format!("curve {colour}"), (at_x, at_y), (at_x + 20.0, at_y));
        svg.text("tick", "start", (at_x + 26.0, at_y + 4.0), &series.name);
    }
    svg.finish()
}

/// The class of a curve: where the colours are used up they come again, broken.
fn colour(index: usize) -> String {
    let broken = ["", " dashed", " dotted"][(index / COLOURS) % 3];
    format!("s{}{broken}", index % COLOURS)
}

/// Where the names of the curves stand: beside them, or under them in columns where one is too long for that.
#[derive(Debug, Clone, Copy)]
struct Legend {
    /// 0 where they stand beside.
    columns: usize,
    rows: usize,
}

impl Legend {
    const BESIDE: f64 = 150.0;
    const BESIDE_CHARACTERS: usize = 16;
    const HALF_CHARACTERS: usize = 48;
    const STEP: f64 = 20.0;
    /// Room for half of the last tick.
    const MARGIN: f64 = 24.0;

    fn of(chart: &LineChart) -> Self {
        let longest = chart.series.iter().map(|series| series.name.chars().count()).max().unwrap_or(0);
        let count = chart.series.len();
        if longest <= Self::BESIDE_CHARACTERS && Self::STEP * count as f64 <= HEIGHT - BOTTOM {
            return Self { columns: 0, rows: 0 };
        }
        let columns = if longest <= Self::HALF_CHARACTERS { 2 } else { 1 };
        Self { columns, rows: count.div_ceil(columns) }
    }

    /// Where the curves end.
    fn left_of(self) -> f64 {
        WIDTH - if self.columns == 0 { Self::BESIDE } else { Self::MARGIN }
    }

    /// What the names need under the curves.
    fn below(self) -> f64 {
        Self::STEP * self.rows as f64
    }

    fn at(self, index: usize) -> (f64, f64) {
        if self.columns == 0 {
            return (self.left_of() + 12.0, TOP + 10.0 + Self::STEP * index as f64);
        }
        let column = (WIDTH - LEFT) / self.columns as f64;
        let (column_index, row) = (index / self.rows, index % self.rows);
        (LEFT + column * column_index as f64, HEIGHT + 4.0 + Self::STEP * row as f64)
    }
}

const BAR_LEFT: f64 = 190.0;
const BAR_RIGHT: f64 = 120.0;
const BAR: f64 = 22.0;
const BAR_STEP: f64 = 34.0;

pub(super) fn bars(chart: &BarChart) -> String {
    let bottom = TOP + BAR_STEP * chart.bars.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + BOTTOM, &chart.title);
    let reach = |bar: &super::Bar| {
        let (low, high) = bar.range.unwrap_or((bar.value, bar.value));
        [bar.value, low, high]
    };
    let range = Range::of(chart.axis.scale, chart.bars.iter().flat_map(reach), true);
    let across = |at: f64| BAR_LEFT + at * (WIDTH - BAR_RIGHT - BAR_LEFT);
    for tick in range.ticks() {
        let Some(at) = range.at(tick).map(across) else { continue };
        svg.line("grid", (at, TOP), (at, bottom));
        svg.text("tick", "middle", (at, bottom + 17.0), &chart.axis.write(tick));
    }
    let zero = across(range.at(0.0).unwrap_or(0.0));
    for (index, bar) in chart.bars.iter().enumerate() {
        let at_y = TOP + BAR_STEP * index as f64 + 0.5 * (BAR_STEP - BAR);
        svg.text("tick", "end", (BAR_LEFT - 8.0, at_y + 15.0), &bar.label);
        let Some(end) = range.at(bar.value).map(across) else { continue };
        let value = chart.axis.write(bar.value);
        let hint = match bar.range {
            Some((low, high)) => {
                format!("{}: {value} ({} to {})", bar.label, chart.axis.write(low), chart.axis.write(high))
            }
            None => format!("{}: {value}", bar.label),
        };
        let attributes = format!(r#"class="bar s{}""#, index % COLOURS);
        svg.rect(&attributes, (zero.min(end), at_y), ((end - zero).abs(), BAR), &hint);
        let mut far = end;
        if let Some((low, high)) = bar.range.and_then(|(low, high)| range.at(low).zip(range.at(high))) {
            let (low, high, middle) = (across(low), across(high), at_y + 0.5 * BAR);
            svg.line("error", (low, middle), (high, middle));
            for at in [low, high] {
                svg.line("error", (at, middle - 5.0), (at, middle + 5.0));
            }
            far = far.max(high);
        }
        svg.text("tick", "start", (far.max(zero) + 6.0, at_y + 15.0), &value);
    }
    svg.line("axis", (zero, TOP), (zero, bottom));
    svg.text("label", "middle", (0.5 * (BAR_LEFT + WIDTH - BAR_RIGHT), bottom + 40.0), &chart.axis.title);
    svg.finish()
}
