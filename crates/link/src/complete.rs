//! A link that completes checksums which the sender left to a network card, for links that are not told which those are.
//!
//! Between two namespaces no card computes them: frames arrive with only the pseudo-header's sum in the checksum field
//! (CHECKSUM_PARTIAL), and XDP and plain packet sockets do not say so. That value is known, so it is recognised. A checksum that is
//! right and happens to be the same (one in 65,536) is computed again, to the same value.

use crate::packet::checksum;
use crate::{Link, LinkDescription, LinkStats, RecvError, SendError};
use natrig_wire::Frame;
use std::os::fd::BorrowedFd;

/// A wrapper that completes the checksums of what the link inside receives.
#[derive(Debug)]
pub struct Complete<L> {
    inner: L,
}

impl<L: Link> Complete<L> {
    /// Wraps `inner`.
    pub const fn new(inner: L) -> Self {
        Self { inner }
    }
}

impl<L: Link> Link for Complete<L> {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        self.inner.recv(max, &mut |frames| {
            for frame in frames.iter_mut() {
                if checksum::is_partial(frame.bytes()) {
                    checksum::complete(frame.bytes_mut());
                }
            }
            on_burst(frames);
        })
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        self.inner.send(frames, pick)
    }

    fn stats(&mut self) -> LinkStats {
        self.inner.stats()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.poll_fd()
    }

    fn describe(&self) -> LinkDescription {
        let mut description = self.inner.describe();
        description.notes.push("partial checksums are completed on reception".to_owned());
        description
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;
    use natrig_wire::template::{FourTuple, UdpTemplate};
    use natrig_wire::{MacAddr, checksum, ipv4, udp};
    use std::net::Ipv4Addr;

    const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn datagram() -> [u8; 60] {
        let mut frame = [0; 60];
        let tuple = FourTuple { src: SRC, src_port: 1024, dst: DST, dst_port: 53 };
        UdpTemplate::<18>::new(60, MacAddr::default(), MacAddr::default(), 64)
            .unwrap()
            .emit(&mut frame, &tuple, &[9; 18]);
        frame
    }

    fn through(mut frame: [u8; 60]) -> Vec<u8> {
        let (mut near, far) = memory::pair(8, 64);
        let mut far = Complete::new(far);
        near.send(&[Frame::new(&mut frame, 60)], &[0]).unwrap();
        let mut seen = Vec::new();
        assert_eq!(far.recv(8, &mut |burst| seen.extend_from_slice(burst[0].bytes())).unwrap(), 1);
        seen
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        let mut frame = datagram();
        let udp_len = 26;
        let partial = checksum::fold(checksum::pseudo_header(SRC.to_bits(), DST.to_bits(), 17, udp_len));
        frame[40..42].copy_from_slice(&partial.to_be_bytes());
        let seen = through(frame);
        let ip = ipv4::Packet::new_checked(&seen[14..]).unwrap();
        assert!(udp::Packet::new_checked(ip.payload()).unwrap().verify_checksum(SRC, DST));
        assert_eq!(seen, datagram());
    }

    #[test]
    fn right_wrong_and_missing_checksums_stay() {
        let mut wrong = datagram();
        wrong[40] ^= 1;
        let mut missing = datagram();
        missing[40..42].fill(0);
        for frame in [datagram(), wrong, missing] {
            assert_eq!(through(frame), frame);
        }
    }
}
