//! Figures in a document: lines, bars, heat maps and grids of words. In HTML they are SVG, elsewhere text.

mod grid;
mod heat;
mod lines;
mod scale;
mod svg;
mod text;

pub(crate) use grid::table as grid_table;
pub use scale::{Axis, Scale};
pub(crate) use svg::escaped;

/// A picture of figures.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// Curves over a common axis.
    Lines(LineChart),
    /// A value for each of some things, with its interval.
    Bars(BarChart),
    /// A value for each pair of two settings.
    Heat(HeatMap),
    /// A word for each pair of two things.
    Grid(Grid),
}

/// Curves over a common axis.
#[derive(Debug, Clone, PartialEq)]
pub struct LineChart {
    /// What it shows.
    pub title: String,
    /// To the right.
    pub x: Axis,
    /// Upwards.
    pub y: Axis,
    /// The curves.
    pub series: Vec<Series>,
    /// What a reader needs to know to read it; may be empty.
    pub note: String,
}

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it is called.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<Point>,
}

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// To the right, in the unit of the axis.
    pub x: f64,
    /// Upwards.
    pub y: f64,
    /// The interval of `y`, if there is one.
    pub range: Option<(f64, f64)>,
}

/// A value for each of some things.
#[derive(Debug, Clone, PartialEq)]
pub struct BarChart {
    /// What it shows.
    pub title: String,
    /// The values; starts at zero.
    pub axis: Axis,
    /// The things, from above.
    pub bars: Vec<Bar>,
    /// What a reader needs to know to read it; may be empty.
    pub note: String,
}

/// A thing with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// What it is called.
    pub label: String,
    /// Its value.
    pub value: f64,
    /// The value's interval, if there is one.
    pub range: Option<(f64, f64)>,
}

/// A value for each pair of two settings.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// What it shows.
    pub title: String,
    /// The setting that grows to the right, and its values.
    pub columns: (String, Vec<String>),
    /// The setting that grows downwards, and its values.
    pub rows: (String, Vec<String>),
    /// What is shown.
    pub value: Axis,
    /// Row by row; `None` where nothing was measured.
    pub cells: Vec<Vec<Option<f64>>>,
    /// What a reader needs to know to read it; may be empty.
    pub note: String,
}

/// A word for each pair of two things.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// What it shows.
    pub title: String,
    /// One thing, from left to right.
    pub columns: Vec<String>,
    /// The other, downwards.
    pub rows: Vec<String>,
    /// Row by row.
    pub cells: Vec<Vec<GridCell>>,
    /// What the kinds of cells mean; the first one is what does not work.
    pub kinds: Vec<String>,
    /// What a reader needs to know to read it; may be empty.
    pub note: String,
}

/// What is so for a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GridCell {
    /// In a word.
    pub word: String,
    /// And a little more, which text has no room for; may be empty.
    pub detail: String,
    /// Of which kind it is: decides the colour.
    pub kind: usize,
}

impl Series {
    /// A curve without intervals.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().map(|(x, y)| Point { x, y, range: None }).collect();
        Self { name: name.into(), points }
    }
}

impl Figure {
    /// What it shows.
    pub fn title(&self) -> &str {
        match self {
            Self::Lines(LineChart { title, .. })
            | Self::Bars(BarChart { title, .. })
            | Self::Heat(HeatMap { title, .. })
            | Self::Grid(Grid { title, .. }) => title,
        }
    }

    /// What a reader needs to know to read it.
    pub fn note(&self) -> &str {
        match self {
            Self::Lines(LineChart { note, .. })
            | Self::Bars(BarChart { note, .. })
            | Self::Heat(HeatMap { note, .. })
            | Self::Grid(Grid { note, .. }) => note,
        }
    }

    /// As an `svg` element that takes its colours from the page.
    pub(crate) fn svg(&self) -> String {
        match self {
            Self::Lines(chart) => lines::svg(chart),
            Self::Bars(chart) => lines::bars(chart),
            Self::Heat(map) => heat::svg(map),
            Self::Grid(grid) => grid::svg(grid),
        }
    }

