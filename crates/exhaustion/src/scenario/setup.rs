//! What connections go through, in a notation of its own: `node cilium-bpf, gateway aws-natgw, over veth`.

use std::fmt;

use natrig_bench::scenario::Design;
use natrig_bench::settings::Word;
use natrig_lab::plan::PortChoice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

natrig_bench::words! {
    /// What carries frames.
    Over {
        /// Links in memory, on a clock that waits for nobody.
        Memory = "memory",
        /// veth pairs between network namespaces, on the real clock.
        Veth = "veth",
    }
}

/// What stands at a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Something that only forwards.
    Forward,
    /// natrig's own NAT with a profile: a built-in one, or a file.
    Profile(String),
    /// The kernel's masquerade, by nftables.
    Kernel(PortChoice),
}

/// What connections go through: what stands where, and over which links. Written as in files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(into = "String", try_from = "String")]
#[schemars(with = "String")]
pub struct Setup {
    /// At the node.
    pub node: Standing,
    /// At the gateway.
    pub gateway: Standing,
    /// Over which links.
    pub over: Over,
}

/// Worlds of namespaces of one setup.
const NODES_OVER_VETH: u32 = 8;

const KERNEL: [(&str, PortChoice); 3] = [
    ("nftables", PortChoice::Default),
    ("nftables-random", PortChoice::Random),
    ("nftables-fully-random", PortChoice::FullyRandom),
];

impl Standing {
    /// What it is called: a profile's name, or `nftables…`.
    pub fn name(&self) -> &str {
        match self {
            Self::Forward => "forward",
            Self::Profile(name) => name,
            Self::Kernel(choice) => KERNEL.iter().find(|(_, other)| other == choice).map_or("nftables", |(n, _)| n),
        }
    }

    fn named(name: &str) -> Self {
        match KERNEL.iter().find(|(kernel, _)| *kernel == name) {
            Some((_, choice)) => Self::Kernel(*choice),
            None => Self::Profile(name.to_owned()),
        }
    }

    /// Names that need no file.
    pub(super) fn kernel_names<'a>() -> impl Iterator<Item = &'a str> {
        KERNEL.into_iter().map(|(name, _)| name)
    }

    /// Whether anything is translated.
    pub fn translates(&self) -> bool {
        *self != Self::Forward
    }

    /// Whether the kernel stands here.
    pub fn is_kernel(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }
}

impl Setup {
    /// Reads the notation. What is wrong with it otherwise, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut setup = Self { node: Standing::Forward, gateway: Standing::Forward, over: Over::Memory };
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(',') {
            let (word, name) =
                part.trim().split_once(' ').ok_or_else(|| format!("has no name behind `{}`", part.trim()))?;
            let name = name.trim();
            if seen.contains(&word) {
                return Err(format!("says `{word}` twice"));
            }
            seen.push(word);
            match (word, name) {
                ("node", name) => setup.node = Standing::named(name),
                ("gateway", name) => setup.gateway = Standing::named(name),
                ("over", "memory") => setup.over = Over::Memory,
                ("over", "veth") => setup.over = Over::Veth,
                ("over", other) => return Err(format!("knows no links `{other}`, only memory and veth")),
                (other, _) => return Err(format!("knows no `{other}`, only node, gateway and over")),
            }
        }
        if !setup.node.translates() && !setup.gateway.translates() {
            return Err("translates nowhere".to_owned());
        }
        if setup.has_kernel() && setup.over == Over::Memory {
            return Err("has the kernel's NAT over memory, where no kernel stands".to_owned());
        }
        Ok(setup)
    }

    /// Whether the kernel translates at a layer.
    pub fn has_kernel(&self) -> bool {
        self.node.is_kernel() || self.gateway.is_kernel()
    }

    /// Most nodes that it can have: over veth each has a world of namespaces.
    pub(crate) fn nodes_max(&self) -> u32 {
        match self.over {
            Over::Memory => u32::MAX,
            Over::Veth => NODES_OVER_VETH,
        }
    }

    /// Where it translates.
    pub fn design(&self) -> Design {
        match (self.node.translates(), self.gateway.translates()) {
            (false, false) => Design::None,
            (true, false) => Design::Node,
            (false, true) => Design::Gateway,
            (true, true) => Design::Both,
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = [("node", &self.node), ("gateway", &self.gateway)];
        for (layer, standing) in layers.iter().filter(|(_, standing)| standing.translates()) {
            write!(f, "{layer} {}, ", standing.name())?;
        }
        write!(f, "over {}", self.over)
    }
}

impl From<Setup> for String {
    fn from(setup: Setup) -> Self {
        setup.to_string()
    }
}

impl TryFrom<String> for Setup {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_and_back() {
        for text in [
            "node cilium-bpf, over memory",
            "node nftables-fully-random, over veth",
            "node netfilter, gateway aws-natgw, over veth",
            "gateway ./mine.toml, over memory",
        ] {
            assert_eq!(Setup::parse(text).unwrap().to_string(), text);
        }
        let both = Setup::parse("gateway aws-natgw,  node nftables , over veth").unwrap();
        assert_eq!((both.node, both.gateway.name()), (Standing::Kernel(PortChoice::Default), "aws-natgw"));
        assert_eq!(Setup::parse("node netfilter").unwrap().over, Over::Memory);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("node", "no name behind `node`"),
            ("node netfilter, node cilium-bpf", "`node` twice"),
            ("edge netfilter", "knows no `edge`"),
            ("node netfilter, over wifi", "no links `wifi`"),
            ("over memory", "translates nowhere"),
            ("node nftables", "where no kernel stands"),
        ] {
            let wrong = Setup::parse(text).unwrap_err();
            assert!(wrong.contains(part), "{text}: {wrong}");
        }
    }
}
