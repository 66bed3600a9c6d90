//! What the figures say.

use natrig_bench::result::{AaResult, EngineComparison, Interval, RunResult};
use natrig_bench::scenario::Design;

use super::capitalised;
use crate::digest::{
    Accounting, Cell, Costs, Effect, Metric, Verdict, cells, costs, frames, intervals, latency_load, names, part,
    rate_is_searched,
};
use crate::numbers::{Quantity, Quotients, Scale, Unit, count, counted, figure, list, percent};

pub(super) fn of(result: &RunResult) -> Vec<String> {
    let cells = cells(result);
    let measured: Vec<&Cell<'_>> = cells.iter().filter(|cell| cell.is_measured()).collect();
    let costs = costs(result);
    let mut findings: Vec<String> = wrong(result).into_iter().collect();
    if let Some(aa) = &result.aa {
        findings.extend(against_itself(aa));
        return findings;
    }
    if measured.is_empty() {
        findings.push(nothing(result));
    } else if costs.is_empty() {
        findings.extend(engines(result, &measured));
        findings.extend(measured.iter().map(|cell| one_design(result, cell)));
    } else {
        findings.extend(engines(result, &measured));
        findings.extend(layers(result, &costs));
    }
    findings
}

/// How engines compare where they translate: a sentence for each design.
fn engines(result: &RunResult, cells: &[&Cell<'_>]) -> Vec<String> {
    let sentence = |row: &EngineComparison| {
        let place = where_nat_stands(row.design)?;
        let here = cells.iter().filter(|cell| {
            let summary = cell.summary;
            (summary.design, summary.frame_size) == (row.design, row.frame_size)
                && [row.engines, row.against].contains(&summary.engines)
        });
        let bound = here.into_iter().any(|cell| cell.generator_bound().is_some());
        let rate = row.rate.as_ref().filter(|_| !bound).map(|rate| {
            let what = if rate_is_searched(result) { "highest rate without loss" } else { "rate delivered" };
            format!("has {} the {what}{}", Quotients::of(rate).with_sign(rate.median), quotient_range(rate))
        });
        let time = row.cpu_ns_per_packet.as_ref().map(|time| {
            let times = Quotients::of(time).with_sign(time.median);
            format!("takes {times} the processor time per packet{}, counted on all cores", quotient_range(time))
        });
        let parts: Vec<String> = [rate, time].into_iter().flatten().collect();
        let several = result.scenario.traffic.frame_sizes.len() > 1;
        let size = if several { format!(" with {}", frames(row.frame_size)) } else { String::new() };
        let EngineComparison { engines, against, .. } = row;
        (!parts.is_empty())
            .then(|| format!("{}{size}, {engines} {} (against {against}).", capitalised(place), list(&parts)))
    };
    result.comparisons.iter().filter_map(sentence).collect()
}

/// Nothing where nothing translates.
fn where_nat_stands(design: Design) -> Option<&'static str> {
    match design {
        Design::None => None,
        Design::Node => Some("with NAT at the node only"),
        Design::Gateway => Some("with NAT at the gateway only"),
        Design::Both => Some("with NAT at node and gateway"),
    }
}

fn quotient_range(interval: &Interval) -> String {
    let times = Quotients::of(interval);
    match interval.rounds {
        0 | 1 => String::new(),
        _ => format!(" ({}\u{a0}to\u{a0}{})", times.number(interval.low), times.number(interval.high)),
    }
}

fn layers(result: &RunResult, costs: &[Costs<'_>]) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, costs) in costs.iter().enumerate() {
        let part = part(result, costs.lineup, costs.frame_size);
        let size = part.strip_prefix(": ").map_or_else(String::new, |part| format!("{part}: "));
        let on_top = layer(result, costs, Effect::NodeOnTop, "behind the gateway's NAT, the node's NAT");
        findings.push(capitalised(&format!("{size}{on_top}")));
        // With several frame sizes or engines the question is how the answer changes; the rest is in the tables.
        if index == 0 {
            let gateway = layer(result, costs, Effect::Gateway, "by itself, the gateway's NAT");
            findings.push(capitalised(&format!("{size}{gateway}")));
            findings.extend(interaction(result, costs).map(|sentences| capitalised(&format!("{size}{sentences}"))));
        }
    }
    findings.extend(brackets(costs));
    findings
}

