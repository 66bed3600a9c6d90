//! Packets from outside.

use natrig_nat::behaviour::{Dependence, DirectInbound, IdleExpiry, Overload, Refresh, UnsolicitedSyn};
use natrig_nat::{Direction, DropReason, Verdict};

use super::outbound::{ECHO, ECHO_REPLY, must_reset, must_send, with_destination};
use super::{Event, Flow, Judgement, Reference, Row, Session, Waiting, must_drop, ticks};
use crate::foreign::{Content, Seen};
use crate::packet::{ACK, ICMP, RST, SYN, TCP, UDP};

impl Reference {
    pub(super) fn inbound(&mut self, event: &Event<'_>) -> Judgement {
        let seen = event.seen;
        // Nobody outside has an address of the translator's.
        if self.is_outside(seen.src) {
            return must_drop(event, &[DropReason::Martian]);
        }
        let outside = self.is_outside(seen.dst);
        if let Content::Query { kind: ECHO, .. } = seen.content
            && outside
        {
            return self.must_answer_echo(event);
        }
        if seen.ttl <= 1 {
            return self.must_report(event, [11, 0], DropReason::TtlExpired);
        }
        if !outside {
            return self.inbound_direct(event);
        }
        if let Content::Error { kind, .. } = seen.content {
            return self.inbound_error(event, kind);
        }
        if let Content::Query { kind, .. } = seen.content {
            // Each reply has the number behind its query's, but for echo.
            let query = if kind == ECHO_REPLY { ECHO } else { kind.wrapping_sub(1) };
            if !self.behaviour().icmp.translate || !self.behaviour().icmp_rules.queries.contains(&query) {
                return must_drop(event, &[DropReason::IcmpType]);
            }
        } else if !matches!(seen.protocol, UDP | TCP) || !self.rules(seen.protocol).translate {
            return must_drop(event, &[DropReason::Protocol]);
        }
        let flow = Flow::of(seen, Direction::Inbound).ok_or("a packet without ports")?;
        match self.admitted(&flow) {
            Ok(found) => {
                let inside = self.sessions[found[0]].inside;
                let ends =
                    Seen { dst: *inside.ip(), content: with_destination(&seen.content, inside.port()), ..seen.clone() };
                self.follow_admitted(event, &found, &flow)?;
                must_send(event, Verdict::Forward, &ends)
            }
            Err(reason) => self.inbound_unwanted(event, &flow, reason),
        }
    }

    /// Addressed past the translator: a router's business, or nobody's.
    fn inbound_direct(&mut self, event: &Event<'_>) -> Judgement {
        if self.is_router(event.seen.dst) {
            let pings = matches!(event.seen.content, Content::Query { kind: ECHO, .. });
            if pings && event.seen.dst == self.config.outside_router {
                return self.must_answer_echo(event);
            }
            return must_drop(event, &[DropReason::ForHost]);
        }
        let answered_untranslated = self.passes_from(event.seen.src);
        if self.behaviour().policy.direct_inbound == DirectInbound::Drop && !answered_untranslated {
            return must_drop(event, &[DropReason::NotRouted]);
        }
        let begins = !matches!(event.seen.content, Content::Query { kind, .. } if kind != ECHO);
        let flow = Flow::of(event.seen, Direction::Inbound).filter(|_| begins && !answered_untranslated);
        let tracks = |flow: &Flow| self.behaviour().policy.track_direct && self.rules(flow.protocol).translate;
        let Some(flow) = flow.filter(tracks) else { return self.must_pass(event) };
        if let Some(at) = self.find_inbound(flow.protocol, flow.from, flow.to) {
            self.follow(at, Direction::Inbound, &flow);
            return self.must_pass(event);
        }
        self.enter_direct(event, &flow)
    }

    /// The sessions that a packet from outside may belong to: its own, or, if it has none, any of a mapping that lets it in.
    pub(super) fn admitted(&self, flow: &Flow) -> Result<Vec<usize>, DropReason> {
        let (remote, outside) = (flow.from, flow.to);
        if let Some(at) = self.find_inbound(flow.protocol, remote, outside) {
            return Ok(vec![at]);
        }
        let rules = self.rules(flow.protocol);
        // RFC 7857 §3: where ports overlap, the remote end is part of what a mapping is.
        let belongs = |session: &Session| {
            let there =
                !session.held && !session.direct && session.protocol == flow.protocol && session.outside == outside;
            there
                && match rules.overload {
                    Overload::Never => true,
                    Overload::PerAddress => session.remote.ip() == remote.ip(),
                    Overload::PerEndpoint => false,
                }
        };
        let mapping: Vec<usize> = (0..self.sessions.len()).filter(|at| belongs(&self.sessions[*at])).collect();
        if mapping.is_empty() {
            return Err(DropReason::NoMapping);
        }
        // RFC 4787 §5.
        let lets_in = |at: &usize| match rules.filtering {
            Dependence::EndpointIndependent => true,
            Dependence::AddressDependent => self.sessions[*at].remote.ip() == remote.ip(),
            Dependence::AddressAndPortDependent => false,
        };
        let mapping: Vec<usize> = mapping.into_iter().filter(lets_in).collect();
        if mapping.is_empty() { Err(DropReason::Filtered) } else { Ok(mapping) }
    }

