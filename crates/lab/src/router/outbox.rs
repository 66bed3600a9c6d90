//! Frames that leave later than the burst they came with, or came with none.

use std::collections::VecDeque;

use natrig_link::{Link, SendError};
use natrig_wire::Frame;

use super::RouterCounts;

/// What a frame is, for the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// On its way through.
    Forwarded,
    /// An answer to the side it came from: ICMP errors, resets, hairpins.
    Returned,
    /// ARP.
    Arp,
}

/// Frames for one link, end to end, in order; the room is kept.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    frames: VecDeque<(Kind, usize)>,
}

/// Bytes that wait at most: what a burst can leave here, twice.
const BYTES_MAX: usize = 4 << 20;

impl Outbox {
    /// False: there is no room.
    pub(super) fn push(&mut self, kind: Kind, frame: &[u8]) -> bool {
        if self.bytes.len() + frame.len() > BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(frame);
        self.frames.push_back((kind, frame.len()));
        true
    }

    /// Sends all; what the link does not take is dropped and counted.
    pub(super) fn send(&mut self, link: &mut dyn Link, counts: &mut RouterCounts) -> Result<(), SendError> {
        if self.frames.is_empty() {
            return Ok(());
        }
        let mut rest = &mut self.bytes[..];
        let mut outcome = Ok(());
        for (kind, len) in self.frames.drain(..) {
            let (bytes, behind) = rest.split_at_mut(len);
            rest = behind;
            let sent = link.send(&[Frame::new(bytes, len)], &[0]);
            let taken = matches!(sent, Ok(1));
            if let Err(error) = sent {
                outcome = Err(error);
            }
            counts.left(kind, taken);
        }
        self.bytes.clear();
        outcome
    }
}
