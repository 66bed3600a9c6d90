//! A fleet as it is described in a file: who opens connections to whom, and what stands on the way.

use std::path::Path;

use natrig_bench::profile::{LoadProfileError, load};
use natrig_bench::scenario::Design;
use natrig_bench::settings::kinds::{number, one_or_more, profile, text, whole, word};
use natrig_bench::settings::{Fault, ScenarioError, Section, Source, Word as _, walk};
use natrig_bench::words;
use natrig_nat::Profile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sim::{ADDRESSES_MAX, NODES_MAX};
use crate::timing::{Close, Protocol};

/// What `test` says in a fleet's file.
pub const TEST: &str = "plan";
/// Kinds of destinations in one file.
pub const DESTINATIONS_MAX: usize = 1000;
/// Growth factors in one file.
const GROWTHS_MAX: usize = 16;
/// Pods of a fleet.
const PODS_MAX: u32 = 1 << 24;

words! {
    /// How the lives of connections are spread about their mean.
    Spread {
        /// All alike.
        Fixed = "fixed",
        /// Exponentially: most are short and some are long.
        Exponential = "exponential",
    }
}

/// Everything that a plan is made from, if it is not read from logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fleet {
    /// Heads the report.
    pub title: String,
    /// The question that the plan answers.
    pub question: String,
    /// What all randomness comes from.
    pub seed: u64,
    /// Designs to plan for.
    pub designs: Vec<Design>,
    /// Share of connections that may be refused.
    pub refusal_probability: f64,
    /// Growth of the load to look at.
    pub growth: Vec<f64>,
    /// Nodes.
    pub nodes: u32,
    /// Pods.
    pub pods: u32,
    /// How many times the mean load the busiest node carries.
    pub busiest_node: f64,
    /// Name or file of the profile of the nodes.
    pub node_profile: String,
    /// Name or file of the profile of the gateway.
    pub gateway_profile: String,
    /// Addresses of the gateway.
    pub gateway_addresses: u32,
    /// Connections to simulate for each design; 0: none.
    pub simulated_connections: u64,
    /// Destinations.
    pub destinations: Vec<Destination>,
}

/// Remote ends that are used alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Destination {
    /// What it is called.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// How many addresses (each with one port) its connections are spread over.
    pub remotes: u16,
    /// Share of the pods that use it.
    pub pods: f64,
    /// New connections a second of each of these pods.
    pub rate_per_pod: f64,
    /// Mean life of a connection, seconds.
    pub lifetime_s: f64,
    /// How lives are spread about that.
    pub lifetimes: Spread,
    /// How connections end.
    pub close: Close,
    /// Longest silence within a connection, seconds; 0: not known.
    pub silence_s: u32,
    /// Packets of a connection, both directions; 0: not known.
    pub packets: f64,
    /// Bytes of a connection, both directions; 0: not known.
    pub bytes: f64,
}

/// The profiles of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profiles {
    /// Of the nodes.
    pub node: Profile,
    /// Of the gateway.
    pub gateway: Profile,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            title: "Capacity plan".to_owned(),
            question: String::new(),
            seed: 1,
            designs: Design::ALL.to_vec(),
            refusal_probability: 0.001,
            growth: vec![2.0, 5.0, 10.0],
            nodes: 1,
            pods: 1,
            busiest_node: 1.0,
            node_profile: "cilium-bpf".to_owned(),
            gateway_profile: "aws-natgw".to_owned(),
            gateway_addresses: 1,
            simulated_connections: 1_000_000,
            destinations: Vec::new(),
        }
    }
}

impl Fleet {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or holds a mistake, which is shown with its place.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        Self::read(&Source::load(path)?)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// The first mistake, with its place.
    pub fn read(source: &Source) -> Result<Self, ScenarioError> {
        source.test(&[TEST])?;
        source.read(read)
    }

    /// The profiles that the file names.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn profiles(&self) -> Result<Profiles, LoadProfileError> {
        Ok(Profiles { node: load(&self.node_profile)?, gateway: load(&self.gateway_profile)? })
    }
}

