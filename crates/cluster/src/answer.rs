//! The answer to the question that everybody asks: is masquerading at the node needed here, what does it cost, what would break if it were
//! switched? Each part is measured when it is asked for.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use natrig_bench::result::{DesignSummary, RunResult, Status};
use natrig_bench::scenario::{Design, Scenario as Rates};
use natrig_bench::test::{Record, RecordOf, Session, Test, Watcher};
use natrig_bench::{Carrier, Observer, environment};
use natrig_cutover::{GatewayOutcome, Toggle};
use natrig_nat::{Allocator, PortsInUse, Profile, Wish};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::matrix::{self, Matrix};
use crate::model::{Cluster, Exit, Plugin, Pod};
use crate::probe::ProbeError;
use crate::test::ClusterTest;

/// What was found out about masquerading at the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// The nodes of the scenario masquerade.
    pub masquerades: bool,
    /// The same cluster with masquerading the other way round.
    pub twin: Matrix,
    /// What the layer costs on this machine; none if it could not be measured.
    pub cost: Option<Cost>,
    /// Flows to one destination that each layer has ports for.
    pub ports: Vec<Ports>,
    /// What breaks if masquerading is switched while connections live, behind the gateway of the scenario; none: not measured.
    pub toggle: Option<GatewayOutcome>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// What masquerading at the node costs: medians over rounds, interleaved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// What stands at the gateway meanwhile.
    pub without: Side,
    /// The same, and masquerading at the node.
    pub with: Side,
}

/// A design's figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Side {
    /// The design.
    pub design: Design,
    /// Highest rate without loss, frames of 64 bytes a second.
    pub rate_pps: Option<f64>,
    /// Rounds in which the generator was the limit.
    pub rounds_generator_bound: u32,
    /// Median latency at half that rate.
    pub latency_ns_p50: Option<f64>,
    /// 99th percentile.
    pub latency_ns_p99: Option<f64>,
    /// Processor time of the layers.
    pub ns_per_packet: Option<f64>,
}

/// How far the ports of a layer go, towards one destination: tried with the layer's own way of choosing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ports {
    /// `node` or `gateway`.
    pub layer: String,
    /// The profile.
    pub profile: String,
    /// Outside addresses.
    pub addresses: u32,
    /// Flows that were open when the first one was refused.
    pub flows_at_first_refusal: u32,
    /// Flows that were open when 1 % of the last thousand had been refused.
    pub flows_at_one_percent: u32,
}

const NODE_PROFILE: &str = "cilium-bpf";
const GATEWAY_PROFILE: &str = "aws-natgw";

/// Measures it all.
///
/// # Errors
/// The twin of the cluster cannot be built or watched.
pub fn answer(cluster: &Cluster, pods: &[Pod], session: &Session<'_, ClusterTest>) -> Result<Answer, ProbeError> {
    let twin = matrix::measure(&cluster.twin(), pods)?;
    let mut missing = Vec::new();
    let cost = cost(cluster, session).map_err(|why| missing.push(format!("the cost: {why}"))).ok();
    let toggle = toggle(cluster, session).map_err(|why| missing.push(format!("the switch: {why}"))).ok();
    let mut ports = vec![ports("node", NODE_PROFILE, 1)];
    if cluster.has_nat_gateway() {
        ports.push(self::ports("gateway", GATEWAY_PROFILE, cluster.nat_gateway.addresses.into()));
    }
    let ports = ports.into_iter().flatten().collect();
    Ok(Answer { masquerades: cluster.masquerades(), twin, cost, ports, toggle, missing })
}

impl Cluster {
    /// The same with masquerading the other way round.
    #[must_use]
    pub fn twin(&self) -> Self {
        let mut twin = self.clone();
        match &mut twin.plugin {
            Plugin::Cilium(cilium) => cilium.masquerade = !cilium.masquerade,
            Plugin::VpcCni(cni) => cni.external_snat = !cni.external_snat,
        }
        twin
    }
}

/// A short run of rates, with the layers of the scenario and without the node's.
fn cost(cluster: &Cluster, session: &Session<'_, ClusterTest>) -> Result<Cost, String> {
    let (without, with) = match cluster.vpc.exit {
        Exit::NatGateway => (Design::Gateway, Design::Both),
        Exit::InternetGateway | Exit::None => (Design::None, Design::Node),
    };
    let mut rates = Rates::quick();
    rates.designs = vec![without, with];
    rates.measure.rounds = 2;
    rates.measure.time_limit_s = 20;
    let carrier = Carrier::choose(&rates, session.privilege).map_err(|error| error.to_string())?;
    let of = &session.record;
    let environment = environment(&of.environment.mode, None, Vec::new());
    let mut result =
        RunResult::begun(of.natrig.clone(), of.started_at.clone(), of.command.clone(), environment, rates.clone());
    natrig_bench::run(&rates, &carrier, &mut result, &mut Nobody, session.cancel).map_err(|error| error.to_string())?;
    let side = |design: Design| {
        let summary: &DesignSummary = result.designs.iter().find(|summary| summary.design == design)?;
        Some(Side {
            design,
            rate_pps: summary.rate_pps.map(|rate| rate.median),
            rounds_generator_bound: summary.rounds_generator_bound,
            latency_ns_p50: summary.latency_ns_p50.map(|latency| latency.median),
            latency_ns_p99: summary.latency_ns_p99.map(|latency| latency.median),
            ns_per_packet: summary.ns_per_packet.map(|time| time.median),
        })
    };
    match (side(without), side(with)) {
        (Some(without), Some(with)) if without.rate_pps.is_some() && with.rate_pps.is_some() => {
            Ok(Cost { without, with })
        }
        _ => Err("no trial was valid; try again on a machine that has nothing else to do".to_owned()),
    }
}

