//! The classic tests in test phase 2, over connections that are established and validated: throughput, frame loss rate, latency and packet
//! delay variation (section 4.7; RFC 8219 sections 7.1 to 7.4).

use natrig_bench::devices::{Range, Stop};
use natrig_bench::result::Quantiles;
use natrig_bench::search::ndr::Step;

use crate::connections::{Found, any_wrong, outcome};
use crate::result::{LossPoint, Phase, Quantity, Trial};
use crate::scenario::{Kind, Ways};
use crate::trial::{Dut, Offer};

/// The lowest throughput searched for, frames per second of each processor.
pub(crate) const MIN_PPS: f64 = 1000.0;

impl Dut<'_, '_, '_> {
    /// A trial whose connections all stand, with its test phase 2; one whose connections do not, or in which the Tester was late although
    /// `patient`, is repeated as often as the scenario allows.
    fn over_established(
        &mut self,
        tester: &mut crate::talk::Tester,
        test: Kind,
        load_pps: f64,
        offer: Offer,
        patient: bool,
    ) -> Result<Option<(Trial, Phase)>, Stop> {
        for _ in 0..=self.chain.scenario.devices.limits.max_retries {
            let trial = self.trial(tester, test, load_pps, Some(offer))?;
            if any_wrong(&trial) {
                return Ok(None);
            }
            if let Some(phase) = trial.phase2.clone().filter(|phase| !(patient && phase.generator_late)) {
                return Ok(Some((trial, phase)));
            }
        }
        Ok(None)
    }

    /// Throughput: the highest rate at which no active direction loses a frame.
    pub(crate) fn throughput(
        &mut self,
        test: Kind,
        connections: u32,
        load_pps: f64,
        hint_pps: Option<f64>,
    ) -> Result<Found, Stop> {
        let mut tester = self.tester(connections)?;
        let max_per_s = f64::from(self.chain.scenario.establishment.max_pps);
        let (error, confirm) = (self.chain.scenario.phase2.error, self.chain.scenario.confirm);
        let range = Range { min_per_s: MIN_PPS.min(max_per_s / 2.0), max_per_s, hint_per_s: hint_pps, error, confirm };
        let mut search = range.search()?;
        let duration_ns = u64::from(self.chain.scenario.phase2.trial_ms) * 1_000_000;
        loop {
            let rate_pps = match search.next() {
                Step::Trial { rate_pps, .. } => rate_pps,
                Step::Done(bounds) => {
                    let generator_bound = bounds.generator_limited;
                    return Ok(Found { rate_pps: bounds.relevant_lower_pps, generator_bound });
                }
            };
            let offer = Offer::untimed(rate_pps, duration_ns);
            let Some((_, phase)) = self.over_established(&mut tester, test, load_pps, offer, false)? else {
                return Ok(Found::NOTHING);
            };
            let told = outcome(rate_pps, &phase, phase.lost(), phase.generator_late);
            search.report(&told).map_err(|e| Stop::failed("search")(&e))?;
        }
    }

    /// Frame loss rate: from above the throughput downwards, until two loads in a row lose nothing.
    pub(crate) fn frame_loss(&mut self, connections: u32, load_pps: f64, throughput_pps: f64) -> Result<(), Stop> {
        let mut tester = self.tester(connections)?;
        let settings = self.chain.scenario.phase2;
        let duration_ns = u64::from(settings.trial_ms) * 1_000_000;
        let mut without_loss = 0;
        let mut share = 1.0;
        while without_loss < 2 && share > settings.loss_step / 2.0 {
            let load = settings.loss_from * share;
            let offer = Offer::untimed(throughput_pps * load, duration_ns);
            let measured = self.over_established(&mut tester, Kind::FrameLoss, load_pps, offer, false)?;
            let Some((_, phase)) = measured else {
                let device = format!("design {} of {}", self.chain.turn.design, self.chain.turn.lineup);
                let warning = format!(
                    "frame loss rate, {device}, repetition {}: ended at {load:.2} times the throughput, because connections would \
                     not be established",
                    self.chain.turn.round
                );
                self.session.record.warnings.push(warning);
                return Ok(());
            };
            let sent = phase.out.sent + phase.back.sent;
            without_loss = if phase.lost() == 0 { without_loss + 1 } else { 0 };
            self.session.record.measured.losses.push(LossPoint {
                engines: self.chain.turn.lineup,
                design: self.chain.turn.design,
                repetition: self.chain.turn.round,
                load,
                input_percent: share * 100.0,
                rate_pps_offered: offer.rate_pps,
                sent,
                received: sent - phase.lost(),
                loss_percent: if sent > 0 { phase.lost() as f64 * 100.0 / sent as f64 } else { 0.0 },
                generator_bound: phase.generator_late,
            });
            share -= settings.loss_step;
        }
        Ok(())
    }

    /// Latency and packet delay variation at the throughput rate, from every frame of one stream.
    pub(crate) fn latency(&mut self, connections: u32, load_pps: f64, throughput_pps: f64) -> Result<(), Stop> {
        let mut tester = self.tester(connections)?;
        let settings = self.chain.scenario.phase2;
        let duration_ns = u64::from(settings.latency_ms) * 1_000_000;
        let offer = Offer { rate_pps: throughput_pps, duration_ns, timed: true };
        let measured = self.over_established(&mut tester, Kind::Latency, load_pps, offer, true)?;
        let delays = measured.map(|(_, phase)| (phase.out.delay, phase.back.delay));
        let ways = settings.ways;
        for (active, delay, [typical, worst, pdv]) in [
            (
                ways != Ways::In,
                delays.map(|(out, _)| out),
                [Quantity::TypicalOut, Quantity::WorstOut, Quantity::PdvOut],
            ),
            (
                ways != Ways::Out,
                delays.map(|(_, back)| back),
                [Quantity::TypicalIn, Quantity::WorstIn, Quantity::PdvIn],
            ),
        ] {
            if !active {
                continue;
            }
            let of = |value: fn(&Quantiles) -> Option<u64>| delay.as_ref().and_then(value).map(|ns| ns as f64);
            let variation = |delay: &Quantiles| Some(delay.ns_p999?.saturating_sub(delay.ns_min?));
            self.add(Kind::Latency, typical, connections, of(|delay| delay.ns_p50), false);
            self.add(Kind::Latency, worst, connections, of(|delay| delay.ns_p999), false);
            self.add(Kind::Latency, pdv, connections, of(variation), false);
        }
        Ok(())
    }
}
