//! What is to be measured.

use natrig_bench::devices::Settings;
use natrig_bench::scenario as bench;
use natrig_bench::scenario::{FrameSize, PortRange, TrafficDirection, Word};
use natrig_traffic::Arrivals;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One file of `test = "tcp"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    /// What is measured, and where.
    #[serde(flatten)]
    pub devices: Settings,
    /// What to measure.
    pub parts: Vec<Part>,
    /// How often; the order of designs is drawn anew in each round.
    pub rounds: u32,
    /// The clients' ports.
    pub src_ports: PortRange,
    /// The port that the servers listen on.
    pub dst_port: u16,
    /// Connections made and unmade.
    pub rate: ConnectionRate,
    /// Connections that live while others come and go.
    pub churn: Churn,
    /// Flows that carry something.
    pub transfer: Transfer,
}

natrig_bench::words! {
    /// What can be measured.
    Part {
        /// The highest rate at which connections are made and unmade.
        ConnectionRate = "connection-rate",
        /// Live connections under churn.
        Churn = "churn",
        /// Flows that recover from loss.
        Transfer = "transfer",
    }
}

/// The highest rate at which connections are made and unmade.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionRate {
    /// Connections of a trial, each with a tuple of its own.
    pub connections: u32,
    /// Lowest rate to try, connections per second.
    pub min_cps: u32,
    /// Highest rate to try.
    pub max_cps: u32,
    /// The search ends when the bounds are this share apart.
    pub error: f64,
    /// How often a trial that lost at most 5 % is repeated before its rate has failed (loss verification, ETSI GS NFV-TST 009 §12.3.3).
    #[serde(default = "one")]
    pub confirm: u32,
}

const fn one() -> u32 {
    1
}

const fn a_second() -> u32 {
    1000
}

/// Connections that live while others come and go.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Churn {
    /// Connections that live through it.
    pub background: u32,
    /// Connections that come and go meanwhile.
    pub connections: u32,
    /// How many of these come in a second: a share of the highest rate found, or of the highest to try where none is looked for.
    pub rate_fraction: f64,
    /// Keepalives in a second, over the background in turn.
    pub keepalives_per_s: u32,
    /// How much later the tables of natrig's own NATs must be empty, in seconds of their clock, which is moved on: beyond every timer of a
    /// connection that is closed.
    pub empty_after_s: u32,
    /// How long the kernel remembers a connection after its close, in seconds: its clock cannot be moved on, so it is told so, and a
    /// little later its tables must be empty.
    pub kernel_time_wait_s: u32,
}

/// Flows that carry something.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Transfer {
    /// Flows at once, all between one pod and one server.
    pub flows: u16,
    /// Bytes of each, from pod to server.
    pub bytes: u64,
    /// Frames in a million that each end loses on purpose: the same bytes of the same flows in every design.
    pub loss_ppm: u32,
    /// How many such transfers, each with other losses, make a round.
    #[serde(default = "one")]
    pub repeats: u32,
    /// The least time after which a stack sends again, in milliseconds: Linux has 200 (`TCP_RTO_MIN`), RFC 6298 asks for 1000.
    #[serde(default = "a_second")]
    pub rto_min_ms: u32,
    /// After how long a flow counts as stuck, in seconds.
    pub patience_s: u32,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            devices: Settings::default(),
            parts: Part::ALL.to_vec(),
            rounds: 5,
            src_ports: bench::Scenario::quick().traffic.src_ports,
            dst_port: 80,
            rate: ConnectionRate {
                connections: 20_000,
                min_cps: 1000,
                max_cps: 4_000_000,
                error: 0.05,
                // A single trial with little loss may say more about the machine than about the device.
                confirm: 1,
            },
            churn: Churn {
                background: 2000,
                connections: 20_000,
                rate_fraction: 0.5,
                keepalives_per_s: 20_000,
                empty_after_s: 600,
                kernel_time_wait_s: 1,
            },
            transfer: Transfer {
                flows: 8,
                bytes: 4 << 20,
                loss_ppm: 1000,
                repeats: 5,
                rto_min_ms: 200,
                patience_s: 20,
            },
        }
    }
}

impl Scenario {
    /// Whether something is to be measured.
    pub(crate) fn does(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// The most connections of any trial.
    pub(crate) fn connections_max(&self) -> u32 {
        self.rate.connections.max(self.churn.background + self.churn.connections)
    }

    /// How many different tuples there are.
    pub(crate) fn tuples_max(&self) -> u64 {
        let topology = &self.devices.topology;
        let addresses = u64::from(topology.pods.count) * u64::from(topology.internet.server_count);
        addresses * u64::from(self.src_ports.count())
    }

    /// The world that all this happens in. Its frames are as long as a transfer's.
    pub(crate) fn world(&self) -> bench::Scenario {
        self.devices.world(bench::Traffic {
            flows: self.connections_max(),
            frame_sizes: vec![FrameSize::Bytes(1518)],
            schedule: Arrivals::Constant,
            direction: TrafficDirection::Both,
            dst_port: self.dst_port,
            src_ports: self.src_ports,
        })
    }
}
