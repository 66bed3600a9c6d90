//! Scenarios so small that they take a moment, and with limits so wide that a busy machine does not spoil a trial.

/// All designs at a rate that any machine carries, with answers; fewer frames a trial than the rings hold.
pub(crate) fn fixed(rounds: u32) -> String {
    format!(
        "title = \"Tiny\"\nquestion = \"Does it work?\"\n{}\n\
         [measure]\nrounds = {rounds}\ntrial_ms = 60\nlatency_ms = 60\nlatency_fraction = 0.5\nfixed_rate_pps = 10_000\n",
        traffic("64")
    )
}

/// Every kind of frame size.
pub(crate) fn sizes() -> String {
    fixed(1).replace("frame_size = 64", "frame_size = [64, 1518, \"imix\"]")
}

/// The kernel's NAT beside ours.
pub(crate) fn kernel() -> String {
    fixed(1).replace("[traffic]", "engines = [\"nftables\", \"userspace\"]\n[traffic]")
}

/// Rates up to more than any machine carries, through small rings.
pub(crate) fn search() -> String {
    format!(
        "title = \"Overload\"\nquestion = \"Is every frame accounted for?\"\n{}\n\
         [measure]\nrounds = 1\ntrial_ms = 40\nlatency_ms = 20\n\
         search = {{ min_pps = 5_000, max_pps = 20_000_000, precision = 0.5, confirm = 0, max_trials = 6 }}\n\
         [link]\nslots = 512\n",
        traffic("64")
    )
}

/// A rate that no generator keeps, and limits that forgive nothing.
pub(crate) fn too_fast() -> String {
    fixed(1)
        .replace("fixed_rate_pps = 10_000", "fixed_rate_pps = 50_000_000")
        .replace("overrun = 0.5", "overrun = 0.0")
        .replace("max_retries = 10", "max_retries = 0")
}

fn traffic(frame_size: &str) -> String {
    format!(
        "[traffic]\nflows = 64\nframe_size = {frame_size}\ndirection = \"both\"\n\
         [limits]\nsend_lag_p99_us = 4_000_000\noverrun = 0.5\ndisturbed = 10.0\nmax_retries = 10\n"
    )
}
