//! Latency under load: flows whose mappings stand, and flows that are opened meanwhile, apart.

use natrig_traffic::FlowSpec;

use super::{Running, flow_spec};
use crate::experiment::Measured;
use crate::result::{Invalid, LoadLatency, Purpose, Trial};
use crate::run::RunError;

/// What is sent where the load is 0: enough to see the noise of the machine, too little to make any.
const IDLE_PPS: f64 = 1000.0;

/// Beyond this share of what was offered, missing frames are no accident.
const SATURATED_SHARE: f64 = 0.01;

/// From this load on, whether the generator can keep its schedule is part of what is asked.
const NEAR: f64 = 0.95;

impl Running<'_, '_> {
    /// A trial at each load that the scenario asks for, as shares of `rate_pps`. Frames that are lost at and above the rate are part of what is
    /// shown, and so is a generator that is late there.
    pub(super) fn loads(&mut self, rate_pps: f64) -> Result<(), RunError> {
        let scenario = self.bench.scenario;
        let measure = &scenario.measure;
        if measure.latency_loads.is_empty() || self.cancelled() {
            return Ok(());
        }
        // The flows that stand are those of the other trials: the enumeration begins with them.
        let flows = scenario.traffic.flows + measure.new_flows;
        let mut experiment = self.with_flows(FlowSpec { flows, ..flow_spec(scenario) })?;
        std::mem::swap(self.experiment, &mut experiment);
        let measured = measure.latency_loads.iter().try_for_each(|load| self.load(*load, rate_pps));
        std::mem::swap(self.experiment, &mut experiment);
        measured
    }

    fn load(&mut self, load: f64, rate_pps: f64) -> Result<(), RunError> {
        let scenario = self.bench.scenario;
        let rate_pps = if load > 0.0 { rate_pps * load } else { IDLE_PPS };
        let duration_ns = u64::from(scenario.measure.latency_ms) * 1_000_000;
        let frames = rate_pps * duration_ns as f64 / 1e9;
        let one_in = (frames / f64::from(scenario.measure.new_flows)) as u32;
        for _ in 0..=scenario.limits.max_retries {
            self.experiment.open_meanwhile(scenario.traffic.flows, one_in);
            let measured = self.trial(Purpose::Load, rate_pps, duration_ns, false)?;
            if self.cancelled() {
                return Ok(());
            }
            if measured.trial.invalid.iter().all(|why| load >= NEAR && why.is_of_generator()) {
                self.result.loads.push(at_load(load, &measured));
                return Ok(());
            }
            if !measured.trial.invalid.iter().all(Invalid::is_disturbance) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn at_load(load: f64, Measured { trial, new, .. }: &Measured) -> LoadLatency {
    let Trial { rate_pps_offered, rate_pps_achieved, .. } = *trial;
    let rate_pps_delivered = trial.received as f64 / (trial.duration_ns as f64 / 1e9);
    let least_pps = rate_pps_offered * (1.0 - SATURATED_SHARE);
    LoadLatency {
        round: trial.round,
        engines: trial.engines,
        design: trial.design,
        frame_size: trial.frame_size,
        trial: trial.number,
        load,
        rate_pps_offered,
        rate_pps_achieved,
        rate_pps_delivered,
        saturated: rate_pps_achieved < least_pps || rate_pps_delivered < least_pps,
        established: trial.latency,
        new: *new,
    }
}
