//! Heat maps as SVG: the stronger the colour, the higher the value; the number stands in each cell that has room for it.

use super::HeatMap;
use super::scale::Range;
use super::svg::Svg;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const TOP: f64 = 44.0;
const ROW: f64 = 30.0;
const BOTTOM: f64 = 12.0;

pub(super) fn svg(map: &HeatMap) -> String {
    let (column_title, columns) = &map.columns;
    let (row_title, rows) = &map.rows;
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = Svg::new(WIDTH, bottom + BOTTOM, &map.title);
    let width = ((WIDTH - LEFT) / columns.len().max(1) as f64).min(120.0);
    let range = Range::of(map.value.scale, map.cells.iter().flatten().flatten().copied(), true);
    svg.text("label", "middle", (LEFT + 0.5 * width * columns.len() as f64, 14.0), column_title);
    svg.upright("label", (14.0, 0.5 * (TOP + bottom)), row_title);
    for (index, column) in columns.iter().enumerate() {
        svg.text("tick", "middle", (LEFT + (index as f64 + 0.5) * width, TOP - 8.0), column);
    }
    for (index, (name, cells)) in rows.iter().zip(&map.cells).enumerate() {
        let at_y = TOP + ROW * index as f64;
        svg.text("tick", "end", (LEFT - 8.0, at_y + 0.5 * ROW + 4.0), name);
        for (column, cell) in cells.iter().enumerate() {
            let at_x = LEFT + column as f64 * width;
            let place = cell.and_then(|value| range.at(value));
            let text = cell.map_or_else(|| "–".to_owned(), |value| map.value.write(value));
            let attributes = match place {
                Some(place) => format!(r#"class="heat" fill-opacity="{:.2}""#, 0.06 + 0.84 * place),
                None => r#"class="unknown""#.to_owned(),
            };
            let where_ = format!(
                "{} {name}, {} {}: {text}",
                row_title,
                column_title,
                columns.get(column).map_or("", String::as_str)
            );
            svg.rect(&attributes, (at_x + 1.0, at_y + 1.0), (width - 2.0, ROW - 2.0), &where_);
            if text.chars().count() as f64 * 6.5 < width {
                let class = if place.is_some_and(|place| place > 0.6) { "tick inverse" } else { "tick" };
                svg.text(class, "middle", (at_x + 0.5 * width, at_y + 0.5 * ROW + 4.0), &text);
            }
        }
    }
    svg.finish()
}
