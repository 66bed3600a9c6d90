//! What stands at a layer: a box with two sides that forwards, or translates, bursts of frames.
//!
//! A [`Stage`] is L2 and accounting around an [`Engine`]: it takes what is addressed to it, answers ARP for its own addresses, lets
//! the engine decide, and rewrites MAC addresses. [`pump`] moves one burst from a link through a stage to the link on its other side.

mod pump;

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use natrig_link::passage::Passages;
use natrig_link::{BURST_MAX, Link, SendError};
use natrig_nat::{Direction, DropReason, Forwarder, Nat, Verdict};
use natrig_wire::{Frame, MacAddr, arp, ethernet};

use self::pump::BackBuffer;
pub use self::pump::{PumpError, PumpTimes, pump};

/// The two sides of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Towards the pods.
    Inside,
    /// Towards the internet.
    Outside,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Inside => Self::Outside,
            Self::Outside => Self::Inside,
        }
    }

    /// The direction of what arrives here.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Inside => Direction::Outbound,
            Self::Outside => Direction::Inbound,
        }
    }
}

/// How a stage speaks on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideConfig {
    /// Its own MAC address there.
    pub mac: MacAddr,
    /// The next hop's.
    pub peer: MacAddr,
    /// Addresses that it answers ARP for.
    pub addresses: Vec<Ipv4Addr>,
}

/// What decides about frames.
#[derive(Debug)]
pub enum Engine {
    /// Route only.
    Forward(Box<Forwarder>),
    /// Network address translation.
    Nat(Box<Nat>),
}

impl Engine {
    fn translate_burst(&mut self, from: Side, frames: &mut [Frame<'_>], verdicts: &mut [Verdict], now_ns: u64) {
        match self {
            Self::Forward(forwarder) => forwarder.translate_burst(from.direction(), frames, verdicts, now_ns),
            Self::Nat(nat) => nat.translate_burst(from.direction(), frames, verdicts, now_ns),
        }
    }
}

/// What a stage did with frames, since it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageCounts {
    /// Sent out of the other side.
    pub forwarded: u64,
    /// Turned into an answer and sent back: ICMP errors, resets, hairpins.
    pub returned: u64,
    /// Dropped by the engine, by reason; index with `DropReason as usize`.
    pub drops: [u64; DropReason::COUNT],
    /// Dropped because the link on the way out took no more.
    pub link_full: u64,
    /// Kept by the engine to be sent later: how many there are now.
    pub held: u64,
    /// Not addressed to this stage: other hosts' frames and noise.
    pub not_for_us: u64,
    /// ARP requests answered.
    pub arp_answered: u64,
    /// Frames to be sent back that the link did not take; they are in `returned` or `arp_answered` too.
    pub answers_lost: u64,
}

impl Default for StageCounts {
    fn default() -> Self {
        Self {
            forwarded: 0,
            returned: 0,
            drops: [0; DropReason::COUNT],
            link_full: 0,
            held: 0,
            not_for_us: 0,
            arp_answered: 0,
            answers_lost: 0,
        }
    }
}

impl StageCounts {
    /// Frames that ended here, by reason, without those that were never this stage's; reasons with none left out.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let engine = DropReason::ALL.iter().map(|reason| (reason.as_str(), self.drops[*reason as usize]));
        engine.chain([("link_full", self.link_full), ("answered", self.returned)]).filter(|(_, frames)| *frames > 0)
    }
}

/// Which frames of a burst leave on which side, as indices.
#[derive(Debug, Default)]
pub struct Picks {
    /// Out of the other side.
    pub forward: ArrayVec<u16, BURST_MAX>,
    /// Out of the side they came from.
    pub back: ArrayVec<u16, BURST_MAX>,
}

/// A box with two sides.
#[derive(Debug)]
pub struct Stage {
    inside: SideConfig,
    outside: SideConfig,
    engine: Engine,
    counts: StageCounts,
    verdicts: [Verdict; BURST_MAX],
    back: BackBuffer,
    passages: Passages,
}

impl Stage {
    /// A box that lets `engine` decide.
    pub fn new(inside: SideConfig, outside: SideConfig, engine: Engine) -> Self {
        Self {
            inside,
            outside,
            engine,
            counts: StageCounts::default(),
            verdicts: [Verdict::Skip; BURST_MAX],
            back: BackBuffer::default(),
            passages: Passages::default(),
        }
    }

    /// How many sessions natrig's own NAT holds here, held ports included; it walks the table. None where nothing is translated.
    pub fn sessions(&self) -> Option<u64> {
        match &self.engine {
            Engine::Forward(_) => None,
            Engine::Nat(nat) => Some(nat.mappings().count() as u64),
        }
    }

