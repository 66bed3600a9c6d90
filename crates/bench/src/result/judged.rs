use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Interval;
use crate::scenario::{Design, FrameSize, Lineup};
use crate::stats::{self, Better};

/// What a round says of a design. A figure that it could not measure is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundFigures {
    /// Highest rate without loss, or the fixed rate's delivered rate, in frames per second.
    pub rate_pps: Option<f64>,
    /// Whether the generator, not the design, was the limit.
    pub generator_bound: bool,
    /// Time of the layers' processor per delivered frame.
    pub ns_per_packet: Option<f64>,
    /// Of that, deciding and rewriting.
    pub process_ns_per_packet: Option<f64>,
    /// Time of all measuring processors per delivered frame.
    pub cpu_ns_per_packet: Option<f64>,
    /// Median latency, in nanoseconds.
    pub latency_ns_p50: Option<f64>,
    /// 99th percentile.
    pub latency_ns_p99: Option<f64>,
    /// 99.9th percentile.
    pub latency_ns_p999: Option<f64>,
    /// The rate at which that was, in frames per second.
    #[serde(default)]
    pub latency_at_pps: Option<f64>,
    /// Highest rate at which every one of so many new connections gets through, in connections per second.
    #[serde(default)]
    pub connections_per_s: Option<f64>,
    /// Whether the generator, not the design, was its limit.
    #[serde(default)]
    pub connections_generator_bound: bool,
    /// Flows to one destination that got through at once; counted in the first round only.
    #[serde(default)]
    pub usable_ports: Option<f64>,
}

/// A point of a percentile curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CurvePoint {
    /// Share of the frames, 0 to 1.
    pub quantile: f64,
    /// That took at most so long, in nanoseconds.
    pub ns: u64,
}

/// A figure that two things are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Highest rate without loss, or delivered rate.
    RatePps,
    /// Time of the layers' processor per frame.
    NsPerPacket,
    /// Time of all measuring processors per frame.
    CpuNsPerPacket,
    /// Median latency.
    LatencyNsP50,
    /// 99th percentile.
    LatencyNsP99,
    /// 99.9th percentile.
    LatencyNsP999,
    /// Highest rate of new connections.
    ConnectionsPerS,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::RatePps,
        Self::NsPerPacket,
        Self::CpuNsPerPacket,
        Self::LatencyNsP50,
        Self::LatencyNsP99,
        Self::LatencyNsP999,
        Self::ConnectionsPerS,
    ];

    /// As it is called in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RatePps => "rate_pps",
            Self::NsPerPacket => "ns_per_packet",
            Self::CpuNsPerPacket => "cpu_ns_per_packet",
            Self::LatencyNsP50 => "latency_ns_p50",
            Self::LatencyNsP99 => "latency_ns_p99",
            Self::LatencyNsP999 => "latency_ns_p999",
            Self::ConnectionsPerS => "connections_per_s",
        }
    }

    /// Which direction is good.
    pub const fn better(self) -> Better {
        match self {
            Self::RatePps | Self::ConnectionsPerS => Better::Higher,
            Self::NsPerPacket
            | Self::CpuNsPerPacket
            | Self::LatencyNsP50
            | Self::LatencyNsP99
            | Self::LatencyNsP999 => Better::Lower,
        }
    }

    /// Its value in a round.
    pub const fn of(self, round: &RoundFigures) -> Option<f64> {
        match self {
            Self::RatePps => round.rate_pps,
            Self::NsPerPacket => round.ns_per_packet,
            Self::CpuNsPerPacket => round.cpu_ns_per_packet,
            Self::LatencyNsP50 => round.latency_ns_p50,
            Self::LatencyNsP99 => round.latency_ns_p99,
            Self::LatencyNsP999 => round.latency_ns_p999,
            Self::ConnectionsPerS => round.connections_per_s,
        }
    }
}

