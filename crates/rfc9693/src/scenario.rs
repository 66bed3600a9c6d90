//! What is to be measured, and over which tuples.

use natrig_bench::devices::Settings;
use natrig_bench::scenario as bench;
use natrig_bench::scenario::{FrameSize, PortRange, TrafficDirection, Word};
use natrig_traffic::Arrivals;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One file of `test = "rfc9693"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    /// The Devices Under Test.
    #[serde(flatten)]
    pub devices: Settings,
    /// The tests to run.
    pub tests: Vec<Kind>,
    /// How often each is run (section 6).
    pub repetitions: u32,
    /// How often a trial that lost frames is repeated before its rate has failed (loss verification, ETSI GS NFV-TST 009 §12.3.3).
    pub confirm: u32,
    /// The four tuples (sections 3.2 and 4.1).
    pub tuples: Tuples,
    /// Sections 4.5 and 4.6.
    pub establishment: Establishment,
    /// Section 4.7: throughput, frame loss rate and latency.
    pub phase2: Phase2,
    /// Section 4.8.
    pub tear_down: TearDown,
    /// Section 4.9.
    pub capacity: Capacity,
    /// Section 5.1.
    pub scaling: Scaling,
    /// Section 5.2.
    #[serde(default)]
    pub processors: Processors,
}

natrig_bench::words! {
    /// A test of RFC 9693.
    Kind {
        /// Maximum connection establishment rate, validated (sections 4.5 and 4.6).
        Establishment = "connection-establishment",
        /// Throughput over established connections (section 4.7; RFC 8219 section 7.1).
        Throughput = "throughput",
        /// Frame loss rate over established connections (section 4.7; RFC 2544 section 26.3).
        FrameLoss = "frame-loss",
        /// Latency (TL, WCL) and packet delay variation at the throughput rate (section 4.7; RFC 8219 sections 7.2 and 7.3).
        Latency = "latency",
        /// Connection tear-down rate (section 4.8).
        TearDown = "connection-tear-down",
        /// Connection tracking table capacity (section 4.9).
        Capacity = "table-capacity",
        /// Scaling over the number of connections (section 5.1).
        Scaling = "scaling",
        /// Scaling over processors (section 5.2).
        Processors = "processors",
    }
}

natrig_bench::words! {
    /// In which order the Initiator uses the tuples in test phase 1.
    Order {
        /// A random permutation made before the test: unique pseudorandom enumeration.
        Pseudorandom = "pseudorandom",
        /// Pods first, then servers, source ports, destination ports.
        Increasing = "increasing",
        /// The same from the end.
        Decreasing = "decreasing",
    }
}

natrig_bench::words! {
    /// Which ways carry frames in test phase 2.
    Ways {
        /// Initiator and Responder send at the same rate.
        Both = "both",
        /// Only the Initiator sends.
        Out = "out",
        /// Only the Responder sends.
        In = "in",
    }
}

/// The four tuples: all pods × servers × source ports × destination ports, as far as they are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tuples {
    /// N: connections of every test that does not vary them.
    pub connections: u32,
    /// Source port range.
    pub src_ports: PortRange,
    /// Destination port range.
    pub dst_ports: PortRange,
    /// Order of enumeration.
    pub order: Order,
    /// Frame size, bytes with FCS.
    pub frame_size: u16,
}

/// Maximum connection establishment rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Establishment {
    /// Lowest rate to try, connections per second.
    pub min_pps: u32,
    /// Highest rate to try.
    pub max_pps: u32,
    /// The search ends when the bounds are this share apart: the error of the binary search.
    pub error: f64,
    /// α: validation sends at this share of the rate of test phase 1.
    pub alpha: f64,
}

/// Test phase 2.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phase2 {
    /// At which share of the measured establishment rate test phase 1 goes when it only prepares test phase 2.
    pub load_fraction: f64,
    /// Who sends.
    pub ways: Ways,
    /// How long a trial sends, in milliseconds; RFC 8219 asks for 60 s.
    pub trial_ms: u32,
    /// The search for the throughput ends when the bounds are this share apart.
    pub error: f64,
    /// What counts as 100 % of load in the frame loss rate test, as a multiple of the throughput: a veth has no line rate.
    pub loss_from: f64,
    /// Step of the frame loss rate test, as a share of that; at most 0.1.
    pub loss_step: f64,
    /// How long the stream for latency and PDV is, in milliseconds; RFC 8219 asks for 120 s and 60 s.
    pub latency_ms: u32,
}

/// Connection tear-down rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TearDown {
    /// Numbers of connections, each loaded and deleted.
    pub connections: Vec<u32>,
}

/// Connection tracking table capacity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// C₀: safely below the capacity.
    pub initial: u32,
    /// The most connections to try.
    pub maximum: u32,
    /// β: the exponential search ends where the rate falls below this share of the one before.
    pub beta: f64,
    /// γ: the binary search goes down where the rate falls below this share.
    pub gamma: f64,
    /// E: the binary search ends when the bounds are this many connections apart.
    pub error: u32,
}

/// Scaling over the number of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scaling {
    /// The numbers.
    pub connections: Vec<u32>,
}

/// Scaling over processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Processors {
    /// Their numbers; what this machine does not have is left out.
    pub counts: Vec<u32>,
}

impl Default for Processors {
    fn default() -> Self {
        Self { counts: vec![1, 2, 4, 8, 16] }
    }
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            devices: Settings::default(),
            tests: vec![Kind::Establishment, Kind::Throughput, Kind::FrameLoss, Kind::Latency, Kind::TearDown],
            repetitions: 10,
            confirm: 0,
            tuples: Tuples {
                connections: 10_000,
                src_ports: PortRange { first: 1024, last: 41_023 },
                dst_ports: PortRange { first: 1, last: 10 },
                order: Order::Pseudorandom,
                frame_size: 64,
            },
            establishment: Establishment { min_pps: 1000, max_pps: 16_000_000, error: 0.02, alpha: 0.5 },
            phase2: Phase2 {
                load_fraction: 0.5,
                ways: Ways::Both,
                trial_ms: 1000,
                error: 0.02,
                loss_from: 1.2,
                loss_step: 0.1,
                latency_ms: 2000,
            },
            tear_down: TearDown { connections: vec![1000, 10_000] },
            capacity: Capacity { initial: 1000, maximum: 1 << 20, beta: 0.1, gamma: 0.5, error: 1000 },
            scaling: Scaling { connections: vec![1000, 10_000] },
            processors: Processors::default(),
        }
    }
}

impl Scenario {
    /// The most connections that any test but that of the capacity makes: the kernel's table must have room for them.
    pub(crate) fn connections_max(&self) -> u32 {
        let many = |kind, list: &[u32]| self.does(kind).then(|| list.iter().copied().max()).flatten().unwrap_or(0);
        self.tuples
            .connections
            .max(many(Kind::TearDown, &self.tear_down.connections))
            .max(many(Kind::Scaling, &self.scaling.connections))
    }

    /// Whether a test is to be run.
    pub(crate) fn does(&self, kind: Kind) -> bool {
        self.tests.contains(&kind)
    }

    /// How many different tuples there are.
    pub(crate) fn tuples_max(&self) -> u64 {
        let Tuples { src_ports, dst_ports, .. } = self.tuples;
        self.addresses() * u64::from(src_ports.count()) * u64::from(dst_ports.count())
    }

    fn addresses(&self) -> u64 {
        let topology = &self.devices.topology;
        u64::from(topology.pods.count) * u64::from(topology.internet.server_count)
    }

    /// The world that all this happens in.
    pub(crate) fn world(&self) -> bench::Scenario {
        let Tuples { src_ports, dst_ports, frame_size, .. } = self.tuples;
        let without_dst_ports = self.addresses() * u64::from(src_ports.count());
        let flows = u64::from(self.connections_max()).min(without_dst_ports);
        self.devices.world(bench::Traffic {
            flows: u32::try_from(flows).unwrap_or(u32::MAX),
            frame_sizes: vec![FrameSize::Bytes(frame_size)],
            schedule: Arrivals::Constant,
            direction: TrafficDirection::Both,
            dst_port: dst_ports.first,
            src_ports,
        })
    }
}
