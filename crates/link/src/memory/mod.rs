//! Links in memory: two endpoints joined by two rings of fixed slots.
//!
//! Works across threads and within one. Sending copies each frame into a slot of the ring to the peer, where the peer rewrites it in
//! place. Nothing is lost on the way: a full ring takes a prefix of what is offered.

mod ring;

use crate::{BURST, Link, LinkDescription, LinkKind, LinkStats, RecvError, SendError};
use natrig_wire::Frame;
use std::os::fd::BorrowedFd;

/// One endpoint of a pair.
#[derive(Debug)]
pub struct MemoryLink {
    tx: ring::Producer,
    rx: ring::Consumer,
    stats: LinkStats,
}

/// Joins two endpoints by a ring of at least `slots` slots in each direction, rounded up to a power of two, for frames of up to
/// `frame_len_max` bytes.
///
/// # Panics
/// If there is not that much memory.
pub fn pair(slots: usize, frame_len_max: usize) -> (MemoryLink, MemoryLink) {
    let (a_tx, b_rx) = ring::new(slots, frame_len_max);
    let (b_tx, a_rx) = ring::new(slots, frame_len_max);
    let end = |tx, rx| MemoryLink { tx, rx, stats: LinkStats::default() };
    (end(a_tx, a_rx), end(b_tx, b_rx))
}

impl Link for MemoryLink {
    #[inline]
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        let received = self.rx.take(max.min(BURST), on_burst);
        self.stats.rx_frames += received.frames as u64;
        self.stats.rx_bytes += received.bytes;
        Ok(received.frames)
    }

    #[inline]
    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        let sent = self.tx.put(frames, pick);
        self.stats.tx_frames += sent.frames as u64;
        self.stats.tx_bytes += sent.bytes;
        self.stats.tx_refused += sent.too_long as u64;
        Ok(sent.frames + sent.too_long)
    }

    fn stats(&mut self) -> LinkStats {
        self.stats
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn describe(&self) -> LinkDescription {
        LinkDescription {
            kind: LinkKind::Memory,
            slots: self.rx.slots() as u32,
            slot_bytes: self.rx.slot_bytes() as u32,
            notes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BURST_MAX;

    fn send_one(link: &mut MemoryLink, bytes: &[u8]) -> usize {
        let mut bytes = bytes.to_vec();
        link.send(&[Frame::whole(&mut bytes)], &[0]).unwrap()
    }

    #[test]
    fn frames_come_out_at_the_other_end_in_order() {
        let (mut a, mut b) = pair(8, 64);
        let (mut first, mut second) = ([1u8; 60], [2u8; 42]);
        let frames = [Frame::new(&mut first, 60), Frame::new(&mut second, 42)];
        assert_eq!(a.send(&frames, &[1, 0]).unwrap(), 2);
        let mut seen = Vec::new();
        let presented = b.recv(BURST_MAX, &mut |burst| seen.extend(burst.iter().map(|frame| frame.bytes().to_vec())));
        assert_eq!(presented.unwrap(), 2);
        assert_eq!(seen, [vec![2u8; 42], vec![1u8; 60]]);
        assert_eq!(b.recv(BURST_MAX, &mut |_| panic!("an empty burst was presented")).unwrap(), 0);
        assert_eq!(a.recv(BURST_MAX, &mut |_| panic!("a frame came back")).unwrap(), 0);
    }

    #[test]
    fn a_full_ring_takes_a_prefix_and_goes_on_when_drained() {
        let (mut a, mut b) = pair(4, 64);
        let mut bytes = [[0u8; 60], [1; 60], [2; 60], [3; 60], [4; 60], [5; 60]];
        let frames: Vec<_> = bytes.iter_mut().map(|bytes| Frame::new(bytes, 60)).collect();
        assert_eq!(a.send(&frames, &[0, 1, 2, 3, 4, 5]).unwrap(), 4);
        assert_eq!(a.send(&frames, &[4, 5]).unwrap(), 0);
        assert_eq!(b.recv(3, &mut |burst| assert_eq!(burst.len(), 3)).unwrap(), 3);
        assert_eq!(a.send(&frames, &[4, 5]).unwrap(), 2);
        let mut seen = Vec::new();
        b.recv(BURST_MAX, &mut |burst| seen.extend(burst.iter().map(|frame| frame.bytes()[0]))).unwrap();
        assert_eq!(seen, [3, 4, 5]);
        assert_eq!(a.stats().tx_frames, 6);
        assert_eq!(b.stats().rx_bytes, 6 * 60);
    }

    #[test]
    fn a_frame_longer_than_a_slot_is_counted_and_blocks_nothing() {
        let (mut a, mut b) = pair(4, 64);
        let long = vec![7u8; a.describe().slot_bytes as usize];
        assert_eq!(send_one(&mut a, &long), 1);
        assert_eq!(send_one(&mut a, &[8; 60]), 1);
        let mut seen = Vec::new();
        b.recv(BURST_MAX, &mut |burst| seen.extend(burst.iter().map(|frame| frame.bytes()[0]))).unwrap();
        assert_eq!(seen, [8]);
        assert_eq!((a.stats().tx_frames, a.stats().tx_refused), (1, 1));
    }

    #[test]
    fn a_frame_can_grow_to_the_length_asked_for() {
        let (mut a, mut b) = pair(4, 100);
        send_one(&mut a, &[9; 60]);
        b.recv(1, &mut |burst| {
            assert!(burst[0].resize(100));
            burst[0].bytes_mut()[99] = 1;
        })
        .unwrap();
    }

    #[test]
    fn what_a_closure_of_recv_sends_on_is_forwarded() {
        let (mut generator, mut stage_in) = pair(16, 64);
        let (mut stage_out, mut sink) = pair(16, 64);
        for number in 0..10 {
            send_one(&mut generator, &[number; 60]);
        }
        stage_in
            .recv(BURST_MAX, &mut |burst| {
                let pick: Vec<u16> = (0..burst.len() as u16).filter(|index| index % 2 == 0).collect();
                assert_eq!(stage_out.send(burst, &pick).unwrap(), 5);
            })
            .unwrap();
        let mut seen = Vec::new();
        sink.recv(BURST_MAX, &mut |burst| seen.extend(burst.iter().map(|frame| frame.bytes()[0]))).unwrap();
        assert_eq!(seen, [0, 2, 4, 6, 8]);
    }

    #[test]
    fn a_panic_in_the_closure_leaves_the_burst_to_be_received_again() {
        let (mut a, mut b) = pair(4, 64);
        send_one(&mut a, &[1; 60]);
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| b.recv(1, &mut |_| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(b.recv(1, &mut |burst| assert_eq!(burst[0].bytes(), [1; 60])).unwrap(), 1);
    }
}
