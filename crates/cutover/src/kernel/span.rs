//! A box of natrig's in a namespace: links to both its interfaces, and what decides about frames in between.

use natrig_lab::lease::Lease;
use natrig_link::packet::{PacketLink, PacketOptions};
use natrig_link::{BURST_MAX, Link, OpenError};
use natrig_nat::Direction;
use natrig_wire::{Frame, ethernet};

use super::plan::{Face, Span};
use crate::path::{Fate, Layer, Losses};

/// Slots of a link: programs that write now and then fill no more.
const SLOTS: usize = 512;

/// A box at work.
pub(super) struct Bridge {
    /// Which node; none: the gateway.
    pub(super) node: Option<usize>,
    faces: [Face; 2],
    /// Inside and outside.
    pub(super) links: [PacketLink; 2],
}

impl Bridge {
    /// # Errors
    /// The namespace cannot be entered, or a link not opened.
    pub(super) fn open(lease: &Lease, span: Span) -> Result<Self, String> {
        let options = PacketOptions { rx_slots: SLOTS, ..PacketOptions::default() };
        let open = || -> Result<[PacketLink; 2], OpenError> {
            let [inside, outside] = &span.faces;
            Ok([PacketLink::open(inside.interface, &options)?, PacketLink::open(outside.interface, &options)?])
        };
        let links = lease.run_in(&span.namespace, open).map_err(|error| error.to_string())?;
        let links = links.map_err(|error| format!("open links in {}: {error}", span.namespace))?;
        Ok(Self { node: span.node, faces: span.faces, links })
    }

    /// Moves what has arrived on either side; how many frames there were.
    ///
    /// # Errors
    /// A link fails.
    pub(super) fn pump(&mut self, layer: &mut dyn Layer, losses: &mut Losses, now_ns: u64) -> Result<usize, String> {
        let place = if self.node.is_some() { "node" } else { "gateway" };
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
                for (index, frame) in frames.iter_mut().enumerate() {
                    if !is_for(here, frame) {
                        continue;
                    }
                    match layer.pass(direction, frame, now_ns) {
                        Fate::Onward => {
                            address(frame, there);
                            forward.push(index as u16);
                        }
                        Fate::Back => {
                            address(frame, here);
                            back.push(frame.bytes().to_vec());
                        }
                        Fate::Lost(reason) => losses.count(place, reason),
                    }
                }
                sending = send(far, frames, &forward, losses, place);
            });
            moved += received.map_err(|error| error.to_string())?;
            sending?;
            let mut back: Vec<(usize, Vec<u8>)> = back.into_iter().map(|bytes| (bytes.len(), bytes)).collect();
            let back: Vec<Frame<'_>> = back.iter_mut().map(|(len, bytes)| Frame::new(bytes, *len)).collect();
            let all: Vec<u16> = (0..back.len() as u16).collect();
            send(near, &back, &all, losses, place)?;
        }
        Ok(moved)
    }
}

fn send(
    link: &mut PacketLink,
    frames: &[Frame<'_>],
    pick: &[u16],
    losses: &mut Losses,
    place: &'static str,
) -> Result<(), String> {
    if pick.is_empty() {
        return Ok(());
    }
    let taken = link.send(frames, pick).map_err(|error| error.to_string())?;
    (taken..pick.len()).for_each(|_| losses.count(place, "link-full"));
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
