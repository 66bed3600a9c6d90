use natrig_lab::lease::KernelCounters;
use natrig_traffic::Fault;
use natrig_wire::pcap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Hops, Noise, Quantiles, TableCount};
use crate::scenario::{Design, FrameSize, Lineup};

/// One trial: a design, a rate, a duration, and what became of every frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Position in the run, from 1.
    pub number: u32,
    /// The round it belongs to, from 1.
    pub round: u32,
    /// What stands at the layers.
    #[serde(default)]
    pub engines: Lineup,
    /// The design.
    pub design: Design,
    /// The frame size, with FCS.
    pub frame_size: FrameSize,
    /// What it is for.
    pub purpose: Purpose,
    /// Seed of its schedule.
    pub seed: u64,
    /// Rate that the schedule asks for.
    pub rate_pps_offered: f64,
    /// Rate at which frames left: sent frames over the time until the last one was handed to the link.
    pub rate_pps_achieved: f64,
    /// Length of the schedule.
    pub duration_ns: u64,
    /// The phase before, in which each flow sent one frame (RFC 9693 test phase 1); absent where the mappings already stood.
    pub preload: Option<Preload>,
    /// Frames that the link at the pods took.
    pub sent: u64,
    /// Frames delivered: right, and for the first time, as the receiver judged.
    pub received: u64,
    /// `sent` − `received`.
    pub lost: i64,
    /// Delivered after a later frame of the flow.
    pub reordered: u64,
    /// Arrived again.
    pub duplicated: u64,
    /// Arrived damaged.
    pub corrupted: u64,
    /// Arrived with addresses, ports or TTL that this design must not make.
    pub mistranslated: u64,
    /// The way back, where servers answer.
    pub answers: Option<Answers>,
    /// Frames that ended on the way, by place and reason, both directions.
    pub drops: Vec<Dropped>,
    /// Frames sent (both directions) minus those received, faulty or dropped: 0, or the trial is invalid.
    pub unaccounted: i64,
    /// The first faulty frame.
    pub wrong_frame: Option<WrongFrame>,
    /// Why the trial does not count; empty if it does.
    pub invalid: Vec<Invalid>,
    /// Latencies of the frames delivered at the servers.
    pub latency: Latencies,
    /// Where the layers' thread spent its time.
    pub layer_times: Vec<LayerTime>,
    /// How long each role kept its processor busy, from the first frame to the last.
    #[serde(default)]
    pub cpu: Vec<RoleTime>,
    /// The sum of [`Trial::cpu`] per delivered frame, in nanoseconds: user and system time and that in interrupts, of generator,
    /// layers, reflector and the kernel between them. Polls that found nothing are not in it; what a thread could not run in the middle
    /// of a call, because another was on its processor, is. Absent if nothing was delivered.
    #[serde(default)]
    pub cpu_ns_per_packet: Option<f64>,
    /// What the kernel did at the boxes that it forwards at.
    #[serde(default)]
    pub kernel: Vec<KernelActivity>,
    /// Time between the taps, of a sample of the delivered frames, on their way to the servers. Absent where no frame was stamped, and in
    /// trials of a search.
    #[serde(default)]
    pub hops: Option<Hops>,
    /// Whether frames were stamped at the layers.
    #[serde(default)]
    pub stamped: bool,
    /// Connections that each layer of natrig's own knew when the trial was over.
    #[serde(default)]
    pub tables: Vec<TableCount>,
    /// What else went on; absent where threads are not pinned, or the kernel does not tell.
    #[serde(default)]
    pub noise: Option<Noise>,
}

impl Trial {
    /// True if the trial counts.
    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }

    /// Nanoseconds per delivered frame that the layers' thread was busy: both layers, both directions.
    pub fn ns_per_packet(&self) -> Option<f64> {
        self.per_packet(|time| time.recv_ns + time.process_ns + time.send_ns)
    }

    /// Of that, deciding and rewriting.
    pub fn process_ns_per_packet(&self) -> Option<f64> {
        self.per_packet(|time| time.process_ns)
    }

    fn per_packet(&self, ns: impl Fn(&LayerTime) -> u64) -> Option<f64> {
        let total: u64 = self.layer_times.iter().map(ns).sum();
        (self.received > 0 && total > 0).then(|| total as f64 / self.received as f64)
    }
}

/// What a trial is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A step of the search for the highest rate without loss.
    Search,
    /// A rate that the scenario fixes.
    Fixed,
    /// Latency at a fraction of the rate.
    Latency,
    /// Latency at a load, with flows opened meanwhile.
    Load,
    /// One of a pair, with stamps at the layers or without: what the stamps cost.
    StampCost,
}

/// RFC 9693 test phase 1: every flow once, through empty tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preload {
    /// Frames sent: one per flow.
    pub sent: u64,
    /// Frames delivered.
    pub received: u64,
}

/// What became of the servers' answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answers {
    /// Answers that the link at the servers took.
    pub sent: u64,
    /// Answers delivered to the pods, exactly reversed.
    pub received: u64,
    /// Arrived again.
    pub duplicated: u64,
    /// Arrived damaged.
    pub corrupted: u64,
    /// Arrived with addresses or ports other than those the pod had sent from and to.
    pub mistranslated: u64,
    /// From the intended send time of the first frame to the arrival of its answer.
    pub round_trip: Quantiles,
}

