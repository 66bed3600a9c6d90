//! Defects put into the rig on purpose, each of which a trial must show: a measurement that has never caught anything proves nothing.
//!
//! All over links in memory, with gates so wide that a busy machine trips none of them: what strikes are counted frames.

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use natrig_lab::topology::WorldUse;
use natrig_link::passage::Sample;
use natrig_link::{BURST_MAX, Link, LinkDescription, LinkKind, LinkStats, RecvError, SendError, clock, memory};
use natrig_traffic::{
    Expectation, Fault, FlowSet, FrameSizes, Generator, GeneratorConfig, Receiver, Reflector, Refused, STAMP_AT,
    STAMP_LEN, Schedule, TTL,
};
use natrig_wire::Frame;
use natrig_wire::checksum::Delta;

use crate::bed::{self, Bench, Subject};
use crate::carrier::Carrier;
use crate::engine::Engines;
use crate::experiment::{Experiment, Offer, sources_expected};
use crate::hops::Journeys;
use crate::result::{Invalid, Place, Purpose, Tap, Trial};
use crate::rig::{Links, endpoint};
use crate::run::{environment, flow_spec};
use crate::scenario::{Design, FrameSize, Lineup, Scenario};

/// Offsets in the frames of a trial, which have no IP options.
const IP_SRC: std::ops::Range<usize> = 26..30;
const UDP_SRC_PORT: std::ops::Range<usize> = 34..36;
const UDP_CHECKSUM: std::ops::Range<usize> = 40..42;

/// What is done to one frame in so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// Behind the NAT: a bit of its UDP checksum is flipped.
    Checksum,
    /// Behind the NAT: it and the next one change their source ports, checksums put right.
    Swapped,
    /// Behind the NAT: it is gone, and nobody says so.
    Dropped,
    /// Behind the NAT: it waits for so long.
    Delayed { ns: u64 },
    /// Before the NAT: it comes once more from another port, and takes up a mapping that nobody asked for.
    Leaked,
}

/// A link that does something to one frame in so many.
struct Defective {
    inner: Box<dyn Link>,
    wrong: Wrong,
    every: u64,
    passed: u64,
    struck: Arc<AtomicU64>,
    held: VecDeque<(u64, Vec<u8>)>,
    clock: fn() -> u64,
}

impl Defective {
    fn strikes(&mut self) -> bool {
        self.passed += 1;
        // Not before the mappings have been made.
        self.passed % self.every == self.every / 2
    }

    /// Sends `frames[i]`, or what the defect makes of it and the next one. Returns how many of `pick` were used up.
    fn strike(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        let bytes = |index: u16| frames[usize::from(index)].bytes().to_vec();
        let mut first = bytes(pick[0]);
        let used = match self.wrong {
            Wrong::Checksum => {
                first[UDP_CHECKSUM.start] ^= 0x10;
                self.send_one(&mut first)?
            }
            Wrong::Swapped => {
                let Some(second) = pick.get(1) else {
                    // Alone in its burst: the next one, then.
                    self.passed -= 1;
                    return self.send_one(&mut first);
                };
                let mut second = bytes(*second);
                assert_eq!(first[IP_SRC], second[IP_SRC], "one address at the gateway");
                swap_ports(&mut first, &mut second);
                self.send_one(&mut first)? + self.send_one(&mut second)?
            }
            Wrong::Dropped => 1,
            Wrong::Delayed { ns } => {
                self.held.push_back(((self.clock)() + ns, first));
                1
            }
            Wrong::Leaked => unreachable!("that happens on the way in"),
        };
        self.struck.fetch_add(1, Ordering::Relaxed);
        Ok(used)
    }

    fn send_one(&mut self, bytes: &mut [u8]) -> Result<usize, SendError> {
        self.inner.send(&[Frame::whole(bytes)], &[0])
    }

    fn let_go(&mut self) -> Result<(), SendError> {
        while self.held.front().is_some_and(|(due_ns, _)| *due_ns <= (self.clock)()) {
            let Some((_, mut bytes)) = self.held.pop_front() else { break };
            self.send_one(&mut bytes)?;
        }
        Ok(())
    }
}

