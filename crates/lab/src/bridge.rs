//! A box of natrig's between two interfaces of a namespace, in a world of known neighbours, where something else than a
//! [`Stage`](crate::stage::Stage) decides: frame by frame, with reasons of its own.

use natrig_link::packet::{PacketLink, PacketOptions};
use natrig_link::{BURST_MAX, Link, OpenError};
use natrig_nat::{Direction, Nat, Verdict};
use natrig_wire::{Frame, MacAddr, ethernet};
use thiserror::Error;

use crate::lease::{EnterError, Lease};

/// Where a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// To the other side.
    Onward,
    /// To the side that it came from.
    Back,
    /// It ends here, for that reason.
    Lost(&'static str),
}

/// What decides.
pub trait Layer: Send {
    /// Decides about a frame and rewrites it.
    fn pass(&mut self, direction: Direction, frame: &mut Frame<'_>, now_ns: u64) -> Fate;
}

impl Layer for Nat {
    fn pass(&mut self, direction: Direction, frame: &mut Frame<'_>, now_ns: u64) -> Fate {
        decide(|frames, verdicts| self.translate_burst(direction, frames, verdicts, now_ns), frame)
    }
}

/// Has something that knows bursts decide about one frame.
pub fn decide(burst: impl FnOnce(&mut [Frame<'_>], &mut [Verdict]), frame: &mut Frame<'_>) -> Fate {
    let len = frame.len();
    let mut verdicts = [Verdict::Forward];
    let mut frames = [Frame::new(frame.buffer_mut(), len)];
    burst(&mut frames, &mut verdicts);
    let len = frames[0].len();
    frame.resize(len);
    match verdicts[0] {
        Verdict::Forward => Fate::Onward,
        Verdict::Back => Fate::Back,
        Verdict::Drop(reason) => Fate::Lost(reason.as_str()),
        // Unsolicited SYNs and fragments: worlds of boxes like these are asked by nobody, and nothing is fragmented.
        Verdict::Hold | Verdict::Skip => Fate::Lost("held"),
    }
}

/// One side of a box: a MAC address of its own beside the kernel's, and the neighbour's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Face {
    /// The interface.
    pub interface: String,
    /// What the neighbour sends to.
    pub own: MacAddr,
    /// The neighbour.
    pub peer: MacAddr,
}

/// Where a box stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The namespace, which does not forward.
    pub namespace: String,
    /// Inside and outside.
    pub faces: [Face; 2],
}

/// Why a box cannot be set up, or fails.
#[derive(Debug, Error)]
pub enum BridgeError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A link cannot be opened.
    #[error("open a link in {namespace}: {source}")]
    Open {
        /// The namespace.
        namespace: String,
        /// Why.
        source: OpenError,
    },
    /// A link fails.
    #[error("move frames: {0}")]
    Link(String),
}

/// Slots of a link: whoever talks now and then fills no more.
const SLOTS: usize = 512;

/// A box.
#[derive(Debug)]
pub struct Bridge {
    faces: [Face; 2],
    links: [PacketLink; 2],
}

impl Bridge {
    /// Opens links to both sides.
    ///
    /// # Errors
    /// The namespace cannot be entered, or a link not opened.
    pub fn open(lease: &Lease, span: &Span) -> Result<Self, BridgeError> {
        let options = PacketOptions { rx_slots: SLOTS, ..PacketOptions::default() };
        let open = || -> Result<[PacketLink; 2], OpenError> {
            let [inside, outside] = &span.faces;
            Ok([PacketLink::open(&inside.interface, &options)?, PacketLink::open(&outside.interface, &options)?])
        };
        let links = lease.run_in(&span.namespace, open)?;
        let links = links.map_err(|source| BridgeError::Open { namespace: span.namespace.clone(), source })?;
        Ok(Self { faces: span.faces.clone(), links })
    }

    /// To wait for, inside and outside.
    pub fn links(&self) -> impl Iterator<Item = &dyn Link> {
        self.links.iter().map(|link| link as &dyn Link)
    }

    /// Moves what has arrived on either side; how many frames there were. `lost` hears of each that ends here.
    ///
    /// # Errors
    /// A link fails.
    pub fn pump(
        &mut self,
        layer: &mut dyn Layer,
        lost: &mut dyn FnMut(&'static str),
        now_ns: u64,
    ) -> Result<usize, BridgeError> {
        let mut moved = 0;
        for direction in [Direction::Outbound, Direction::Inbound] {
            let [inside, outside] = &mut self.links;
            let [in_face, out_face] = &self.faces;
            let (near, far, here, there) = match direction {
                Direction::Outbound => (inside, outside, in_face, out_face),
                Direction::Inbound => (outside, inside, out_face, in_face),
            };
            let mut sending = Ok(());
            let mut back: Vec<Vec<u8>> = Vec::new();
            let received = near.recv(BURST_MAX, &mut |frames| {
                let mut forward = Vec::new();
                for (index, frame) in frames.iter_mut().enumerate().filter(|(_, frame)| is_for(here, frame)) {
                    match layer.pass(direction, frame, now_ns) {
                        Fate::Onward => {
                            address(frame, there);
                            forward.push(index as u16);
                        }
                        Fate::Back => {
                            address(frame, here);
                            back.push(frame.bytes().to_vec());
                        }
                        Fate::Lost(reason) => lost(reason),
                    }
                }
                sending = send(far, frames, &forward, lost);
            });
            moved += received.map_err(|error| BridgeError::Link(error.to_string()))?;
            sending?;
            let back: Vec<Frame<'_>> = back.iter_mut().map(|bytes| Frame::whole(bytes)).collect();
            let all: Vec<u16> = (0..back.len() as u16).collect();
            send(near, &back, &all, lost)?;
        }
        Ok(moved)
    }
}

fn send(
    link: &mut PacketLink,
    frames: &[Frame<'_>],
    pick: &[u16],
    lost: &mut dyn FnMut(&'static str),
) -> Result<(), BridgeError> {
    if pick.is_empty() {
        return Ok(());
    }
    let taken = link.send(frames, pick).map_err(|error| BridgeError::Link(error.to_string()))?;
    (taken..pick.len()).for_each(|_| lost("link-full"));
    Ok(())
}

fn is_for(face: &Face, frame: &Frame<'_>) -> bool {
    let bytes = frame.bytes();
    bytes.len() > ethernet::HEADER_LEN
        && bytes[..6] == face.own.0
        && bytes[12..14] == ethernet::ethertype::IPV4.to_be_bytes()
}

fn address(frame: &mut Frame<'_>, face: &Face) {
    let bytes = frame.bytes_mut();
    bytes[..6].copy_from_slice(&face.peer.0);
    bytes[6..12].copy_from_slice(&face.own.0);
}
