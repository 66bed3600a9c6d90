//! Throughput and latency by frame size, as RFC 2544 §26.1 and §26.2 want them reported, summarised as RFC 8219 §7.1 and §7.2 do.

use natrig_bench::result::{DesignSummary, Repetitions, RunResult, Spread};
use natrig_bench::scenario::{FrameSize, Rate, Word};

use crate::document::{Align, Block, Document, Table};
use crate::figure::{Axis, Figure, LineChart, Scale, Series};
use crate::numbers::{ABSENT, percent};

/// What a frame takes on Ethernet besides itself, in bytes: preamble, start delimiter and gap between frames.
const ETHERNET_GAP: f64 = 20.0;

/// The medium that rates are put beside, in bits per second: where frames really go, none sets a limit.
const YARDSTICK_BITS_PER_S: f64 = 1e10;

/// The table; nothing where rates were not searched for by a goal's rules.
pub(crate) fn document(result: &RunResult) -> Document {
    let mut document = Document::default();
    let Rate::Mlrsearch(_) = result.scenario.measure.rate else { return document };
    let measured: Vec<&DesignSummary> =
        result.designs.iter().filter(|design| design.repetitions.throughput_pps.is_some()).collect();
    if measured.is_empty() {
        return document;
    }
    document.heading("Throughput and latency by frame size (RFC 2544 §26.1, §26.2; RFC 8219 §7.1, §7.2)");
    let mut table = Table::new([
        ("frame size", Align::Right),
        ("10GbE, frames/s", Align::Right),
        ("NAT at", Align::Left),
        ("engines", Align::Left),
        ("throughput, frames/s", Align::Right),
        ("1st perc.", Align::Right),
        ("99th perc.", Align::Right),
        ("latency at", Align::Right),
        ("TL, µs", Align::Right),
        ("WCL, µs", Align::Right),
        ("repetitions", Align::Right),
    ]);
    for design in measured {
        let Repetitions { throughput_pps, latency_at_pps, latency_typical_ns, latency_worst_ns } = design.repetitions;
        let whole = |of: fn(Spread) -> f64, spread: Option<Spread>| {
            spread.map_or_else(|| ABSENT.to_owned(), |spread| format!("{:.0}", of(spread)))
        };
        let micros = |spread: Option<Spread>| match spread {
            None => ABSENT.to_owned(),
            Some(Spread { median, percentile_1, percentile_99, .. }) => {
                let [median, low, high] = [median, percentile_1, percentile_99].map(|ns| ns / 1e3);
                format!("{median:.1} ({low:.1}–{high:.1})")
            }
        };
        table.row([
            design.frame_size.to_string(),
            format!("{:.0}", yardstick_pps(design.frame_size)),
            design.design.to_string(),
            design.engines.to_string(),
            whole(|spread| spread.median, throughput_pps),
            whole(|spread| spread.percentile_1, throughput_pps),
            whole(|spread| spread.percentile_99, throughput_pps),
            whole(|spread| spread.median, latency_at_pps),
            micros(latency_typical_ns),
            micros(latency_worst_ns),
            throughput_pps.map_or(0, |spread| spread.repetitions).to_string(),
        ]);
    }
    let traffic = &result.scenario.traffic;
    table.note = format!(
        "Protocol: UDP over IPv4. Data stream: {} schedule, {} flows, direction {}. Media: {}, which has no rate of its own; 10GbE: what that \
         would carry. Medians, 1st and 99th percentile over repetitions. Latency at {} of the throughput, from the intended send time to \
         reception, whole frames: without a medium that sends bit by bit RFC 1242 §3.8 has but one definition.",
        traffic.schedule.word(),
        traffic.flows,
        traffic.direction,
        result.environment.link.kind,
        percent(result.scenario.measure.latency_fraction)
    );
    document.push(Block::Table(table));
    document
}

/// Frame rate over frame size, a line for each design and one for the medium that they are put beside; nothing for one size.
pub(crate) fn figure(result: &RunResult) -> Option<Figure> {
    let bytes = |design: &DesignSummary| match design.frame_size {
        FrameSize::Bytes(bytes) => Some(f64::from(bytes)),
        FrameSize::Mix(_) => None,
    };
    let mut sizes: Vec<u16> = Vec::new();
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for design in &result.designs {
        let (Some(size), Some(spread)) = (bytes(design), design.repetitions.throughput_pps) else { continue };
        let name = format!("{} of {}", design.design, design.engines);
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, points)) => points.push((size, spread.median)),
            None => lines.push((name, vec![(size, spread.median)])),
        }
        if !sizes.contains(&(size as u16)) {
            sizes.push(size as u16);
        }
    }
    if sizes.len() < 2 {
        return None;
    }
    sizes.sort_unstable();
    let medium = sizes.iter().map(|size| (f64::from(*size), yardstick_pps(FrameSize::Bytes(*size))));
    lines.push(("10 Gbit/s Ethernet".to_owned(), medium.collect()));
    lines.iter_mut().for_each(|(_, points)| points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    Some(Figure::Lines(LineChart {
        title: "Frame rate by frame size (RFC 2544 §26.1)".to_owned(),
        x: Axis::new("frame size, with FCS", "bytes", Scale::Linear),
        y: Axis::new("frames per second", "pps", Scale::Log),
        series: lines.iter().map(|(name, points)| Series::new(name, points.iter().copied())).collect(),
        note: "Medians over the rounds; what 10 Gbit/s Ethernet would carry at most is there for comparison."
            .to_owned(),
    }))
}

/// Frames per second that 10 Gbit/s Ethernet carries at most (RFC 2544, appendix B, has smaller media).
fn yardstick_pps(size: FrameSize) -> f64 {
    let bytes = match size {
        FrameSize::Bytes(bytes) => f64::from(bytes),
        FrameSize::Mix(mix) => {
            let (frames, bytes) = mix.parts().iter().fold((0.0, 0.0), |(frames, bytes), (count, size)| {
                (frames + f64::from(*count), bytes + f64::from(*count) * f64::from(*size))
            });
            bytes / frames
        }
    };
    YARDSTICK_BITS_PER_S / (8.0 * (bytes + ETHERNET_GAP))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Well known: 14.88 Mpps and 812.7 kpps.
    #[test]
    fn the_rates_of_10_gigabit_ethernet() {
        assert_eq!(yardstick_pps(FrameSize::Bytes(64)).round(), 14_880_952.0);
        assert_eq!(yardstick_pps(FrameSize::Bytes(1518)).round(), 812_744.0);
    }
}
