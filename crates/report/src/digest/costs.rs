//! What to make of the 2×2: which differences a run can tell from nothing.

use natrig_bench::CONNECTIONS_PRECISION;
use natrig_bench::result::{CostSummary, Effects, Interval, RunResult};
use natrig_bench::scenario::{Design, FrameSize, Lineup, Rate};

use super::cell::{Cell, cells};
use crate::numbers::{Quantity, touches_zero};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    TimePerPacket,
    Rate,
    P50,
    P99,
    P999,
    Connections,
    Ports,
}

/// One of the four comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Node,
    Gateway,
    NodeOnTop,
    Interaction,
}

/// What an interval allows to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It lies on one side of 0.
    Told,
    /// It lies on one side of 0, but holds the true value with little confidence only.
    Hinted,
    /// It contains 0, or as good as ends there.
    NotTold,
    /// The difference is smaller than the search for the rate resolves.
    BelowPrecision,
    /// The generator, not the designs, set at least one of the rates compared.
    GeneratorBound,
}

/// Below this confidence an interval gives a hint, not an answer. Five rounds give 94 %, four 88 %.
const CONFIDENCE_MIN: f64 = 0.9;

/// The costs at a frame size, with what is needed to judge them.
#[derive(Debug)]
pub(crate) struct Costs<'a> {
    pub lineup: Lineup,
    pub frame_size: FrameSize,
    summary: &'a CostSummary,
    cells: Vec<Cell<'a>>,
    /// How near the search comes to the highest rate, as a share of it; 0 for fixed rates.
    pub precision: f64,
}

/// The costs at each frame size for which at least one is known.
pub(crate) fn costs(result: &RunResult) -> Vec<Costs<'_>> {
    let precision = match result.scenario.measure.rate {
        Rate::Search(search) => search.precision,
        Rate::Mlrsearch(search) => search.width,
        Rate::FixedPps(_) => 0.0,
    };
    let known = |costs: &Costs<'_>| Metric::ALL.into_iter().any(|metric| costs.effects(metric).is_some());
    result.costs.iter().map(|summary| of(result, summary, precision)).filter(known).collect()
}

fn of<'a>(result: &'a RunResult, summary: &'a CostSummary, precision: f64) -> Costs<'a> {
    let CostSummary { engines: lineup, frame_size, .. } = *summary;
    let here = |cell: &Cell<'_>| (cell.summary.engines, cell.summary.frame_size) == (lineup, frame_size);
    Costs { lineup, frame_size, summary, cells: cells(result).into_iter().filter(here).collect(), precision }
}

impl Metric {
    pub(crate) const ALL: [Self; 7] =
        [Self::TimePerPacket, Self::Rate, Self::P50, Self::P99, Self::P999, Self::Connections, Self::Ports];

    /// True if a run may well do without.
    pub(crate) fn is_optional(self) -> bool {
        matches!(self, Self::Connections | Self::Ports)
    }

    pub(crate) const LATENCIES: [Self; 3] = [Self::P50, Self::P99, Self::P999];
}

impl Effect {
    pub(crate) const ALL: [Self; 4] = [Self::Node, Self::Gateway, Self::NodeOnTop, Self::Interaction];

    pub(crate) fn of(self, effects: &Effects) -> &Interval {
        match self {
            Self::Node => &effects.node,
            Self::Gateway => &effects.gateway,
            Self::NodeOnTop => &effects.node_on_top,
            Self::Interaction => &effects.interaction,
        }
    }

    /// The designs compared.
    fn designs(self) -> &'static [Design] {
        match self {
            Self::Node => &[Design::None, Design::Node],
            Self::Gateway => &[Design::None, Design::Gateway],
            Self::NodeOnTop => &[Design::Gateway, Design::Both],
            Self::Interaction => &[Design::None, Design::Node, Design::Gateway, Design::Both],
        }
    }

    /// The design that a change is a share of.
    fn base(self) -> Design {
        match self {
            Self::Node | Self::Gateway | Self::Interaction => Design::None,
            Self::NodeOnTop => Design::Gateway,
        }
    }
}

