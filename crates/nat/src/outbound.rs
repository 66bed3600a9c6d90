//! Packets from inside that the ordinary path leaves alone.

use crate::behaviour::{Hairpin, IdleExpiry, Midstream};
use crate::held::Wait;
use crate::ordinary::{L4 as ORDINARY_L4, translate};
use crate::packet::{Packet, Rewrite, decrement_ttl, ports_at, query_ports, u16_at, u32_at};
use crate::pair::{Addrs, Ports};
use crate::policy::{Decision, Rule};
use crate::session::{ICMP, Session, TCP, UDP, flag};
use crate::table::slot_of;
use crate::tcp::{self, State, bits};
use crate::wheel::before;
use crate::{Direction, DropReason, Nat, Verdict};
use core::net::Ipv4Addr;
use natrig_wire::{Frame, icmpv4};

/// A packet's flow, and what of it the state machines look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) protocol: u8,
    /// Source, destination.
    pub(crate) addrs: Addrs,
    /// Source, destination; of a query as [`query_ports`] has it.
    pub(crate) ports: Ports,
    pub(crate) tcp_flags: u8,
    /// TCP: sequence number, and that behind the segment's last byte.
    pub(crate) seq: u32,
    pub(crate) seq_end: u32,
}

impl Flow {
    pub(crate) fn of_transport(frame: &[u8], packet: &Packet) -> Result<Self, DropReason> {
        let l4 = packet.transport(frame)?;
        let (protocol, ports) = (packet.protocol, ports_at(l4, 0));
        let addrs = Addrs::new(packet.src, packet.dst);
        let mut flow = Self { protocol, addrs, ports, tcp_flags: 0, seq: 0, seq_end: 0 };
        if protocol == UDP {
            let len = usize::from(u16_at(l4, 4));
            if len < 8 || len > packet.l4_len() && !packet.is_fragment() {
                return Err(DropReason::Malformed);
            }
        }
        if protocol == TCP {
            flow.tcp_flags = l4[13];
            let header_len = usize::from(l4[12] >> 4) * 4;
            if header_len < 20 || header_len > packet.l4_len() && !packet.is_fragment() {
                return Err(DropReason::Malformed);
            }
            flow.seq = u32_at(l4, 4);
            let data = packet.l4_len().saturating_sub(header_len) as u32;
            let counted = u32::from(flow.tcp_flags & bits::SYN != 0) + u32::from(flow.tcp_flags & bits::FIN != 0);
            flow.seq_end = flow.seq.wrapping_add(data).wrapping_add(counted);
        }
        Ok(flow)
    }

    pub(crate) fn of_query(frame: &[u8], packet: &Packet, outbound: bool) -> Self {
        let ident = u16_at(frame, packet.l4 + 4);
        let addrs = Addrs::new(packet.src, packet.dst);
        Self { protocol: ICMP, addrs, ports: query_ports(ident, outbound), tcp_flags: 0, seq: 0, seq_end: 0 }
    }

    pub(crate) const fn source(&self) -> (u32, u16) {
        (self.addrs.first(), self.ports.first())
    }

    pub(crate) const fn destination(&self) -> (u32, u16) {
        (self.addrs.second(), self.ports.second())
    }

    /// A SYN without ACK: the start of a connection.
    pub(crate) const fn is_syn(&self) -> bool {
        self.tcp_flags & (bits::SYN | bits::ACK | bits::RST) == bits::SYN
    }
}

impl Nat {
    /// A packet from inside. `Err` leaves the frame as it was.
    pub(crate) fn outbound(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        if !packet.is_fragment() {
            return self.outbound_whole(frame, packet);
        }
        match self.decide(packet.src, packet.dst) {
            Decision::Pass(_) => self.pass_out(frame, packet),
            Decision::Drop(rule) => Err(forbidden_by(rule)),
            Decision::Translate(_) | Decision::TranslateTo(..) => self.fragment(Direction::Outbound, frame, packet),
        }
    }

    /// A packet that has its transport header.
    pub(crate) fn outbound_whole(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        if packet.protocol == ICMP {
            return self.outbound_icmp(frame, packet);
        }
        if !crate::nat::is_translatable(packet.protocol) || !self.rules_of(packet.protocol).translate {
            return self.outbound_untranslatable(frame, packet);
        }
        let flow = Flow::of_transport(frame.bytes(), packet)?;
        self.outbound_flow(frame, packet, &flow)
    }

    fn outbound_icmp(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        let kind = self.check_icmp(frame.bytes(), packet)?;
        if icmpv4::is_error(kind) {
            return self.outbound_icmp_error(frame, packet, kind);
        }
        let own = self.address_number(packet.dst).is_some() || self.is_router(packet.dst);
        if kind == icmpv4::kind::ECHO && own {
            return self.answer_echo(frame, packet);
        }
        let rules = &self.config.behaviour;
        let translated = rules.icmp.translate && rules.icmp_rules.queries.contains(&kind);
        if !translated {
            return match self.decide(packet.src, packet.dst) {
                Decision::Pass(_) => self.pass_out(frame, packet),
                Decision::Drop(rule) => Err(forbidden_by(rule)),
                Decision::Translate(_) | Decision::TranslateTo(..) => Err(DropReason::IcmpType),
            };
        }
        let flow = Flow::of_query(frame.bytes(), packet, true);
        self.outbound_flow(frame, packet, &flow)
    }

