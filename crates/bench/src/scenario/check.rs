//! What must hold between settings, each of which is sound by itself.

use std::net::Ipv4Addr;

use natrig_lab::topology::Topology;
use thiserror::Error;

use super::bounds;
use super::model::{Layer, Lineup, Measure, Rate, Scenario};
use super::plan;
use super::words::{Engine, KernelAddress, KernelWork, LinkKind};
use crate::settings::{Fault, Spots};

/// What a NAT has of them at most, with ports below 1024, and a few more.
const PORTS_OF_AN_ADDRESS: u64 = 1 << 16;

/// Two or more settings that cannot hold at once.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message} ({help})")]
pub struct Violation {
    /// The dotted names of the settings at fault, the likeliest first.
    pub settings: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// The mend.
    pub help: String,
}

impl Violation {
    pub(super) fn new(settings: &[&str], message: String, help: impl Into<String>) -> Self {
        Self { settings: settings.iter().map(|&setting| setting.to_owned()).collect(), message, help: help.into() }
    }

    /// Puts the blame on the first setting that was typed.
    pub fn into_fault(self, spots: &Spots) -> Fault {
        let blamed = self.settings.iter().find(|setting| spots.typed(setting)).or_else(|| self.settings.first());
        let at = blamed.map_or(0..0, |setting| spots.of(setting));
        Fault { at, message: self.message, help: self.help }
    }
}

impl Scenario {
    /// Tells whether the settings go together. [`Self::parse`] and [`Self::load`] have asked already; ask again after changing some.
    ///
    /// # Errors
    ///
    /// The first violation found.
    pub fn check(&self) -> Result<(), Violation> {
        self.topology.validate().map_err(|error| plan::violation(&self.topology, &error))?;
        self.check_boxes()?;
        self.check_kernel()?;
        self.check_flows()?;
        self.check_frames()?;
        self.check_rates()?;
        self.check_time()
    }

    /// The longest that measuring can take, in milliseconds, if no trial is repeated and the time limit does not end it.
    #[must_use]
    pub fn duration_ms_max(&self) -> u64 {
        let measure = &self.measure;
        let search_ms = measure.rate.duration_ms_max(measure.trial_ms, bounds::TRIAL_OVERHEAD_MS);
        u64::from(measure.rounds) * self.cells_per_round() * (search_ms + self.latency_trial_ms())
    }

    /// A time limit that lets everything be measured, in seconds; at least that of the quick scenario.
    pub(super) fn sufficient_time_limit_s(&self) -> u32 {
        let needed_s = u32::try_from(self.duration_ms_max().div_ceil(1000)).unwrap_or(u32::MAX);
        needed_s.clamp(Self::quick().measure.time_limit_s, *bounds::TIME_LIMIT_S.end())
    }

    pub(super) fn cells_per_round(&self) -> u64 {
        (self.lineups().len() * self.designs.len() * self.traffic.frame_sizes.len()) as u64
    }

    /// How many different flows there can be.
    #[must_use]
    pub fn tuples_max(&self) -> u32 {
        let Topology { pods, internet, .. } = &self.topology;
        let addresses = u64::from(pods.count) * u64::from(internet.server_count);
        u32::try_from(addresses * u64::from(self.traffic.src_ports.count())).unwrap_or(u32::MAX)
    }

    /// The most connections that any session of the run makes: the kernel's table must have room for them.
    #[must_use]
    pub fn connections_max(&self) -> u32 {
        let Measure { latency_loads, new_flows, connections, .. } = &self.measure;
        let opened = if latency_loads.is_empty() { 0 } else { *new_flows };
        let to_one_server = if *connections > 0 { self.flows_to_one_server() } else { 0 };
        (self.traffic.flows + opened).max(*connections).max(to_one_server)
    }