/// What a layer adds: time, rate, latency, a sentence each.
fn layer(result: &RunResult, costs: &Costs<'_>, effect: Effect, subject: &str) -> String {
    let sentences = [time(costs, effect, subject), rate(result, costs, effect), latency(result, costs, effect)];
    let sentences = sentences.into_iter().flatten().collect::<Vec<String>>().join(" ");
    // Where the time per packet is missing, the subject is still to be named.
    match costs.effect(Metric::TimePerPacket, effect) {
        Some(_) => sentences,
        None => format!("{subject}: {sentences}"),
    }
}

fn time(costs: &Costs<'_>, effect: Effect, subject: &str) -> Option<String> {
    let change = Change::new(Unit::NANOSECOND, *costs.effect(Metric::TimePerPacket, effect)?);
    let than = if effect == Effect::NodeOnTop { "" } else { " than plain forwarding" };
    Some(match costs.verdict(Metric::TimePerPacket, effect)? {
        Verdict::NotTold => {
            format!("{subject} takes no time per packet that can be told from 0 {}.", change.only_range())
        }
        verdict @ (Verdict::Told | Verdict::Hinted | Verdict::BelowPrecision | Verdict::GeneratorBound) => {
            let takes = if verdict == Verdict::Hinted { "seems to take" } else { "takes" };
            let more = change.word("more", "less");
            format!("{subject} {takes} {} {more} per packet{than}{}.", change.size(), change.range())
        }
    })
}

fn rate(result: &RunResult, costs: &Costs<'_>, effect: Effect) -> Option<String> {
    let share = costs.rate_share(effect)?;
    let change = Change::new(Quantity::Share.unit([]), share);
    let rate = if rate_is_searched(result) { "highest rate without loss" } else { "rate delivered" };
    let frames = figure(Quantity::Rate, costs.effect(Metric::Rate, effect)?.median.abs());
    Some(match costs.verdict(Metric::Rate, effect)? {
        Verdict::Told => {
            format!(
                "It {} the {rate} by {}{}, {frames}.",
                change.word("raises", "lowers"),
                change.size(),
                change.range()
            )
        }
        Verdict::Hinted => {
            let verb = change.word("raise", "lower");
            format!("It seems to {verb} the {rate} by {}{}, {frames}.", change.size(), change.range())
        }
        Verdict::NotTold => format!("A change in the {rate} cannot be told from 0 {}.", change.only_range()),
        Verdict::BelowPrecision => format!(
            "The change in the {rate}, {}{}, is smaller than the search resolves ({}).",
            change.signed(),
            change.signed_range(),
            percent(costs.precision)
        ),
        Verdict::GeneratorBound => format!(
            "What it costs in rate cannot be told: {}{} comes of rates that the generator limited (of {}).",
            change.signed(),
            change.signed_range(),
            names(costs.generator_bound(effect))
        ),
    })
}

fn latency(result: &RunResult, costs: &Costs<'_>, effect: Effect) -> Option<String> {
    let mut told: Vec<(&str, Vec<String>)> = Vec::new();
    let mut not_told = Vec::new();
    for metric in Metric::LATENCIES {
        let (Some(interval), Some(verdict)) = (costs.effect(metric, effect), costs.verdict(metric, effect)) else {
            continue;
        };
        let change = Change::new(Quantity::Time.unit([interval.low.abs().max(interval.high.abs())]), *interval);
        let at = percentile(metric);
        let verb = match verdict {
            Verdict::NotTold => {
                not_told.push(format!("{at} {}", change.only_range()));
                continue;
            }
            Verdict::Hinted => change.word("seems to rise by", "seems to fall by"),
            Verdict::Told | Verdict::BelowPrecision | Verdict::GeneratorBound => change.word("rises by", "falls by"),
        };
        let figure = format!("{} at {at}{}", change.size(), change.range());
        match told.last_mut() {
            Some((last, figures)) if *last == verb => figures.push(figure),
            _ => told.push((verb, vec![figure])),
        }
    }
    let told: Vec<String> = told.into_iter().map(|(verb, figures)| format!("{verb} {}", list(&figures))).collect();
    let load = match (effect, rate_is_searched(result)) {
        (Effect::NodeOnTop, true) => {
            format!(", at {} of each design's own rate,", percent(result.scenario.measure.latency_fraction))
        }
        (Effect::NodeOnTop, false) => format!(", at {},", latency_load(result)),
        (Effect::Node | Effect::Gateway | Effect::Interaction, _) => String::new(),
    };
    match (told.is_empty(), not_told.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("Latency{load} {}.", told.join(" and "))),
        (true, false) => Some(format!("In latency{load} no change can be told from 0: {}.", list(&not_told))),
        (false, false) => {
            Some(format!("Latency{load} {}; no change can be told from 0 at {}.", told.join(" and "), list(&not_told)))
        }
    }
}

