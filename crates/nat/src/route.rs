//! The way of a frame that is not ordinary: checks, time to live, size; and what it gets when it cannot be forwarded.

use crate::answer::{self, Error};
use crate::behaviour::Exhaustion;
use crate::packet::{L3, Packet, decrement_ttl, is_bad_destination, is_bad_source};
use crate::{Direction, DropReason, Nat, Verdict};
use natrig_wire::{Frame, icmpv4};

impl Nat {
    /// A frame that the ordinary path leaves alone, or whose flow is new.
    #[cold]
    #[inline(never)]
    pub(crate) fn careful(&mut self, dir: Direction, frame: &mut Frame<'_>) -> Verdict {
        let packet = match Packet::read(frame.bytes()) {
            Ok(packet) => packet,
            Err(reason) => return self.drop(reason),
        };
        // Nobody outside has an address of ours.
        let forged = dir == Direction::Inbound && self.address_number(packet.src).is_some();
        if is_bad_source(packet.src) || is_bad_destination(packet.dst) || forged {
            return self.drop(DropReason::Martian);
        }
        if packet.ttl <= 1 {
            return self.answer_error(dir, frame, &packet, Error::TTL, DropReason::TtlExpired);
        }
        let mtu = self.frame_max[dir as usize].saturating_sub(L3);
        if packet.total_len > mtu && packet.dont_fragment {
            let error = Error { mtu: mtu as u16, ..Error::unreachable(icmpv4::unreachable::FRAGMENTATION_NEEDED) };
            return self.answer_error(dir, frame, &packet, error, DropReason::TooBig);
        }
        // Before anything is counted or made for it.
        if packet.total_len > mtu && !self.may_split(dir, &packet, mtu) {
            return self.drop(DropReason::FragmentNoRoom);
        }
        let result = match dir {
            Direction::Outbound => self.outbound(frame, &packet),
            Direction::Inbound => self.inbound(frame, &packet),
        };
        match result {
            Ok(Verdict::Forward) if packet.total_len > mtu => self.split(dir, frame, mtu),
            Ok(verdict) => verdict,
            Err(reason) => self.refuse(dir, frame, &packet, reason),
        }
    }

    /// What a packet gets that cannot be forwarded for `reason`. The frame is still as it came in.
    pub(crate) fn refuse(
        &mut self,
        dir: Direction,
        frame: &mut Frame<'_>,
        packet: &Packet,
        reason: DropReason,
    ) -> Verdict {
        use DropReason as R;
        let shortage = matches!(reason, R::PortsExhausted | R::DestinationLimit | R::TableFull | R::SourcesFull);
        // A quota is no shortage: RFC 5508 REQ-8 rather than RFC 6888 REQ-11.
        let administrative = matches!(reason, R::SourceLimit | R::SourceRate | R::Policy);
        let code = match self.config.behaviour.exhaustion {
            Exhaustion::HostUnreachable if shortage => icmpv4::unreachable::HOST,
            Exhaustion::AdministrativelyProhibited if shortage => icmpv4::unreachable::ADMINISTRATIVELY_PROHIBITED,
            Exhaustion::HostUnreachable | Exhaustion::AdministrativelyProhibited if administrative => {
                icmpv4::unreachable::ADMINISTRATIVELY_PROHIBITED
            }
            Exhaustion::Drop | Exhaustion::HostUnreachable | Exhaustion::AdministrativelyProhibited => {
                return self.drop(reason);
            }
        };
        if dir == Direction::Inbound {
            return self.drop(reason);
        }
        self.answer_error(dir, frame, packet, Error::unreachable(code), reason)
    }

    pub(crate) fn drop(&mut self, reason: DropReason) -> Verdict {
        self.counters.drops[reason as usize] += 1;
        Verdict::Drop(reason)
    }

    /// Answers with an ICMP error if one may be sent, else drops.
    pub(crate) fn answer_error(
        &mut self,
        dir: Direction,
        frame: &mut Frame<'_>,
        packet: &Packet,
        error: Error,
        reason: DropReason,
    ) -> Verdict {
        let from = match dir {
            Direction::Outbound => self.config.inside_router,
            Direction::Inbound => self.config.outside_router,
        };
        let answered = answer::may_be_answered(frame.bytes(), packet)
            && self.errors.take(self.now_ns)
            && answer::icmp_error(frame, packet, error, from.to_bits());
        if !answered {
            return self.drop(reason);
        }
        self.counters.answered[reason as usize] += 1;
        Verdict::Back
    }

    /// Answers a TCP segment with a reset.
    pub(crate) fn answer_reset(&mut self, frame: &mut Frame<'_>, packet: &Packet, reason: DropReason) -> Verdict {
        if packet.is_fragment() || !answer::reset(frame, packet) {
            return self.drop(reason);
        }
        self.counters.answered[reason as usize] += 1;
        Verdict::Back
    }

    /// Answers an echo request to one of the translator's own addresses, if it does that.
    pub(crate) fn answer_echo(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        if !self.config.behaviour.icmp_rules.answer_echo || packet.is_fragment() {
            return Err(DropReason::ForHost);
        }
        answer::echo_reply(frame, packet);
        self.counters.echo_answered += 1;
        Ok(Verdict::Back)
    }

    /// Routes a packet as it is.
    pub(crate) fn pass(&mut self, frame: &mut Frame<'_>) -> Verdict {
        decrement_ttl(frame.bytes_mut());
        self.counters.passed += 1;
        Verdict::Forward
    }
}
