//! What the tests of all links share: numbered frames, a script of random bursts, and the check that nothing vanishes uncounted.
#![expect(clippy::unwrap_used, reason = "a test helper fails its test by panicking")]

use natrig_link::{BURST_MAX, Link, LinkStats};
use natrig_wire::Frame;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) const FLOWS: usize = 4;

/// An ethertype for local experiments (IEEE 802, Local Experimental 1): no stack answers it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

const FLOW_AT: usize = 14;
const NUMBER_AT: usize = 15;
const BODY_AT: usize = 19;

/// The `number`th frame of a flow, `len` bytes long, every one of which follows from flow and number.
pub(crate) fn frame_bytes(flow: u8, number: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0u8; len];
    bytes[..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 2, 0x02, 0, 0, 0, 0, 1]);
    bytes[12..14].copy_from_slice(&ETHERTYPE);
    bytes[FLOW_AT] = flow;
    bytes[NUMBER_AT..BODY_AT].copy_from_slice(&number.to_be_bytes());
    for (at, byte) in bytes.iter_mut().enumerate().skip(BODY_AT) {
        *byte = body_byte(flow, number, at);
    }
    bytes
}

fn body_byte(flow: u8, number: u32, at: usize) -> u8 {
    (number as usize).wrapping_mul(31).wrapping_add(at * 7).wrapping_add(usize::from(flow)) as u8
}

/// Whether these are the bytes of a test frame, whole and unchanged: its flow and number. `None` for frames of others.
pub(crate) fn check_frame(bytes: &[u8]) -> Option<(u8, u32)> {
    if bytes.len() < BODY_AT || bytes[12..14] != ETHERTYPE {
        return None;
    }
    let (flow, number) = (bytes[FLOW_AT], u32::from_be_bytes(bytes[NUMBER_AT..BODY_AT].try_into().unwrap()));
    for (at, byte) in bytes.iter().enumerate().skip(BODY_AT) {
        assert_eq!(*byte, body_byte(flow, number, at), "byte {at} of frame {number} of flow {flow} has changed");
    }
    Some((flow, number))
}

/// One step of a script; `forth` is from the first link to the second.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send { forth: bool, frames: Vec<(u8, usize)> },
    Recv { forth: bool, max: usize },
}

/// Random bursts of frames of random lengths, received in random portions, so that rings run full and empty.
pub(crate) fn script(len_max: usize, steps: usize) -> impl Strategy<Value = Vec<Step>> {
    // The shortest and the longest often, and everything in between.
    let len = prop_oneof![1 => Just(60), 1 => Just(len_max), 6 => 60..=len_max];
    let frame = (0..FLOWS as u8, len);
    let send = (any::<bool>(), prop::collection::vec(frame, 1..300));
    let send = send.prop_map(|(forth, frames)| Step::Send { forth, frames });
    let recv = (any::<bool>(), 1..=BURST_MAX).prop_map(|(forth, max)| Step::Recv { forth, max });
    prop::collection::vec(prop_oneof![send, recv], 1..steps)
}

/// Bursts for [`cross`].
pub(crate) fn bursts(len_max: usize) -> impl Strategy<Value = Vec<Vec<(u8, usize)>>> {
    prop::collection::vec(prop::collection::vec((0..FLOWS as u8, 60..=len_max), 1..300), 40..80)
}

/// What one direction has carried.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    /// The next number of each flow.
    next: [u32; FLOWS],
    /// The lowest number that may come next, by flow.
    expected: [u32; FLOWS],
    pub(crate) offered: u64,
    pub(crate) taken: u64,
    pub(crate) received: u64,
    /// Frames that the receiver counted as lost.
    pub(crate) lost: u64,
    foreign: u64,
}

impl Direction {
    /// Sends one burst in pieces as `pick` allows, giving up on what the link does not take.
    pub(crate) fn send(&mut self, link: &mut dyn Link, wanted: &[(u8, usize)]) {
        let mut bytes: Vec<Vec<u8>> = Vec::new();
        for (flow, len) in wanted {
            bytes.push(frame_bytes(*flow, self.next[usize::from(*flow)], *len));
            self.next[usize::from(*flow)] += 1;
        }
        let frames: Vec<Frame<'_>> = bytes.iter_mut().map(|bytes| Frame::whole(bytes)).collect();
        let pick: Vec<u16> = (0..frames.len() as u16).collect();
        let taken = link.send(&frames, &pick).unwrap();
        assert!(taken <= pick.len());
        self.offered += pick.len() as u64;
        self.taken += taken as u64;
    }