    /// So many flows to one destination that no layer has a port for each, or as many as the pods can make.
    #[must_use]
    pub fn flows_to_one_server(&self) -> u32 {
        let Topology { pods, node, gateway, .. } = &self.topology;
        let of_pods = u64::from(pods.count) * u64::from(self.traffic.src_ports.count());
        let addresses = node.addresses.len().max(gateway.addresses.len()) as u64;
        let wanted = (addresses * PORTS_OF_AN_ADDRESS).min(of_pods).min(u64::from(*bounds::FLOWS.end()));
        u32::try_from(wanted).unwrap_or(u32::MAX)
    }

    /// The latency trial, and those at the loads that are asked for.
    fn latency_trial_ms(&self) -> u64 {
        if !self.measure.asks_for_latency() {
            return 0;
        }
        let trials = 1 + self.measure.latency_loads.len() as u64;
        trials * (u64::from(self.measure.latency_ms) + bounds::TRIAL_OVERHEAD_MS)
    }

    fn check_flows(&self) -> Result<(), Violation> {
        let (traffic, topology) = (&self.traffic, &self.topology);
        let opened = if self.measure.latency_loads.is_empty() { 0 } else { u64::from(self.measure.new_flows) };
        let flows = (u64::from(traffic.flows) + opened).max(u64::from(self.measure.connections));
        let (pods, servers) = (u64::from(topology.pods.count), u64::from(topology.internet.server_count));
        let tuples = pods * u64::from(traffic.src_ports.count()) * servers;
        if flows > tuples {
            return Err(Violation::new(
                &["traffic.flows", "traffic.src_ports", "topology.pods.count", "topology.internet.server_count"],
                format!(
                    "`traffic.flows` asks for {flows} flows, but {pods} pods × {} source ports × {servers} servers make only {tuples}",
                    traffic.src_ports.count()
                ),
                "lower `flows`, or add pods, source ports or servers",
            ));
        }
        for (name, layer, addresses, engines) in self.layers() {
            let translates = self.designs.iter().any(|design| match name {
                "node" => design.translates_at_node(),
                _ => design.translates_at_gateway(),
            });
            let range = layer.port_range.filter(|_| engines.contains(&Engine::Nftables));
            let ports_each = range.map_or(bounds::NAT_PORTS_PER_ADDRESS, |range| u64::from(range.count()));
            let ports = addresses.len() as u64 * servers * ports_each;
            if translates && flows > ports {
                let (setting, range) = (format!("topology.{name}.addresses"), format!("{name}.port_range"));
                return Err(Violation::new(
                    &["traffic.flows", &range, &setting, "topology.internet.server_count"],
                    format!(
                        "`traffic.flows` asks for {flows} flows, but the {name} can translate at most {ports} (addresses × servers × ports: {} × {servers} × {ports_each})",
                        addresses.len(),
                    ),
                    format!("lower `flows`, or add to `{setting}` or `topology.internet.server_count`"),
                ));
            }
        }
        Ok(())
    }

    /// Engines that cannot translate, where they can stand.
    fn check_boxes(&self) -> Result<(), Violation> {
        for (name, _, _, engines) in self.layers() {
            let Some(engine) = engines.into_iter().find(|engine| !engine.translates()) else { continue };
            let setting = format!("{name}.engine");
            if engine == Engine::Absent && name != "node" {
                return Err(Violation::new(
                    &[&setting, "engines"],
                    format!("`{setting}` = absent leaves no box that frames could pass"),
                    "only the node can be absent: the generator then stands in its place",
                ));
            }
            let translating = self.designs.iter().find(|design| match name {
                "node" => design.translates_at_node(),
                _ => design.translates_at_gateway(),
            });
            if let Some(design) = translating {
                let designs = if name == "node" { "\"none\", \"gateway\"" } else { "\"none\", \"node\"" };
                return Err(Violation::new(
                    &[&setting, "engines", "designs"],
                    format!("design `{design}` translates at the {name}, but `{setting}` = {engine} cannot"),
                    format!("write `designs` with {designs} only"),
                ));
            }
            if engine == Engine::Redirect && self.link.kind == LinkKind::Memory {
                return Err(Violation::new(
                    &[&setting, "link.kind", "engines"],
                    format!("`{setting}` = redirect joins interfaces, but `link.kind` = memory has none"),
                    "take \"auto\" or \"ring\"",
                ));
            }
        }
        Ok(())
    }