/// Times add up where layers do not influence each other; rates, their reciprocals, and quantiles of latency need not.
fn interaction(result: &RunResult, costs: &Costs<'_>) -> Option<String> {
    let change = Change::new(Unit::NANOSECOND, *costs.effect(Metric::TimePerPacket, Effect::Interaction)?);
    let verdict = costs.verdict(Metric::TimePerPacket, Effect::Interaction)?;
    let mut sentences = match verdict {
        Verdict::NotTold => format!(
            "whether the two layers influence each other cannot be told: together they take {} per packet{} beyond the sum of \
             what each adds alone{}.",
            change.signed(),
            change.signed_range(),
            if change.interval.rounds < 2 { "" } else { ", and that interval holds 0" }
        ),
        Verdict::Told | Verdict::Hinted | Verdict::BelowPrecision | Verdict::GeneratorBound => {
            let interact = if verdict == Verdict::Hinted { "seem to influence" } else { "influence" };
            format!(
                "the two layers {interact} each other: together they take {} {} per packet{} than the sum of what each \
                 adds alone.",
                change.size(),
                change.word("more", "less"),
                change.range()
            )
        }
    };
    let rates = costs.verdict(Metric::Rate, Effect::Interaction).filter(|_| rate_is_searched(result));
    if let (Some(Verdict::Told | Verdict::Hinted), Some(rates)) =
        (rates, costs.effect(Metric::Rate, Effect::Interaction))
    {
        let rates = Change::new(Quantity::Rate.unit([rates.median]), *rates);
        sentences += &format!(
            " That rates differ from the sum by {}{} does not contradict that: rates are reciprocals of times.",
            rates.signed(),
            rates.signed_range()
        );
    }
    Some(sentences)
}

