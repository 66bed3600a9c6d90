//! One pod opens connections without end: who else is refused?

use std::sync::atomic::AtomicBool;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::schedule::Endings;
use super::{StepError, go_on};
use crate::observe::refusal::add;
use crate::observe::{RefusedBy, jain_index};
use crate::result::{BlastResult, VictimGroup};
use crate::scenario::BlastRadius;
use crate::talk::Talker;
use crate::workload::{Arrivals, Origin, Origins, Zipf};

const SECOND_NS: u64 = 1_000_000_000;
const SLICE_NS: u64 = SECOND_NS / 20;

/// What is known of a pod.
#[derive(Debug, Clone, Copy, Default)]
struct Pod {
    attempts: u64,
    refused: u64,
    open: u64,
}

/// One setup with one quota; the aggressor is the first pod.
///
/// # Errors
/// [`StepError`].
pub(crate) fn run(
    talker: &mut Talker,
    settings: &BlastRadius,
    quota: u32,
    seed: u64,
    cancel: &AtomicBool,
) -> Result<BlastResult, StepError> {
    talker.reset(seed)?;
    let bed = talker.rig.bed();
    let (world, traffic, setup) = (bed.world, bed.traffic.clone(), bed.setup.clone());
    let all = world.nodes * world.pods;
    let ports = (traffic.src_ports.first, traffic.src_ports.last);
    let servers = || Zipf::new(world.servers, traffic.skew);
    let mut aggressor_origins = Origins::new(0..1, ports, servers(), seed);
    let mut pod_origins: Vec<Origins> =
        (1..all).map(|pod| Origins::new(pod..pod + 1, ports, servers(), seed ^ u64::from(pod))).collect();
    let mut attack = Arrivals::new(settings.aggressor_per_s, 1.0, seed).peekable();
    let others_per_s = settings.victim_per_s * f64::from((all - 1).max(1));
    let mut others = Arrivals::new(others_per_s, settings.victim_lifetime_s, !seed).peekable();
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let mut endings = Endings::default();
    let mut pods = vec![Pod::default(); all as usize];
    let mut refused_others: Vec<RefusedBy> = Vec::new();
    let mut first_victim_s = None;
    let begin_ns = talker.rig.now_ns();
    let mut at_ns = 0;
    while at_ns < u64::from(settings.duration_s) * SECOND_NS {
        at_ns += SLICE_NS;
        go_on(cancel)?;
        talker.rig.wait_until(begin_ns + at_ns)?;
        let ending = endings.due(at_ns);
        for number in &ending {
            let Some(origin) = talker.connection(*number).map(|connection| connection.origin) else { continue };
            pods[origin.pod as usize].open -= 1;
            pod_origins[origin.pod as usize - 1].give_back(&origin);
        }
        talker.close(&ending, false)?;
        let mut batch: Vec<Origin> = Vec::new();
        while attack.next_if(|arrival| arrival.at_ns <= at_ns).is_some() {
            // Its own source ports may run out: then it is refused by its own kernel, and nobody hears of it.
            batch.extend(aggressor_origins.draw());
        }
        let attacked = talker.open(&batch, true)?;
        count(&mut pods, &batch, &attacked.numbers);
        give_back(&batch, &attacked.numbers, |origin| aggressor_origins.give_back(origin));
        let (mut batch, mut lifetimes) = (Vec::new(), Vec::new());
        while let Some(arrival) = others.next_if(|arrival| arrival.at_ns <= at_ns) {
            if pod_origins.is_empty() {
                continue;
            }
            let pod = rng.random_range(0..pod_origins.len());
            let Some(origin) = pod_origins[pod].draw() else { continue };
            batch.push(origin);
            lifetimes.push(arrival.lifetime_ns);
        }
        let opened = talker.open(&batch, true)?;
        count(&mut pods, &batch, &opened.numbers);
        give_back(&batch, &opened.numbers, |origin| pod_origins[origin.pod as usize - 1].give_back(origin));
        for (number, lifetime_ns) in opened.numbers.iter().zip(lifetimes) {
            match number {
                Some(number) => endings.add(at_ns + lifetime_ns, *number),
                None => {
                    first_victim_s.get_or_insert(at_ns as f64 / 1e9);
                }
            }
        }
        opened.refused.iter().for_each(|one| add(&mut refused_others, one));
    }
    let group = |range: std::ops::Range<u32>| {
        let members = &pods[range.start as usize..range.end as usize];
        VictimGroup {
            pods: members.len() as u32,
            pods_hurt: members.iter().filter(|pod| pod.refused > 0).count() as u32,
            attempts: members.iter().map(|pod| pod.attempts).sum(),
            refused: members.iter().map(|pod| pod.refused).sum(),
        }
    };
    let tried = || pods.iter().filter(|pod| pod.attempts > 0);
    let success: Vec<f64> = tried().map(|pod| 1.0 - pod.refused as f64 / pod.attempts as f64).collect();
    let open: Vec<f64> = tried().map(|pod| pod.open as f64).collect();
    Ok(BlastResult {
        setup,
        quota,
        aggressor_attempts: pods[0].attempts,
        aggressor_refused: pods[0].refused,
        same_node: group(1..world.pods),
        other_nodes: group(world.pods..all),
        first_victim_s,
        jain_success: jain_index(&success),
        jain_open: jain_index(&open),
        refused: refused_others,
    })
}

/// Refused connections' source ports are free again.
fn give_back(batch: &[Origin], numbers: &[Option<u32>], mut back: impl FnMut(&Origin)) {
    batch.iter().zip(numbers).filter(|(_, number)| number.is_none()).for_each(|(origin, _)| back(origin));
}

fn count(pods: &mut [Pod], batch: &[Origin], numbers: &[Option<u32>]) {
    for (origin, number) in batch.iter().zip(numbers) {
        let pod = &mut pods[origin.pod as usize];
        pod.attempts += 1;
        pod.refused += u64::from(number.is_none());
        pod.open += u64::from(number.is_some());
    }
}