    /// What the kernel's NAT can be asked for, where it stands.
    fn check_kernel(&self) -> Result<(), Violation> {
        let kernel = self.lineups().iter().any(|lineup| lineup.has(Engine::Nftables));
        if kernel && self.link.kind == LinkKind::Memory {
            return Err(Violation::new(
                &["link.kind", "engines", "gateway.engine", "node.engine"],
                "with `link.kind` = memory no frame comes past the kernel, and so none past nftables".to_owned(),
                "take \"auto\", \"ring\" or \"packet\", or the engine userspace",
            ));
        }
        let mixed = |lineup: &Lineup| lineup.has(Engine::Nftables) && lineup.has(Engine::Userspace);
        if self.link.kernel == KernelWork::Threads && self.lineups().iter().any(mixed) {
            return Err(Violation::new(
                &["link.kernel", "node.engine", "gateway.engine"],
                "`link.kernel` = threads would put the kernel on the processor where the other layer spins".to_owned(),
                "let the engine nftables stand at both layers, or write \"inline\"",
            ));
        }
        for (name, layer, addresses, engines) in self.layers() {
            let masquerade = layer.nat == KernelAddress::Masquerade && engines.contains(&Engine::Nftables);
            if masquerade && addresses.len() > 1 {
                let settings = [format!("{name}.nat"), format!("topology.{name}.addresses")];
                return Err(Violation::new(
                    &settings.each_ref().map(String::as_str),
                    format!(
                        "`{name}.nat` = masquerade uses one address, but `topology.{name}.addresses` has {}",
                        addresses.len()
                    ),
                    format!("write `nat = \"snat\"`, or leave one address in `topology.{name}.addresses`"),
                ));
            }
        }
        Ok(())
    }