    /// A packet from outside has passed by one of these sessions. One that has no session of its own keeps a UDP or ICMP mapping alive if
    /// inbound packets do; which of the mapping's sessions stands for it is not said.
    pub(super) fn follow_admitted(&mut self, event: &Event<'_>, found: &[usize], flow: &Flow) -> Judgement {
        if self.find_inbound(flow.protocol, flow.from, flow.to) == Some(found[0]) {
            let (at, _) = self.restore(event, found[0], Direction::Inbound)?;
            self.follow(at, Direction::Inbound, flow);
            return Ok(());
        }
        let refreshes = flow.protocol != TCP && self.rules(flow.protocol).refresh != Refresh::Outbound;
        for at in found {
            let mut session = self.sessions[*at].clone();
            session.packets[1] += 1;
            if refreshes {
                session.expires = self.now + self.timeout(session.phase);
            }
            if event.rows.contains(&Row::of_session(&session, self.now)) {
                self.sessions[*at] = session;
                return Ok(());
            }
        }
        Err(format!("no session of the mapping that let in {flow:?} has counted it"))
    }

    fn inbound_unwanted(&mut self, event: &Event<'_>, flow: &Flow, reason: DropReason) -> Judgement {
        let host_ports = self.behaviour().policy.host_ports;
        if host_ports && reason == DropReason::NoMapping && !self.in_ranges(flow.protocol, flow.to.port()) {
            let allowed = [DropReason::ForHost, reason];
            return must_drop(event, &allowed[..if flow.protocol == ICMP { 2 } else { 1 }]);
        }
        if flow.protocol == ICMP || flow.protocol == UDP {
            return must_drop(event, &[reason]);
        }
        if flow.flags & (SYN | ACK | RST) == SYN {
            return self.unwanted_syn(event, flow);
        }
        if self.behaviour().tcp_rules.idle_expiry == IdleExpiry::ResetBoth && flow.flags & RST == 0 {
            return must_reset(event, DropReason::IdleExpired);
        }
        must_drop(event, &[reason])
    }

    fn unwanted_syn(&mut self, event: &Event<'_>, flow: &Flow) -> Judgement {
        match self.behaviour().tcp_rules.unsolicited_syn {
            UnsolicitedSyn::Drop => must_drop(event, &[DropReason::UnsolicitedSyn]),
            UnsolicitedSyn::Reset => must_reset(event, DropReason::UnsolicitedSyn),
            UnsolicitedSyn::Wait => {
                let again =
                    |waiting: &Waiting| !waiting.crossed && waiting.remote == flow.from && waiting.outside == flow.to;
                let room = self.waiting.len() < self.behaviour().fragments.max_held as usize;
                if self.waiting.iter().any(again) || !room {
                    return must_drop(event, &[DropReason::UnsolicitedSyn]);
                }
                let deadline = self.now + ticks(6);
                let (remote, outside) = (flow.from, flow.to);
                self.waiting.push(Waiting { packet: event.packet.clone(), remote, outside, deadline, crossed: false });
                match event.outcome.verdict {
                    Verdict::Hold => Ok(()),
                    verdict => Err(format!("an unsolicited SYN is to wait, was {verdict:?}")),
                }
            }
        }
    }

    /// True if a frame that waits is due.
    pub(crate) fn has_due(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.crossed || waiting.deadline <= self.now)
    }

    /// A frame that waited was presented again.
    pub(crate) fn judge_release(&mut self, verdict: Verdict, out: Option<&Seen>) -> Judgement {
        let due = |waiting: &Waiting| waiting.crossed || waiting.deadline <= self.now;
        let Some(at) = self.waiting.iter().position(due) else {
            return Err(format!("{verdict:?} of a frame that is not due"));
        };
        let Waiting { packet, crossed, .. } = self.waiting.remove(at);
        match (verdict, out) {
            // A connection attempt from inside that crosses it is the better answer.
            (Verdict::Drop(DropReason::UnsolicitedSyn), _) if crossed => Ok(()),
            _ if crossed => Err(format!("a SYN that was crossed is to be dropped, was {verdict:?}")),
            _ if !self.may_build_error() => match verdict {
                Verdict::Drop(DropReason::UnsolicitedSyn) => Ok(()),
                _ => Err(format!("more errors than allowed: {verdict:?}")),
            },
            (Verdict::Back, Some(out)) => self.is_error_about(Direction::Inbound, &packet, [3, 3], out),
            _ => Err(format!("a SYN that waited in vain is to be reported, was {verdict:?}")),
        }
    }
}