/// A figure of two things, judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// The figure.
    pub figure: Figure,
    /// Ratios are new / base.
    pub comparison: stats::Comparison,
    /// Interval of the ratio by resampling blocks (BCa bootstrap, 95 %): a second opinion. Absent with fewer than two blocks.
    pub bootstrap: Option<stats::Interval>,
}

/// What stamping frames at the layers costs: trials with and without, in pairs of random order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StampCost {
    /// What stands at the layers.
    pub engines: Lineup,
    /// The design: the scenario's last.
    pub design: Design,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// Time of all measuring processors per delivered frame without stamps, in nanoseconds.
    pub without_ns: Interval,
    /// The same with stamps.
    pub with_ns: Interval,
    /// With over without.
    pub ratio: stats::Comparison,
}

/// Latencies of both layers together beside what they would be if the two knew nothing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Independent {
    /// Latency of `none` that node and gateway have in common, taken off once: its median, in nanoseconds.
    pub shared_ns: u64,
    /// Percentiles of the convolution of the latencies of `node` and `gateway`.
    pub predicted: super::Quantiles,
    /// Those that were measured of `both`.
    pub measured: super::Quantiles,
}

/// Comparisons that were looked at while the run went on, to end it when all are decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sequential {
    /// Rounds after which a look was planned; the last is the most rounds there could be.
    pub planned: Vec<u32>,
    /// Rounds after which there was one.
    pub looks: Vec<u32>,
    /// True if every comparison was decided.
    pub decided: bool,
    /// Chance, at most, of calling equal things different in any of the looks, for each comparison.
    pub alpha: f64,
    /// The comparisons as the last look found them: intervals have the confidence of that look.
    pub comparisons: Vec<SequentialComparison>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SequentialComparison {
    /// The design.
    pub design: Design,
    /// What stands at the layers.
    pub engines: Lineup,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// The design that it is compared with.
    pub against_design: Design,
    /// And what stands in that.
    pub against: Lineup,
    /// The figure and the verdict; ratios are to what it is compared with.
    pub judged: Judged,
}

/// How often the statistics call a thing different from itself on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AaResult {
    /// Comparisons of a design with itself.
    pub comparisons: u32,
    /// Blocks of each, of two trials in random order.
    pub blocks: u32,
    /// How long each trial sent.
    pub trial_ns: u64,
    /// At which rate.
    pub rate_pps: f64,
    /// The share of false alarms that the statistics promise not to exceed.
    pub nominal: f64,
    /// Trials in all.
    pub trials: u32,
    /// Of these, trials that did not count and were repeated.
    pub trials_repeated: u32,
    /// By figure.
    pub figures: Vec<AaFigure>,
    /// Share of false alarms over all figures.
    #[serde(default)]
    pub rate: f64,
    /// Its interval (Wilson), as if figures of one comparison knew nothing of each other.
    #[serde(default = "unknown")]
    pub interval: stats::Interval,
}

/// Of results from before it was there.
const fn unknown() -> stats::Interval {
    stats::Interval { low: 0.0, high: 1.0, confidence: 0.95 }
}

/// Verdicts on a figure of things that are the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AaFigure {
    /// The figure.
    pub figure: Figure,
    /// Comparisons that had it.
    pub comparisons: u32,
    /// Called better or worse.
    pub false_alarms: u32,
    /// Called equal.
    pub equal: u32,
    /// Neither.
    pub inconclusive: u32,
    /// Share of false alarms.
    pub rate: f64,
    /// Its interval (Wilson).
    pub interval: stats::Interval,
}

impl AaFigure {
    pub(crate) const fn of(figure: Figure) -> Self {
        Self { figure, comparisons: 0, false_alarms: 0, equal: 0, inconclusive: 0, rate: 0.0, interval: unknown() }
    }
}

impl AaResult {
    /// True if, with 95 % confidence, some figure raises more false alarms than promised.
    pub fn exceeds(&self) -> bool {
        self.figures.iter().any(|figure| figure.interval.low > self.nominal)
    }
}
