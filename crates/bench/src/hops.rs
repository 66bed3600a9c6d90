//! From the stamps that sampled frames left on their way to one-way times, and to where the slowest of them lost their time.

use std::borrow::Cow;
use std::collections::HashMap;

use natrig_link::passage::Passage;
use natrig_traffic::Arrival;

use crate::result::{Hops, Leg, Place, Quantiles, Tail, Tap};
use crate::stats::MIN_TAIL_SAMPLES;

/// Most frames that are stamped in a trial: what a 99.99th percentile needs.
pub(crate) const SAMPLES_MAX: u32 = 65_536;

/// Sampled frames' times between taps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Journeys {
    /// Where times were taken, in the order of the way.
    taps: Vec<Tap>,
    /// For each frame the time from each tap to the next, in nanoseconds.
    legs_ns: Vec<u32>,
    /// Frames whose stamps are not in the order of the way: then some clock is wrong.
    pub(crate) disordered: u64,
}

impl Journeys {
    /// Puts together what the taps of each layer and the receiver noted of the same frames. A frame that some tap did not see (there was
    /// no room) is left out.
    pub(crate) fn join(arrivals: &[Arrival], layers: &[(Place, Cow<'_, [Passage]>)]) -> Self {
        let mut taps = vec![Tap::Intended, Tap::Sent];
        taps.extend(layers.iter().flat_map(|(place, _)| place_taps(*place)));
        taps.push(Tap::Received);
        let seen: Vec<HashMap<u64, &Passage>> =
            layers.iter().map(|(_, log)| log.iter().map(|passage| (passage.key, passage)).collect()).collect();
        let mut journeys = Self { taps, ..Self::default() };
        let mut times = Vec::new();
        'frames: for arrival in arrivals {
            times.clear();
            times.extend([arrival.intended_ns, arrival.sent_ns]);
            for layer in &seen {
                let Some(passage) = layer.get(&arrival.key) else { continue 'frames };
                times.extend([passage.in_ns, passage.out_ns]);
            }
            times.push(arrival.received_ns);
            if !times.is_sorted() {
                journeys.disordered += 1;
                continue;
            }
            let leg = |pair: &[u64]| u32::try_from(pair[1] - pair[0]).unwrap_or(u32::MAX);
            journeys.legs_ns.extend(times.windows(2).map(leg));
        }
        journeys
    }

    /// Adds the frames of another trial over the same way.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.taps.is_empty() {
            self.taps.clone_from(&other.taps);
        }
        if self.taps == other.taps {
            self.legs_ns.extend(&other.legs_ns);
            self.disordered += other.disordered;
        }
    }

    /// What they say; `one_in` is how many frames there were for each that was stamped. `None` without frames.
    pub(crate) fn summary(&self, one_in: u32) -> Option<Hops> {
        let legs = self.taps.len().checked_sub(1).filter(|_| !self.legs_ns.is_empty())?;
        let frames: Vec<&[u32]> = self.legs_ns.chunks_exact(legs).collect();
        let times = |leg: usize| -> Vec<u32> {
            let mut times: Vec<u32> = frames.iter().map(|frame| frame[leg]).collect();
            times.sort_unstable();
            times
        };
        let times: Vec<Vec<u32>> = (0..legs).map(times).collect();
        let medians: Vec<u32> = times.iter().map(|times| times[times.len() / 2]).collect();
        let tail = tail(&frames, &medians);
        let legs = self.taps.windows(2).zip(&times).enumerate().map(|(index, (taps, times))| Leg {
            from: taps[0],
            to: taps[1],
            time: quantiles(times),
            tail_share: tail.as_ref().map(|(_, shares)| shares[index]),
        });
        Some(Hops { one_in, samples: frames.len() as u64, legs: legs.collect(), tail: tail.map(|(tail, _)| tail) })
    }
}

/// Where a layer stamps frames.
fn place_taps(place: Place) -> [Tap; 2] {
    match place {
        Place::Node => [Tap::NodeIn, Tap::NodeOut],
        Place::Gateway | Place::Pods | Place::Internet => [Tap::GatewayIn, Tap::GatewayOut],
    }
}

