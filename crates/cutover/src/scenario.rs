//! What changes, where, how, and who is connected meanwhile.

use std::path::Path;

use natrig_bench::scenario::Word;
use natrig_bench::settings::kinds::{one_or_more, profile, text, whole, word};
use natrig_bench::settings::{Fault, Spots, walk};
use natrig_bench::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::path::NodeEngine;

words! {
    /// What changes.
    Change {
        /// Nodes stop translating: pods go to the gateway with their own addresses.
        MasqueradeOff = "masquerade-off",
        /// Nodes begin to translate.
        MasqueradeOn = "masquerade-on",
        /// Nodes forget every connection (conntrack -F, a lost BPF map).
        NodeFlush = "node-flush",
        /// The gateway forgets every connection.
        GatewayRestart = "gateway-restart",
        /// The gateway lets nothing pass for `interval_s`, and forgets nothing.
        GatewayDown = "gateway-down",
    }
}

words! {
    /// How the nodes come to it.
    Procedure {
        /// All at the same moment.
        AtOnce = "at-once",
        /// One after the other, `interval_s` apart, with their pods on them.
        Rolling = "rolling",
        /// One after the other, each emptied first: pods close what they can within `grace_s`, and start again behind the change.
        DrainFirst = "drain-first",
    }
}

/// One change and everybody who lives through it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scenario {
    /// What the report is headed with.
    pub title: String,
    /// The question that it answers.
    pub question: String,
    /// What all randomness comes from.
    pub seed: u64,
    /// What changes.
    pub change: Change,
    /// How the nodes come to it.
    pub procedure: Procedure,
    /// Whether nodes masquerade before the change.
    pub masquerade_before: bool,
    /// How the nodes masquerade.
    pub node_engine: NodeEngine,
    /// The nodes' profile.
    pub node_profile: String,
    /// The gateways' profiles: each is gone through by itself.
    pub gateways: Vec<String>,
    /// Public addresses of a gateway.
    pub gateway_addresses: u32,
    /// Nodes.
    pub nodes: u32,
    /// Pods of each, with one client of each class.
    pub pods_per_node: u32,
    /// Between nodes, in seconds; for `gateway-down`, how long it is down.
    pub interval_s: u32,
    /// How long a node's pods have to close, in seconds.
    pub grace_s: u32,
    /// How long everybody is watched after the last change, in seconds of the virtual clock.
    pub observe_s: u32,
}

impl Scenario {
    /// Reads a file.
    pub(crate) fn read(input: &str, file: &Path, known_profiles: &[&str]) -> Result<Self, Fault> {
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        let mut scenario = Self {
            title: file.file_stem().map_or_else(|| "toggle".into(), |stem| stem.to_string_lossy()).into_owned(),
            question: String::new(),
            seed: 1,
            change: Change::MasqueradeOff,
            procedure: Procedure::AtOnce,
            masquerade_before: true,
            node_engine: NodeEngine::Bpf,
            node_profile: "cilium-bpf".to_owned(),
            gateways: ["aws-natgw", "azure-natgw", "gcp-cloudnat-dynamic", "netfilter", "rfc4787"]
                .map(str::to_owned)
                .to_vec(),
            gateway_addresses: 1,
            nodes: 4,
            pods_per_node: 5,
            interval_s: 60,
            grace_s: 30,
            observe_s: 1200,
        };
        let mut masquerade_before = None;
        let spots = walk(input, |top| {
            top.set("title", &mut scenario.title, text);
            top.set("question", &mut scenario.question, text);
            top.set("seed", &mut scenario.seed, whole(0..=(1 << 53) - 1));
            top.section("toggle", |toggle| {
                toggle.set("change", &mut scenario.change, word);
                toggle.set("procedure", &mut scenario.procedure, word);
                toggle.set("masquerade_before", &mut masquerade_before, |value| word::<Before>(value).map(Some));
                toggle.set("interval_s", &mut scenario.interval_s, whole(1..=3600));
                toggle.set("grace_s", &mut scenario.grace_s, whole(1..=3600));
                toggle.set("observe_s", &mut scenario.observe_s, whole(60..=86_400));
            });
            top.section("node", |node| {
                node.set("engine", &mut scenario.node_engine, word);
                node.set("profile", &mut scenario.node_profile, profile(folder, known_profiles));
                node.set("count", &mut scenario.nodes, whole(1..=20));
                node.set("pods", &mut scenario.pods_per_node, whole(1..=100));
            });
            top.section("gateway", |gateway| {
                gateway.set_list("profiles", &mut scenario.gateways, one_or_more(16, profile(folder, known_profiles)));
                gateway.set("addresses", &mut scenario.gateway_addresses, whole(1..=16));
            });
        })?;
        scenario.masquerade_before = match masquerade_before {
            None => scenario.change != Change::MasqueradeOn,
            Some(before) => before == Before::On,
        };
        scenario.check(&spots)?;
        Ok(scenario)
    }

    fn check(&self, spots: &Spots) -> Result<(), Fault> {
        let fault = |setting: &str, message: String, help: &str| {
            Err(Fault { at: spots.of(setting), message, help: help.to_owned() })
        };
        let nothing_to_do = match self.change {
            Change::MasqueradeOff => !self.masquerade_before,
            Change::MasqueradeOn => self.masquerade_before,
            Change::NodeFlush | Change::GatewayRestart | Change::GatewayDown => false,
        };
        if nothing_to_do {
            let message = format!("`toggle.change` is \"{}\", but nodes begin that way", self.change);
            return fault(
                "toggle.masquerade_before",
                message,
                "remove `masquerade_before`, or choose the other change",
            );
        }
        if self.nodes * self.pods_per_node > PODS_MAX {
            let message = format!("{} nodes of {} pods are more than {PODS_MAX} pods", self.nodes, self.pods_per_node);
            return fault("node.pods", message, "a share needs no more to be told to a few percent");
        }
        let of_nodes = matches!(self.change, Change::MasqueradeOff | Change::MasqueradeOn | Change::NodeFlush);
        if !of_nodes && self.procedure != Procedure::AtOnce {
            let message = format!("`toggle.procedure` is about nodes, but \"{}\" happens to the gateway", self.change);
            return fault("toggle.procedure", message, "remove it");
        }
        Ok(())
    }
}

/// A server's last octet says which pod it is for.
const PODS_MAX: u32 = 240;

words! {
    /// Whether nodes masquerade.
    Before {
        /// They do.
        On = "on",
        /// They do not.
        Off = "off",
    }
}
