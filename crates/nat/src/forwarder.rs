//! The translator's twin that only routes.

use crate::answer::{self, Error};
use crate::ordinary::Head;
use crate::packet::{Packet, decrement_ttl, is_bad_destination, is_bad_source};
use crate::{Counters, Direction, DropReason, Verdict};
use core::net::Ipv4Addr;
use natrig_wire::Frame;

/// Routes: TTL, nothing else. Same call as [`Nat`](crate::Nat), so that a stage can hold either.
#[derive(Debug, Clone)]
pub struct Forwarder {
    inside_router: Ipv4Addr,
    outside_router: Ipv4Addr,
    counters: Counters,
}

impl Forwarder {
    /// A router with these addresses on its two sides: the sources of the ICMP errors that it sends there.
    pub fn new(inside_router: Ipv4Addr, outside_router: Ipv4Addr) -> Self {
        Self { inside_router, outside_router, counters: Counters::default() }
    }

    /// What has been counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Routes frames in place; verdicts as for [`Nat::translate_burst`](crate::Nat::translate_burst).
    pub fn translate_burst(
        &mut self,
        dir: Direction,
        frames: &mut [Frame<'_>],
        verdicts: &mut [Verdict],
        _now_ns: u64,
    ) {
        for (frame, verdict) in frames.iter_mut().zip(verdicts) {
            if *verdict != Verdict::Forward {
                continue;
            }
            if Head::read(frame.buffer(), frame.len()).is_some() {
                decrement_ttl(frame.bytes_mut());
                self.counters.passed += 1;
            } else {
                *verdict = self.careful(dir, frame);
            }
        }
    }

    #[cold]
    fn careful(&mut self, dir: Direction, frame: &mut Frame<'_>) -> Verdict {
        let packet = match Packet::read(frame.bytes()) {
            Ok(packet) => packet,
            Err(reason) => return self.drop(reason),
        };
        if is_bad_source(packet.src) || is_bad_destination(packet.dst) {
            return self.drop(DropReason::Martian);
        }
        if packet.ttl > 1 {
            decrement_ttl(frame.bytes_mut());
            self.counters.passed += 1;
            return Verdict::Forward;
        }
        let from = match dir {
            Direction::Outbound => self.inside_router,
            Direction::Inbound => self.outside_router,
        };
        if answer::may_be_answered(frame.bytes(), &packet)
            && answer::icmp_error(frame, &packet, Error::TTL, from.to_bits())
        {
            self.counters.answered[DropReason::TtlExpired as usize] += 1;
            return Verdict::Back;
        }
        self.drop(DropReason::TtlExpired)
    }

    fn drop(&mut self, reason: DropReason) -> Verdict {
        self.counters.drops[reason as usize] += 1;
        Verdict::Drop(reason)
    }
}