fn read(input: &str, file: &Path) -> Result<Fleet, Fault> {
    let mut fleet = Fleet::default();
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let known = Profile::names();
    walk(input, |top| {
        top.set("title", &mut fleet.title, text);
        top.set("question", &mut fleet.question, text);
        top.set("seed", &mut fleet.seed, whole(0..=(1u64 << 53) - 1));
        top.set_list("designs", &mut fleet.designs, one_or_more(Design::ALL.len(), word));
        top.set("refusal_probability", &mut fleet.refusal_probability, number(1e-4..=0.5));
        top.set_list("growth", &mut fleet.growth, one_or_more(GROWTHS_MAX, number(1.0..=1000.0)));
        top.set("simulated_connections", &mut fleet.simulated_connections, whole(0..=1_000_000_000u64));
        top.section("fleet", |section| {
            section.set("nodes", &mut fleet.nodes, whole(1..=NODES_MAX));
            fleet.pods = fleet.nodes;
            section.set("pods", &mut fleet.pods, whole(1..=PODS_MAX));
            section.set("busiest_node", &mut fleet.busiest_node, number(1.0..=1000.0));
        });
        top.section("node", |section| section.set("profile", &mut fleet.node_profile, profile(folder, known)));
        top.section("gateway", |section| {
            section.set("profile", &mut fleet.gateway_profile, profile(folder, known));
            section.set("addresses", &mut fleet.gateway_addresses, whole(1..=ADDRESSES_MAX as u32));
        });
        top.each("destination", DESTINATIONS_MAX, |section| {
            if let Some(destination) = read_destination(section) {
                fleet.destinations.push(destination);
            }
        });
    })?;
    fleet.designs.sort_unstable();
    Ok(fleet)
}

fn read_destination(section: &mut Section<'_, '_>) -> Option<Destination> {
    let name = section.need("name", text);
    let rate_per_pod = section.need("rate_per_pod", number(0.0..=1e6));
    let lifetime_s = section.need("lifetime_s", number(0.001..=1e6));
    let mut destination = Destination {
        name: String::new(),
        protocol: Protocol::Tcp,
        remotes: 1,
        pods: 1.0,
        rate_per_pod: 0.0,
        lifetime_s: 1.0,
        lifetimes: Spread::Exponential,
        close: Close::Fin,
        silence_s: 0,
        packets: 0.0,
        bytes: 0.0,
    };
    section.set("protocol", &mut destination.protocol, word);
    section.set("remotes", &mut destination.remotes, whole(1..=10_000u16));
    section.set("pods", &mut destination.pods, number(0.0..=1.0));
    section.set("lifetimes", &mut destination.lifetimes, word);
    section.set("close", &mut destination.close, word);
    section.set("silence_s", &mut destination.silence_s, whole(0..=1_000_000u32));
    section.set("packets", &mut destination.packets, number(0.0..=1e12));
    section.set("bytes", &mut destination.bytes, number(0.0..=1e15));
    Some(Destination { name: name?, rate_per_pod: rate_per_pod?, lifetime_s: lifetime_s?, ..destination })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "test = \"plan\"\n[fleet]\nnodes = 10\npods = 100\n[[destination]]\nname = \"api\"\nrate_per_pod = 2\nlifetime_s = 0.5\n";

    #[test]
    fn what_is_left_out_has_a_default() {
        let fleet = Fleet::read(&Source::new(FILE, "fleet.toml")).unwrap();
        assert_eq!((fleet.nodes, fleet.pods, fleet.destinations.len()), (10, 100, 1));
        assert_eq!((fleet.destinations[0].protocol, fleet.destinations[0].close), (Protocol::Tcp, Close::Fin));
        assert_eq!(fleet.growth, [2.0, 5.0, 10.0]);
    }

    #[test]
    fn mistakes_are_shown_with_their_place() {
        let error = |from: &str, to: &str| {
            assert!(FILE.contains(from));
            Fleet::read(&Source::new(&FILE.replace(from, to), "fleet.toml")).unwrap_err().to_string()
        };
        for (from, to, line, part) in [
            ("rate_per_pod", "rate_per_pot", "fleet.toml:5", "lacks `rate_per_pod`"),
            ("lifetime_s = 0.5", "lifetime_s = \"a\"", "fleet.toml:8", "must be a number"),
            ("[[destination]]", "[destination]", "fleet.toml:5", "list of sections"),
            ("\"plan\"", "\"rates\"", "fleet.toml:1", "does not know"),
            ("nodes = 10", "nodes = 0", "fleet.toml:3", "at least 1"),
        ] {
            let text = error(from, to);
            assert!(text.contains(part) && text.contains(line), "{text}");
        }
    }
}