fn swap_ports(a: &mut [u8], b: &mut [u8]) {
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let (port_a, port_b) = (word(a, UDP_SRC_PORT.start), word(b, UDP_SRC_PORT.start));
    for (frame, was, is) in [(a, port_a, port_b), (b, port_b, port_a)] {
        let checksum = Delta::new().u16(was, is).apply_udp(word(frame, UDP_CHECKSUM.start));
        frame[UDP_SRC_PORT].copy_from_slice(&is.to_be_bytes());
        frame[UDP_CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    }
}

impl Link for Defective {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        self.let_go().unwrap();
        if self.wrong != Wrong::Leaked {
            return self.inner.recv(max, on_burst);
        }
        let Self { inner, every, passed, struck, .. } = self;
        let mut forged = Vec::new();
        inner.recv(max.min(BURST_MAX / 2), &mut |frames| {
            for frame in &*frames {
                *passed += 1;
                if *passed % *every == *every / 2 {
                    let mut bytes = frame.bytes().to_vec();
                    let nth = struck.fetch_add(1, Ordering::Relaxed) as u16;
                    bytes[UDP_SRC_PORT].copy_from_slice(&(2 + nth).to_be_bytes());
                    // Of no trial: the receiver puts it aside.
                    bytes[STAMP_AT + STAMP_LEN - 1] = 0;
                    forged.push(bytes);
                }
            }
            let mut burst: Vec<Frame<'_>> = Vec::new();
            for frame in frames {
                let len = frame.len();
                burst.push(Frame::new(frame.buffer_mut(), len));
            }
            burst.extend(forged.iter_mut().map(|bytes| Frame::new(&mut bytes[..], 60)));
            on_burst(&mut burst);
        })
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        if self.wrong == Wrong::Leaked {
            return self.inner.send(frames, pick);
        }
        let mut done = 0;
        while done < pick.len() {
            let ahead = (done..pick.len()).find(|_| self.strikes());
            let until = ahead.unwrap_or(pick.len());
            let taken = self.inner.send(frames, &pick[done..until])?;
            done += taken;
            if done < until {
                return Ok(done);
            }
            if ahead.is_some() {
                match self.strike(frames, &pick[done..])? {
                    0 => return Ok(done),
                    used => done += used,
                }
            }
        }
        Ok(done)
    }

    fn stats(&mut self) -> LinkStats {
        self.inner.stats()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn describe(&self) -> LinkDescription {
        self.inner.describe()
    }
}

/// Gates that a busy machine does not trip.
fn scenario() -> Scenario {
    let mut scenario = Scenario::quick();
    scenario.designs = vec![Design::Gateway];
    scenario.traffic.flows = 1000;
    scenario.limits.send_lag_p99_us = 4_000_000;
    scenario.limits.overrun = 0.5;
    scenario.limits.disturbed = 10.0;
    scenario
}

/// Puts another link in the place of one.
fn wrap(link: &mut Box<dyn Link>, with: impl FnOnce(Box<dyn Link>) -> Box<dyn Link>) {
    let inner = std::mem::replace(link, Box::new(memory::pair(2, 64).0));
    *link = with(inner);
}

/// A NAT at the gateway, spoilt by `spoil`, and what `measure` finds of it.
fn on_a_rig<R>(
    scenario: &Scenario,
    spoil: impl FnOnce(&mut Links),
    measure: impl FnOnce(&mut Bench<'_>, &mut Experiment) -> R,
) -> R {
    let engines = Engines::new(scenario).unwrap();
    let (cancel, mut environment) = (AtomicBool::new(false), environment("memory", None, Vec::new()));
    let opened = Bench::open(scenario, &engines, &Carrier::Memory, 60, &cancel, &mut environment, &mut Vec::new());
    let mut bench = opened.unwrap();
    spoil(&mut bench.worlds[0].links);
    let flows = Arc::new(FlowSet::new(&flow_spec(scenario)).unwrap());
    let subject = Subject::new(&bench, 0, Design::Gateway, 1).unwrap();
    let mut experiment = Experiment::new(&bench, subject, &flows, FrameSize::Bytes(64)).unwrap();
    measure(&mut bench, &mut experiment)
}

fn offer(rate_pps: f64, ms: u64) -> Offer {
    Offer { purpose: Purpose::Fixed, rate_pps, duration_ns: ms * 1_000_000, seed: 1, stamps: true }
}

/// Trials until the defect has struck in one: that one. All before it must be sound.
fn struck_by(wrong: Wrong, every: u64, rate_pps: f64) -> (Trial, u64) {
    let struck = Arc::new(AtomicU64::new(0));
    let defect = |inner| -> Box<dyn Link> {
        let (struck, held) = (struck.clone(), VecDeque::new());
        Box::new(Defective { inner, wrong, every, passed: 0, struck, held, clock: clock::now_ns })
    };
    let spoil = |links: &mut Links| {
        let gateway = links.layers.gateway.as_mut().unwrap();
        let link = if wrong == Wrong::Leaked { &mut gateway.inside } else { &mut gateway.outside };
        wrap(link, defect);
    };
    on_a_rig(&scenario(), spoil, |bench, experiment| {
        for _ in 0..200 {
            let trial = experiment.trial(bench, offer(rate_pps, 200)).unwrap().trial;
            let struck = struck.load(Ordering::Relaxed);
            if struck > 0 {
                return (trial, struck);
            }
            assert!(trial.invalid.iter().all(Invalid::is_disturbance), "{:?}", trial.invalid);
            assert_eq!((trial.unaccounted, trial.wrong_frame), (0, None));
        }
        panic!("no frame in {every} came by in 200 trials")
    })
}

#[test]
fn one_checksum_in_a_million() {
    let (trial, struck) = struck_by(Wrong::Checksum, 1_000_000, 2e6);
    assert!(trial.invalid.contains(&Invalid::Mistranslated { frames: struck }), "{:?}", trial.invalid);
    assert_eq!(trial.corrupted, struck);
    let wrong = trial.wrong_frame.unwrap();
    assert_eq!(wrong.fault, Fault::Corrupted);
    // Before and after are both shown: behind the addresses, ports and checksums the two are one.
    let payload = 2 * STAMP_AT..;
    assert_eq!(wrong.sent_hex.as_ref().unwrap()[payload.clone()], wrong.bytes_hex[payload]);
    // File header, two frames of 60 bytes with their headers.
    assert_eq!(wrong.pcap().len(), 24 + 2 * (16 + 60));
}

#[test]
fn two_flows_swapped() {
    let (trial, struck) = struck_by(Wrong::Swapped, 100_000, 1e6);
    assert!(trial.invalid.contains(&Invalid::Mistranslated { frames: 2 * struck }), "{:?}", trial.invalid);
    assert_eq!((trial.mistranslated, trial.corrupted), (2 * struck, 0));
    assert_eq!(trial.wrong_frame.unwrap().fault, Fault::MappingChanged);
}

#[test]
fn one_frame_in_a_hundred_thousand_dropped_silently() {
    let (trial, struck) = struck_by(Wrong::Dropped, 100_000, 1e6);
    assert!(trial.invalid.contains(&Invalid::Unaccounted { frames: struck as i64 }), "{:?}", trial.invalid);
}

#[test]
fn one_mapping_in_ten_thousand_leaked() {
    let (trial, struck) = struck_by(Wrong::Leaked, 10_000, 4e5);
    let leaked = Invalid::Leaked { place: Place::Gateway, connections: struck };
    assert!(trial.invalid.contains(&leaked), "{:?}", trial.invalid);
    // Nothing else shows it, unless a full ring has dropped some of the forged frames, which nobody sent.
    assert!((-(struck as i64)..=0).contains(&trial.unaccounted), "{}", trial.unaccounted);
}

#[test]
fn a_tap_whose_clock_is_a_microsecond_off() {
    let trial = |clock: fn() -> u64| {
        on_a_rig(
            &scenario(),
            |_| {},
            |bench, experiment| {
                experiment.layers_mut().clocks[1] = clock;
                experiment.trial(bench, offer(5e4, 20)).unwrap().trial
            },
        )
    };
    let off = |trial: &Trial| {
        trial.invalid.iter().find_map(|why| {
            let Invalid::TapClock { place, off_ns } = why else { return None };
            Some((*place, *off_ns))
        })
    };
    for wrong in [|| clock::now_ns() + 1000, || clock::now_ns() - 1000] {
        let (place, off_ns) = off(&trial(wrong)).unwrap();
        assert!(place == Place::Gateway && (1..=1000).contains(&off_ns), "{place} {off_ns}");
    }
    let sound = trial(clock::now_ns);
    assert_eq!(off(&sound), None);
    assert!(!sound.invalid.iter().any(|why| matches!(why, Invalid::TapOrder { .. })), "{:?}", sound.invalid);
}

/// Takes four frames where five are due.
struct Throttled {
    inner: Box<dyn Link>,
    rate_pps: f64,
    since_ns: u64,
    /// What it would take now: never much, however long the pause was.
    room: f64,
}

impl Link for Throttled {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        self.inner.recv(max, on_burst)
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        let now_ns = clock::now_ns();
        let elapsed_ns = now_ns - std::mem::replace(&mut self.since_ns, now_ns);
        self.room = (self.room + elapsed_ns as f64 / 1e9 * self.rate_pps).min(256.0);
        let taken = self.inner.send(frames, &pick[..pick.len().min(self.room as usize)])?;
        self.room -= taken as f64;
        Ok(taken)
    }

    fn stats(&mut self) -> LinkStats {
        self.inner.stats()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Of a kind that frames wait for: that is what a generator out of breath looks like.
    fn describe(&self) -> LinkDescription {
        LinkDescription { kind: LinkKind::Packet, ..self.inner.describe() }
    }
}

#[test]
fn a_generator_at_eighty_percent() {
    const OFFERED_PPS: f64 = 100_000.0;
    let mut scenario = scenario();
    scenario.limits.overrun = 0.05;
    let spoil = |links: &mut Links| {
        wrap(&mut links.tester.pods, |inner| {
            Box::new(Throttled { inner, rate_pps: 0.8 * OFFERED_PPS, since_ns: clock::now_ns(), room: 0.0 })
        });
    };
    let trial =
        on_a_rig(&scenario, spoil, |bench, experiment| experiment.trial(bench, offer(OFFERED_PPS, 200)).unwrap().trial);
    assert!(trial.invalid.iter().any(|why| matches!(why, Invalid::Overrun { .. })), "{:?}", trial.invalid);
    assert!(trial.rate_pps_achieved < 0.85 * OFFERED_PPS, "{}", trial.rate_pps_achieved);
}

thread_local! {
    static NOW_NS: Cell<u64> = const { Cell::new(0) };
}

fn simulated_ns() -> u64 {
    NOW_NS.get()
}

/// On a clock that only the test moves, so that nothing else is late: 60,000 frames, all stamped.
#[test]
fn one_frame_in_ten_thousand_late_by_a_millisecond() {
    const FRAMES: u64 = 60_000;
    const STEP_NS: u64 = 2_000;
    let scenario = scenario();
    let engines = Engines::new(&scenario).unwrap();
    let flows = Arc::new(FlowSet::new(&flow_spec(&scenario)).unwrap());
    let sizes = FrameSizes::cycle(&[64]).unwrap();
    let boxes = Lineup::USERSPACE.boxes();
    let ends = natrig_lab::topology::Port::Pods;
    let far_end = natrig_lab::topology::Port::Internet;
    let mut generator = Generator::new(GeneratorConfig {
        flows: flows.clone(),
        sizes: sizes.clone(),
        endpoint: endpoint(ends, boxes),
        burst: 256,
        refused: Refused::Lose,
    })
    .unwrap();
    let sources = sources_expected(Design::Gateway, &scenario.topology);
    let receiver = Receiver::new(flows, sizes, Expectation::AtServer { sources, ttl: TTL - 2 });
    let mut reflector = Reflector::new(receiver, endpoint(far_end, boxes), false);
    let mut links = Links::in_memory(Lineup::USERSPACE, None, 60);
    let struck = Arc::new(AtomicU64::new(0));
    wrap(&mut links.layers.gateway.as_mut().unwrap().outside, |inner| {
        let (wrong, struck) = (Wrong::Delayed { ns: 1_000_000 }, struck.clone());
        Box::new(Defective {
            inner,
            wrong,
            every: 10_000,
            passed: 0,
            struck,
            held: VecDeque::new(),
            clock: simulated_ns,
        })
    });
    let world = WorldUse::Measurement(boxes);
    let layers = bed::layers(&engines, &scenario.topology, Lineup::USERSPACE, Design::Gateway, world, 1);
    let mut layers = layers.unwrap();
    layers.clocks = [simulated_ns; 2];

    let sample = Some(Sample::of(FRAMES, u32::MAX, STAMP_AT));
    layers.sample(sample);
    reflector.receiver_mut().sample(sample, FRAMES as usize);
    NOW_NS.set(STEP_NS);
    generator.begin(1, Schedule::count(FRAMES, 1e5), STEP_NS);
    reflector.begin(1, STEP_NS);
    while reflector.receiver().counts().received < FRAMES {
        generator.send_due(&mut *links.tester.pods, simulated_ns()).unwrap();
        layers.poll(&mut links.layers).unwrap();
        NOW_NS.set(simulated_ns() + STEP_NS);
        reflector.poll(&mut *links.tester.internet, simulated_ns).unwrap();
        assert!(simulated_ns() < 1_000_000_000, "all have arrived by now");
    }

    assert_eq!(struck.load(Ordering::Relaxed), 6);
    let latency = &reflector.receiver().latency().intended_ns;
    assert!(latency.value_at_quantile(0.999) < 10_000 && latency.value_at_quantile(0.999_91) >= 1_000_000);
    let stamped: Vec<_> = layers.passages().into_iter().map(|(place, log)| (place, log.into())).collect();
    let journeys = Journeys::join(reflector.receiver().arrivals(), &stamped);
    let hops = journeys.summary(1).unwrap();
    assert_eq!((hops.samples, journeys.disordered), (FRAMES, 0));
    let worst = hops.legs.iter().max_by(|a, b| a.tail_share.partial_cmp(&b.tail_share).unwrap()).unwrap();
    assert_eq!((worst.from, worst.to), (Tap::GatewayOut, Tap::Received));
    assert!(worst.tail_share.unwrap() > 0.99, "{:?}", hops.legs);
    assert_eq!(hops.tail.unwrap().quantile, 0.9999);
}