impl<'a> Costs<'a> {
    pub(crate) fn effects(&self, metric: Metric) -> Option<&'a Effects> {
        match metric {
            Metric::TimePerPacket => self.summary.ns_per_packet.as_ref().or(self.summary.cpu_ns_per_packet.as_ref()),
            Metric::Rate => self.summary.rate_pps.as_ref(),
            Metric::P50 => self.summary.latency_ns_p50.as_ref(),
            Metric::P99 => self.summary.latency_ns_p99.as_ref(),
            Metric::P999 => self.summary.latency_ns_p999.as_ref(),
            Metric::Connections => self.summary.connections_per_s.as_ref(),
            Metric::Ports => self.summary.usable_ports.as_ref(),
        }
    }

    /// Whether the time per packet is that on all cores: where the kernel forwards, no core is the layers' alone.
    pub(crate) fn time_is_on_all_cores(&self) -> bool {
        self.summary.ns_per_packet.is_none() && self.summary.cpu_ns_per_packet.is_some()
    }

    pub(crate) fn effect(&self, metric: Metric, effect: Effect) -> Option<&'a Interval> {
        self.effects(metric).map(|effects| effect.of(effects))
    }

    /// All intervals there are.
    pub(crate) fn intervals(&self) -> impl Iterator<Item = &'a Interval> + '_ {
        // Ports are counted, once: that says nothing of the others.
        Metric::ALL
            .into_iter()
            .filter(|metric| *metric != Metric::Ports)
            .filter_map(|metric| self.effects(metric))
            .flat_map(|effects| Effect::ALL.into_iter().map(move |effect| effect.of(effects)))
    }

    pub(crate) fn verdict(&self, metric: Metric, effect: Effect) -> Option<Verdict> {
        let interval = self.effect(metric, effect)?;
        let quantity = match metric {
            Metric::Rate | Metric::Connections => Quantity::Rate,
            Metric::Ports => return Some(if interval.median == 0.0 { Verdict::NotTold } else { Verdict::Told }),
            Metric::TimePerPacket | Metric::P50 | Metric::P99 | Metric::P999 => Quantity::Time,
        };
        let bound = match metric {
            Metric::Rate => !self.generator_bound(effect).is_empty(),
            Metric::Connections => self.connections_bound(effect),
            Metric::TimePerPacket | Metric::P50 | Metric::P99 | Metric::P999 | Metric::Ports => false,
        };
        Some(if bound {
            Verdict::GeneratorBound
        } else if touches_zero(quantity, interval) || (effect == Effect::Interaction && interval.rounds < 2) {
            Verdict::NotTold
        } else if (metric == Metric::Rate && interval.median.abs() <= self.resolution_pps(effect))
            || (metric == Metric::Connections && interval.median.abs() <= self.resolution_connections(effect))
        {
            Verdict::BelowPrecision
        } else if interval.confidence < CONFIDENCE_MIN {
            Verdict::Hinted
        } else {
            Verdict::Told
        })
    }

    /// The designs in this comparison whose rate the generator limited.
    pub(crate) fn generator_bound(&self, effect: Effect) -> Vec<Design> {
        let bound = |design: &&Design| self.cell(**design).is_some_and(|cell| cell.generator_bound().is_some());
        effect.designs().iter().filter(bound).copied().collect()
    }

    /// A change in rate as a share of the rate without it.
    pub(crate) fn rate_share(&self, effect: Effect) -> Option<Interval> {
        let interval = *self.effect(Metric::Rate, effect)?;
        let base = self.cell(effect.base())?.summary.rate_pps?.median;
        (base > 0.0).then(|| Interval {
            median: interval.median / base,
            low: interval.low / base,
            high: interval.high / base,
            ..interval
        })
    }

    /// Each search stops somewhere within its precision below the true rate, so that a difference may be off by one such step, and a
    /// difference of differences by two.
    fn resolution_pps(&self, effect: Effect) -> f64 {
        let largest = effect.designs().iter().filter_map(|design| Some(self.cell(*design)?.summary.rate_pps?.median));
        self.precision * largest.fold(0.0, f64::max) * effect.designs().len() as f64 / 2.0
    }

    /// The same of the connection rate.
    fn resolution_connections(&self, effect: Effect) -> f64 {
        let rates =
            effect.designs().iter().filter_map(|design| Some(self.cell(*design)?.summary.connections_per_s?.median));
        CONNECTIONS_PRECISION * rates.fold(0.0, f64::max) * effect.designs().len() as f64 / 2.0
    }

    /// Whether the generator limited the connection rate of a design in this comparison, in half of the rounds or more.
    fn connections_bound(&self, effect: Effect) -> bool {
        effect.designs().iter().filter_map(|design| self.cell(*design)).any(|cell| {
            let rounds = &cell.summary.rounds;
            let bound = rounds.iter().filter(|round| round.connections_generator_bound).count();
            2 * bound >= rounds.len().max(1)
        })
    }

    fn cell(&self, design: Design) -> Option<&Cell<'a>> {
        self.cells.iter().find(|cell| cell.design() == design)
    }
}
