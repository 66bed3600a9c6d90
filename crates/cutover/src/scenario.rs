//! What changes, where, how, and who is connected meanwhile.

use std::path::Path;

use natrig_bench::scenario::Word;
use natrig_bench::settings::kinds::{one_or_more, profile, text, whole, word};
use natrig_bench::settings::{Fault, Spots, walk};
use natrig_bench::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pace::Pace;
use crate::path::NodeEngine;

words! {
    /// Whose TCP pods and servers speak.
    Stack {
        /// smoltcp's, on a virtual clock and through natrig's own NATs.
        Virtual = "virtual",
        /// The kernel's, in real time, over veth pairs between namespaces.
        Kernel = "kernel",
    }
}

words! {
    /// What translates at a layer of namespaces.
    TranslatedBy {
        /// nftables where it can do what is asked for and `nft` is there, else natrig.
        Auto = "auto",
        /// The kernel's own masquerading.
        Nftables = "nftables",
        /// natrig's NAT.
        Natrig = "natrig",
    }
}

words! {
    /// What changes.
    Change {
        /// Nodes stop translating: pods go to the gateway with their own addresses.
        MasqueradeOff = "masquerade-off",
        /// Nodes begin to translate.
        MasqueradeOn = "masquerade-on",
        /// Nodes forget every connection (conntrack -F, a lost BPF map).
        NodeFlush = "node-flush",
        /// The way out of nodes goes down for `interval_s`: conntrack forgets what was masqueraded there, BPF maps do not.
        NodeDown = "node-down",
        /// The gateway forgets every connection.
        GatewayRestart = "gateway-restart",
        /// The gateway lets nothing pass for `interval_s`, and forgets nothing.
        GatewayDown = "gateway-down",
        /// The gateway gives up the first of its public addresses.
        AddressRemoved = "address-removed",
    }
}

impl Change {
    /// Whether it passes by itself.
    pub(crate) const fn ends(self) -> bool {
        matches!(self, Self::NodeDown | Self::GatewayDown)
    }

    /// Whether it happens to nodes.
    pub(crate) const fn is_of_nodes(self) -> bool {
        matches!(self, Self::MasqueradeOff | Self::MasqueradeOn | Self::NodeFlush | Self::NodeDown)
    }
}

/// The gateway that is the kernel's own masquerading rather than a profile.
pub(crate) const NFTABLES: &str = "nftables";

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
    /// Whose TCP pods and servers speak.
    pub stack: Stack,
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
    /// What masquerades at nodes, with the kernel's stack.
    pub node_by: TranslatedBy,
    /// The gateways' profiles: each is gone through by itself. With the kernel's stack `nftables` is one, too.
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
    /// How long everybody is watched after the last change, in seconds of the stack's clock: what has not been noticed by then is a hang.
    pub observe_s: u32,
    /// How often programs do something, and how long they and their stacks wait.
    pub pace: Pace,
}

impl Scenario {
    /// Reads a file.
    pub(crate) fn read(input: &str, file: &Path, known_profiles: &[&str]) -> Result<Self, Fault> {
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        let mut scenario = Self::standard(Stack::Virtual);
        let mut masquerade_before = None;
        let spots = walk(input, |top| {
            top.section("toggle", |toggle| {
                // First of all: the defaults follow from it.
                let mut stack = Stack::Virtual;
                toggle.set("stack", &mut stack, word);
                scenario = Self::standard(stack);
                toggle.set("change", &mut scenario.change, word);
                toggle.set("procedure", &mut scenario.procedure, word);
                toggle.set("masquerade_before", &mut masquerade_before, |value| word::<Before>(value).map(Some));
                toggle.set("interval_s", &mut scenario.interval_s, whole(1..=3600));
                toggle.set("grace_s", &mut scenario.grace_s, whole(1..=3600));
                toggle.set("observe_s", &mut scenario.observe_s, whole(5..=86_400));
            });
            if let Some(stem) = file.file_stem() {
                scenario.title = stem.to_string_lossy().into_owned();
            }
            top.set("title", &mut scenario.title, text);
            top.set("question", &mut scenario.question, text);
            top.set("seed", &mut scenario.seed, whole(0..=(1 << 53) - 1));
            top.section("node", |node| {
                node.set("engine", &mut scenario.node_engine, word);
                node.set("by", &mut scenario.node_by, word);
                node.set("profile", &mut scenario.node_profile, profile(folder, known_profiles));
                node.set("count", &mut scenario.nodes, whole(1..=20));
                node.set("pods", &mut scenario.pods_per_node, whole(1..=100));
            });
            top.section("gateway", |gateway| {
                let known = [known_profiles, &[NFTABLES]].concat();
                gateway.set_list("profiles", &mut scenario.gateways, one_or_more(16, profile(folder, &known)));
                gateway.set("addresses", &mut scenario.gateway_addresses, whole(1..=16));
            });
            top.section("clients", |clients| {
                let pace = &mut scenario.pace;
                clients.set("tcp_retries2", &mut pace.tcp_retries2, whole(1..=15));
                clients.set("keepalive_s", &mut pace.keepalive_s, whole(1..=7200));
                clients.set("keepalive_interval_s", &mut pace.keepalive_interval_s, whole(1..=600));
                clients.set("keepalive_probes", &mut pace.keepalive_probes, whole(1..=100));
                clients.set("answer_ms", &mut pace.answer_ms, whole(100..=600_000));
            });
        })?;
        scenario.masquerade_before = match masquerade_before {
            None => scenario.change != Change::MasqueradeOn,
            Some(before) => before == Before::On,
        };
        scenario.check(&spots)?;
        Ok(scenario)
    }

