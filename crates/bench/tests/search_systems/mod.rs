//! Simulated systems with a known truth, for the tests of the searches.
//!
//! Each is drawn from a seed: a capacity, how sharply loss sets in around it, how much the capacity wanders from trial to trial, how
//! often a stall costs some frames, and whether overload makes it worse. All randomness is SplitMix64, so that another program can
//! rebuild the very same systems.

/// Limits of every search over these systems; some capacities lie above the maximum.
pub(crate) const MIN_PPS: f64 = 9_001.0;
pub(crate) const MAX_PPS: f64 = 20e6;

pub(crate) const KINDS: [&str; 6] = ["cliff", "slope", "wandering", "stalling", "all of it", "collapsing"];

#[derive(Debug, Clone, Copy)]
pub(crate) struct System {
    pub(crate) kind: usize,
    capacity_pps: f64,
    /// Half the relative width of the zone where loss sets in.
    knee: f64,
    /// The capacity of a trial is uniform within ± this share.
    wander: f64,
    /// Chance of a stall in one second.
    stall_chance: f64,
    /// Share of a trial's frames that a stall costs.
    stall_loss: f64,
    /// Beyond capacity, x times overload forwards capacity · x^−collapse.
    collapse: f64,
}

impl System {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let kind = (seed % 6) as usize;
        let capacity_pps = 30e3 * (25e6f64 / 30e3).powf(random.uniform());
        let knee = 0.002 * 25f64.powf(random.uniform());
        let wander = 0.001 * 20f64.powf(random.uniform());
        let stall_chance = 0.02 + 0.28 * random.uniform();
        let stall_loss = 1e-5 * 2000f64.powf(random.uniform());
        let collapse = 0.5 * random.uniform();
        let only = |on: bool, value: f64| if on { value } else { 0.0 };
        Self {
            kind,
            capacity_pps,
            knee: only(matches!(kind, 1 | 4), knee),
            wander: match kind {
                2 | 4 => wander,
                5 => 0.001,
                _ => 0.0,
            },
            stall_chance: only(matches!(kind, 3..=5), stall_chance),
            stall_loss,
            collapse: only(kind == 5, collapse),
        }
    }

    /// Frames sent and lost in one trial.
    pub(crate) fn run(&self, load_pps: f64, duration_ns: u64, random: &mut SplitMix64) -> (u64, u64) {
        let capacity = self.capacity_pps * (1.0 + self.wander * (2.0 * random.uniform() - 1.0));
        let stalled = random.uniform() < self.stall_chance_in(duration_ns);
        let sent = (load_pps * duration_ns as f64 / 1e9).floor();
        let passed = (1.0 - self.base_loss(load_pps / capacity)) * if stalled { 1.0 - self.stall_loss } else { 1.0 };
        (sent as u64, (sent * (1.0 - passed) + 1e-9).floor() as u64)
    }

    /// Probability that a trial loses more than a share of its frames.
    pub(crate) fn exceed_probability(&self, load_pps: f64, duration_ns: u64, loss_ratio: f64) -> f64 {
        let frames = (load_pps * duration_ns as f64 / 1e9).floor();
        // The least number of lost frames that is too many.
        let too_many = (loss_ratio * frames).floor() + 1.0;
        let chance = self.stall_chance_in(duration_ns);
        let base = |stall: f64| {
            let loss_needed = 1.0 - (1.0 - too_many / frames) / (1.0 - stall);
            self.base_exceeds(load_pps, loss_needed)
        };
        (1.0 - chance) * base(0.0) + chance * base(self.stall_loss)
    }

    /// The load above which more than `share` of the trials lose more than `loss_ratio`; `None` if it is outside the limits of the
    /// search.
    pub(crate) fn bound_pps(&self, duration_ns: u64, loss_ratio: f64, share: f64) -> Option<f64> {
        let exceeds = |load: f64| self.exceed_probability(load, duration_ns, loss_ratio) > share;
        if exceeds(MIN_PPS) || !exceeds(MAX_PPS) {
            return None;
        }
        let (mut low, mut high) = (MIN_PPS, MAX_PPS);
        while high - low > 1e-9 * high {
            let middle = 0.5 * (low + high);
            if exceeds(middle) { high = middle } else { low = middle }
        }
        Some(low)
    }

    fn stall_chance_in(&self, duration_ns: u64) -> f64 {
        1.0 - (1.0 - self.stall_chance).powf(duration_ns as f64 / 1e9)
    }

    /// Share lost at `x` times the capacity, without a stall.
    fn base_loss(&self, x: f64) -> f64 {
        let edge = (x - (1.0 - self.knee)).max(0.0);
        if x <= 1.0 - self.knee {
            0.0
        } else if x < 1.0 + self.knee {
            edge * edge / (4.0 * self.knee) / x
        } else {
            1.0 - x.powf(-1.0 - self.collapse)
        }
    }

    /// Probability, over the wandering capacity, that the base loss reaches `loss`.
    fn base_exceeds(&self, load_pps: f64, loss: f64) -> f64 {
        if loss <= 0.0 {
            return 1.0;
        }
        let (mut low, mut high) = (0.0, 1e6);
        while high - low > 1e-13 * high {
            let middle = 0.5 * (low + high);
            if self.base_loss(middle) >= loss { high = middle } else { low = middle }
        }
        // The loss is reached when the capacity falls to load / high or below.
        let capacity = load_pps / high / self.capacity_pps;
        if self.wander == 0.0 {
            return f64::from(u8::from(capacity >= 1.0));
        }
        ((capacity - 1.0) / self.wander * 0.5 + 0.5).clamp(0.0, 1.0)
    }
}

/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators" (OOPSLA 2014).
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1))
    }

    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
