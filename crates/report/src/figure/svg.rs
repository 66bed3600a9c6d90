//! Elements of SVG 1.1, as text.

use std::fmt::Write as _;

/// A picture that grows.
#[derive(Debug)]
pub(super) struct Svg {
    body: String,
    width: f64,
    height: f64,
    title: String,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64, title: &str) -> Self {
        Self { body: String::new(), width, height, title: title.to_owned() }
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let _ = write!(
            self.body,
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    /// Anchored at its `start`, `middle` or `end`.
    pub(super) fn text(&mut self, class: &str, anchor: &str, at: (f64, f64), text: &str) {
        let (x, y, text) = (at.0, at.1, escaped(text));
        let _ =
            write!(self.body, r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#);
    }

    /// Upwards along an axis.
    pub(super) fn upright(&mut self, class: &str, at: (f64, f64), text: &str) {
        let (x, y, text) = (at.0, at.1, escaped(text));
        let _ = write!(
            self.body,
            r#"<text class="{class}" text-anchor="middle" transform="translate({x:.1} {y:.1}) rotate(-90)">{text}</text>"#
        );
    }

    /// With a text that shows where a pointer rests on it.
    pub(super) fn rect(&mut self, attributes: &str, at: (f64, f64), size: (f64, f64), hint: &str) {
        let (x, y, width, height, hint) = (at.0, at.1, size.0.max(0.0), size.1.max(0.0), escaped(hint));
        let _ = write!(
            self.body,
            r#"<rect {attributes} x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{hint}</title></rect>"#
        );
    }

    pub(super) fn dot(&mut self, class: &str, at: (f64, f64), hint: &str) {
        let (x, y, hint) = (at.0, at.1, escaped(hint));
        let _ = write!(
            self.body,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2.5"><title>{hint}</title></circle>"#
        );
    }

    pub(super) fn polyline(&mut self, class: &str, points: &[(f64, f64)]) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(self.body, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
    }

    pub(super) fn finish(self) -> String {
        let Self { body, width, height, title } = self;
        let title = escaped(&title);
        format!(r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{body}</svg>"#)
    }
}

/// As text or as the value of an attribute, in HTML and XML alike.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Characters that neither allows.
            '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
