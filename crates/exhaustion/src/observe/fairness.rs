//! Who suffers.

/// Jain's fairness index of shares (RFC 5166 §2.3.3, ATT/DEC-TR-301): 1 if all have the same, 1/n if one has all. Nobody having
/// anything is fair.
pub(crate) fn jain_index(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (shares.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_known_shares() {
        assert_eq!(jain_index(&[3.0; 7]), 1.0);
        assert_eq!(jain_index(&[1.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain_index(&[]), 1.0);
        // Jain's own example: k of n users served alike give k/n.
        assert!((jain_index(&[1.0, 1.0, 0.0, 0.0, 0.0]) - 0.4).abs() < 1e-12);
    }
}
