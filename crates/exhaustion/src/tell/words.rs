//! Figures as people read them.

/// A whole number with its thousands apart.
pub(super) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (nth, digit) in digits.char_indices() {
        if nth > 0 && digits.len() > 4 && (digits.len() - nth).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Like [`whole`], or a dash.
pub(super) fn whole_or_dash(value: Option<f64>) -> String {
    value.map_or_else(dash, whole)
}

/// A share as a percentage with a decimal.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Like [`percent`], or a dash.
pub(super) fn percent_or_dash(share: Option<f64>) -> String {
    share.map_or_else(dash, percent)
}

/// A number of moderate size, or a dash.
pub(super) fn figure(value: Option<f64>) -> String {
    value.map_or_else(dash, |value| if value >= 100.0 { whole(value) } else { format!("{value:.1}") })
}

/// What stands where there is nothing.
pub(super) fn dash() -> String {
    "–".to_owned()
}

/// A part of something.
pub(super) fn part(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([999.4, 1000.0, 64_512.0].map(whole), ["999", "1000", "64,512"]);
        assert_eq!(percent(0.6149), "61.5 %");
        assert_eq!([Some(12.34), Some(537.6), None].map(figure), ["12.3", "538", "–"]);
    }
}
