//! How often a port is not to be had, from load and from how a search fails: Erlang's loss formula, with refusals that begin before the
//! last port is taken.
//!
//! Connections arrive as a Poisson process and each keeps a port for some time; `load` is rate × mean time, the number of ports that would
//! be in use if there were enough (Little). The number in use is a birth-death process: from n it grows at rate load × (1 − f(n)) and
//! shrinks at rate n, where f(n) is the probability that the search fails at n. Without f that is Erlang's formula; like that one it does
//! not depend on how the times are spread about their mean.

/// Deviations on either side of the mode outside which nothing counts.
const REACH: f64 = 8.0;

/// Probability that a connection finds no port. `refusal` is f(n), and 1 from `ports` on; it does not fall with n.
#[must_use]
pub fn blocking(load: f64, ports: u32, refusal: impl Fn(f64) -> f64) -> f64 {
    if load <= 0.0 || load.is_nan() {
        return 0.0;
    }
    if ports == 0 {
        return 1.0;
    }
    let most = f64::from(ports);
    let (mut low, mut high) = (0.0, most);
    // Where it grows as fast as it shrinks: both sides are monotonic.
    while high - low > 0.5 {
        let middle = f64::midpoint(low, high);
        if load * (1.0 - refusal(middle)) > middle { low = middle } else { high = middle }
    }
    let reach = REACH * high.sqrt() + 60.0;
    let (first, last) = ((high - reach).max(0.0) as u32, (high + reach).min(most) as u32);
    let (mut weight, mut total, mut refused) = (1.0, 0.0, 0.0);
    for used in first..=last {
        let fails = if used >= ports { 1.0 } else { refusal(f64::from(used)) };
        total += weight;
        refused += weight * fails;
        weight *= load * (1.0 - fails) / (f64::from(used) + 1.0);
        if weight > 1e250 {
            (weight, total, refused) = (weight * 1e-250, total * 1e-250, refused * 1e-250);
        }
        if weight == 0.0 {
            break;
        }
    }
    refused / total
}

/// The largest factor by which something may grow until `at(factor)` exceeds `limit`; none if it does so never (below 10⁶), 0 if always.
#[must_use]
pub fn largest_factor(limit: f64, at: impl Fn(f64) -> f64) -> Option<f64> {
    const MOST: f64 = 1e6;
    if at(MOST) <= limit {
        return None;
    }
    let (mut low, mut high) = (1e-6_f64, MOST);
    if at(low) > limit {
        return Some(0.0);
    }
    while high / low > 1.001 {
        let middle = (low * high).sqrt();
        if at(middle) <= limit { low = middle } else { high = middle }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Erlang's table (ITU-T Recommendation E.520 and any textbook).
    #[test]
    fn without_early_refusals_it_is_erlangs_formula() {
        for (load, ports, expected) in [(1.0, 1, 0.5), (2.0, 2, 0.4), (5.0, 10, 0.018_385), (20.0, 30, 0.008_457)] {
            let found = blocking(load, ports, |_| 0.0);
            assert!((found - expected).abs() < 5e-5, "{load} on {ports}: {found}");
        }
        let recursive =
            |load: f64, ports: u32| (1..=ports).fold(1.0, |before, n| load * before / (f64::from(n) + load * before));
        for (load, ports) in [(54_500.0, 55_000), (60_000.0, 55_000), (30.0, 64), (900.0, 1000)] {
            let (found, expected) = (blocking(load, ports, |_| 0.0), recursive(load, ports));
            assert!((found / expected - 1.0).abs() < 1e-6, "{load} on {ports}: {found} and {expected}");
        }
    }

    #[test]
    fn early_refusals_hold_the_number_in_use_where_they_say() {
        // A refusal of one half from 100 on: 150 would be in use, but only 100 as a rule, which leaves a third refused.
        let found = blocking(150.0, 10_000, |used| if used < 100.0 { 0.0 } else { 0.5 });
        assert!((found - 1.0 / 3.0).abs() < 0.03, "{found}");
        assert_eq!(blocking(0.0, 10, |_| 0.0), 0.0);
        assert_eq!(blocking(1.0, 0, |_| 0.0), 1.0);
    }

    #[test]
    fn factors_are_found_from_both_sides() {
        let factor = largest_factor(0.01, |factor| blocking(100.0 * factor, 1000, |_| 0.0)).unwrap();
        assert!((9.3..9.8).contains(&factor), "{factor}");
        assert_eq!(largest_factor(0.5, |_| 0.0), None);
        assert_eq!(largest_factor(0.5, |_| 1.0), Some(0.0));
    }
}