    /// Receives one burst and checks each frame: unchanged, and behind all that its flow has shown before.
    pub(crate) fn recv(&mut self, link: &mut dyn Link, max: usize) -> usize {
        let Self { next, expected, received, foreign, .. } = self;
        let mut calls = 0;
        let presented = link
            .recv(max, &mut |burst| {
                calls += 1;
                assert!(!burst.is_empty() && burst.len() <= max);
                for frame in burst {
                    let Some((flow, number)) = check_frame(frame.bytes()) else {
                        *foreign += 1;
                        continue;
                    };
                    let flow = usize::from(flow);
                    assert!(number >= expected[flow], "frame {number} of flow {flow} came out of order");
                    assert!(number < next[flow], "frame {number} of flow {flow} was never sent");
                    expected[flow] = number + 1;
                    *received += 1;
                    // Whoever presents a frame in place must not mind what is done to it.
                    frame.buffer_mut().fill(0xee);
                }
            })
            .unwrap();
        assert_eq!(calls, usize::from(presented > 0));
        presented
    }

    /// Receives until every frame that `sent` counts was received or counted as lost, and gives up when the deadline is over: frames
    /// may still be on their way through the kernel, which on a busy machine takes its time.
    pub(crate) fn drain(&mut self, sent: LinkStats, link: &mut dyn Link, before: LinkStats) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while self.recv(link, BURST_MAX) > 0 {}
            let after = link.stats();
            let lost = after.rx_overflow + after.rx_truncated - before.rx_overflow - before.rx_truncated;
            assert_eq!(after.rx_frames - before.rx_frames, self.received + self.foreign);
            if self.received + lost == sent.tx_frames {
                self.lost = lost;
                return;
            }
            assert!(Instant::now() < deadline, "{} of {} arrived, {lost} are counted", self.received, sent.tx_frames);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// How long frames may take before they count as vanished.
const DEADLINE: Duration = Duration::from_secs(10);

/// Sends random bursts from one thread, as fast as it can, to another that now and then looks away for a while; then as [`play`]. Returns
/// what the sender did, and what the receiver saw.
pub(crate) fn cross(from: &mut dyn Link, to: &mut dyn Link, bursts: &[Vec<(u8, usize)>]) -> [Direction; 2] {
    let (sent_before, before) = (from.stats(), to.stats());
    let over = AtomicBool::new(false);
    // Whoever receives cannot know what has been sent so far.
    let mut received = Direction { next: [u32::MAX; FLOWS], ..Direction::default() };
    let mut sent = Direction::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for burst in bursts {
                sent.send(&mut *from, burst);
            }
            over.store(true, Ordering::Release);
        });
        for burst in bursts.iter().cycle() {
            if over.load(Ordering::Acquire) {
                break;
            }
            received.recv(to, burst.len());
            if burst[0].0 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let stats = from.stats();
    let tx_frames = stats.tx_frames - sent_before.tx_frames;
    assert_eq!(sent.taken, tx_frames + stats.tx_refused - sent_before.tx_refused, "handed on or refused");
    received.drain(LinkStats { tx_frames, ..stats }, to, before);
    [sent, received]
}

/// Plays a script over two joined links, drains them, and checks that each frame taken was received or counted as lost.
pub(crate) fn play(first: &mut dyn Link, second: &mut dyn Link, script: &[Step]) -> [Direction; 2] {
    let before = [first.stats(), second.stats()];
    let [mut forth, mut back] = [Direction::default(), Direction::default()];
    for step in script {
        match step {
            Step::Send { forth: true, frames } => forth.send(first, frames),
            Step::Send { forth: false, frames } => back.send(second, frames),
            Step::Recv { forth: true, max } => drop(forth.recv(second, *max)),
            Step::Recv { forth: false, max } => drop(back.recv(first, *max)),
        }
    }
    let sent = [first.stats(), second.stats()];
    let [sent_forth, sent_back] = std::array::from_fn(|side| LinkStats {
        tx_frames: sent[side].tx_frames - before[side].tx_frames,
        tx_refused: sent[side].tx_refused - before[side].tx_refused,
        ..sent[side]
    });
    assert_eq!(forth.taken, sent_forth.tx_frames + sent_forth.tx_refused, "what was taken was handed on or refused");
    assert_eq!(back.taken, sent_back.tx_frames + sent_back.tx_refused, "what was taken was handed on or refused");
    forth.drain(sent_forth, second, before[1]);
    back.drain(sent_back, first, before[0]);
    [forth, back]
}
