//! The file format: which sections and keys there are, and what each sets.
//!
//! `bench-configs/quick.toml` shows them all. What a file leaves out is as in [`Scenario::quick`], but for the title (the file's
//! name), the question (none), addresses in a network that the file does give, and the time limit (enough for what is asked).

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::Path;

use natrig_lab::net::Ipv4Net;
use natrig_lab::topology::{MAX_NAT_ADDRESSES, MAX_POD_ADDRESSES, MAX_QUEUES, MAX_SERVER_ADDRESSES, MIN_MTU, Topology};

use super::bounds;
use super::model::{Layer, Limits, Link, Measure, MlrSearch, Placement, Rate, Scenario, Search, Traffic};
use super::values::{frame_size, ports};
use super::words::{Design, Engine, KernelAddress, SearchMethod};
use crate::settings::kinds::{network, number, one_or_more, parsed, profile, text, whole, word};
use crate::settings::{Fault, Section, Spots, Value, Word, Wrong, walk};

/// Reads `input`; relative paths in it start at the folder of `file`.
pub(super) fn read(input: &str, file: &Path, known_profiles: &[&str]) -> Result<(Scenario, Spots), Fault> {
    let mut scenario = Scenario::quick();
    scenario.title = file.file_stem().map_or_else(|| "scenario".into(), |stem| stem.to_string_lossy()).into_owned();
    scenario.question.clear();
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let Scenario { title, question, designs, engines, seed, topology, node, gateway, traffic, measure, limits, link } =
        &mut scenario;
    let mut slots = Slots { title, question, designs, engines, seed, topology, node, gateway, limits, link };
    let spots = walk(input, |top| {
        slots.read(top, folder, known_profiles);
        top.section("traffic", |section| read_traffic(section, traffic));
        top.section("measure", |section| read_measure(section, measure));
    })?;
    slots.settle(&spots);
    if !spots.typed("measure.time_limit_s") {
        scenario.measure.time_limit_s = scenario.sufficient_time_limit_s();
    }
    Ok((scenario, spots))
}

/// Where the settings go that a scenario has whatever it measures.
#[derive(Debug)]
pub(crate) struct Slots<'s> {
    pub(crate) title: &'s mut String,
    pub(crate) question: &'s mut String,
    pub(crate) designs: &'s mut Vec<Design>,
    pub(crate) engines: &'s mut Vec<Engine>,
    pub(crate) seed: &'s mut u64,
    pub(crate) topology: &'s mut Topology,
    pub(crate) node: &'s mut Layer,
    pub(crate) gateway: &'s mut Layer,
    pub(crate) limits: &'s mut Limits,
    pub(crate) link: &'s mut Link,
}

impl Slots<'_> {
    pub(crate) fn read(&mut self, top: &mut Section<'_, '_>, folder: &Path, known_profiles: &[&str]) {
        top.set("title", self.title, text);
        top.set("question", self.question, text);
        top.set_list("designs", self.designs, one_or_more(Design::ALL.len(), word));
        top.set_list("engines", self.engines, one_or_more(Engine::ALL.len(), word));
        top.set("seed", self.seed, whole(bounds::SEED));
        top.section("topology", |section| read_topology(section, self.topology));
        top.section("node", |section| read_layer(section, self.node, folder, known_profiles));
        top.section("gateway", |section| read_layer(section, self.gateway, folder, known_profiles));
        top.section("limits", |section| read_limits(section, self.limits));
        top.section("link", |section| read_link(section, self.link));
    }

    /// What follows from what was typed: a kernel that has several addresses to translate to does so by `snat`.
    pub(crate) fn settle(&mut self, spots: &Spots) {
        self.designs.sort_unstable();
        for (setting, layer, addresses) in [
            ("node.nat", &mut *self.node, &self.topology.node.addresses),
            ("gateway.nat", &mut *self.gateway, &self.topology.gateway.addresses),
        ] {
            if !spots.typed(setting) && addresses.len() > 1 {
                layer.nat = KernelAddress::Snat;
            }
        }
    }
}