/// Whoever wants to know nothing.
struct Nobody;

impl Observer for Nobody {
    fn phase(&mut self, _what: &str) {}
    fn trial(&mut self, _trial: &natrig_bench::result::Trial, _done: f64) {}
    fn result(&mut self, _result: &RunResult) {}
}

impl<T: Test> Watcher<T> for Nobody {
    fn phase(&mut self, _what: &str, _done: f64) {}
    fn record(&mut self, _record: &RecordOf<T>) {}
}

/// Live connections on a virtual clock while masquerading is switched the other way.
fn toggle(cluster: &Cluster, session: &Session<'_, ClusterTest>) -> Result<GatewayOutcome, String> {
    if !cluster.has_nat_gateway() {
        return Err("natrig knows what happens behind a NAT gateway only".to_owned());
    }
    let change = if cluster.masquerades() { "masquerade-off" } else { "masquerade-on" };
    let addresses = cluster.nat_gateway.addresses;
    let text = format!(
        "test = \"{}\"\n[toggle]\nchange = \"{change}\"\n[gateway]\nprofiles = [\"{GATEWAY_PROFILE}\"]\naddresses = {addresses}\n",
        Toggle::NAME
    );
    let scenario = Toggle::read(&text, Path::new("toggle.toml"), Profile::names()).map_err(|fault| fault.message)?;
    let of = &session.record;
    let record: RecordOf<Toggle> = Record {
        schema_version: of.schema_version,
        test: Toggle::NAME.to_owned(),
        natrig: of.natrig.clone(),
        status: Status::Running,
        started_at: of.started_at.clone(),
        elapsed_ns: 0,
        command: of.command.clone(),
        scenario,
        host: of.host.clone(),
        environment: of.environment.clone(),
        measured: <Toggle as Test>::Measured::default(),
        warnings: Vec::new(),
    };
    let cancel: &AtomicBool = session.cancel;
    let (privilege, started) = (session.privilege, Instant::now());
    let mut inner = Session { record, privilege, watcher: &mut Nobody, cancel, started };
    Toggle::run(&mut inner).map_err(|error| error.to_string())?;
    inner.record.measured.gateways.pop().ok_or_else(|| "it was interrupted".to_owned())
}

/// Ports in use towards one destination.
struct Taken {
    ports: HashSet<(u16, u16)>,
    on_address: Vec<u32>,
    most: u32,
}

impl PortsInUse for Taken {
    fn is_free(&mut self, address: u16, port: u16, _closed_counts: bool) -> bool {
        !self.ports.contains(&(address, port))
    }

    fn has_room(&mut self, address: u16) -> bool {
        self.on_address[usize::from(address)] < self.most
    }
}

/// Opens flows to one destination until one in a hundred is refused; none: there is no such profile.
fn ports(layer: &str, profile: &str, addresses: u32) -> Option<Ports> {
    const LAST: usize = 1000;
    let behaviour = Profile::builtin(profile)?.behaviour;
    let most = match behaviour.ports.max_per_destination {
        0 => u32::MAX,
        most => most,
    };
    let mut allocator = Allocator::new(&behaviour, addresses as usize, 1);
    let mut taken = Taken { ports: HashSet::new(), on_address: vec![0; addresses as usize], most };
    let (mut first, mut refused, mut failures) = (None, VecDeque::new(), 0);
    for number in 0_u32.. {
        // Pods of a few hundred flows each, which choose among Linux' ephemeral ports as if there were no others.
        let inside = (0x0a00_0132 + number / 500, 32_768 + (mixed(number) % 28_232) as u16);
        let wish = Wish { protocol: 6, inside, remote: (0x0909_0909, 443) };
        let open = taken.ports.len() as u32;
        let failed = match allocator.allocate(&wish, None, &mut taken).outcome {
            Ok((address, port)) => {
                taken.ports.insert((address, port));
                taken.on_address[usize::from(address)] += 1;
                false
            }
            Err(_) => true,
        };
        if failed {
            first.get_or_insert(open);
        }
        refused.push_back(failed);
        failures += u32::from(failed);
        if refused.len() > LAST && refused.pop_front() == Some(true) {
            failures -= 1;
        }
        if failures as usize * 100 >= LAST {
            return Some(Ports {
                layer: layer.to_owned(),
                profile: profile.to_owned(),
                addresses,
                flows_at_first_refusal: first.unwrap_or(open),
                flows_at_one_percent: open,
            });
        }
    }
    None
}

/// SplitMix64: numbers that look random, the same in each run.
const fn mixed(number: u32) -> u64 {
    let mut bits = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gateway's limit is what its maker promises; the node's is reached long before its 32,768 ports are used.
    #[test]
    fn ports_end_where_the_profiles_say() {
        let gateway = ports("gateway", GATEWAY_PROFILE, 2).unwrap();
        assert_eq!(gateway.flows_at_first_refusal, 110_000);
        let node = ports("node", NODE_PROFILE, 1).unwrap();
        assert!((18_000..24_000).contains(&node.flows_at_one_percent), "{node:?}");
    }

    #[test]
    fn a_twin_of_a_twin_is_the_same() {
        let cluster = Cluster::default();
        assert!(cluster.masquerades() && !cluster.twin().masquerades());
        assert_eq!(cluster.twin().twin(), cluster);
    }
}
