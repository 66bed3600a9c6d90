//! Figures as people write them: units in proportion, no more digits than the interval bears out, "–" for what is not known.

use natrig_bench::result::Interval;

/// Stands for a figure that could not be measured.
pub(crate) const ABSENT: &str = "–";

/// Between a number and its unit, where no line may be broken.
const NO_BREAK: char = '\u{a0}';

/// `text` with ordinary spaces only.
pub(crate) fn plain(text: &str) -> String {
    text.replace(NO_BREAK, " ")
}

/// What a figure counts, which decides its units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// Nanoseconds.
    Time,
    /// Frames per second.
    Rate,
    /// A share of one.
    Share,
}

/// A unit and how much of the quantity's base unit it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Unit {
    pub name: &'static str,
    size: f64,
}

const TIMES: &[Unit] = &[
    Unit { name: "ns", size: 1.0 },
    Unit { name: "µs", size: 1e3 },
    Unit { name: "ms", size: 1e6 },
    Unit { name: "s", size: 1e9 },
];
const RATES: &[Unit] =
    &[Unit { name: "pps", size: 1.0 }, Unit { name: "kpps", size: 1e3 }, Unit { name: "Mpps", size: 1e6 }];
const SHARES: &[Unit] = &[Unit { name: "%", size: 0.01 }];

impl Unit {
    /// For times per packet, which people compare in nanoseconds however many they are.
    pub(crate) const NANOSECOND: Self = TIMES[0];

    /// For connection rates.
    pub(crate) const THOUSAND_PER_SECOND: Self = Self { name: "1000/s", size: 1e3 };

    /// For what is counted.
    pub(crate) const PORT: Self = Self { name: "flows to one server", size: 1.0 };
}

/// From here on a figure is written in the next larger unit, if there is one.
const UNIT_MAX: f64 = 100_000.0;

/// Significant digits of a figure, unless its interval bears out fewer.
const DIGITS: i32 = 3;

/// Those of whole numbers, which need not be cut so short.
const DIGITS_WHOLE: i32 = 4;

impl Quantity {
    fn units(self) -> &'static [Unit] {
        match self {
            Self::Time => TIMES,
            Self::Rate => RATES,
            Self::Share => SHARES,
        }
    }

    /// The unit for figures that stand together: the one that suits the smallest, unless the largest would become unreadable.
    pub(crate) fn unit(self, values: impl IntoIterator<Item = f64>) -> Unit {
        let sizes: Vec<f64> = values.into_iter().map(f64::abs).filter(|size| size.is_finite() && *size > 0.0).collect();
        let smallest = sizes.iter().copied().fold(f64::INFINITY, f64::min);
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        let units = self.units();
        let fits = |unit: &Unit| largest < UNIT_MAX * unit.size;
        let suits = |unit: &Unit| sizes.is_empty() || smallest < 1000.0 * unit.size;
        units.iter().find(|unit| suits(unit) && fits(unit)).copied().unwrap_or(units[units.len() - 1])
    }
}

/// How figures are written: in which unit, rounded to which step (a power of ten of that unit).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    pub unit: Unit,
    step: i32,
}

impl Scale {
    /// For one interval: its width decides which digits mean something.
    pub(crate) fn of(unit: Unit, interval: &Interval) -> Self {
        Self { unit, step: step(unit, interval) }
    }

    /// For a column: as many digits as its middle row bears out, and as many as it takes that no figure comes to nothing.
    pub(crate) fn of_column<'a>(unit: Unit, intervals: impl Iterator<Item = &'a Interval> + Clone) -> Self {
        let mut steps: Vec<i32> = intervals.clone().map(|interval| step(unit, interval)).collect();
        steps.sort_unstable();
        let middle = steps.get(steps.len() / 2).copied().unwrap_or(0);
        let sizes = intervals.map(|interval| interval.median.abs() / unit.size).filter(|size| *size > 0.0);
        let smallest = sizes.fold(f64::INFINITY, f64::min);
        let first_digit = if smallest.is_finite() { smallest.log10().floor() as i32 } else { middle };
        Self { unit, step: middle.min(first_digit) }
    }

    /// For a single value.
    pub(crate) fn alone(quantity: Quantity, value: f64) -> Self {
        let unit = quantity.unit([value]);
        Self { unit, step: finest(value.abs() / unit.size) }
    }

    /// The number without its unit.
    pub(crate) fn number(&self, value: f64) -> String {
        if !value.is_finite() {
            return ABSENT.to_owned();
        }
        let step = 10_f64.powi(self.step);
        let rounded = (value / self.unit.size / step).round() * step;
        let decimals = usize::try_from(-self.step).unwrap_or(0);
        let text = format!("{:.decimals$}", rounded.abs());
        let zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        if rounded < 0.0 && !zero { format!("−{text}") } else { text }
    }

    /// The number with its sign, `+` included; 0 has none.
    pub(crate) fn signed(&self, value: f64) -> String {
        let text = self.number(value);
        let bare = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        if bare || !value.is_finite() || value < 0.0 { text } else { format!("+{text}") }
    }

    /// The number with its unit.
    pub(crate) fn with_unit(&self, value: f64) -> String {
        format!("{}{NO_BREAK}{}", self.number(value), self.unit.name)
    }
}

