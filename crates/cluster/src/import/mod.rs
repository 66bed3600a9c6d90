//! Settings as clusters have them, read into a cluster of ours: Cilium's ConfigMap or Helm values, ip-masq-agent's ConfigMap, the
//! environment of the VPC CNI's aws-node.
//!
//! What is not known is listed with its line, what contradicts itself too; nothing is guessed in silence.

mod aws_node;
mod cilium;
mod write;
pub mod yaml;

use std::fmt;

use natrig_bench::settings::Word;
use natrig_bench::words;
use thiserror::Error;

use self::yaml::{Node, Value, YamlError};
use crate::model::{Cluster, Exit};

words! {
    /// What there is to say about a key.
    Concern {
        /// Nobody here knows it.
        Unknown = "unknown",
        /// It says the opposite of another key, or has no effect beside it.
        Contradictory = "contradictory",
        /// It stands there more than once.
        Duplicate = "duplicate",
        /// Its value makes no sense.
        Invalid = "invalid",
        /// The file does not say, and something had to be assumed.
        Assumed = "assumed",
    }
}

/// Something to be said about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its line, from 1; 0: the file as a whole.
    pub line: usize,
    /// The key.
    pub key: String,
    /// What kind of thing is to be said.
    pub concern: Concern,
    /// The rest of it.
    pub message: String,
}

/// A cluster as files describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The cluster.
    pub cluster: Cluster,
    /// What there is to say, by line.
    pub findings: Vec<Finding>,
}

/// What files about plugins do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The way out of the VPC; none: it is not known.
    pub exit: Option<Exit>,
    /// Names of the nodes' interfaces; empty: not known.
    pub interfaces: Vec<String>,
}

/// Why a file cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    /// It is no YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// Nothing in it is for us.
    #[error(
        "there is neither a Cilium ConfigMap nor Helm values nor the environment of an aws-node in it\n\
         help: kubectl -n kube-system get configmap cilium-config -o yaml, helm get values cilium, or kubectl -n kube-system get daemonset \
         aws-node -o yaml"
    )]
    Nothing,
    /// There is more than one plugin.
    #[error("there are settings of Cilium and of the VPC CNI in it\nhelp: give the files of one of them")]
    Both,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        write!(f, "{} {}: {}", self.concern, self.key, self.message)
    }
}

/// A setting, under the name that Cilium's agent or aws-node knows it by.
#[derive(Debug, Clone)]
struct Entry {
    key: String,
    line: usize,
    value: Node,
}

/// The settings of one plugin, and what there is to say about them.
#[derive(Debug, Default)]
struct Entries {
    entries: Vec<Entry>,
    findings: Vec<Finding>,
}

/// Reads files of one cluster, given as one text each.
///
/// # Errors
/// A text is no YAML, or there is nothing in it for us.
pub fn import(text: &str, surroundings: &Surroundings) -> Result<Imported, ImportError> {
    let documents = yaml::read(text)?;
    // What `kubectl get` returns of several things is a list of them.
    let documents: Vec<&Node> = documents
        .iter()
        .flat_map(|document| match document.get("items") {
            Some(items) if document.get("kind").and_then(Node::text) == Some("List") => items.list().iter().collect(),
            _ => vec![document],
        })
        .collect();
    let mut cilium = Entries::default();
    let mut aws = Entries::default();
    let (mut is_cilium, mut is_aws) = (false, false);
    for document in documents {
        let kind = document.get("kind").and_then(Node::text);
        let name = document.at(&["metadata", "name"]).and_then(Node::text);
        match (kind, name) {
            (Some("ConfigMap"), Some("ip-masq-agent")) => cilium.agent(document)?,
            (Some("ConfigMap"), _) => {
                is_cilium = true;
                cilium.config_map(document);
            }
            (Some("DaemonSet"), _) => {
                is_aws = true;
                aws.daemon_set(document);
            }
            (None, _) if aws_node::is_environment(document) => {
                is_aws = true;
                aws.environment(document);
            }
            (None, _) if cilium::is_helm(document) => {
                is_cilium = true;
                cilium.helm(document);
            }
            _ => {}
        }
    }
    let mut imported = match (is_cilium, is_aws) {
        (true, false) => cilium.into_cilium(),
        (false, true) => aws.into_vpc_cni(),
        (true, true) => return Err(ImportError::Both),
        (false, false) => return Err(ImportError::Nothing),
    };
    imported.surround(surroundings);
    imported.findings.sort_by_key(|finding| finding.line);
    Ok(imported)
}

