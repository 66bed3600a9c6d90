//! Many comparisons at once.

/// Benjamini and Hochberg's adjusted p-values (JRSS B 57, 1995), in the order given: rejecting those at or below q keeps the expected
/// share of false alarms among the rejected at or below q, if the tests are independent or positively dependent.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut by_size: Vec<usize> = (0..p_values.len()).collect();
    by_size.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut smallest: f64 = 1.0;
    for (rank, &index) in by_size.iter().enumerate().rev() {
        smallest = smallest.min(p_values[index] * p_values.len() as f64 / (rank + 1) as f64);
        adjusted[index] = smallest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As SciPy's `false_discovery_control`.
    #[test]
    fn adjusted_values_are_those_of_the_step_up_procedure() {
        let adjusted = benjamini_hochberg(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        let expected = [0.025, 0.05, 0.05, 0.025, 0.5];
        assert!(adjusted.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{adjusted:?}");
        assert_eq!(benjamini_hochberg(&[]), Vec::<f64>::new());
        assert_eq!(benjamini_hochberg(&[0.7]), [0.7]);
    }
}
