//! The tests about connections: how fast they are established and torn down, and how many there can be (sections 4.5, 4.6, 4.8, 4.9).

use natrig_bench::devices::{Range, Stop};
use natrig_bench::search::ndr::{Outcome, Step, Validity};

use crate::result::{Phase, Quantity, Trial};
use crate::scenario::{Capacity, Kind};
use crate::trial::Dut;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    /// The highest rate that passed.
    pub(crate) rate_pps: Option<f64>,
    /// Nothing failed that the Tester could surely offer.
    pub(crate) generator_bound: bool,
}

impl Found {
    /// Nothing passed.
    pub(crate) const NOTHING: Self = Self { rate_pps: None, generator_bound: false };
}

/// True if frames came out wrong: such a device has no rate.
pub(crate) fn any_wrong(trial: &Trial) -> bool {
    trial.phases().any(|phase| phase.wrong() > 0)
}

/// What a search is told of a phase.
pub(crate) fn outcome(rate_pps: f64, phase: &Phase, lost: u64, late: bool) -> Outcome {
    Outcome {
        offered_pps: rate_pps,
        achieved_pps: phase.rate_pps_achieved,
        sent: phase.out.sent + phase.back.sent,
        lost,
        validity: if late { Validity::GeneratorLimited } else { Validity::Valid },
    }
}

impl Dut<'_, '_, '_> {
    /// The rates that the scenario's search covers.
    pub(crate) fn range(&self, hint_per_s: Option<f64>) -> Range {
        let establishment = self.chain.scenario.establishment;
        Range {
            min_per_s: f64::from(establishment.min_pps),
            max_per_s: f64::from(establishment.max_pps),
            hint_per_s,
            error: establishment.error,
            confirm: self.chain.scenario.confirm,
        }
    }

    /// Maximum connection establishment rate (section 4.5), each trial validated (section 4.6).
    pub(crate) fn establishment(&mut self, test: Kind, connections: u32, range: Range) -> Result<Found, Stop> {
        let mut tester = self.tester(connections)?;
        let mut search = range.search()?;
        let mut retries = self.chain.scenario.devices.limits.max_retries;
        loop {
            let rate_pps = match search.next() {
                Step::Trial { rate_pps, .. } => rate_pps,
                Step::Done(bounds) => {
                    let generator_bound = bounds.generator_limited;
                    return Ok(Found { rate_pps: bounds.relevant_lower_pps, generator_bound });
                }
            };
            let trial = self.trial(&mut tester, test, rate_pps, None)?;
            if any_wrong(&trial) {
                return Ok(Found::NOTHING);
            }
            let late = trial.phases().any(|phase| phase.generator_late);
            if late && !trial.is_validated() && retries > 0 {
                // Invalid: it says nothing of the device, and may go better.
                retries -= 1;
                continue;
            }
            retries = self.chain.scenario.devices.limits.max_retries;
            // A connection that was never tried is not established either.
            let lost = if trial.is_validated() { 0 } else { trial.phases().map(Phase::lost).sum::<u64>().max(1) };
            search.report(&outcome(rate_pps, &trial.phase1, lost, late)).map_err(|e| Stop::failed("search")(&e))?;
        }
    }

    /// Connection tear-down rate (section 4.8): the whole table is deleted out of band, and an empty one as a control.
    pub(crate) fn tear_down(&mut self, load_pps: f64) -> Result<(), Stop> {
        for connections in self.chain.scenario.tear_down.connections.clone() {
            let mut tester = self.tester(connections)?;
            let mut loaded = false;
            for _ in 0..=self.chain.scenario.devices.limits.max_retries {
                loaded = self.trial(&mut tester, Kind::TearDown, load_pps, None)?.is_validated();
                if loaded {
                    break;
                }
            }
            let (rate, full_ns, empty_ns) = if loaded {
                let [full_ns, empty_ns] = self.chain.subject.tear_down(self.chain.bench)?;
                let is_empty = self.chain.subject.entries(self.chain.bench)?.iter().all(|(_, entries)| *entries == 0);
                let own_ns = full_ns.saturating_sub(empty_ns);
                let rate = (is_empty && own_ns > 0).then(|| f64::from(connections) * 1e9 / own_ns as f64);
                (rate, Some(full_ns as f64), Some(empty_ns as f64))
            } else {
                (None, None, None)
            };
            self.add(Kind::TearDown, Quantity::TearDownRate, connections, rate, false);
            self.add(Kind::TearDown, Quantity::TearDownTime, connections, full_ns, false);
            self.add(Kind::TearDown, Quantity::TearDownControl, connections, empty_ns, false);
        }
        Ok(())
    }

    /// Connection tracking table capacity (section 4.9): exponential, then binary. A number of connections has failed where no rate above
    /// the given share of the last good one establishes and validates all of them; lower rates are not tried.
    pub(crate) fn capacity(&mut self) -> Result<(), Stop> {
        let Capacity { initial, maximum, beta, gamma, error } = self.chain.scenario.capacity;
        let first = self.establishment(Kind::Capacity, initial, self.range(None))?;
        let Some(mut rate_pps) = first.rate_pps else {
            self.add(Kind::Capacity, Quantity::Capacity, initial, None, false);
            return Ok(());
        };
        let holds = |dut: &mut Self, connections, share: f64, rate_pps: f64| -> Result<Option<f64>, Stop> {
            let whole = dut.range(Some(rate_pps));
            let stop_per_s = (rate_pps * share).max(whole.min_per_s);
            let max_per_s = whole.max_per_s.max(stop_per_s * 2.0);
            let range = Range { min_per_s: stop_per_s, max_per_s, ..whole };
            Ok(dut.establishment(Kind::Capacity, connections, range)?.rate_pps)
        };
        let mut stored = initial;
        let mut too_many = loop {
            if stored >= maximum {
                // The table holds all that was tried: a lower bound.
                self.add(Kind::Capacity, Quantity::Capacity, initial, Some(f64::from(stored)), true);
                return Ok(());
            }
            let doubled = stored.saturating_mul(2).min(maximum);
            match holds(self, doubled, beta, rate_pps)? {
                Some(found) => (stored, rate_pps) = (doubled, found),
                None => break doubled,
            }
        };
        while too_many - stored > error {
            let middle = stored + (too_many - stored) / 2;
            match holds(self, middle, gamma, rate_pps)? {
                Some(found) => (stored, rate_pps) = (middle, found),
                None => too_many = middle,
            }
        }
        self.add(Kind::Capacity, Quantity::Capacity, initial, Some(f64::from(stored)), false);
        Ok(())
    }
}
