//! Node and gateway forget after different times: what becomes of connections that are idle in between, and how soon do ports come back
//! to a far end that has not forgotten?

use std::sync::atomic::AtomicBool;

use natrig_wire::tcp::flag;

use super::schedule::Endings;
use super::{StepError, go_on};
use crate::observe::{FarEnd, Layer};
use crate::result::{Event, Outcomes, ReuseResult, SkewResult};
use crate::rig::End;
use crate::scenario::TimeoutSkew;
use crate::talk::{Heard, Talker};
use crate::workload::{Arrivals, Origin, Origins, Zipf};

/// The longest idle time over the longest timeout.
const BEYOND: f64 = 1.25;

/// One combination of timeouts; `talker` goes through layers that have them.
///
/// # Errors
/// [`StepError`].
pub(crate) fn run(
    talker: &mut Talker,
    settings: &TimeoutSkew,
    [node_s, gateway_s]: [u32; 2],
    seed: u64,
    cancel: &AtomicBool,
) -> Result<SkewResult, StepError> {
    talker.reset(seed)?;
    let setup = talker.rig.bed().setup.clone();
    let mut origins = origins(talker, seed);
    let batch: Vec<Origin> = (0..settings.connections).map_while(|_| origins.draw()).collect();
    let opened = talker.open(&batch, true)?;
    let open: Vec<u32> = opened.numbers.into_iter().flatten().collect();
    let begin_ns = talker.rig.now_ns();
    let mut result = SkewResult {
        setup,
        node_s,
        gateway_s,
        pod_speaks: Outcomes::default(),
        server_speaks: Outcomes::default(),
        outlived_at_node: 0,
        outlived_at_gateway: 0,
        black_hole_s: None,
        timeline: Vec::new(),
    };
    let mut worst = 0;
    let longest_s = f64::from(node_s.max(gateway_s)) * BEYOND;
    // Two at a time: on one the pod speaks first, on the other the server.
    for (nth, pair) in open.chunks(2).enumerate() {
        go_on(cancel)?;
        let idle_s = longest_s * (nth + 1) as f64 / open.len().div_ceil(2) as f64;
        talker.rig.wait_until(begin_ns + (idle_s * 1e9) as u64)?;
        let halves = [Layer::Node, Layer::Gateway].map(|layer| talker.rig.remembered(layer));
        let [node, gateway] = halves;
        let (node, gateway) = (node?, gateway?);
        result.outlived_at_node = result.outlived_at_node.max(node.saturating_sub(gateway));
        result.outlived_at_gateway = result.outlived_at_gateway.max(gateway.saturating_sub(node));
        for (number, from) in pair.iter().zip([End::Pods, End::Servers]) {
            let opened_as = talker.connection(*number).map(|connection| connection.outside.to_string());
            let (outcome, events) = wake(talker, *number, from)?;
            let into = if from == End::Pods { &mut result.pod_speaks } else { &mut result.server_speaks };
            outcome.count(into);
            if outcome == Outcome::BlackHoled {
                let (first, _) = result.black_hole_s.unwrap_or((idle_s, idle_s));
                result.black_hole_s = Some((first, idle_s));
            }
            if result.timeline.is_empty() || outcome.badness() > worst {
                worst = outcome.badness();
                let at = |at_s, what| Event { at_s, what };
                result.timeline = vec![
                    at(0.0, format!("established; the server sees {}", opened_as.unwrap_or_default())),
                    at(
                        idle_s,
                        format!(
                            "idle until now; of {} connections the node remembers {node}, the gateway {gateway}",
                            open.len()
                        ),
                    ),
                ];
                result.timeline.extend(events.into_iter().map(|what| at(idle_s, what)));
            }
            talker.forget(*number);
        }
    }
    Ok(result)
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Alive,
    Reset,
    Remapped,
    Misdelivered,
    BlackHoled,
}

impl Outcome {
    fn count(self, into: &mut Outcomes) {
        let slot = match self {
            Self::Alive => &mut into.alive,
            Self::Reset => &mut into.reset,
            Self::Remapped => &mut into.remapped,
            Self::Misdelivered => &mut into.misdelivered,
            Self::BlackHoled => &mut into.black_holed,
        };
        *slot += 1;
    }

    /// The timeline is that of the first of the worst.
    fn badness(self) -> u32 {
        match self {
            Self::Alive => 0,
            Self::Reset => 1,
            Self::Remapped => 2,
            Self::Misdelivered => 3,
            Self::BlackHoled => 4,
        }
    }
}