/// The section `topology`: one address plan for all designs.
fn read_topology(section: &mut Section<'_, '_>, topology: &mut Topology) {
    section.set("mtu", &mut topology.mtu, whole(MIN_MTU..=bounds::MTU_MAX));
    section.set("queues", &mut topology.queues, whole(1..=MAX_QUEUES));
    let address = || parsed::<Ipv4Addr>("an IPv4 address", "10.0.0.10");

    section.section("pods", |section| {
        let pods = &mut topology.pods;
        section.set("cidr", &mut pods.cidr, network);
        section.set("count", &mut pods.count, whole(1..=MAX_POD_ADDRESSES));
        if section.has("cidr") {
            match hosts(pods.cidr).nth(1) {
                Some(second) => pods.first = second,
                None => section.fault(
                    "cidr",
                    format!("`topology.pods.cidr` has no room for a router and a pod: {}", pods.cidr),
                    ROOM_FOR_TWO,
                ),
            }
        }
        section.set("first", &mut pods.first, address());
        let behind_first = |host: Ipv4Addr| host.to_bits().wrapping_sub(pods.first.to_bits());
        if let Some(free) = hosts(pods.cidr).find(|&host| behind_first(host) >= pods.count) {
            pods.router = free;
        }
        section.set("router", &mut pods.router, address());
    });

    section.section("node", |section| {
        let node = &mut topology.node;
        section.set("cidr", &mut node.cidr, network);
        if section.has("cidr") {
            node.addresses = hosts(node.cidr).take(1).collect();
        }
        section.set_list("addresses", &mut node.addresses, one_or_more(MAX_NAT_ADDRESSES as usize, address()));
    });

    section.section("gateway", |section| {
        let gateway = &mut topology.gateway;
        section.set("private_cidr", &mut gateway.private_cidr, network);
        if section.has("private_cidr") {
            gateway.private_address = hosts(gateway.private_cidr).next().unwrap_or(gateway.private_address);
        }
        section.set("private_address", &mut gateway.private_address, address());
        section.set("public_cidr", &mut gateway.public_cidr, network);
        if section.has("public_cidr") {
            match hosts(gateway.public_cidr).nth(1) {
                Some(second) => gateway.addresses = vec![second],
                None => section.fault(
                    "public_cidr",
                    format!(
                        "`topology.gateway.public_cidr` has no room for a router and a gateway: {}",
                        gateway.public_cidr
                    ),
                    ROOM_FOR_TWO,
                ),
            }
        }
        section.set_list("addresses", &mut gateway.addresses, one_or_more(MAX_NAT_ADDRESSES as usize, address()));
    });

    section.section("internet", |section| {
        let (internet, gateway) = (&mut topology.internet, &topology.gateway);
        if let Some(free) = hosts(gateway.public_cidr).find(|host| !gateway.addresses.contains(host)) {
            internet.router = free;
        }
        section.set("router", &mut internet.router, address());
        section.set("server_cidr", &mut internet.server_cidr, network);
        if section.has("server_cidr") {
            internet.server_first = hosts(internet.server_cidr).next().unwrap_or(internet.server_first);
        }
        section.set("server_first", &mut internet.server_first, address());
        section.set("server_count", &mut internet.server_count, whole(1..=MAX_SERVER_ADDRESSES));
    });
}

/// The sections `node` and `gateway`: what translates there.
fn read_layer(section: &mut Section<'_, '_>, layer: &mut Layer, folder: &Path, known_profiles: &[&str]) {
    section.set("engine", &mut layer.engine, word);
    section.set("profile", &mut layer.profile, profile(folder, known_profiles));
    section.set("nat", &mut layer.nat, word);
    section.set("ports", &mut layer.ports, word);
    section.set("port_range", &mut layer.port_range, |value| ports(value).map(Some));
}

fn read_traffic(section: &mut Section<'_, '_>, traffic: &mut Traffic) {
    section.set("flows", &mut traffic.flows, whole(bounds::FLOWS));
    section.set_list("frame_size", &mut traffic.frame_sizes, one_or_more(bounds::FRAME_SIZES_MAX, frame_size));
    section.set("schedule", &mut traffic.schedule, word);
    section.set("direction", &mut traffic.direction, word);
    section.set("dst_port", &mut traffic.dst_port, whole(bounds::PORT));
    section.set("src_ports", &mut traffic.src_ports, ports);
}

fn read_measure(section: &mut Section<'_, '_>, measure: &mut Measure) {
    section.set("rounds", &mut measure.rounds, whole(bounds::ROUNDS));
    section.set("trial_ms", &mut measure.trial_ms, whole(bounds::TRIAL_MS));
    section.set("latency_ms", &mut measure.latency_ms, none_or(bounds::TRIAL_MS));
    section.set("latency_fraction", &mut measure.latency_fraction, number(bounds::LATENCY_FRACTION));
    section.set_list("latency_loads", &mut measure.latency_loads, one_or_more(bounds::LOADS_MAX, number(bounds::LOAD)));
    section.set("new_flows", &mut measure.new_flows, whole(bounds::NEW_FLOWS));
    section.set("connections", &mut measure.connections, whole(0..=*bounds::FLOWS.end()));
    section.set("first_look", &mut measure.first_look, whole(0..=*bounds::ROUNDS.end()));
    section.set("look_every", &mut measure.look_every, whole(bounds::ROUNDS));
    section.set("time_limit_s", &mut measure.time_limit_s, whole(bounds::TIME_LIMIT_S));

    let mut found = Rate::Search(Search::DEFAULT);
    let trial_is_typed = section.has("trial_ms");
    section.section("search", |section| {
        let mut method = SearchMethod::Binary;
        section.set("method", &mut method, word);
        let (mut search, trial_ms) = match method {
            SearchMethod::Binary => {
                found = Rate::Search(read_binary(section));
                return;
            }
            SearchMethod::Mlrsearch => (MlrSearch::CSIT, 1000),
            SearchMethod::Rfc2544 => (MlrSearch::RFC2544, 60_000),
        };
        if !trial_is_typed {
            measure.trial_ms = trial_ms;
        }
        read_mlrsearch(section, &mut search);
        found = Rate::Mlrsearch(search);
    });
    let mut fixed_pps = None;
    section.set("fixed_rate_pps", &mut fixed_pps, |value| whole(bounds::RATE_PPS)(value).map(Some));
    measure.rate = fixed_pps.map_or(found, Rate::FixedPps);
    if section.has("search") && section.has("fixed_rate_pps") {
        section.fault(
            "fixed_rate_pps",
            "`measure.fixed_rate_pps` and `measure.search` exclude each other",
            "remove `fixed_rate_pps` to search for the highest rate, or `search` to offer a fixed one",
        );
    }
}

