//! Connections are opened and never closed, until most are refused.

use std::sync::atomic::AtomicBool;

use super::{StepError, go_on};
use crate::observe::refusal::add;
use crate::observe::{Curve, RefusedBy};
use crate::talk::Talker;
use crate::workload::{Origin, Origins, Zipf};

/// What one round found.
#[derive(Debug, Clone)]
pub(crate) struct Filled {
    /// Refusals against flows.
    pub curve: Curve,
    /// Flows when the first attempt was refused.
    pub first_refusal: Option<u64>,
    /// Attempts.
    pub attempts: u64,
    /// Of these opened.
    pub opened: u64,
    /// Port tries, and allocations.
    pub tries: (u64, u64),
    /// Who refused.
    pub refused: Vec<RefusedBy>,
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Until {
    /// Share of the last [`WINDOW`] attempts refused.
    pub refused: f64,
    /// Attempts at most.
    pub attempts: u64,
}

/// Attempts between two looks at the clock and at the share of refusals.
const WINDOW: usize = 1000;
/// Attempts made at once: as many as the rig sends at once.
const BATCH: usize = 64;

/// One round.
///
/// # Errors
/// [`StepError`].
pub(crate) fn round(
    talker: &mut Talker,
    nominal: u64,
    until: Until,
    seed: u64,
    cancel: &AtomicBool,
) -> Result<Filled, StepError> {
    talker.reset(seed)?;
    let bed = talker.rig.bed();
    let (world, traffic) = (bed.world, bed.traffic.clone());
    let ports = (traffic.src_ports.first, traffic.src_ports.last);
    let servers = Zipf::new(world.servers, traffic.skew);
    let mut origins = Origins::new(0..world.nodes * world.pods, ports, servers, seed);
    let mut filled = Filled {
        curve: Curve::new(nominal),
        first_refusal: None,
        attempts: 0,
        opened: 0,
        tries: (0, 0),
        refused: Vec::new(),
    };
    let mut at_servers = vec![0u64; world.servers as usize];
    let mut hottest = 0;
    while filled.attempts < until.attempts {
        go_on(cancel)?;
        let mut refused = 0;
        let mut tried = 0;
        while tried < WINDOW {
            let batch: Vec<Origin> = (0..BATCH.min(WINDOW - tried)).map_while(|_| origins.draw()).collect();
            if batch.is_empty() {
                // The pods' own source ports have run out.
                return Ok(filled);
            }
            let live_before = filled.opened;
            let opened = talker.open(&batch, false)?;
            for (origin, number) in batch.iter().zip(&opened.numbers) {
                filled.curve.attempt(filled.opened, hottest, number.is_none());
                if number.is_some() {
                    filled.opened += 1;
                    let here = &mut at_servers[origin.server as usize];
                    *here += 1;
                    hottest = hottest.max(*here);
                } else {
                    filled.first_refusal.get_or_insert(filled.opened);
                    refused += 1;
                }
            }
            filled.curve.tried(live_before, opened.tries.0, opened.tries.1);
            filled.tries.0 += opened.tries.0;
            filled.tries.1 += opened.tries.1;
            opened.refused.iter().for_each(|one| add(&mut filled.refused, one));
            tried += batch.len();
            filled.attempts += batch.len() as u64;
        }
        if f64::from(refused) >= until.refused * WINDOW as f64 {
            break;
        }
    }
    Ok(filled)
}
