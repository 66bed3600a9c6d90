use crate::numbers::{Quantity, figure, plain};

/// An axis of a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// What is measured along it.
    pub title: String,
    /// In which unit values are given: `ns` and `pps` are written in larger ones where that is shorter, any other as it is.
    pub unit: String,
    /// How values become places.
    pub scale: Scale,
}

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values that are not positive are not shown.
    Log,
    /// Shares of one by the logarithm of what is missing to one: 90 %, 99 % and 99.9 % are equally far apart.
    Nines,
}

impl Axis {
    /// An axis for values of `unit`.
    pub fn new(title: impl Into<String>, unit: impl Into<String>, scale: Scale) -> Self {
        Self { title: title.into(), unit: unit.into(), scale }
    }

    /// A value on it, for people.
    pub(super) fn write(&self, value: f64) -> String {
        if self.scale == Scale::Nines {
            return format!("{} %", trimmed((value * 1e8).round() / 1e6));
        }
        match self.unit.as_str() {
            "ns" | "pps" if value == 0.0 => "0".to_owned(),
            "ns" => plain(&figure(Quantity::Time, value)),
            "pps" => plain(&figure(Quantity::Rate, value)),
            "" => short(value),
            unit => format!("{} {unit}", short(value)),
        }
    }
}

/// Three digits, and a letter for thousands, millions and billions.
fn short(value: f64) -> String {
    let (divisor, letter) = match value.abs() {
        size if size >= 1e9 => (1e9, "G"),
        size if size >= 1e6 => (1e6, "M"),
        size if size >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let digits = match (value / divisor).abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 => 2,
        _ => 4,
    };
    let factor = 10_f64.powi(digits);
    format!("{}{letter}", trimmed((value / divisor * factor).round() / factor))
}

fn trimmed(value: f64) -> String {
    format!("{}", if value == 0.0 { 0.0 } else { value })
}

/// The values that are drawn, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Range {
    /// From the smallest to the largest of `values` that the scale can show; from zero if `zero`.
    pub(super) fn of(scale: Scale, values: impl Iterator<Item = f64>, zero: bool) -> Self {
        let places = values.filter_map(|value| place(scale, value));
        let (mut low, mut high) =
            places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)));
        if !low.is_finite() {
            (low, high) = (0.0, 1.0);
        }
        if zero && scale == Scale::Linear {
            (low, high) = (low.min(0.0), high.max(0.0));
        }
        if high - low < 1e-9 * high.abs().max(1.0) {
            high = low + 1.0;
        }
        Self { scale, low, high }
    }

    /// Where a value lies, 0 to 1; `None` if it cannot be shown.
    pub(super) fn at(&self, value: f64) -> Option<f64> {
        place(self.scale, value).map(|at| ((at - self.low) / (self.high - self.low)).clamp(0.0, 1.0))
    }

    /// Values worth a mark.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let inside =
            |value: &f64| place(self.scale, *value).is_some_and(|at| at >= self.low - 1e-9 && at <= self.high + 1e-9);
        match self.scale {
            Scale::Linear => {
                let rough = (self.high - self.low) / 5.0;
                let magnitude = 10_f64.powf(rough.log10().floor());
                let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
                let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(rough);
                let first = (self.low / step).ceil() as i64;
                (first..first + 12).map(|nth| nth as f64 * step).filter(inside).collect()
            }
            Scale::Log => {
                let decades = self.low.floor() as i32..=self.high.ceil() as i32;
                let wide = self.high - self.low > 2.0;
                let steps: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
                decades
                    .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
                    .filter(inside)
                    .collect()
            }
            Scale::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999].into_iter().filter(inside).collect(),
        }
    }
}

fn place(scale: Scale, value: f64) -> Option<f64> {
    let at = match scale {
        Scale::Linear => value,
        Scale::Log => value.log10(),
        Scale::Nines => -(1.0 - value).log10(),
    };
    at.is_finite().then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_inside() {
        let ticks = |scale, low, high| Range::of(scale, [low, high].into_iter(), false).ticks();
        assert_eq!(ticks(Scale::Linear, 0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(Scale::Log, 1.0, 30.0), [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(ticks(Scale::Log, 1.0, 1e4), [1.0, 10.0, 100.0, 1e3, 1e4]);
        assert_eq!(ticks(Scale::Nines, 0.0, 0.9995), [0.0, 0.5, 0.9, 0.99, 0.999]);
        assert_eq!(Range::of(Scale::Log, [0.0, f64::NAN].into_iter(), false).at(1.0), Some(0.0));
    }

    #[test]
    fn values_are_written_in_units_that_fit() {
        let write = |unit: &str, value| Axis::new("", unit, Scale::Linear).write(value);
        assert_eq!(write("ns", 1_234.0), "1.23 µs");
        assert_eq!(write("", 64_512.0), "64.5k");
        assert_eq!(write("%", 0.5), "0.5 %");
        assert_eq!(write("ports", 12.0), "12 ports");
        assert_eq!(Axis::new("", "", Scale::Nines).write(0.999), "99.9 %");
    }
}