/// How the quotients of an interval are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quotients(Scale);

impl Quotients {
    /// As many digits as the interval bears out.
    pub(crate) fn of(interval: &Interval) -> Self {
        Self(Scale::of(Unit { name: "×", size: 1.0 }, interval))
    }

    /// The number alone.
    pub(crate) fn number(&self, quotient: f64) -> String {
        self.0.number(quotient)
    }

    /// The number and a sign of multiplication: `8.4×`.
    pub(crate) fn with_sign(&self, quotient: f64) -> String {
        format!("{}×", self.number(quotient))
    }
}

/// True if an interval holds 0, or ends so near to it that it is written as 0.
pub(crate) fn touches_zero(quantity: Quantity, interval: &Interval) -> bool {
    let nearest = interval.low.abs().min(interval.high.abs());
    let scale = Scale::of(quantity.unit([interval.low.abs().max(interval.high.abs())]), interval);
    interval.low * interval.high <= 0.0 || nearest / scale.unit.size < 0.5 * 10_f64.powi(scale.step)
}

/// A measured value by itself, with its unit.
pub(crate) fn figure(quantity: Quantity, value: f64) -> String {
    Scale::alone(quantity, value).with_unit(value)
}

/// A value that somebody chose, with its unit: no digits that say nothing.
pub(crate) fn setting(quantity: Quantity, value: f64) -> String {
    let scale = Scale::alone(quantity, value);
    let number = scale.number(value);
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{NO_BREAK}{}", scale.unit.name)
}

/// A share of one in percent.
pub(crate) fn percent(share: f64) -> String {
    setting(Quantity::Share, share)
}

/// A confidence in whole percent, never rounded up to certainty.
pub(crate) fn confidence(share: f64) -> String {
    let percent = (share * 100.0).round();
    if percent >= 100.0 && share < 1.0 { "over 99\u{a0}%".to_owned() } else { format!("{percent}{NO_BREAK}%") }
}