    /// The defaults of a stack. Real time is short.
    fn standard(stack: Stack) -> Self {
        let (nodes, pods_per_node, interval_s, grace_s, observe_s) = match stack {
            Stack::Virtual => (4, 5, 60, 30, 1200),
            Stack::Kernel => (2, 3, 4, 2, 30),
        };
        Self {
            title: "toggle".to_owned(),
            question: String::new(),
            seed: 1,
            stack,
            change: Change::MasqueradeOff,
            procedure: Procedure::AtOnce,
            masquerade_before: true,
            node_engine: NodeEngine::Bpf,
            node_profile: "cilium-bpf".to_owned(),
            node_by: TranslatedBy::Auto,
            gateways: ["aws-natgw", "azure-natgw", "gcp-cloudnat-dynamic", "netfilter", "rfc4787"]
                .map(str::to_owned)
                .to_vec(),
            gateway_addresses: 1,
            nodes,
            pods_per_node,
            interval_s,
            grace_s,
            observe_s,
            pace: Pace::of(stack),
        }
    }

    fn check(&self, spots: &Spots) -> Result<(), Fault> {
        let fault = |setting: &str, message: String, help: &str| {
            Err(Fault { at: spots.of(setting), message, help: help.to_owned() })
        };
        let nothing_to_do = match self.change {
            Change::MasqueradeOff => !self.masquerade_before,
            Change::MasqueradeOn => self.masquerade_before,
            Change::NodeFlush
            | Change::NodeDown
            | Change::GatewayRestart
            | Change::GatewayDown
            | Change::AddressRemoved => false,
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
        if !self.change.is_of_nodes() && self.procedure != Procedure::AtOnce {
            let message = format!("`toggle.procedure` is about nodes, but \"{}\" happens to the gateway", self.change);
            return fault("toggle.procedure", message, "remove it");
        }
        if self.change == Change::AddressRemoved && self.gateway_addresses < 2 {
            let message = "a gateway with one address cannot give it up and go on".to_owned();
            return fault("gateway.addresses", message, "write addresses = 2 below [gateway]");
        }
        match self.stack {
            Stack::Virtual => self.check_virtual(&fault),
            Stack::Kernel => self.check_kernel(&fault),
        }
    }

    fn check_virtual(&self, fault: &dyn Fn(&str, String, &str) -> Result<(), Fault>) -> Result<(), Fault> {
        const HELP: &str = "write stack = \"kernel\" below [toggle], or remove it";
        if self.node_by != TranslatedBy::Auto {
            return fault("node.by", "without namespaces only natrig can translate".to_owned(), HELP);
        }
        match self.gateways.iter().position(|gateway| gateway == NFTABLES) {
            Some(nth) => fault(
                &format!("gateway.profiles[{nth}]"),
                "nftables cannot be a gateway without namespaces".to_owned(),
                HELP,
            ),
            None => Ok(()),
        }
    }

    fn check_kernel(&self, fault: &dyn Fn(&str, String, &str) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.lasts_s() > KERNEL_MAX_S {
            let message = format!("takes {} s of real time, more than {KERNEL_MAX_S}", self.lasts_s());
            return fault("toggle.observe_s", message, "lower observe_s, interval_s or the number of nodes");
        }
        if self.nodes > KERNEL_NODES_MAX {
            let message =
                format!("there are {} nodes, and worlds of namespaces have at most {KERNEL_NODES_MAX}", self.nodes);
            return fault("node.count", message, "lower it");
        }
        if self.node_by == TranslatedBy::Nftables && self.node_engine == NodeEngine::Bpf {
            let message = "nftables tracks connections, and does not decide for each packet".to_owned();
            return fault("node.by", message, "write engine = \"conntrack\", or remove `by`");
        }
        let hard = matches!(self.change, Change::AddressRemoved | Change::NodeDown);
        if hard && (self.node_by == TranslatedBy::Nftables || self.gateways.iter().any(|gateway| gateway == NFTABLES)) {
            let message = format!("natrig cannot do \"{}\" to nftables", self.change);
            return fault("toggle.change", message, "write by = \"natrig\" and profiles of natrig's own");
        }
        Ok(())
    }

    /// How long a world lives, in seconds of its stack's clock.
    pub(crate) fn lasts_s(&self) -> u32 {
        let last_ns = crate::event::events(self).back().map_or(0, |(at_ns, _)| *at_ns);
        (last_ns / 1_000_000_000) as u32 + self.observe_s
    }
}

/// A server's last octet says which pod it is for.
const PODS_MAX: u32 = 240;
/// Real time that a world takes.
const KERNEL_MAX_S: u32 = 110;
const KERNEL_NODES_MAX: u32 = 8;

words! {
    /// Whether nodes masquerade.
    Before {
        /// They do.
        On = "on",
        /// They do not.
        Off = "off",
    }
}
