//! What counts as lost in one trial.

/// Traffic that may stay unsent without being counted as loss, nanoseconds of the intended load.
///
/// FD.io CSIT allows ten microseconds, because the workers of a generator do not all start at the same instant.
pub const UNSENT_TOLERANCE_NS: u64 = 10_000;

/// Trial Loss Ratio (draft-ietf-bmwg-mlrsearch-15, "Trial Loss Ratio"), dimensionless, 0..=1.
///
/// `intended` frames should have been sent in `duration_ns`, `sent` were, and `lost` of those did not arrive. Frames that were
/// not sent count as lost beyond [`UNSENT_TOLERANCE_NS`] worth of traffic: the draft recommends to turn a deviation between
/// intended and offered load into loss, so that a generator that slows down can never make the system look fast.
/// Zero if nothing was intended or sent.
pub fn trial_loss_ratio(intended: u64, duration_ns: u64, sent: u64, lost: u64) -> f64 {
    let tolerated = u128::from(intended) * u128::from(UNSENT_TOLERANCE_NS) / u128::from(duration_ns.max(1));
    let unsent = u128::from(intended.saturating_sub(sent));
    let unsent = if unsent <= tolerated { 0 } else { unsent };
    let whole = intended.max(sent);
    if whole == 0 {
        return 0.0;
    }
    ((u128::from(lost) + unsent) as f64 / whole as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_frames_over_intended_frames() {
        assert_eq!(trial_loss_ratio(1000, 1_000_000_000, 1000, 5), 0.005);
        assert_eq!(trial_loss_ratio(1000, 1_000_000_000, 1000, 0), 0.0);
        assert_eq!(trial_loss_ratio(0, 1_000_000_000, 0, 0), 0.0);
    }

    #[test]
    fn unsent_frames_count_beyond_ten_microseconds_of_traffic() {
        // 1 Mpps for 1 s: ten frames may stay unsent.
        assert_eq!(trial_loss_ratio(1_000_000, 1_000_000_000, 999_990, 0), 0.0);
        assert_eq!(trial_loss_ratio(1_000_000, 1_000_000_000, 999_989, 0), 11e-6);
        assert_eq!(trial_loss_ratio(100, 1_000_000_000, 50, 60), 1.0);
    }
}