    /// As lines of text.
    pub(crate) fn text(&self) -> Vec<String> {
        match self {
            Self::Lines(chart) => text::lines(chart),
            Self::Bars(chart) => text::bars(chart),
            Self::Heat(map) => text::heat(map),
            // Text has tables for it.
            Self::Grid(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale) -> Figure {
        Figure::Lines(LineChart {
            title: "a < b".to_owned(),
            x: Axis::new("share", "", Scale::Nines),
            y: Axis::new("latency", "ns", scale),
            series: vec![Series::new("one", [(0.0, 10.0), (0.9, 100.0), (0.99, 1e6)]), Series::new("none", [])],
            note: String::new(),
        })
    }

    /// What is drawn is finite and inside, whatever is asked for.
    #[test]
    fn lines_stay_in_their_frame() {
        for scale in [Scale::Linear, Scale::Log] {
            let svg = chart(scale).svg();
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
            assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    /// A long name stands under the curves, and no two of many curves look alike.
    #[test]
    fn every_curve_can_be_told_by_its_name() {
        let named = |index| Series::new(format!("a name longer than its place {index}"), [(0.0, 1.0), (0.5, 2.0)]);
        let Figure::Lines(mut lines) = chart(Scale::Log) else { panic!("lines") };
        lines.series = (0..20).map(named).collect();
        let svg = Figure::Lines(lines).svg();
        assert!(svg.contains(r#"viewBox="0 0 760 540""#), "{svg}");
        let mut looks: Vec<&str> =
            svg.split(r#"polyline class=""#).skip(1).filter_map(|rest| rest.split('"').next()).collect();
        looks.sort_unstable();
        looks.dedup();
        assert_eq!(looks.len(), 20, "{looks:?}");
    }

    #[test]
    fn a_chart_of_nothing_is_drawn_too() {
        let empty = Figure::Bars(BarChart {
            title: String::new(),
            axis: Axis::new("rate", "pps", Scale::Linear),
            bars: vec![Bar { label: "x".to_owned(), value: f64::NAN, range: None }],
            note: String::new(),
        });
        assert!(!empty.svg().contains("NaN"), "{}", empty.svg());
        let map = HeatMap {
            title: String::new(),
            columns: ("c".to_owned(), vec!["1".to_owned()]),
            rows: ("r".to_owned(), vec!["2".to_owned()]),
            value: Axis::new("share", "%", Scale::Linear),
            cells: vec![vec![None]],
            note: String::new(),
        };
        assert!(!Figure::Heat(map).svg().contains("NaN"));
    }

    #[test]
    fn a_grid_has_a_rectangle_for_each_pair_and_each_kind() {
        let cell = |word: &str, kind| GridCell { word: word.to_owned(), detail: "a<b".to_owned(), kind };
        let grid = Grid {
            title: "who".to_owned(),
            columns: vec!["x".to_owned(), "y".to_owned()],
            rows: vec!["one".to_owned()],
            cells: vec![vec![cell("×", 0), cell("10.0.0.1", 1)]],
            kinds: vec!["no".to_owned(), "yes".to_owned()],
            note: String::new(),
        };
        let svg = Figure::Grid(grid.clone()).svg();
        assert_eq!((svg.matches("<rect").count(), svg.matches("refused").count()), (4, 2), "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains("10.0.0.1"), "{svg}");
        assert_eq!(grid_table(&grid).rows, [["one", "×", "10.0.0.1"]]);
    }

    #[test]
    fn text_shows_the_shape() {
        assert_eq!(
            chart(Scale::Log).text(),
            ["latency over share", "one   ▁▂█  10.0 ns at 0 % … 1.00 ms at 99 %", "none  –"]
        );
        let bars = Figure::Bars(BarChart {
            title: String::new(),
            axis: Axis::new("rate", "pps", Scale::Linear),
            bars: vec![
                Bar { label: "none".to_owned(), value: 2e6, range: Some((1.9e6, 2.1e6)) },
                Bar { label: "both".to_owned(), value: 1e6, range: None },
            ],
            note: String::new(),
        });
        let text = bars.text();
        assert!(
            text[0].starts_with("none  ████") && text[0].ends_with("2.00 Mpps (1.90 Mpps to 2.10 Mpps)"),
            "{text:?}"
        );
        assert_eq!(text[0].matches('█').count(), 2 * text[1].matches('█').count());
    }

    #[test]
    fn heat_is_a_table_in_text() {
        let map = HeatMap {
            title: String::new(),
            columns: ("nodes".to_owned(), vec!["1".to_owned(), "10".to_owned()]),
            rows: ("ports".to_owned(), vec!["64".to_owned(), "128".to_owned()]),
            value: Axis::new("refused", "%", Scale::Linear),
            cells: vec![vec![Some(0.0), Some(50.0)], vec![None, Some(100.0)]],
            note: String::new(),
        };
        assert_eq!(
            Figure::Heat(map).text(),
            [
                "refused by ports (down) and nodes (across)",
                "         1     10",
                " 64    0 %   50 %",
                "128      –  100 %"
            ]
        );
    }
}
