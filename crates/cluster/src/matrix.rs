//! Who reaches whom, and who sees which address: measured with real packets, each way.

use std::net::Ipv4Addr;

use natrig_bench::settings::Word;
use natrig_bench::words;
use natrig_lab::lease::Heading;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build::place;
use crate::death::{Death, Layer};
use crate::model::{Cluster, INTERNET, METADATA, POD_PUBLIC, Pod};
use crate::probe::{End, Observation, Passage, ProbeError, Protocol, Shot, Site};

words! {
    /// Kinds of destinations.
    Destination {
        /// A server on the internet.
        Internet = "internet",
        /// A host in the VPC that is no node.
        VpcHost = "vpc-host",
        /// A pod on another node.
        PeerPod = "peer-pod",
        /// Another node.
        RemoteNode = "remote-node",
        /// The instance metadata endpoint, a link-local address.
        Metadata = "metadata",
        /// A host in a network that the VPC is peered with.
        Peered = "peered",
    }
}

/// What was measured of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// One for each pod that asked.
    pub rows: Vec<Row>,
}

/// What a pod reaches, and what reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The pod.
    pub pod: String,
    /// Its address.
    pub pod_address: Ipv4Addr,
    /// One for each kind of destination.
    pub cells: Vec<Cell>,
}

/// A pod and a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// The destination.
    pub destination: Destination,
    /// The pod asks, by each protocol.
    pub outward: Vec<Measured>,
    /// The destination asks; empty for the metadata endpoint, which never does.
    pub inward: Vec<Measured>,
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// What was sent.
    pub protocol: Protocol,
    /// The program that asked got an answer.
    pub reachable: bool,
    /// The source address that the one who was asked saw; none: the question never came.
    pub source_seen: Option<Ipv4Addr>,
    /// The source address of the answer as the one who asked saw it.
    pub answer_from: Option<Ipv4Addr>,
    /// The source address of the question as each box on its way saw it.
    pub seen_by: Vec<SeenBy>,
    /// Where addresses or ports of the question were changed.
    pub translations: Vec<Translation>,
    /// What became of it, if there was no answer.
    pub death: Option<Death>,
}

/// A box on the way, and what it saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeenBy {
    /// Its namespace.
    pub place: String,
    /// The source address.
    pub source: Ipv4Addr,
}

/// A change of addresses or ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Translation {
    /// The namespace that did it.
    pub place: String,
    /// What stands there.
    pub layer: Layer,
    /// Source and destination as the packet came.
    pub before: (Ipv4Addr, Ipv4Addr),
    /// Source and destination as it went.
    pub after: (Ipv4Addr, Ipv4Addr),
}

/// Measures everything that `pods` reach, and what reaches them.
///
/// # Errors
/// The cluster cannot be built or watched.
pub fn measure(cluster: &Cluster, pods: &[Pod]) -> Result<Matrix, ProbeError> {
    let mut site = Site::build(cluster)?;
    let rows = pods.iter().map(|pod| row(cluster, &mut site, *pod)).collect::<Result<_, _>>()?;
    site.close()?;
    Ok(Matrix { rows })
}

fn row(cluster: &Cluster, site: &mut Site, pod: Pod) -> Result<Row, ProbeError> {
    let mut cells = Vec::new();
    for &destination in Destination::ALL {
        let mut each = |outward: bool| -> Result<Vec<Measured>, ProbeError> {
            let shots = Protocol::ALL.iter().map(|protocol| cluster.shot(*protocol, pod, destination, outward));
            shots.map(|shot| Ok(measured(&shot, &site.observe(&shot)?))).collect()
        };
        let outward = each(true)?;
        let inward = if destination == Destination::Metadata { Vec::new() } else { each(false)? };
        cells.push(Cell { destination, outward, inward });
    }
    Ok(Row { pod: pod.name(), pod_address: cluster.pod_address(pod), cells })
}

