//! What a toggle did to whom.

use std::collections::BTreeMap;

use natrig_bench::scenario::Word;
use natrig_bench::stats::median;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::{ClientClass, Fate, Notice};
use crate::path::{Losses, SECOND_NS};
use crate::scenario::TranslatedBy;

/// All that was found, a gateway at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// What masqueraded at nodes, with the kernel's stack.
    #[serde(default)]
    pub nodes_by: Option<TranslatedBy>,
    /// For each gateway.
    pub gateways: Vec<GatewayOutcome>,
}

/// What happened with one gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GatewayOutcome {
    /// Its profile.
    pub gateway: String,
    /// By class of client.
    pub classes: Vec<ClassOutcome>,
    /// Most connections that were broken and not yet replaced at the same moment.
    pub most_blocked: u32,
    /// Frames that hosts sent.
    pub frames_sent: u64,
    /// Frames that arrived at a host.
    pub frames_delivered: u64,
    /// Frames that were still on their way at the end.
    pub frames_in_flight: u64,
    /// Frames that ended on the way.
    pub frames_lost: Vec<Lost>,
    /// The longest time, in seconds, in which programs did not get the processor; 0 on a virtual clock.
    #[serde(default)]
    pub longest_stall_s: f64,
}

/// Nobody's patience is as short as that.
const STALL_S_MAX: f64 = 1.0;

/// Frames that ended at a place for a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// `node`, `gateway` or `network`.
    pub place: String,
    /// In snake or kebab case.
    pub reason: String,
    /// How many.
    pub frames: u64,
}

/// What happened to the connections of one class of clients. Times are seconds of the virtual clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassOutcome {
    /// The class.
    pub class: ClientClass,
    /// Connections that worked when the change came.
    pub connections: u32,
    /// Of these, closed in good order before it.
    pub closed: u32,
    /// Of these, broken by it.
    pub broken: u32,
    /// Of the broken, those on which packets still came in: half dead.
    pub half_dead: u32,
    /// How many learned of it, and how.
    pub noticed: BTreeMap<String, u32>,
    /// Broken, and no one had noticed by the end.
    pub never_noticed: u32,
    /// From the change to when the program knew: the median of those that did.
    pub notice_s_p50: Option<f64>,
    /// The longest.
    pub notice_s_max: Option<f64>,
    /// Of the broken or closed, those whose program was at work again by the end, by itself.
    pub recovered: u32,
    /// From the last progress before to the first after: the median of those that recovered.
    pub blocked_s_p50: Option<f64>,
    /// The longest.
    pub blocked_s_max: Option<f64>,
}

/// What became of everybody's connections and of their frames.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    pub(crate) fates: Vec<(ClientClass, Fate)>,
    pub(crate) traffic: Traffic,
    pub(crate) longest_stall_ns: u64,
}

/// Frames of all hosts together.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) in_flight: u64,
    pub(crate) losses: Losses,
}

impl GatewayOutcome {
    pub(crate) fn of(gateway: &str, lives: &Lives) -> Self {
        let Traffic { sent, delivered, in_flight, losses } = &lives.traffic;
        let lost = losses.0.iter().map(|((place, reason), frames)| Lost {
            place: (*place).to_owned(),
            reason: (*reason).to_owned(),
            frames: *frames,
        });
        Self {
            gateway: gateway.to_owned(),
            classes: ClientClass::ALL.iter().map(|class| ClassOutcome::of(*class, &lives.fates)).collect(),
            most_blocked: most_blocked(&lives.fates),
            frames_sent: *sent,
            frames_delivered: *delivered,
            frames_in_flight: *in_flight,
            frames_lost: lost.collect(),
            longest_stall_s: seconds(lives.longest_stall_ns),
        }
    }

    /// Whether every frame is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        let lost: u64 = self.frames_lost.iter().map(|lost| lost.frames).sum();
        self.frames_sent == self.frames_delivered + self.frames_in_flight + lost
    }

    /// Whether programs lost patience with themselves: they waited for the processor, not for the network.
    #[must_use]
    pub fn stalled(&self) -> bool {
        self.longest_stall_s > STALL_S_MAX
    }
}

impl ClassOutcome {
    fn of(class: ClientClass, fates: &[(ClientClass, Fate)]) -> Self {
        let here = fates.iter().filter(|(of, fate)| *of == class && fate.was_working);
        let here: Vec<&Fate> = here.map(|(_, fate)| fate).collect();
        let count = |is: &dyn Fn(&Fate) -> bool| here.iter().filter(|fate| is(fate)).count() as u32;
        let mut noticed: BTreeMap<String, u32> = BTreeMap::new();
        for notice in Notice::ALL {
            let many = count(&|fate| fate.noticed.is_some_and(|(_, how)| how == *notice));
            if many > 0 {
                noticed.insert(notice.word().to_owned(), many);
            }
        }
        let notice_s = here.iter().filter_map(|fate| {
            let (at_ns, _) = fate.noticed?;
            Some(seconds(at_ns.saturating_sub(fate.changed_ns?)))
        });
        let notice_s: Vec<f64> = notice_s.collect();
        let hit = |fate: &Fate| fate.broken() || fate.closed;
        let blocked_s: Vec<f64> = here
            .iter()
            .filter(|fate| hit(fate))
            .filter_map(|fate| Some(seconds(fate.recovered_ns? - fate.last_progress_ns)))
            .collect();
        Self {
            class,
            connections: here.len() as u32,
            closed: count(&|fate| fate.closed),
            broken: count(&|fate| fate.broken()),
            half_dead: count(&|fate| fate.half_dead()),
            noticed,
            never_noticed: count(&|fate| fate.broken() && fate.noticed.is_none()),
            notice_s_p50: median(&notice_s),
            notice_s_max: notice_s.iter().copied().reduce(f64::max),
            recovered: count(&|fate| hit(fate) && fate.recovered_ns.is_some()),
            blocked_s_p50: median(&blocked_s),
            blocked_s_max: blocked_s.iter().copied().reduce(f64::max),
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND_NS as f64
}

/// Sweeps over the ends of the times in which connections were broken and not replaced.
fn most_blocked(fates: &[(ClientClass, Fate)]) -> u32 {
    let mut edges: Vec<(u64, i32)> = Vec::new();
    for fate in fates.iter().map(|(_, fate)| fate).filter(|fate| fate.broken() || fate.closed) {
        edges.push((fate.last_progress_ns, 1));
        if let Some(recovered_ns) = fate.recovered_ns {
            edges.push((recovered_ns, -1));
        }
    }
    edges.sort_unstable();
    let mut blocked = 0;
    let mut most = 0;
    for (_, step) in edges {
        blocked += step;
        most = most.max(blocked);
    }
    u32::try_from(most).unwrap_or(0)
}