/// Somebody speaks after a long time, and whoever hears it answers.
fn wake(talker: &mut Talker, number: u32, from: End) -> Result<(Outcome, Vec<String>), StepError> {
    let mut events = Vec::new();
    let heard = talker.say(from, &[number], flag::ACK | flag::PSH)?.first().copied().unwrap_or(Heard::Nobody);
    let speaker = if from == End::Pods { "pod" } else { "server" };
    let outcome = match heard {
        Heard::Well => {
            events.push(format!("the {speaker} sends, and the other side receives"));
            Outcome::Alive
        }
        Heard::Reset => {
            events.push(format!("the {speaker} sends, and a layer answers with a reset"));
            Outcome::Reset
        }
        Heard::AsStranger(tuple) => {
            events.push(format!("the pod sends; the server sees {tuple}, which it does not know, and resets it"));
            if talker.refuse_stranger(number, tuple)? {
                events.push("the reset reaches the pod".to_owned());
                Outcome::Remapped
            } else {
                events.push("the reset does not reach the pod: it sends on, unheard".to_owned());
                Outcome::BlackHoled
            }
        }
        Heard::ByAnother => {
            events.push("the server sends, and another pod receives it".to_owned());
            Outcome::Misdelivered
        }
        Heard::Nobody => {
            events.push(format!("the {speaker} sends; nobody receives it, and nobody says so"));
            Outcome::BlackHoled
        }
    };
    Ok((outcome, events))
}

/// Connections are opened and closed one after another; the far end remembers.
///
/// # Errors
/// [`StepError`].
pub(crate) fn reuse(
    talker: &mut Talker,
    settings: &TimeoutSkew,
    seed: u64,
    cancel: &AtomicBool,
) -> Result<ReuseResult, StepError> {
    const SLICE_NS: u64 = 100_000_000;
    const LIFETIME_S: f64 = 1.0;
    talker.reset(seed)?;
    let mut origins = origins(talker, seed);
    let mut far_end = FarEnd::new(u64::from(settings.server_time_wait_s) * 1_000_000_000);
    let mut arrivals =
        Arrivals::new(settings.reuse_per_s, LIFETIME_S, seed).take(settings.reuse_connections as usize).peekable();
    let mut endings = Endings::default();
    let mut refused = 0;
    let begin_ns = talker.rig.now_ns();
    let mut at_ns = 0;
    while arrivals.peek().is_some() || endings.len() > 0 {
        at_ns += SLICE_NS;
        go_on(cancel)?;
        talker.rig.wait_until(begin_ns + at_ns)?;
        let ending = endings.due(at_ns);
        let tuple = |talker: &Talker, number: u32| {
            let connection = talker.connection(number)?;
            Some((
                (connection.outside, talker.rig.bed().world.ends(&connection.origin, &talker.rig.bed().traffic).1),
                connection.origin,
            ))
        };
        let closing: Vec<_> = ending.iter().filter_map(|number| tuple(talker, *number)).collect();
        talker.close(&ending, false)?;
        for (tuple, origin) in closing {
            far_end.closed(tuple, at_ns);
            origins.give_back(&origin);
        }
        let (mut batch, mut lifetimes) = (Vec::new(), Vec::new());
        while let Some(arrival) = arrivals.next_if(|arrival| arrival.at_ns <= at_ns) {
            let Some(origin) = origins.draw() else { continue };
            batch.push(origin);
            lifetimes.push(arrival.lifetime_ns);
        }
        let opened = talker.open(&batch, true)?;
        for (number, lifetime_ns) in opened.numbers.iter().zip(lifetimes) {
            match number {
                Some(number) => {
                    endings.add(at_ns + lifetime_ns, *number);
                    if let Some((tuple, _)) = tuple(talker, *number) {
                        far_end.opened(tuple, at_ns);
                    }
                }
                None => refused += 1,
            }
        }
    }
    Ok(ReuseResult { setup: talker.rig.bed().setup.clone(), refused, far_end: far_end.counts() })
}

fn origins(talker: &Talker, seed: u64) -> Origins {
    let bed = talker.rig.bed();
    let (world, traffic) = (bed.world, &bed.traffic);
    let ports = (traffic.src_ports.first, traffic.src_ports.last);
    Origins::new(0..world.nodes * world.pods, ports, Zipf::new(world.servers, traffic.skew), seed)
}