/// The slowest frames, as far out as the sample allows, and which share of what they took above the ordinary was lost on which leg.
fn tail(frames: &[&[u32]], medians: &[u32]) -> Option<(Tail, Vec<f64>)> {
    let total = |frame: &[u32]| frame.iter().map(|ns| u64::from(*ns)).sum::<u64>();
    let mut totals: Vec<u64> = frames.iter().map(|frame| total(frame)).collect();
    totals.sort_unstable();
    let supported = |quantile: &f64| frames.len() as f64 * (1.0 - quantile) + 1e-6 >= MIN_TAIL_SAMPLES;
    let quantile = [0.9999, 0.999, 0.99].into_iter().find(supported)?;
    let from_ns = totals[((quantile * totals.len() as f64).ceil() as usize).saturating_sub(1)];
    let slowest: Vec<&&[u32]> = frames.iter().filter(|frame| total(frame) >= from_ns).collect();
    let excess = |leg: usize| -> f64 {
        slowest.iter().map(|frame| f64::from(frame[leg]) - f64::from(medians[leg])).sum::<f64>().max(0.0)
    };
    let excess: Vec<f64> = (0..medians.len()).map(excess).collect();
    let all: f64 = excess.iter().sum();
    let shares = excess.iter().map(|ns| if all > 0.0 { ns / all } else { 0.0 }).collect();
    let excess_ns_mean = all / slowest.len() as f64;
    Some((Tail { quantile, from_ns, frames: slowest.len() as u64, excess_ns_mean }, shares))
}

fn quantiles(sorted: &[u32]) -> Quantiles {
    let mut histogram = natrig_traffic::histogram();
    for ns in sorted {
        histogram.saturating_record(u64::from(*ns).max(1));
    }
    Quantiles::of(&histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame every 10 µs: 100 ns until it is sent, 300 to the node, 50 in it, 400 to the end; `slow` of them a millisecond in the node.
    fn way(frames: u64, slow: impl Fn(u64) -> bool) -> (Vec<Arrival>, Vec<Passage>) {
        let mut way = (Vec::new(), Vec::new());
        for key in 0..frames {
            let intended_ns = key * 10_000;
            let in_ns = intended_ns + 400;
            let out_ns = in_ns + 50 + if slow(key) { 1_000_000 } else { 0 };
            way.0.push(Arrival { key, intended_ns, sent_ns: intended_ns + 100, received_ns: out_ns + 400 });
            way.1.push(Passage { key, in_ns, out_ns });
        }
        way
    }

    #[test]
    fn the_tail_comes_from_where_the_time_was_lost() {
        let (arrivals, passages) = way(6000, |key| key % 500 == 3);
        let journeys = Journeys::join(&arrivals, &[(Place::Node, Cow::from(&passages))]);
        assert_eq!(journeys.disordered, 0);
        let hops = journeys.summary(1).unwrap();
        let way: Vec<(Tap, Tap)> = hops.legs.iter().map(|leg| (leg.from, leg.to)).collect();
        use Tap::{Intended, NodeIn, NodeOut, Received, Sent};
        assert_eq!(way, [(Intended, Sent), (Sent, NodeIn), (NodeIn, NodeOut), (NodeOut, Received)]);
        let medians: Vec<Option<u64>> = hops.legs.iter().map(|leg| leg.time.ns_p50).collect();
        assert_eq!(medians, [100, 300, 50, 400].map(Some));
        let tail = hops.tail.unwrap();
        assert_eq!((tail.quantile, tail.frames, tail.excess_ns_mean), (0.999, 12, 1e6));
        let shares: Vec<Option<f64>> = hops.legs.iter().map(|leg| leg.tail_share).collect();
        assert_eq!(shares, [0.0, 0.0, 1.0, 0.0].map(Some));
    }

    #[test]
    fn frames_that_a_tap_missed_are_left_out_and_impossible_ones_counted() {
        let (arrivals, mut passages) = way(100, |_| false);
        passages.remove(7);
        // 1 µs ahead: the node seems to have had the frame before it was sent.
        for passage in &mut passages {
            (passage.in_ns, passage.out_ns) = (passage.in_ns.saturating_sub(1000), passage.out_ns.saturating_sub(1000));
        }
        let journeys = Journeys::join(&arrivals, &[(Place::Node, Cow::from(&passages))]);
        assert_eq!((journeys.disordered, journeys.summary(1)), (99, None));
    }

    #[test]
    fn a_small_sample_has_no_tail() {
        let (arrivals, passages) = way(500, |_| false);
        let mut journeys = Journeys::join(&arrivals, &[(Place::Node, Cow::from(&passages))]);
        assert_eq!(journeys.summary(4).unwrap().tail, None);
        let more = journeys.clone();
        journeys.add(&more);
        let hops = journeys.summary(4).unwrap();
        assert_eq!((hops.samples, hops.one_in), (1000, 4));
        assert_eq!(hops.tail.unwrap().quantile, 0.99);
    }
}
