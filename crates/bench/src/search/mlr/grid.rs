//! The discrete loads a search may choose: equal ratios, so that halving and doubling an interval are exact.

/// Grid steps per goal width: fine enough that rounding a load costs nothing, and a power of two, so that bisection stays on it.
const STEPS_PER_WIDTH: f64 = 64.0;

/// Loads min · e^(k·unit), k = 0..=max_step; both ends are exactly Min Load and Max Load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    min_pps: f64,
    max_pps: f64,
    unit: f64,
    max_step: i64,
}

impl Grid {
    /// Needs 0 < min < max, finite, and a width in 0..1.
    pub(super) fn new(min_pps: f64, max_pps: f64, narrowest_width: f64) -> Self {
        let range = (max_pps / min_pps).ln();
        let steps = (range * STEPS_PER_WIDTH / log_width(narrowest_width)).ceil().max(1.0);
        Self { min_pps, max_pps, unit: range / steps, max_step: steps as i64 }
    }

    pub(super) const fn max_step(&self) -> i64 {
        self.max_step
    }

    pub(super) fn load_pps(&self, step: i64) -> f64 {
        if step <= 0 {
            self.min_pps
        } else if step >= self.max_step {
            self.max_pps
        } else {
            self.min_pps * (step as f64 * self.unit).exp()
        }
    }

    /// The step nearest to a load; the search's own loads come back as the step they were made from.
    pub(super) fn nearest(&self, load_pps: f64) -> i64 {
        self.steps_from_min(load_pps).round().clamp(0.0, self.max_step as f64) as i64
    }

    /// The largest step not above a load, within the limits.
    pub(super) fn at_or_below(&self, load_pps: f64) -> i64 {
        // Half a millionth of a step forgives the rounding of ln and exp.
        (self.steps_from_min(load_pps) + 5e-7).floor().clamp(0.0, self.max_step as f64) as i64
    }

    /// How many steps apart two loads may be and still be within a relative width; at least one.
    pub(super) fn steps_within(&self, relative_width: f64) -> i64 {
        ((log_width(relative_width) / self.unit + 1e-9).floor() as i64).max(1)
    }

    fn steps_from_min(&self, load_pps: f64) -> f64 {
        (load_pps.max(f64::MIN_POSITIVE) / self.min_pps).ln() / self.unit
    }
}

/// ln(upper / lower) for bounds that are (upper − lower) / upper apart.
fn log_width(relative_width: f64) -> f64 {
    -(-relative_width).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_survive_the_way_out_and_back() {
        let grid = Grid::new(9_001.0, 14_880_952.0, 0.005);
        for step in (0..=grid.max_step()).step_by(97) {
            assert_eq!(grid.nearest(grid.load_pps(step)), step);
            assert_eq!(grid.at_or_below(grid.load_pps(step)), step);
        }
        assert_eq!(grid.load_pps(0), 9_001.0);
        assert_eq!(grid.load_pps(grid.max_step()), 14_880_952.0);
        assert_eq!(grid.nearest(0.0), 0);
        assert_eq!(grid.nearest(1e12), grid.max_step());
    }

    #[test]
    fn a_width_in_steps_never_exceeds_the_relative_width() {
        for width in [0.001, 0.005, 0.02, 0.3] {
            let grid = Grid::new(1_000.0, 10e6, 0.001);
            let steps = grid.steps_within(width);
            let (lower, upper) = (grid.load_pps(5_000), grid.load_pps(5_000 + steps));
            assert!((upper - lower) / upper <= width + 1e-9);
            assert!((upper - lower) / upper >= width * 0.98);
        }
    }
}