fn read_binary(section: &mut Section<'_, '_>) -> Search {
    let mut search = Search::DEFAULT;
    section.set("min_pps", &mut search.min_pps, whole(bounds::RATE_PPS));
    section.set("max_pps", &mut search.max_pps, whole(bounds::RATE_PPS));
    section.set("precision", &mut search.precision, number(bounds::PRECISION));
    section.set("confirm", &mut search.confirm, whole(bounds::CONFIRM));
    section.set("max_trials", &mut search.max_trials, whole(bounds::SEARCH_TRIALS));
    search
}

fn read_mlrsearch(section: &mut Section<'_, '_>, search: &mut MlrSearch) {
    section.set("min_pps", &mut search.min_pps, whole(bounds::RATE_PPS));
    section.set("max_pps", &mut search.max_pps, whole(bounds::RATE_PPS));
    section.set("pdr_loss_ratio", &mut search.pdr_loss_ratio, number(bounds::LOSS_RATIO));
    section.set("exceed_ratio", &mut search.exceed_ratio, number(bounds::EXCEED_RATIO));
    section.set("width", &mut search.width, number(bounds::PRECISION));
    section.set("initial_trial_ms", &mut search.initial_trial_ms, whole(bounds::TRIAL_MS));
    section.set("duration_sum_ms", &mut search.duration_sum_ms, whole(bounds::DURATION_SUM_MS));
    section.set("budget_s", &mut search.budget_s, whole(bounds::TIME_LIMIT_S));
}

/// A number of that range, or 0: it is not asked for.
fn none_or(range: RangeInclusive<u32>) -> impl Fn(&Value<'_>) -> Result<u32, Wrong> {
    move |value| {
        let none = whole(0..=0)(value);
        none.or_else(|_| whole(range.clone())(value))
            .map_err(|wrong| Wrong { help: wrong.help + ", or 0 for none", ..wrong })
    }
}

/// The section `limits`: when a trial counts.
fn read_limits(section: &mut Section<'_, '_>, limits: &mut Limits) {
    section.set("send_lag_p99_us", &mut limits.send_lag_p99_us, whole(bounds::SEND_LAG_US));
    section.set("overrun", &mut limits.overrun, number(bounds::OVERRUN));
    section.set("disturbed", &mut limits.disturbed, number(bounds::DISTURBED));
    section.set("max_retries", &mut limits.max_retries, whole(bounds::RETRIES));
}

/// The section `link`: how frames travel.
fn read_link(section: &mut Section<'_, '_>, link: &mut Link) {
    section.set("kind", &mut link.kind, word);
    section.set("kernel", &mut link.kernel, word);
    section.set("slots", &mut link.slots, |value| whole(bounds::SLOTS)(value).map(Some));
    if section.holds_table("placement") {
        section.section("placement", |section| {
            let tester = section.need("tester", whole(bounds::CPU));
            let dut = section.need("dut", whole(bounds::CPU));
            if let (Some(tester), Some(dut)) = (tester, dut) {
                link.placement = Placement::Cpus { tester, dut };
            }
        });
    } else {
        section.set("placement", &mut link.placement, |value| word(value).map(PlacementWord::placement));
    }
}

const ROOM_FOR_TWO: &str = "take a network of /30 or larger";

/// The words that a placement can be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PlacementWord {
    Auto,
    RunToCompletion,
}

impl PlacementWord {
    fn placement(self) -> Placement {
        match self {
            Self::Auto => Placement::Auto,
            Self::RunToCompletion => Placement::RunToCompletion,
        }
    }
}

impl Word for PlacementWord {
    const ALL: &'static [Self] = &[Self::Auto, Self::RunToCompletion];

    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::RunToCompletion => "run-to-completion",
        }
    }
}

/// The host addresses of a network, in order.
fn hosts(net: Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    (net.network().to_bits()..=net.broadcast().to_bits())
        .map(Ipv4Addr::from_bits)
        .filter(move |&address| net.is_host(address))
}
