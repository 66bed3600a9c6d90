//! The built-in scenario. Its values are the defaults of the file format too: a setting that a file leaves out has the value it has
//! here.

use natrig_lab::topology::{Pods, Topology};
use natrig_traffic::Arrivals;

use super::model::{
    FrameSize, Layer, Limits, Link, Measure, MlrSearch, Placement, PortRange, Rate, Scenario, Search, Traffic,
};
use super::words::{Design, KernelWork, LinkKind, TrafficDirection};
use crate::settings::Word;

impl Scenario {
    /// What `natrig run` measures when it is given no file: all four designs within a minute, on any machine.
    ///
    /// `bench-configs/quick.toml` spells out the same.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            title: "Quick look: what does each NAT layer cost?".to_owned(),
            question: "My VPC already has a NAT gateway: what does masquerading on the node cost on top?".to_owned(),
            designs: Design::ALL.to_vec(),
            engines: Vec::new(),
            seed: 1,
            topology: Topology { pods: Pods { count: 16, ..Pods::default() }, ..Topology::default() },
            node: Layer::userspace("cilium-bpf"),
            gateway: Layer::userspace("aws-natgw"),
            traffic: Traffic {
                flows: 1000,
                frame_sizes: vec![FrameSize::Bytes(64)],
                schedule: Arrivals::Constant,
                direction: TrafficDirection::Out,
                dst_port: 7,
                src_ports: PortRange { first: 32_768, last: 60_999 },
            },
            measure: Measure {
                rounds: 5,
                trial_ms: 100,
                latency_ms: 400,
                latency_fraction: 0.5,
                latency_loads: Vec::new(),
                new_flows: 1000,
                connections: 0,
                first_look: 0,
                look_every: 4,
                rate: Rate::Search(Search::DEFAULT),
                time_limit_s: 50,
            },
            limits: Limits {
                send_lag_p99_us: 5000,
                overrun: 0.01,
                disturbed: super::model::disturbed(),
                max_retries: 2,
            },
            link: Link { kind: LinkKind::Auto, slots: None, placement: Placement::Auto, kernel: KernelWork::Inline },
        }
    }
}

impl Search {
    /// What a file's `search` leaves out.
    pub const DEFAULT: Self =
        Self { min_pps: 10_000, max_pps: 50_000_000, precision: 0.05, confirm: 1, max_trials: 12 };
}

impl MlrSearch {
    /// What a file's `search` leaves out where its method is mlrsearch: the settings of FD.io CSIT, for trials of one second.
    pub const CSIT: Self = Self {
        min_pps: 10_000,
        max_pps: 50_000_000,
        pdr_loss_ratio: 0.005,
        exceed_ratio: 0.5,
        width: 0.005,
        initial_trial_ms: 1000,
        duration_sum_ms: 21_000,
        budget_s: 1200,
    };

    /// And where it is rfc2544: the goal whose result is RFC 2544's throughput (draft-ietf-bmwg-mlrsearch, "MLRsearch Compliant with
    /// RFC 2544"), for trials of 60 seconds. More frames than 17 million a second for that long could not be accounted for.
    pub const RFC2544: Self = Self {
        max_pps: 17_000_000,
        pdr_loss_ratio: 0.0,
        exceed_ratio: 0.0,
        width: 0.01,
        duration_sum_ms: 60_000,
        budget_s: 3600,
        ..Self::CSIT
    };
}
