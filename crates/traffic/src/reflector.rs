//! The far end: receives, learns the translated tuples and, where traffic goes both ways, answers each frame it was delivered.

use arrayvec::ArrayVec;
use natrig_link::{BURST_MAX, Link, RecvError, SendError};
use natrig_wire::checksum::Delta;
use natrig_wire::template::HEADERS_LEN;
use natrig_wire::{Frame, ethernet, ipv4, udp};

use crate::generator::ALL;
use crate::stamp::{self, TRIAL_AT};
use crate::{Endpoint, Receiver, TTL};

const IP: usize = ethernet::HEADER_LEN;
const UDP: usize = IP + ipv4::HEADER_LEN;

/// Why a reflector cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReflectError {
    /// The link cannot receive.
    #[error(transparent)]
    Recv(#[from] RecvError),
    /// The link cannot send.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The servers' end of the world.
#[derive(Debug)]
pub struct Reflector {
    receiver: Receiver,
    endpoint: Endpoint,
    answers: bool,
    answered: u64,
    answers_refused: u64,
    held: Vec<u8>,
    held_lens: ArrayVec<usize, BURST_MAX>,
}

/// Frames taken in at once: they come into the nearest cache as the link finds them and are still there when they are looked at.
const PORTION: usize = 128;

/// A burst is so many whole portions: [`Reflector::poll`] has no room for more answers.
const _: () = assert!(BURST_MAX.is_multiple_of(PORTION));

/// Bytes kept per answer.
const SLOT: usize = 1536;

impl Reflector {
    /// Receives through `receiver`; answers each delivered frame if `answers`.
    pub fn new(receiver: Receiver, endpoint: Endpoint, answers: bool) -> Self {
        let held = if answers { vec![0; SLOT * BURST_MAX] } else { Vec::new() };
        Self { receiver, endpoint, answers, answered: 0, answers_refused: 0, held, held_lens: ArrayVec::new() }
    }

    /// Starts a trial.
    pub fn begin(&mut self, trial: u8, epoch_ns: u64) {
        self.receiver.begin(trial, epoch_ns);
        (self.answered, self.answers_refused) = (0, 0);
    }

    /// The receiving half.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// The receiving half.
    pub fn receiver_mut(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    /// Answers that the link took, and answers that it refused.
    pub fn answers(&self) -> (u64, u64) {
        (self.answered, self.answers_refused)
    }

    /// Takes in what has arrived, as much as a burst can be long, and answers it. Returns how many frames there were.
    ///
    /// # Errors
    /// [`ReflectError`].
    pub fn poll(&mut self, link: &mut dyn Link, clock: fn() -> u64) -> Result<usize, ReflectError> {
        let Self { receiver, endpoint, answers, held, held_lens, .. } = self;
        let mut take_in = |frames: &mut [Frame<'_>]| {
            let now_ns = clock();
            for frame in frames {
                let delivered = receiver.receive(frame.bytes(), now_ns);
                let len = frame.len();
                if delivered && *answers && len <= SLOT {
                    let slot = &mut held[held_lens.len() * SLOT..][..len];
                    slot.copy_from_slice(frame.bytes());
                    answer_in_place(slot, endpoint);
                    held_lens.push(len);
                }
            }
        };
        let mut arrived = 0;
        while arrived < BURST_MAX {
            let received = link.recv(PORTION, &mut take_in)?;
            arrived += received;
            // Less than was asked for: there is no more. To ask again may be a call of the kernel.
            if received < PORTION {
                break;
            }
        }
        if !self.held_lens.is_empty() {
            self.send_answers(link)?;
        }
        Ok(arrived)
    }

    fn send_answers(&mut self, link: &mut dyn Link) -> Result<(), SendError> {
        let slots = self.held.chunks_exact_mut(SLOT);
        let mut frames: ArrayVec<Frame<'_>, BURST_MAX> = ArrayVec::new();
        frames.extend(slots.zip(self.held_lens.drain(..)).map(|(slot, len)| Frame::new(slot, len)));
        let taken = link.send(&frames, &ALL[..frames.len()])?;
        self.answered += taken as u64;
        self.answers_refused += (frames.len() - taken) as u64;
        Ok(())
    }
}

/// Turns a delivered frame round: addresses and ports swapped, a fresh TTL, the stamp's answer bit set.
fn answer_in_place(frame: &mut [u8], endpoint: &Endpoint) {
    let (head, _) = frame.split_at_mut(HEADERS_LEN);
    head[0..6].copy_from_slice(&endpoint.peer.0);
    head[6..12].copy_from_slice(&endpoint.mac.0);
    let (src, dst) = head[IP + ipv4::offset::SRC..UDP].split_at_mut(4);
    src.swap_with_slice(dst);
    let (src_port, dst_port) = head[UDP..UDP + udp::offset::LENGTH].split_at_mut(2);
    src_port.swap_with_slice(dst_port);

    // Swapping leaves both checksums as they are (a sum does not mind the order); TTL and the answer bit do not.
    let word = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let ttl_at = IP + ipv4::offset::TTL;
    let ttl_before = word(frame, ttl_at);
    frame[ttl_at] = TTL;
    let ip_delta = Delta::new().u16(ttl_before, word(frame, ttl_at));
    update(frame, IP + ipv4::offset::CHECKSUM, |sum| ip_delta.apply(sum));

    // The trial byte is the second of its checksum word: the stamp begins at an even offset of the datagram.
    let trial_word_at = HEADERS_LEN + TRIAL_AT - 1;
    let trial_before = word(frame, trial_word_at);
    frame[HEADERS_LEN + TRIAL_AT] = stamp::answered(frame[HEADERS_LEN + TRIAL_AT]);
    let udp_delta = Delta::new().u16(trial_before, word(frame, trial_word_at));
    update(frame, UDP + udp::offset::CHECKSUM, |sum| udp_delta.apply_udp(sum));
}

fn update(frame: &mut [u8], at: usize, change: impl Fn(u16) -> u16) {
    let value = change(u16::from_be_bytes([frame[at], frame[at + 1]]));
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