    fn outbound_untranslatable(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        match self.decide(packet.src, packet.dst) {
            Decision::Pass(_) => self.pass_out(frame, packet),
            Decision::Drop(rule) => Err(forbidden_by(rule)),
            Decision::Translate(_) | Decision::TranslateTo(..) => Err(DropReason::Protocol),
        }
    }

    /// Routes a packet from inside as it is. To one of the box's own addresses the way out does not lead.
    pub(crate) fn pass_out(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        if self.address_number(packet.dst).is_some() {
            return Err(DropReason::ForHost);
        }
        Ok(self.pass(frame))
    }

    /// Asks policy about a flow from inside.
    pub(crate) fn decide(&self, src: u32, dst: u32) -> Decision {
        let from_host = self.address_number(src).is_some();
        if self.translates_all && !from_host {
            return Decision::Translate(Rule::Endpoint);
        }
        let link_local = self.config.behaviour.policy.translate_link_local;
        self.config.policy.decide(Ipv4Addr::from_bits(src), Ipv4Addr::from_bits(dst), from_host, link_local)
    }

    fn outbound_flow(&mut self, frame: &mut Frame<'_>, packet: &Packet, flow: &Flow) -> Result<Verdict, DropReason> {
        let hash = self.table.outbound_hash(flow.protocol, flow.addrs, flow.ports);
        if let Some(index) = self.table.find_outbound(hash, flow.protocol, flow.addrs, flow.ports) {
            if !self.is_dead(index) {
                return self.use_outbound(frame, packet, flow, index);
            }
            self.end_early(index, true);
            self.counters.expired += 1;
        }
        self.outbound_new(frame, packet, flow, hash)
    }

    /// A packet whose flow has no session.
    pub(crate) fn outbound_new(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        flow: &Flow,
        hash: u64,
    ) -> Result<Verdict, DropReason> {
        let own_address = match self.decide(packet.src, packet.dst) {
            Decision::Pass(_) => return self.pass_out(frame, packet),
            Decision::Drop(rule) => return Err(forbidden_by(rule)),
            Decision::Translate(_) => None,
            Decision::TranslateTo(addr, _) => Some(addr),
        };
        if self.address_number(packet.src).is_some() {
            if !self.config.behaviour.policy.host_traffic {
                return Err(DropReason::Martian);
            }
            // bpf/lib/nat.h, snat_v4_nat_can_skip: below the range the host's ports are its own.
            let own_port = flow.protocol != ICMP && !self.ports.in_ranges(slot_of(flow.protocol), flow.source().1);
            if self.config.behaviour.policy.host_ports && own_port {
                return self.pass_out(frame, packet);
            }
        }
        if self.address_number(packet.dst).is_some() && self.config.behaviour.hairpin == Hairpin::Drop {
            return Err(DropReason::Hairpin);
        }
        if flow.protocol == TCP
            && !flow.is_syn()
            && let Some(verdict) = self.outbound_midstream(frame, packet, flow)
        {
            return Ok(verdict);
        }
        let index = self.create(flow, hash, own_address)?;
        let session = self.table.slab.at_mut(index);
        // The first packet of a UDP flow is an ordinary one already.
        if flow.protocol == UDP && packet.l4 == ORDINARY_L4 && translate::<true>(frame.bytes_mut(), session) {
            session.packets_out = 1;
            self.renew_ident(frame.bytes_mut(), packet);
            self.counters.translated_out += 1;
            return Ok(Verdict::Forward);
        }
        self.use_outbound(frame, packet, flow, index)
    }

    /// A TCP segment of no session that does not begin one. None: it makes a session all the same.
    fn outbound_midstream(&mut self, frame: &mut Frame<'_>, packet: &Packet, flow: &Flow) -> Option<Verdict> {
        let syn_ack = flow.tcp_flags & (bits::SYN | bits::ACK | bits::RST) == bits::SYN | bits::ACK;
        let (inside, remote) = (flow.source(), flow.destination().0);
        let mapping = self.living(|table| table.find_mapping(TCP, inside, remote));
        match mapping {
            // The answer to a connection attempt that an endpoint-independent filter let in.
            Some(_) if syn_ack => return None,
            // A refusal of one needs no session.
            Some(index) if flow.tcp_flags & bits::RST != 0 => {
                let outside = self.table.slab.at(index).outside();
                let new = (Addrs::new(outside.0, packet.dst), Ports::new(outside.1, flow.destination().1));
                let there = Rewrite::between((flow.addrs, flow.ports), new);
                if self.address_number(packet.dst).is_some() {
                    let turned = self.hairpin(frame, packet, flow, &there, None);
                    return Some(turned.unwrap_or_else(|reason| self.drop(reason)));
                }
                there.apply(frame.bytes_mut(), packet);
                self.renew_ident(frame.bytes_mut(), packet);
                decrement_ttl(frame.bytes_mut());
                self.counters.translated_out += 1;
                return Some(Verdict::Forward);
            }
            _ => {}
        }
        if self.config.behaviour.tcp_rules.idle_expiry != IdleExpiry::Silent {
            return Some(self.answer_reset(frame, packet, DropReason::IdleExpired));
        }
        match self.config.behaviour.tcp_rules.midstream {
            Midstream::Translate if flow.tcp_flags & bits::RST == 0 => None,
            Midstream::Translate | Midstream::Drop => Some(self.drop(DropReason::Midstream)),
            Midstream::Reset => Some(self.answer_reset(frame, packet, DropReason::Midstream)),
        }
    }

