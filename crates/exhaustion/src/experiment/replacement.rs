//! More connections than a table holds: which are given up?

use std::sync::atomic::AtomicBool;

use natrig_nat::TICK_NS;
use natrig_wire::tcp::flag;

use super::{StepError, go_on};
use crate::observe::{Fill, estimate};
use crate::result::ReplacementResult;
use crate::rig::End;
use crate::scenario::{Conversation, ReplacementSettings};
use crate::talk::Talker;
use crate::workload::{Origin, Origins, Zipf};

/// One setup: several fills, each longer than the one before.
///
/// # Errors
/// [`StepError`].
pub(crate) fn run(
    talker: &mut Talker,
    settings: &ReplacementSettings,
    connections: Conversation,
    seed: u64,
    cancel: &AtomicBool,
) -> Result<ReplacementResult, StepError> {
    let mut fills = Vec::new();
    for nth in 0..settings.fills {
        go_on(cancel)?;
        talker.reset(seed)?;
        // From the shortest to the longest, in steps that no batch divides.
        let most = f64::from(settings.offers_max);
        let least = settings.offers_min.map_or(most / 4.0, f64::from);
        let offers = least + (most - least) * f64::from(nth) / f64::from(settings.fills - 1);
        fills.push(fill(talker, offers as u32, connections == Conversation::Answered, seed, cancel)?);
    }
    let counts = |fill: &Fill| {
        let survivors = fill.survived.iter().filter(|survived| **survived).count();
        (fill.survived.len() as u32, survivors as u32)
    };
    Ok(ReplacementResult {
        setup: talker.rig.bed().setup.clone(),
        connections,
        estimate: estimate(&fills),
        fills: fills.iter().map(counts).collect(),
    })
}

/// Opens connections, then has each server speak, and sees which pods hear it: what comes from outside makes no mapping, so that
/// looking changes nothing.
fn fill(talker: &mut Talker, offers: u32, answered: bool, seed: u64, cancel: &AtomicBool) -> Result<Fill, StepError> {
    const BATCH: u32 = 64;
    let bed = talker.rig.bed();
    let (world, traffic) = (bed.world, bed.traffic.clone());
    let ports = (traffic.src_ports.first, traffic.src_ports.last);
    let mut origins = Origins::new(0..world.nodes * world.pods, ports, Zipf::new(world.servers, traffic.skew), seed);
    let mut numbers: Vec<Option<u32>> = Vec::new();
    while (numbers.len() as u32) < offers {
        go_on(cancel)?;
        let batch: Vec<Origin> = (0..BATCH.min(offers - numbers.len() as u32)).map_while(|_| origins.draw()).collect();
        if batch.is_empty() {
            break;
        }
        numbers.extend(talker.open(&batch, answered)?.numbers);
        // Whoever asks which was used least recently must be able to tell. The kernel does not ask (`early_drop` in
        // net/netfilter/nf_conntrack_core.c), and its table is large.
        if !talker.rig.bed().setup.has_kernel() {
            let now_ns = talker.rig.now_ns();
            talker.rig.wait_until(now_ns + TICK_NS)?;
        }
    }
    let mut survived = Vec::with_capacity(numbers.len());
    for batch in numbers.chunks(256) {
        let open: Vec<u32> = batch.iter().flatten().copied().collect();
        let mut heard = talker.say(End::Servers, &open, flag::SYN | flag::ACK)?.into_iter();
        survived.extend(batch.iter().map(|number| number.is_some() && heard.next() == Some(crate::talk::Heard::Well)));
    }
    Ok(Fill { survived })
}