impl Cluster {
    /// A question of a pod to a destination, or of the destination to the pod.
    pub fn shot(&self, protocol: Protocol, pod: Pod, destination: Destination, outward: bool) -> Shot {
        let address = self.pod_address(pod);
        // Whoever is on the internet knows a pod by its public address, if it has one.
        let public = self.node.pod_public_address && (pod.node, pod.number) == (1, 1);
        let known = if destination == Destination::Internet && public { POD_PUBLIC } else { address };
        let pod = End { namespace: pod.name(), address: known, listens: Some(address) };
        let there = self.end(destination, pod.namespace.starts_with("n1-"));
        if outward {
            Shot { protocol, from: pod, to: there }
        } else {
            // A host with several addresses chooses by the way that it takes.
            let listens = if destination == Destination::RemoteNode { None } else { there.listens };
            Shot { protocol, from: End { listens, ..there }, to: pod }
        }
    }

    /// A program at a destination; `from_first`: as seen from the first node, else from another.
    fn end(&self, destination: Destination, from_first: bool) -> End {
        let other = if from_first { 2 } else { 1 };
        let (namespace, address) = match destination {
            Destination::Internet => (place::INTERNET.to_owned(), INTERNET),
            Destination::VpcHost => (place::HOST.to_owned(), self.host()),
            Destination::PeerPod => {
                let pod = Pod { node: other, number: 1 };
                (pod.name(), self.pod_address(pod))
            }
            Destination::RemoteNode => (place::node(other), self.node_address(other, 0)),
            Destination::Metadata => (place::METADATA.to_owned(), METADATA),
            Destination::Peered => (place::PEERED.to_owned(), self.peered_host()),
        };
        End { namespace, address, listens: Some(address) }
    }
}

/// What an observation says about reachability.
pub fn measured(shot: &Shot, observation: &Observation) -> Measured {
    let arrived = |way: &[Passage], end: &End| {
        let last = way.iter().rev().find(|passage| passage.heading == Heading::In)?;
        (last.namespace == end.namespace).then_some(last.header.source)
    };
    let mut seen_by = Vec::<SeenBy>::new();
    for passage in observation.request.iter().filter(|passage| passage.heading == Heading::In) {
        if seen_by.last().is_none_or(|last| last.place != passage.namespace) {
            seen_by.push(SeenBy { place: passage.namespace.clone(), source: passage.header.source });
        }
    }
    Measured {
        protocol: shot.protocol,
        reachable: observation.answered,
        source_seen: arrived(&observation.request, &shot.to),
        answer_from: arrived(&observation.answer, &shot.from),
        seen_by,
        translations: translations(&observation.request),
        death: Death::of(shot, observation),
    }
}

/// Where a packet left a namespace other than it came.
fn translations(way: &[Passage]) -> Vec<Translation> {
    let mut translations = Vec::new();
    for pair in way.windows(2) {
        let [came, went] = pair else { continue };
        let through = came.namespace == went.namespace && (came.heading, went.heading) == (Heading::In, Heading::Out);
        let ends = |passage: &Passage| {
            let header = &passage.header;
            (header.source, header.source_port, header.destination, header.destination_port)
        };
        if through && ends(came) != ends(went) {
            translations.push(Translation {
                place: came.namespace.clone(),
                layer: Layer::of(&came.namespace),
                before: (came.header.source, came.header.destination),
                after: (went.header.source, went.header.destination),
            });
        }
    }
    translations
}

impl Matrix {
    /// Everything.
    pub fn measured(&self) -> impl Iterator<Item = &Measured> {
        let cells = self.rows.iter().flat_map(|row| &row.cells);
        cells.flat_map(|cell| cell.outward.iter().chain(&cell.inward))
    }

    /// What was measured of a pod and a destination.
    pub fn cell(&self, pod: &str, destination: Destination) -> Option<&Cell> {
        let row = self.rows.iter().find(|row| row.pod == pod)?;
        row.cells.iter().find(|cell| cell.destination == destination)
    }
}