    /// Translates a packet of a live session, whatever its state.
    fn use_outbound(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        flow: &Flow,
        index: u32,
    ) -> Result<Verdict, DropReason> {
        if !self.restore(index, Direction::Outbound) {
            return Err(DropReason::NoMapping);
        }
        let session = *self.table.slab.at(index);
        if session.has(flag::HAIRPIN) {
            return self.hairpin(frame, packet, flow, &Rewrite::of(&session, true), Some(index));
        }
        self.follow(index, Direction::Outbound, flow);
        if flow.is_syn() && self.held.has_syns() {
            self.cross_held_syn(&session);
        }
        Rewrite::of(&session, true).apply(frame.bytes_mut(), packet);
        self.renew_ident(frame.bytes_mut(), packet);
        decrement_ttl(frame.bytes_mut());
        self.counters.translated_out += 1;
        Ok(Verdict::Forward)
    }

    /// RFC 5382 REQ-4: a SYN from inside crosses one from outside that waits; that one is dropped in silence.
    fn cross_held_syn(&mut self, session: &Session) {
        let waits = Wait::Syn(self.table.inbound_hash(TCP, session.in_addrs(), session.in_ports));
        let dropped = Wait::Decided(Verdict::Drop(DropReason::UnsolicitedSyn));
        self.held.settle(waits, dropped);
    }

    /// Source translated, destination an outside address of ours: the rest of the way is an inbound packet's.
    fn hairpin(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        flow: &Flow,
        there: &Rewrite,
        index: Option<u32>,
    ) -> Result<Verdict, DropReason> {
        let inbound = Flow { addrs: there.addrs, ports: there.ports, ..*flow };
        let back = self.find_inbound_rewrite(&inbound)?;
        if let Some(index) = index {
            self.follow(index, Direction::Outbound, flow);
        }
        self.follow_inbound(&back, &inbound);
        there.apply(frame.bytes_mut(), packet);
        back.rewrite.apply(frame.bytes_mut(), packet);
        self.renew_ident(frame.bytes_mut(), packet);
        decrement_ttl(frame.bytes_mut());
        self.counters.hairpinned += 1;
        Ok(Verdict::Back)
    }

    /// State, deadline and statistics of a session after a packet.
    pub(crate) fn follow(&mut self, index: u32, dir: Direction, flow: &Flow) {
        let session = self.table.slab.at_mut(index);
        let original = tcp::is_original(session.has(flag::FROM_OUTSIDE), dir);
        if !original {
            session.flags |= flag::REPLIED;
        }
        let counter = if dir == Direction::Outbound { &mut session.packets_out } else { &mut session.packets_in };
        *counter = counter.wrapping_add(1);
        let old = session.state;
        let new = match flow.protocol {
            TCP => tcp::step(self.config.behaviour.tcp_rules.machine, old, original, flow.tcp_flags),
            _ if matches!(old, State::UdpNew | State::UdpNewIn) && !original => State::UdpStream,
            _ => old,
        };
        session.state = new;
        session.settle();
        if dir == Direction::Outbound
            && flow.protocol == TCP
            && (flow.seq_end.wrapping_sub(session.seq_end).cast_signed() > 0 || flow.is_syn())
        {
            session.seq_end = flow.seq_end;
        }
        // A connection's change of state sets the new state's timer even where packets of this direction do not refresh. UDP has no
        // connections: what strangers send there must not lengthen a life (RFC 4787 REQ-6).
        let follows_state = new != old && flow.protocol == TCP;
        let timeouts = if follows_state { &self.timeouts } else { &self.refresh[dir as usize] };
        let timeout = timeouts[new as usize];
        let expires = session.expires;
        let deadline = self.now.wrapping_add(timeout);
        // RFC 7857 §7: a reset keeps nothing alive; it can only shorten.
        let is_reset = flow.tcp_flags & bits::RST != 0;
        if timeout != 0 && (!is_reset || before(deadline, expires)) {
            self.table.set_deadline(index, deadline);
        }
    }

    pub(crate) fn rules_of(&self, protocol: u8) -> &crate::behaviour::ProtocolRules {
        let behaviour = &self.config.behaviour;
        [&behaviour.udp, &behaviour.tcp, &behaviour.icmp][slot_of(protocol)]
    }
}

/// The reason that goes with a rule that drops.
const fn forbidden_by(rule: Rule) -> DropReason {
    if matches!(rule, Rule::SourceCheck) { DropReason::SourceCheck } else { DropReason::Policy }
}
