//! What is so for each pair of two things, as SVG: a word or two in each cell, and a colour for what kind of thing it is.

use super::Grid;
use super::svg::Svg;
use crate::document::{Align, Table};

const CHARACTER: f64 = 6.8;
const TOP: f64 = 28.0;
const ROW: f64 = 40.0;
const LEGEND: f64 = 34.0;
const WIDTH_MIN: f64 = 760.0;

pub(super) fn svg(grid: &Grid) -> String {
    let longest = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.chars().count()).max().unwrap_or(0);
    let left = 16.0 + CHARACTER * longest(&mut grid.rows.iter()) as f64;
    let texts = grid.cells.iter().flatten().flat_map(|cell| [&cell.word, &cell.detail]);
    let column = 14.0 + CHARACTER * longest(&mut texts.chain(&grid.columns)) as f64;
    let width = (left + column * grid.columns.len() as f64).max(WIDTH_MIN);
    let bottom = TOP + ROW * grid.rows.len() as f64;
    let mut svg = Svg::new(width, bottom + LEGEND, &grid.title);
    for (index, name) in grid.columns.iter().enumerate() {
        svg.text("tick", "middle", (left + (index as f64 + 0.5) * column, TOP - 9.0), name);
    }
    for (nth, (name, cells)) in grid.rows.iter().zip(&grid.cells).enumerate() {
        let at_y = TOP + ROW * nth as f64;
        svg.text("tick", "end", (left - 8.0, at_y + 0.5 * ROW + 4.0), name);
        for (index, cell) in cells.iter().enumerate() {
            let at_x = left + index as f64 * column;
            let to = grid.columns.get(index).map_or("", String::as_str);
            let hint = format!("{name}, {to}: {} {}", cell.word, cell.detail);
            svg.rect(&fill(cell.kind), (at_x + 1.0, at_y + 1.0), (column - 2.0, ROW - 2.0), &hint);
            let middle = at_x + 0.5 * column;
            let first = if cell.detail.is_empty() { 0.5 * ROW + 4.0 } else { 0.5 * ROW - 2.0 };
            svg.text("tick", "middle", (middle, at_y + first), &cell.word);
            svg.text("tick", "middle", (middle, at_y + 0.5 * ROW + 13.0), &cell.detail);
        }
    }
    let mut at_x = left;
    for (kind, meaning) in grid.kinds.iter().enumerate() {
        svg.rect(&fill(kind), (at_x, bottom + 12.0), (14.0, 14.0), meaning);
        svg.text("label", "start", (at_x + 20.0, bottom + 23.0), meaning);
        at_x += 44.0 + CHARACTER * meaning.chars().count() as f64;
    }
    svg.finish()
}

/// The first kind is what does not work.
fn fill(kind: usize) -> String {
    let class = if kind == 0 { "refused" } else { "heat" };
    format!(r#"class="{class}" fill-opacity="{:.2}""#, (0.04 + 0.12 * kind as f64).clamp(0.14, 0.52))
}

/// The same as rows and columns of words.
pub(crate) fn table(grid: &Grid) -> Table {
    let titles = std::iter::once("").chain(grid.columns.iter().map(String::as_str));
    let mut table = Table::new(titles.map(|title| (title, Align::Left)));
    for (name, cells) in grid.rows.iter().zip(&grid.cells) {
        table.row(std::iter::once(name.clone()).chain(cells.iter().map(|cell| cell.word.clone())));
    }
    table
}