/// Where a frame can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// At the pods' end.
    Pods,
    /// At the node.
    Node,
    /// At the gateway.
    Gateway,
    /// At the servers' end.
    Internet,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Pods => "pods",
            Self::Node => "node",
            Self::Gateway => "gateway",
            Self::Internet => "internet",
        })
    }
}

/// Frames that ended somewhere for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// Where.
    pub place: Place,
    /// Why: a translator's reason, or `receive_ring_full`, `frame_too_long`, `link_full`, `not_sendable`, `answered`; of the kernel:
    /// `conntrack_table_full`, `conntrack_insert_failed`, `interface_tx_dropped`, `interface_rx_dropped`, `ip_header_error`,
    /// `ip_address_error`, `ip_no_route`, `ip_discard`, `ip_too_big`.
    pub reason: String,
    /// How many.
    pub frames: u64,
}

/// A frame that is not what the design must make of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WrongFrame {
    /// What is wrong with it.
    pub fault: Fault,
    /// The tuple that the pod sent, where it could be told.
    pub sent_tuple: Option<String>,
    /// The frame as the pod had sent it, in hexadecimal, where its stamp tells which it was; of an answer, the frame that was answered.
    #[serde(default)]
    pub sent_hex: Option<String>,
    /// The frame as it arrived, in hexadecimal.
    pub bytes_hex: String,
}

impl WrongFrame {
    /// A capture file of the two: the frame as it was sent, a microsecond later as it arrived.
    pub fn pcap(&self) -> Vec<u8> {
        let Ok(mut writer) = pcap::Writer::new(Vec::new()) else { return Vec::new() };
        for (at, hex) in [self.sent_hex.as_deref(), Some(&self.bytes_hex)].into_iter().enumerate() {
            if let Some(bytes) = hex.and_then(from_hex) {
                // Writing to memory does not fail.
                let _ = writer.frame(at as u64 * 1000, &bytes);
            }
        }
        writer.into_inner()
    }
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

/// Why a trial does not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "gate")]
pub enum Invalid {
    /// The 99th percentile of the send lag is above the limit.
    SendLag {
        /// What it was.
        ns_p99: u64,
        /// What it may be.
        limit_ns: u64,
    },
    /// The last frame left too long after the end of the schedule.
    Overrun {
        /// As a share of the trial's duration.
        share: f64,
        /// What it may be.
        limit: f64,
    },
    /// Frames came out wrong.
    Mistranslated {
        /// How many, damaged ones included.
        frames: u64,
    },
    /// Frames neither arrived nor were dropped by anyone.
    Unaccounted {
        /// Sent minus all that is known.
        frames: i64,
    },
    /// A layer knows more connections than there are flows: it does not let go of some.
    Leaked {
        /// The layer.
        place: Place,
        /// Connections more than flows.
        connections: u64,
    },
    /// The clock of a layer's taps is not the tester's.
    TapClock {
        /// The layer.
        place: Place,
        /// It is off by at least so much.
        off_ns: u64,
    },
    /// Stamps of frames are not in the order of their way.
    TapOrder {
        /// How many frames.
        frames: u64,
    },
    /// The measuring threads were ready to run and did not, or their processors were taken away, for too large a share of the trial.
    Disturbed {
        /// The share.
        share: f64,
        /// What it may be.
        limit: f64,
    },
    /// Not every flow got a mapping before the measurement began.
    Preload {
        /// Flows without.
        missing: u64,
    },
}

/// Three histograms' quantiles: one latency, three ways to count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Latencies {
    /// From the time the schedule wanted a frame sent to its arrival: free of coordinated omission.
    pub intended_to_received: Quantiles,
    /// From the time it was handed to the link.
    pub sent_to_received: Quantiles,
    /// From the intended to the actual send time: the generator's own share.
    pub send_lag: Quantiles,
}

/// How long a role kept a processor busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoleTime {
    /// The role.
    pub role: Role,
    /// The processor it is pinned to; absent where there is only one, or several.
    pub cpu: Option<usize>,
    /// Time in calls and bursts that moved frames, in nanoseconds. What the kernel does within a call counts for the caller: all that
    /// happens to a frame until it lies in a receive ring.
    pub busy_ns: u64,
}

/// Who keeps a processor busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Makes frames at the pods' end and sends them.
    Generator,
    /// Forwards or translates at the node, in userspace.
    Node,
    /// Forwards or translates at the gateway, in userspace.
    Gateway,
    /// Receives at the servers' end, and answers.
    Reflector,
    /// Receives the answers at the pods' end.
    Collector,
    /// The kernel's threads that forward, where they do.
    Napi,
    /// The kernel's threads that do what interrupts and calls leave over (`ksoftirqd`), on the measuring processors.
    Softirq,
}

/// What the kernel did at a box during a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelActivity {
    /// The box.
    pub place: Place,
    /// Connections that it remembers afterwards.
    pub connections: u32,
    /// What it counted during the trial.
    pub counters: KernelCounters,
}

/// Where a layer's thread spent its time, bursts without frames not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LayerTime {
    /// The layer.
    pub place: Place,
    /// Frames it fetched, both directions.
    pub frames: u64,
    /// Bursts they came in.
    pub bursts: u64,
    /// Fetching from the link.
    pub recv_ns: u64,
    /// Deciding and rewriting.
    pub process_ns: u64,
    /// Handing to the link on the way out; on a veth, the kernel's work up to the next packet socket.
    pub send_ns: u64,
}