/// What the brackets mean.
fn brackets(costs: &[Costs<'_>]) -> Option<String> {
    let all: Vec<&Interval> = costs.iter().flat_map(Costs::intervals).collect();
    if all.iter().all(|interval| interval.rounds < 2) {
        return Some(format!(
            "All of this comes from {}: without intervals, chance cannot be ruled out.",
            counted(1, "round")
        ));
    }
    let misses: f64 = all.iter().map(|interval| 1.0 - interval.confidence).sum();
    Some(format!(
        "In brackets: {}, designs compared within each round; of the {} in the {}, about {} will miss the true value.",
        intervals(all.iter().copied())?,
        count(all.len() as u64),
        if costs.len() > 1 { "tables" } else { "table" },
        count(misses.round().max(1.0) as u64)
    ))
}

fn one_design(result: &RunResult, cell: &Cell<'_>) -> String {
    let summary = cell.summary;
    let mut parts = Vec::new();
    if let Some(rate) = &summary.rate_pps {
        let change = Change::new(Quantity::Rate.unit([rate.median]), *rate);
        let (verb, without_loss) = match (rate_is_searched(result), cell.generator_bound().is_some()) {
            (true, false) => ("carries", " without loss"),
            (true, true) => ("carries at least", " without loss"),
            (false, _) => ("delivers", ""),
        };
        parts.push(format!("{verb} {}{without_loss}{}", change.size(), change.range()));
    }
    if let Some(ns) = &summary.ns_per_packet {
        let change = Change::new(Unit::NANOSECOND, *ns);
        parts.push(format!("takes {} per packet in its layers{}", change.size(), change.range()));
    }
    let latencies =
        [("p50", summary.latency_ns_p50), ("p99", summary.latency_ns_p99), ("p99.9", summary.latency_ns_p999)];
    let latencies: Vec<String> = latencies
        .into_iter()
        .filter_map(|(name, interval)| Some(format!("{name} {}", figure(Quantity::Time, interval?.median))))
        .collect();
    if !latencies.is_empty() {
        parts.push(format!("has a latency of {} at {}", list(&latencies), latency_load(result)));
    }
    let size = match result.scenario.traffic.frame_sizes.len() {
        0 | 1 => String::new(),
        _ => format!(" with {}", frames(summary.frame_size)),
    };
    let translating = capitalised(where_nat_stands(cell.design()).unwrap_or("with no NAT at all"));
    let by = if result.scenario.lineups().len() > 1 { format!(" by {}", summary.engines) } else { String::new() };
    format!("{translating}{by}, this machine{size} {}.", list(&parts))
}

fn wrong(result: &RunResult) -> Option<String> {
    let all = Accounting::of(result);
    (all.wrong > 0).then(|| {
        format!(
            "Frames came out wrong: {} of {} were mistranslated or damaged. The trials in which that happened are in no figure, \
             but what translates so must not be trusted.",
            count(all.wrong),
            count(all.sent)
        )
    })
}

fn nothing(result: &RunResult) -> String {
    let all = result.trials.len() as u64;
    if all == 0 {
        return format!("Nothing was measured: {} were finished.", counted(all, "trial"));
    }
    let valid = result.valid_trials().count() as u64;
    let (all, are) = (counted(all, "trial"), if valid == 1 { "is" } else { "are" });
    format!("There is no figure: of {all}, {} {are} valid, and none gave a rate.", count(valid))
}

/// How an A/A run went.
fn against_itself(aa: &AaResult) -> Vec<String> {
    let share = |share: f64| percent((share * 1e3).round() / 1e3);
    let (alarms, all) =
        aa.figures.iter().fold((0, 0), |(alarms, all), of| (alarms + of.false_alarms, all + of.comparisons));
    let verdict = if aa.exceeds() {
        "some figure has more than promised: trust no verdict on this machine"
    } else if aa.rate <= aa.nominal {
        "no more than promised"
    } else {
        "within what chance explains of the promise"
    };
    vec![format!(
        "In {} of a design with itself, {} of {} verdicts were false alarms: {} ({} to {}, 95 % interval), where at most {} are promised; {verdict}.",
        counted(aa.comparisons, "comparison"),
        count(alarms),
        count(all),
        share(aa.rate),
        share(aa.interval.low),
        share(aa.interval.high),
        share(aa.nominal)
    )]
}

fn percentile(metric: Metric) -> &'static str {
    match metric {
        Metric::P50 => "p50",
        Metric::P99 => "p99",
        Metric::P999 => "p99.9",
        Metric::TimePerPacket | Metric::Rate | Metric::Connections | Metric::Ports => "the median",
    }
}

/// A change, ready to be put into words.
struct Change {
    scale: Scale,
    interval: Interval,
}

impl Change {
    fn new(unit: Unit, interval: Interval) -> Self {
        Self { scale: Scale::of(unit, &interval), interval }
    }

    fn word(&self, up: &'static str, down: &'static str) -> &'static str {
        if self.interval.median < 0.0 { down } else { up }
    }

    /// How large, without its sign.
    fn size(&self) -> String {
        self.scale.with_unit(self.interval.median.abs())
    }

    fn signed(&self) -> String {
        format!("{}\u{a0}{}", self.scale.signed(self.interval.median), self.scale.unit.name)
    }

    /// The interval of [`Self::size`], in brackets.
    fn range(&self) -> String {
        let (low, high) = if self.interval.median < 0.0 {
            (-self.interval.high, -self.interval.low)
        } else {
            (self.interval.low, self.interval.high)
        };
        self.bracket(self.scale.number(low), self.scale.number(high))
    }

    /// The interval of [`Self::signed`].
    fn signed_range(&self) -> String {
        self.bracket(self.scale.signed(self.interval.low), self.scale.signed(self.interval.high))
    }

    /// The interval where no figure stands before it, with its unit.
    fn only_range(&self) -> String {
        if self.interval.rounds < 2 {
            return format!("({}, one\u{a0}round)", self.signed());
        }
        let (low, high) = (self.scale.signed(self.interval.low), self.scale.signed(self.interval.high));
        format!("({low}\u{a0}to\u{a0}{high}\u{a0}{})", self.scale.unit.name)
    }

    fn bracket(&self, low: String, high: String) -> String {
        match self.interval.rounds {
            0 | 1 => String::new(),
            _ => format!(" ({low}\u{a0}to\u{a0}{high})"),
        }
    }
}
