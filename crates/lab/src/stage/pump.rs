//! One burst from a link, through a stage, to the link on its other side.

use natrig_link::{BURST_MAX, Link, RecvError, SendError};
use natrig_wire::Frame;

use super::{Picks, Side, Stage};

/// Why a burst could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// From the link that it should come from.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// To a link that it should go to.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Where a stage's thread spent its time on bursts that held frames, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PumpTimes {
    /// Frames received.
    pub frames: u64,
    /// Bursts that held them.
    pub bursts: u64,
    /// Fetching bursts from the link and giving their slots back.
    pub recv_ns: u64,
    /// Deciding and rewriting: the engine and the stage around it.
    pub process_ns: u64,
    /// Handing frames to the link on the way out; on a veth, the kernel's work up to the next packet socket.
    pub send_ns: u64,
}

impl PumpTimes {
    /// All of it.
    pub const fn total_ns(&self) -> u64 {
        self.recv_ns + self.process_ns + self.send_ns
    }

    /// Adds another's times.
    pub const fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.bursts += other.bursts;
        self.recv_ns += other.recv_ns;
        self.process_ns += other.process_ns;
        self.send_ns += other.send_ns;
    }
}

/// Moves at most one burst that arrived at side `from` of `stage`, from `near` to `far`. Returns how many frames there were.
///
/// # Errors
/// [`PumpError`]: what the links return. Frames that a full link does not take are dropped and counted by the stage.
pub fn pump(
    stage: &mut Stage,
    from: Side,
    near: &mut dyn Link,
    far: &mut dyn Link,
    clock: impl Fn() -> u64,
    times: &mut PumpTimes,
) -> Result<usize, PumpError> {
    let began_ns = clock();
    let (mut arrived_ns, mut processed_ns, mut sent_ns) = (began_ns, began_ns, began_ns);
    let mut picks = Picks::default();
    let mut sending = Ok(());
    // What goes back waits for the end of `recv`: until then the link is busy presenting.
    let mut back = std::mem::take(&mut stage.back);
    back.clear();
    let frames = near.recv(BURST_MAX, &mut |frames| {
        arrived_ns = clock();
        stage.process(from, frames, arrived_ns, &mut picks);
        processed_ns = clock();
        if from == Side::Inside {
            let forwarded = picks.forward.iter().map(|index| frames[usize::from(*index)].bytes());
            stage.passages.record(forwarded, arrived_ns, processed_ns);
        }
        if !picks.forward.is_empty() {
            match far.send(frames, &picks.forward) {
                Ok(taken) => {
                    stage.counts.forwarded += taken as u64;
                    stage.counts.link_full += (picks.forward.len() - taken) as u64;
                }
                Err(error) => sending = Err(error),
            }
        }
        for index in &picks.back {
            back.push(frames[usize::from(*index)].bytes());
        }
        sent_ns = clock();
    })?;
    let lost = back.send(near)?;
    stage.counts.answers_lost += lost;
    stage.back = back;
    sending?;
    stage.release(from, near, far, sent_ns)?;
    if frames == 0 {
        return Ok(0);
    }
    times.frames += frames as u64;
    times.bursts += 1;
    times.recv_ns += (arrived_ns - began_ns) + (clock() - sent_ns);
    times.process_ns += processed_ns - arrived_ns;
    times.send_ns += sent_ns - processed_ns;
    Ok(frames)
}

/// Copies of frames that go back, end to end; the room is kept from burst to burst.
#[derive(Debug, Default)]
pub(super) struct BackBuffer {
    bytes: Vec<u8>,
    // No array: it is taken out of the stage and put back with each burst.
    lens: Vec<usize>,
}

impl BackBuffer {
    fn clear(&mut self) {
        self.bytes.clear();
        self.lens.clear();
    }

    fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.lens.push(frame.len());
    }

    /// Sends all, and returns how many the link did not take.
    fn send(&mut self, link: &mut dyn Link) -> Result<u64, SendError> {
        let mut lost = 0;
        let mut rest = &mut self.bytes[..];
        for len in &self.lens {
            let (bytes, behind) = rest.split_at_mut(*len);
            rest = behind;
            lost += u64::from(link.send(&[Frame::new(bytes, *len)], &[0])? == 0);
        }
        Ok(lost)
    }
}