impl Imported {
    fn surround(&mut self, surroundings: &Surroundings) {
        let assumed = |key: &str, message: &str| Finding {
            line: 0,
            key: key.to_owned(),
            concern: Concern::Assumed,
            message: message.to_owned(),
        };
        self.cluster.vpc.exit = surroundings.exit.unwrap_or(Exit::NatGateway);
        self.cluster.node.public_address = self.cluster.vpc.exit == Exit::InternetGateway;
        if surroundings.exit.is_none() {
            self.findings.push(assumed("vpc.exit", "the files do not say; a NAT gateway (--exit says otherwise)"));
        }
        if surroundings.interfaces.is_empty() {
            self.findings
                .push(assumed("node.interfaces", "the files do not say; eth0 and eth1 (--interfaces says otherwise)"));
        } else {
            self.cluster.node.interfaces.clone_from(&surroundings.interfaces);
        }
    }

    /// The scenario file.
    pub fn toml(&self) -> String {
        write::toml(&self.cluster)
    }
}

impl Entries {
    fn say(&mut self, line: usize, key: &str, concern: Concern, message: impl Into<String>) {
        self.findings.push(Finding { line, key: key.to_owned(), concern, message: message.into() });
    }

    /// Takes what stands at a key, under the plugin's own name for it.
    fn take(&mut self, key: &str, shown: &str, line: usize, value: &Node) {
        if let Some(earlier) = self.entries.iter().find(|entry| entry.key == key) {
            let message = format!("stands in line {} already; the last one counts", earlier.line);
            self.say(line, shown, Concern::Duplicate, message);
            self.entries.retain(|entry| entry.key != key);
        }
        self.entries.push(Entry { key: key.to_owned(), line, value: value.clone() });
    }

    fn line(&self, key: &str) -> usize {
        self.entries.iter().find(|entry| entry.key == key).map_or(0, |entry| entry.line)
    }

    fn text(&self, key: &str) -> Option<&str> {
        let text = self.entries.iter().find(|entry| entry.key == key)?.value.text()?.trim();
        (!text.is_empty()).then_some(text)
    }

    /// True or false, as Go reads them (`strconv.ParseBool`).
    fn flag(&mut self, key: &str) -> Option<bool> {
        let text = self.text(key)?.to_owned();
        match text.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => {
                let line = self.line(key);
                self.say(line, key, Concern::Invalid, format!("must be true or false, not {text:?}"));
                None
            }
        }
    }

    /// A list: of YAML, or in one text, parted by commas or blanks.
    fn words(&self, key: &str) -> Vec<String> {
        let Some(entry) = self.entries.iter().find(|entry| entry.key == key) else { return Vec::new() };
        match &entry.value.value {
            Value::List(elements) => elements.iter().filter_map(|element| element.text().map(str::to_owned)).collect(),
            Value::Scalar(text) => text
                .split(|character: char| character == ',' || character.is_whitespace())
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
            Value::Map(_) => Vec::new(),
        }
    }

    fn networks(&mut self, key: &str) -> Vec<natrig_lab::net::Ipv4Net> {
        let line = self.line(key);
        let mut networks = Vec::new();
        for word in self.words(key) {
            match word.parse::<natrig_lab::net::Ipv4Net>() {
                Ok(network) => networks.push(network),
                Err(error) => self.say(line, key, Concern::Invalid, error.to_string()),
            }
        }
        networks
    }
}
