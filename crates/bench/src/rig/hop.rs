//! `link = "auto"`: which kind of link carries most, found out by measuring each over one hop for a moment.
//!
//! Kernels and machines differ in what they allow and in what that costs; the run that follows is through the kind that was fastest here
//! and now. The hop is a veth pair in a world of its own, so that nothing that is measured with later has carried a frame before.

use natrig_lab::lease::Lease;
use natrig_lab::plan::Plan;
use natrig_lab::topology::{Boxes, Port, Topology};
use natrig_link::{BURST_MAX, Link, RecvError, SendError, clock};
use natrig_wire::Frame;

use super::endpoint;
use super::links::{LinkError, OpenLink, burst_of, open_single};
use super::placement::pin;
use crate::result::LinkCandidate;
use crate::world::WorldError;

/// How long each kind is used before it counts, and then measured each time, in nanoseconds: several times as long as the kernel keeps back
/// a block of frames.
const TURN_NS: u64 = 8_000_000;
/// How often it is measured. The best counts: what disturbs makes slower, never faster.
const TURNS: usize = 4;
/// For local experiments (IEEE 802, Local Experimental 1): no stack answers it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// A kind of link, and what it carried.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The kind.
    pub(crate) how: OpenLink,
    /// Frames a second over one hop, sent and received by one thread.
    pub(crate) rate_pps: Result<f64, HopError>,
}

impl Candidate {
    /// As the result has it.
    pub(crate) fn told(self, taken: bool) -> LinkCandidate {
        let (rate_pps, refused) = match self.rate_pps {
            Ok(rate_pps) => (Some(rate_pps), None),
            Err(error) => (None, Some(error.to_string())),
        };
        LinkCandidate { kind: self.how.name().to_owned(), rate_pps, refused, taken }
    }
}

/// Why a kind of link carries nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HopError {
    /// It cannot be had.
    #[error(transparent)]
    Open(#[from] LinkError),
    /// It does not take frames.
    #[error("failed to send over the hop: {0}")]
    Send(#[from] SendError),
    /// It does not give them.
    #[error("failed to receive over the hop: {0}")]
    Receive(#[from] RecvError),
    /// It takes them, and that is all.
    #[error("of what was sent over the hop, nothing arrived")]
    Nothing,
    /// The thread that measured ended by a panic.
    #[error("failed to finish: the measuring thread panicked")]
    Panicked,
}

/// What links are wanted for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Slots of a receive ring, if the scenario says.
    pub(crate) slots: Option<u32>,
    /// The longest frame, in bytes without FCS. Links are opened for this; the hop is measured with the shortest.
    pub(crate) frame_len_max: usize,
    /// The processor that is measured on, where there is a choice.
    pub(crate) cpu: Option<usize>,
}

/// `kinds` by what they carry here, the fastest first, and at the end those that carry nothing.
///
/// # Errors
/// There can be no world.
pub(crate) fn by_rate(kinds: &[OpenLink], wanted: Wanted) -> Result<Vec<Candidate>, WorldError> {
    let lease = Plan::measurement(&Topology::default(), Boxes::STAGES)?.build()?;
    let measure = |how: &OpenLink| Candidate { how: *how, rate_pps: measured(&lease, *how, wanted) };
    let mut candidates: Vec<Candidate> = kinds.iter().map(measure).collect();
    let rate_of = |candidate: &Candidate| candidate.rate_pps.as_ref().map_or(0.0, |rate_pps| *rate_pps);
    candidates.sort_by(|a, b| rate_of(b).total_cmp(&rate_of(a)));
    // Nobody else is in this world, and nothing depends on its end.
    drop(lease);
    Ok(candidates)
}

fn measured(lease: &Lease, how: OpenLink, wanted: Wanted) -> Result<f64, HopError> {
    let open = |port| open_single(lease, port, how, wanted.slots, wanted.frame_len_max);
    // The receiver first: what is sent to an end that is not open yet is lost.
    let (mut to, mut from) = (open(Port::Internet)?, open(Port::GatewayOutside)?);
    let work = || {
        pin(wanted.cpu);
        let mut turn = || carried(&mut *from, &mut *to, wanted.frame_len_max);
        turn()?;
        let mut best_pps: f64 = 0.0;
        for _ in 0..TURNS {
            best_pps = best_pps.max(turn()?);
        }
        if best_pps > 0.0 { Ok(best_pps) } else { Err(HopError::Nothing) }
    };
    std::thread::scope(|scope| scope.spawn(work).join()).map_err(|_| HopError::Panicked)?
}

/// Frames a second that arrive while one thread sends and receives in turns.
fn carried(from: &mut dyn Link, to: &mut dyn Link, frame_len_max: usize) -> Result<f64, HopError> {
    let burst = burst_of(from.describe().kind, frame_len_max);
    let mut bytes = vec![smallest_frame(); burst];
    let frames: Vec<Frame<'_>> = bytes.iter_mut().map(|bytes| Frame::new(bytes, FRAME_LEN)).collect();
    let pick: Vec<u16> = (0..burst as u16).collect();
    let (began_ns, mut received) = (clock::now_ns(), 0);
    loop {
        from.send(&frames, &pick)?;
        received += to.recv(BURST_MAX, &mut |_| {})?;
        let elapsed_ns = clock::now_ns() - began_ns;
        if elapsed_ns > TURN_NS {
            return Ok(received as f64 * 1e9 / elapsed_ns as f64);
        }
    }
}

const FRAME_LEN: usize = 60;

fn smallest_frame() -> [u8; FRAME_LEN] {
    let ends = endpoint(Port::GatewayOutside, Boxes::STAGES);
    let mut frame = [0; FRAME_LEN];
    frame[..6].copy_from_slice(&ends.peer.0);
    frame[6..12].copy_from_slice(&ends.mac.0);
    frame[12..14].copy_from_slice(&ETHERTYPE);
    frame
}