/// A count with its thousands set apart.
pub(crate) fn count(number: impl Into<i128>) -> String {
    let number: i128 = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = if number < 0 { "−".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with the thing counted: `1 trial`, `2 trials`.
pub(crate) fn counted(number: impl Into<i128>, thing: &str) -> String {
    let number = number.into();
    format!("{}{NO_BREAK}{thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A time in words for people who wait: `47 s`, `2 min 5 s`.
pub(crate) fn elapsed(ns: u64) -> String {
    let tenths = ns / 100_000_000;
    match (tenths / 600, tenths / 10 % 60, tenths % 10) {
        (0, seconds, tenths) if seconds < 10 => format!("{seconds}.{tenths}{NO_BREAK}s"),
        (0, seconds, _) => format!("{seconds}{NO_BREAK}s"),
        (minutes, seconds, _) => format!("{minutes}{NO_BREAK}min{NO_BREAK}{seconds}{NO_BREAK}s"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// The power of ten of the last digit worth writing: two digits of the interval's width where it begins with 1 to 4, else one.
fn step(unit: Unit, interval: &Interval) -> i32 {
    let [low, high, median] = [interval.low, interval.high, interval.median].map(|end| end / unit.size);
    let largest = low.abs().max(high.abs()).max(median.abs());
    // Two decimals are enough where the unit was chosen for a whole row.
    let (top, finest) = (magnitude(largest), finest(largest).max(-2));
    let width = high - low;
    if !width.is_finite() || width <= 0.0 {
        return finest;
    }
    let exponent = magnitude(width);
    let step = if width / 10_f64.powi(exponent) < 5.0 { exponent - 1 } else { exponent };
    step.clamp(finest, top.max(finest))
}

/// The last digit that is ever written of a number of this size.
fn finest(value: f64) -> i32 {
    let top = magnitude(value);
    (top - (DIGITS - 1)).min(0).max(top - (DIGITS_WHOLE - 1))
}

/// The power of ten of a number's first digit; 0 for 0.
fn magnitude(value: f64) -> i32 {
    if value.is_finite() && value > 0.0 { value.log10().floor() as i32 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, median: f64, high: f64) -> Interval {
        Interval { median, low, high, confidence: 0.9375, rounds: 5 }
    }

    fn written(quantity: Quantity, interval: Interval) -> [String; 3] {
        let scale = Scale::of(quantity.unit([interval.median]), &interval);
        [scale.number(interval.median), scale.number(interval.low), scale.number(interval.high)]
    }

    #[test]
    fn digits_follow_the_width_of_the_interval() {
        assert_eq!(written(Quantity::Rate, interval(598_312.0, 612_345.0, 621_004.0)), ["612", "598", "621"]);
        assert_eq!(written(Quantity::Rate, interval(611_900.0, 612_345.0, 612_800.0)), ["612", "612", "613"]);
        assert_eq!(written(Quantity::Rate, interval(450_000.0, 612_345.0, 780_000.0)), ["610", "450", "780"]);
        assert_eq!(written(Quantity::Time, interval(1_234.0, 1_240.0, 1_250.0)), ["1.24", "1.23", "1.25"]);
        assert_eq!(written(Quantity::Time, interval(12.34, 12.34, 12.34)), ["12.3", "12.3", "12.3"]);
        assert_eq!(
            written(Quantity::Time, interval(16_123_456.0, 16_123_456.0, 16_123_456.0)),
            ["16.1", "16.1", "16.1"]
        );
        assert_eq!(written(Quantity::Time, interval(1_234.0, 12_340.0, 112_500.0)), ["10", "0", "110"]);
    }

    #[test]
    fn figures_that_stand_together_share_a_unit() {
        assert_eq!(Quantity::Rate.unit([612e3, 1.21e6]).name, "kpps");
        assert_eq!(Quantity::Rate.unit([612e3, 121e6]).name, "Mpps");
        assert_eq!(Quantity::Time.unit([6_660.0, 16_100_000.0]).name, "µs");
        assert_eq!(Quantity::Time.unit([900.0, 300_000.0]).name, "µs");
        assert_eq!(Quantity::Time.unit([0.0, -12.0]).name, "ns");
        assert_eq!(Quantity::Time.unit([f64::NAN]).name, "ns");
        assert_eq!(Quantity::Rate.unit([2e9, 1e12]).name, "Mpps");
    }

    #[test]
    fn a_column_has_the_digits_of_its_middle_row() {
        let unit = Quantity::Rate.unit([600e3]);
        let rows = [interval(590e3, 600e3, 610e3), interval(599.9e3, 600e3, 600.1e3), interval(560e3, 600e3, 640e3)];
        assert_eq!(plain(&Scale::of_column(unit, rows.iter()).with_unit(600_400.0)), "600 kpps");
    }

    #[test]
    fn no_figure_of_a_column_comes_to_nothing() {
        let rows = [interval(100e3, 420e3, 9e6), interval(2e6, 2.7e6, 8e6), interval(100e3, 400e3, 9e6)];
        let scale = Scale::of_column(Quantity::Time.unit([5.2e3]), rows.iter());
        assert_eq!(rows.map(|row| scale.number(row.median)), ["400", "2700", "400"]);
    }

    #[test]
    fn signs_are_written_except_for_nothing() {
        let scale = Scale::of(Quantity::Time.unit([12.0]), &interval(-30.0, 12.0, 50.0));
        assert_eq!(
            [scale.signed(12.4), scale.signed(-30.0), scale.signed(-0.3), scale.signed(0.0)],
            ["+10", "−30", "0", "0"]
        );
    }

    #[test]
    fn an_interval_that_is_written_with_0_at_its_end_touches_0() {
        let touches = |low, high| touches_zero(Quantity::Time, &interval(low, high, high));
        assert_eq!([touches(-1.0, 5.0), touches(0.0, 5.0), touches(0.4, 70.0)], [true; 3]);
        assert_eq!([touches(4.0, 51.0), touches(-51.0, -4.0), touches(2.0, 2.0)], [false; 3]);
        assert!(touches(0.0, 0.0), "no difference at all");
    }

    #[test]
    fn what_is_not_a_number_is_absent() {
        let scale = Scale::of(Quantity::Time.unit([]), &interval(f64::NAN, f64::NAN, f64::NAN));
        assert_eq!(scale.number(f64::NAN), "–");
        assert_eq!(scale.signed(f64::INFINITY), "–");
    }

    #[test]
    fn single_figures_have_three_digits() {
        let figure = |quantity, value| plain(&figure(quantity, value));
        assert_eq!(figure(Quantity::Time, 1_234_567.0), "1.23 ms");
        assert_eq!(figure(Quantity::Rate, 100_000.0), "100 kpps");
        assert_eq!(figure(Quantity::Rate, 1_000_000.0), "1.00 Mpps");
        assert_eq!(plain(&setting(Quantity::Rate, 1_000_000.0)), "1 Mpps");
        assert_eq!(plain(&setting(Quantity::Rate, 100_000.0)), "100 kpps");
        assert_eq!(
            [0.5, 0.125, 0.000_312, 0.0].map(|share| plain(&percent(share))),
            ["50 %", "12.5 %", "0.0312 %", "0 %"]
        );
    }

    #[test]
    fn counts_times_and_lists() {
        assert_eq!(count(12_345_678), "12,345,678");
        assert_eq!(count(-1_000), "−1,000");
        assert_eq!(count(999), "999");
        assert_eq!([1, 0].map(|n| plain(&counted(n, "round"))), ["1 round", "0 rounds"]);
        let elapsed = |ns| plain(&elapsed(ns));
        assert_eq!([4_250_000_000, 47_900_000_000, 125_000_000_000].map(elapsed), ["4.2 s", "47 s", "2 min 5 s"]);
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!([list(&items), list(&items[..2]), list(&items[..1])], ["a, b and c", "a and b", "a"]);
        assert_eq!([0.9375, 0.998, 0.75].map(|share| plain(&confidence(share))), ["94 %", "over 99 %", "75 %"]);
    }
}