    /// Decides about a burst that arrived at side `from` and rewrites the frames; `picks` says where they go.
    pub fn process(&mut self, from: Side, frames: &mut [Frame<'_>], now_ns: u64, picks: &mut Picks) {
        picks.forward.clear();
        picks.back.clear();
        let verdicts = &mut self.verdicts[..frames.len()];
        let (near, far) = match from {
            Side::Inside => (&self.inside, &self.outside),
            Side::Outside => (&self.outside, &self.inside),
        };
        let mut arp_answers: ArrayVec<u16, BURST_MAX> = ArrayVec::new();
        for (index, (frame, verdict)) in frames.iter_mut().zip(verdicts.iter_mut()).enumerate() {
            *verdict = admit(near, frame, &mut self.counts);
            // An ARP answer already stands in its frame: the engine must not see it.
            if *verdict == Verdict::Back {
                arp_answers.push(index as u16);
                *verdict = Verdict::Skip;
            }
        }
        self.engine.translate_burst(from, frames, verdicts, now_ns);
        settle(frames, verdicts, near, far, &mut self.counts, picks);
        picks.back.extend(arp_answers);
    }

    /// Sends on what the engine had held and lets go now, of frames that arrived at side `from`.
    ///
    /// # Errors
    /// What the links return.
    fn release(
        &mut self,
        from: Side,
        near_link: &mut dyn Link,
        far_link: &mut dyn Link,
        now_ns: u64,
    ) -> Result<(), SendError> {
        let Self { inside, outside, engine: Engine::Nat(nat), counts, .. } = self else { return Ok(()) };
        if !nat.holds_frames() {
            return Ok(());
        }
        let (near, far) = match from {
            Side::Inside => (&*inside, &*outside),
            Side::Outside => (&*outside, &*inside),
        };
        let mut picks = Picks::default();
        let mut sending = Ok(());
        let released = nat.release(from.direction(), now_ns, &mut |frames, verdicts| {
            picks.forward.clear();
            picks.back.clear();
            settle(frames, verdicts, near, far, counts, &mut picks);
            sending = far_link.send(frames, &picks.forward).and_then(|taken| {
                counts.forwarded += taken as u64;
                counts.link_full += (picks.forward.len() - taken) as u64;
                let taken = near_link.send(frames, &picks.back)?;
                counts.answers_lost += (picks.back.len() - taken) as u64;
                Ok(())
            });
        });
        counts.held = counts.held.saturating_sub(released as u64);
        sending
    }

    /// What was done so far.
    pub fn counts(&self) -> &StageCounts {
        &self.counts
    }

    /// Time stamps of frames that were forwarded on their way out, from the inside to the outside.
    pub fn passages(&self) -> &Passages {
        &self.passages
    }

    /// To say which frames are stamped.
    pub fn passages_mut(&mut self) -> &mut Passages {
        &mut self.passages
    }

    /// What decides.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What decides.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

/// Whether a frame is for this side's address: `Forward` if the engine shall see it, `Back` if it was an ARP request that is now its
/// answer, `Skip` otherwise.
#[inline]
fn admit(side: &SideConfig, frame: &mut Frame<'_>, counts: &mut StageCounts) -> Verdict {
    let bytes = frame.bytes();
    let Some((head, _)) = bytes.split_first_chunk::<{ ethernet::HEADER_LEN }>() else {
        counts.not_for_us += 1;
        return Verdict::Skip;
    };
    if head[..6] == side.mac.0 && head[12..] == ethernet::ethertype::IPV4.to_be_bytes() {
        return Verdict::Forward;
    }
    if head[12..] == ethernet::ethertype::ARP.to_be_bytes() && answer_arp(side, frame) {
        counts.arp_answered += 1;
        return Verdict::Back;
    }
    counts.not_for_us += 1;
    Verdict::Skip
}

/// Turns an ARP request for one of the side's addresses into its answer.
#[cold]
fn answer_arp(side: &SideConfig, frame: &mut Frame<'_>) -> bool {
    let Ok(request) = arp::Repr::parse(&frame.bytes()[ethernet::HEADER_LEN..]) else { return false };
    if request.operation != arp::Operation::Request || !side.addresses.contains(&request.target_ip) {
        return false;
    }
    let answer = request.answer(side.mac);
    let bytes = frame.bytes_mut();
    bytes[..6].copy_from_slice(&answer.target_mac.0);
    bytes[6..12].copy_from_slice(&side.mac.0);
    answer.emit(&mut bytes[ethernet::HEADER_LEN..]).is_ok()
}

/// Reads the verdicts on frames from `near`: gives those that travel their MAC addresses, and counts the others.
#[inline]
fn settle(
    frames: &mut [Frame<'_>],
    verdicts: &[Verdict],
    near: &SideConfig,
    far: &SideConfig,
    counts: &mut StageCounts,
    picks: &mut Picks,
) {
    for (index, (frame, verdict)) in frames.iter_mut().zip(verdicts).enumerate() {
        match verdict {
            Verdict::Forward => {
                set_macs(frame, far);
                picks.forward.push(index as u16);
            }
            Verdict::Back => {
                set_macs(frame, near);
                counts.returned += 1;
                picks.back.push(index as u16);
            }
            Verdict::Drop(reason) => counts.drops[*reason as usize] += 1,
            Verdict::Hold => counts.held += 1,
            Verdict::Skip => {}
        }
    }
}

#[inline]
fn set_macs(frame: &mut Frame<'_>, side: &SideConfig) {
    if let Some(addresses) = frame.bytes_mut().first_chunk_mut::<12>() {
        addresses[..6].copy_from_slice(&side.peer.0);
        addresses[6..].copy_from_slice(&side.mac.0);
    }
}

#[cfg(test)]
mod tests;
