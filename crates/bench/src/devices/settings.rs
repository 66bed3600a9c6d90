//! What stands where: the settings that every test of devices has.

use std::path::Path;

use natrig_lab::topology::Topology;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{
    Design, Engine, Layer, Limits, Link, LinkKind, Measure, Rate, Scenario, Slots, Traffic, Word, bounds,
};
use crate::settings::{Section, Spots};
use crate::test::Options;

/// What a scenario of such a test says besides what is its own; its keys stand at the top of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// What the report is headed with.
    pub title: String,
    /// The question that the scenario answers, in words.
    pub question: String,
    /// The designs to measure.
    pub designs: Vec<Design>,
    /// Engines to measure, each standing at both layers; empty: what the layers name themselves.
    pub engines: Vec<Engine>,
    /// What all randomness comes from.
    pub seed: u64,
    /// The address plan.
    pub topology: Topology,
    /// What translates at the node in the designs that do.
    pub node: Layer,
    /// What translates at the gateway in the designs that do.
    pub gateway: Layer,
    /// When a trial counts.
    pub limits: Limits,
    /// How frames travel.
    pub link: Link,
}

impl Default for Settings {
    fn default() -> Self {
        let Scenario { designs, engines, seed, topology, node, gateway, limits, link, .. } = Scenario::quick();
        let (title, question) = (String::new(), String::new());
        Self { title, question, designs, engines, seed, topology, node, gateway, limits, link }
    }
}

impl Settings {
    /// What a file sets that says nothing: the title is its name.
    #[must_use]
    pub fn of_file(file: &Path) -> Self {
        let title = file.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Self { title, ..Self::default() }
    }

    /// Reads the keys and sections of a file; profiles by path start at `folder`.
    pub fn read(&mut self, top: &mut Section<'_, '_>, folder: &Path, known_profiles: &[&str]) {
        self.slots().read(top, folder, known_profiles);
    }

    /// What follows from what was typed.
    pub fn settle(&mut self, spots: &Spots) {
        self.slots().settle(spots);
    }

    fn slots(&mut self) -> Slots<'_> {
        let Self { title, question, designs, engines, seed, topology, node, gateway, limits, link } = self;
        Slots { title, question, designs, engines, seed, topology, node, gateway, limits, link }
    }

    /// Does what the command line asks for; `rounds` is where their number stands. Links in memory leave out engines that only namespaces
    /// have, if others are left; that is what is returned, in words.
    ///
    /// # Errors
    /// An option that such tests have no use for, or a number that is out of bounds, in words.
    pub fn change(&mut self, options: &Options, rounds: &mut u32) -> Result<Vec<String>, String> {
        options.refuse(&["--effort"])?;
        if !options.designs.is_empty() {
            self.designs.clone_from(&options.designs);
            self.designs.sort_unstable();
            self.designs.dedup();
        }
        self.link.kind = options.link.unwrap_or(self.link.kind);
        let mut notes = Vec::new();
        let in_memory = |engine: &Engine| matches!(engine, Engine::Userspace | Engine::Absent);
        if options.link == Some(LinkKind::Memory) && self.engines.iter().any(in_memory) {
            let left_out: Vec<&str> =
                self.engines.iter().filter(|engine| !in_memory(engine)).map(|e| e.word()).collect();
            if !left_out.is_empty() {
                notes.push(format!(
                    "left out, because links in memory do not lead past the kernel: {}",
                    left_out.join(", ")
                ));
            }
            self.engines.retain(in_memory);
        }
        *rounds = options.rounds.unwrap_or(*rounds);
        self.seed = options.seed.unwrap_or(self.seed);
        if bounds::ROUNDS.contains(rounds) && bounds::SEED.contains(&self.seed) {
            return Ok(notes);
        }
        Err(format!(
            "--rounds must lie between {} and {}, --seed between {} and {}",
            bounds::ROUNDS.start(),
            bounds::ROUNDS.end(),
            bounds::SEED.start(),
            bounds::SEED.end()
        ))
    }

    /// The world of these settings, for such traffic.
    #[must_use]
    pub fn world(&self, traffic: Traffic) -> Scenario {
        let Self { title, question, designs, engines, seed, topology, node, gateway, limits, link } = self.clone();
        let measure = Measure { rate: Rate::FixedPps(1000), ..Scenario::quick().measure };
        Scenario { title, question, designs, engines, seed, topology, node, gateway, traffic, measure, limits, link }
    }
}
