//! What a toggle did to whom.

use std::collections::BTreeMap;

use natrig_bench::scenario::Word;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client::{Client, ClientClass, Notice};
use crate::path::SECOND_NS;
use crate::world::World;

/// All that was found, a gateway at a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
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
}

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

impl GatewayOutcome {
    pub(crate) fn of(gateway: &str, world: &World<'_>, clients: &[Client]) -> Self {
        let lost = world.losses.0.iter().map(|((place, reason), frames)| Lost {
            place: (*place).to_owned(),
            reason: (*reason).to_owned(),
            frames: *frames,
        });
        Self {
            gateway: gateway.to_owned(),
            classes: ClientClass::ALL.iter().map(|class| ClassOutcome::of(*class, clients)).collect(),
            most_blocked: most_blocked(clients),
            frames_sent: world.sent,
            frames_delivered: world.delivered,
            frames_in_flight: world.in_flight(),
            frames_lost: lost.collect(),
        }
    }

    /// Whether every frame is accounted for.
    #[must_use]
    pub fn balances(&self) -> bool {
        let lost: u64 = self.frames_lost.iter().map(|lost| lost.frames).sum();
        self.frames_sent == self.frames_delivered + self.frames_in_flight + lost
    }
}

impl ClassOutcome {
    fn of(class: ClientClass, clients: &[Client]) -> Self {
        let here: Vec<_> = clients.iter().filter(|client| client.class == class && client.fate.was_working).collect();
        let count = |is: &dyn Fn(&Client) -> bool| here.iter().filter(|client| is(client)).count() as u32;
        let mut noticed: BTreeMap<String, u32> = BTreeMap::new();
        for notice in Notice::ALL {
            let many = count(&|client| client.fate.noticed.is_some_and(|(_, how)| how == *notice));
            if many > 0 {
                noticed.insert(notice.word().to_owned(), many);
            }
        }
        let notice_s = here.iter().filter_map(|client| {
            let (at_ns, _) = client.fate.noticed?;
            Some(seconds(at_ns.saturating_sub(client.fate.changed_ns?)))
        });
        let notice_s: Vec<f64> = notice_s.collect();
        let hit = |client: &Client| client.fate.broken() || client.fate.closed;
        let blocked_s: Vec<f64> = here
            .iter()
            .filter(|client| hit(client))
            .filter_map(|client| Some(seconds(client.fate.recovered_ns? - client.fate.last_progress_ns)))
            .collect();
        Self {
            class,
            connections: here.len() as u32,
            closed: count(&|client| client.fate.closed),
            broken: count(&|client| client.fate.broken()),
            half_dead: count(&|client| client.fate.half_dead()),
            noticed,
            never_noticed: count(&|client| client.fate.broken() && client.fate.noticed.is_none()),
            notice_s_p50: median(&notice_s),
            notice_s_max: notice_s.iter().copied().reduce(f64::max),
            recovered: count(&|client| hit(client) && client.fate.recovered_ns.is_some()),
            blocked_s_p50: median(&blocked_s),
            blocked_s_max: blocked_s.iter().copied().reduce(f64::max),
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND_NS as f64
}

/// The lower median.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Sweeps over the ends of the times in which connections were broken and not replaced.
fn most_blocked(clients: &[Client]) -> u32 {
    let mut edges: Vec<(u64, i32)> = Vec::new();
    for fate in clients.iter().map(|client| &client.fate).filter(|fate| fate.broken() || fate.closed) {
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