    /// The two layers: name, settings, addresses, and the engines that stand there.
    fn layers(&self) -> [(&'static str, &Layer, &[Ipv4Addr], Vec<Engine>); 2] {
        let lineups = self.lineups();
        let engines = |of: fn(&Lineup) -> Engine| lineups.iter().map(of).collect();
        [
            ("node", &self.node, &self.topology.node.addresses, engines(|lineup| lineup.node)),
            ("gateway", &self.gateway, &self.topology.gateway.addresses, engines(|lineup| lineup.gateway)),
        ]
    }

    fn check_frames(&self) -> Result<(), Violation> {
        let largest_allowed = self.topology.mtu.saturating_add(bounds::FRAME_OVERHEAD_BYTES);
        for (index, size) in self.traffic.frame_sizes.iter().enumerate() {
            if size.largest_bytes() > largest_allowed {
                return Err(Violation::new(
                    &[&format!("traffic.frame_size[{index}]"), "topology.mtu"],
                    format!(
                        "`traffic.frame_size` {size} needs frames of {} bytes, but an MTU of {} allows {largest_allowed}",
                        size.largest_bytes(),
                        self.topology.mtu
                    ),
                    format!("lower `frame_size` to {largest_allowed}, or raise `topology.mtu`"),
                ));
            }
        }
        Ok(())
    }

    fn check_rates(&self) -> Result<(), Violation> {
        let measure = &self.measure;
        let limits = match measure.rate {
            Rate::Search(search) => Some((search.min_pps, search.max_pps, search.precision)),
            Rate::Mlrsearch(search) => Some((search.min_pps, search.max_pps, search.width)),
            Rate::FixedPps(_) => None,
        };
        if let Some((min_pps, max_pps, precision)) = limits
            && f64::from(max_pps) <= f64::from(min_pps) * (1.0 + precision)
        {
            return Err(Violation::new(
                &[
                    "measure.search.max_pps",
                    "measure.search.min_pps",
                    "measure.search.precision",
                    "measure.search.width",
                ],
                format!("`measure.search` has nothing to search between min_pps = {min_pps} and max_pps = {max_pps}"),
                format!("make `max_pps` more than {} × `min_pps`", 1.0 + precision),
            ));
        }
        self.check_mlrsearch()?;
        if !measure.asks_for_latency() && !measure.latency_loads.is_empty() {
            return Err(Violation::new(
                &["measure.latency_ms", "measure.latency_loads"],
                "`measure.latency_ms` = 0 measures no latency, but `measure.latency_loads` says under which loads"
                    .to_owned(),
                "leave out the loads, or say how long a trial is",
            ));
        }
        let rate_setting = match measure.rate {
            Rate::Search(_) | Rate::Mlrsearch(_) => ("measure.search.min_pps", "measure.search.max_pps"),
            Rate::FixedPps(_) => ("measure.fixed_rate_pps", "measure.fixed_rate_pps"),
        };
        let lowest_pps = f64::from(measure.rate.lowest_pps());
        for (setting, duration_ms, pps) in [
            ("measure.trial_ms", measure.trial_ms, lowest_pps),
            ("measure.latency_ms", measure.latency_ms, lowest_pps * measure.latency_fraction),
        ] {
            if duration_ms > 0 && pps * f64::from(duration_ms) < 1000.0 {
                return Err(Violation::new(
                    &[rate_setting.0, setting],
                    format!("at {pps} frames per second not one frame is sent within `{setting}` = {duration_ms}"),
                    format!("raise `{}` or `{setting}`", rate_setting.0),
                ));
            }
        }
        let longest_ms = measure.trial_ms.max(measure.latency_ms);
        let frames = u64::from(measure.rate.highest_pps()) * u64::from(longest_ms) / 1000;
        if frames > bounds::FRAMES_PER_TRIAL_MAX {
            let setting =
                if measure.trial_ms >= measure.latency_ms { "measure.trial_ms" } else { "measure.latency_ms" };
            return Err(Violation::new(
                &[setting, rate_setting.1],
                format!(
                    "`{setting}` = {longest_ms} at {} frames per second makes {frames} frames a trial, but at most {} can be accounted for",
                    measure.rate.highest_pps(),
                    bounds::FRAMES_PER_TRIAL_MAX
                ),
                format!("shorten `{setting}`, or lower `{}`", rate_setting.1),
            ));
        }
        Ok(())
    }

    /// What the draft asks of goals.
    fn check_mlrsearch(&self) -> Result<(), Violation> {
        let Rate::Mlrsearch(search) = self.measure.rate else { return Ok(()) };
        let trial_ms = self.measure.trial_ms;
        if search.initial_trial_ms > trial_ms {
            return Err(Violation::new(
                &["measure.search.initial_trial_ms", "measure.trial_ms"],
                format!(
                    "`measure.search.initial_trial_ms` = {} is longer than `measure.trial_ms` = {trial_ms}",
                    search.initial_trial_ms
                ),
                "the first trials are the short ones: lower the one, or raise the other",
            ));
        }
        if search.duration_sum_ms < trial_ms {
            return Err(Violation::new(
                &["measure.search.duration_sum_ms", "measure.trial_ms"],
                format!(
                    "`measure.search.duration_sum_ms` = {} is shorter than one trial of `measure.trial_ms` = {trial_ms}",
                    search.duration_sum_ms
                ),
                format!("write {trial_ms} or more"),
            ));
        }
        Ok(())
    }

    fn check_time(&self) -> Result<(), Violation> {
        let trial_ms = u64::from(self.measure.trial_ms) + bounds::TRIAL_OVERHEAD_MS;
        let round_ms_min = self.cells_per_round() * (trial_ms + self.latency_trial_ms());
        if round_ms_min <= u64::from(self.measure.time_limit_s) * 1000 {
            return Ok(());
        }
        Err(Violation::new(
            &["measure.time_limit_s", "measure.trial_ms", "measure.latency_ms"],
            format!(
                "`measure.time_limit_s` = {} is too short for a single round, which takes at least {} s",
                self.measure.time_limit_s,
                round_ms_min.div_ceil(1000)
            ),
            format!(
                "allow {} s or more, or measure fewer designs and frame sizes, or shorter trials",
                round_ms_min.div_ceil(1000)
            ),
        ))
    }
}
