//! Packets from outside that the ordinary path leaves alone.

use crate::behaviour::{Dependence, DirectInbound, IdleExpiry, Overload, ProtocolRules, UnsolicitedSyn};
use crate::held::Wait;
use crate::outbound::Flow;
use crate::packet::{Packet, Rewrite, decrement_ttl};
use crate::pair::{Addrs, Ports};
use crate::session::{ICMP, TCP, flag};
use crate::table::slot_of;
use crate::tcp::bits;
use crate::time::ticks;
use crate::{Direction, DropReason, Nat, Verdict};
use core::net::Ipv4Addr;
use natrig_wire::{Frame, icmpv4};

/// RFC 5382 REQ-4.
const UNSOLICITED_SYN_S: u32 = 6;

/// How an inbound packet is rewritten, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InboundRewrite {
    pub(crate) rewrite: Rewrite,
    index: u32,
    /// False: the mapping lets it in, but it has no session of its own.
    has_session: bool,
}

impl Nat {
    /// A packet from outside. `Err` leaves the frame as it was.
    pub(crate) fn inbound(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        if self.address_number(packet.dst).is_none() {
            return self.inbound_direct(frame, packet);
        }
        if packet.is_fragment() {
            self.fragment(Direction::Inbound, frame, packet)
        } else {
            self.inbound_whole(frame, packet)
        }
    }

    /// A packet to an outside address that has its transport header.
    pub(crate) fn inbound_whole(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        if packet.protocol == ICMP {
            return self.inbound_icmp(frame, packet);
        }
        if !crate::nat::is_translatable(packet.protocol) || !self.rules_of(packet.protocol).translate {
            return Err(DropReason::Protocol);
        }
        let flow = Flow::of_transport(frame.bytes(), packet)?;
        match self.find_inbound_rewrite(&flow) {
            Ok(found) => Ok(self.use_inbound(frame, packet, &flow, &found)),
            Err(reason) => self.inbound_unwanted(frame, packet, &flow, reason),
        }
    }

    /// Past the outside addresses: not the translator's business, but perhaps the router's.
    fn inbound_direct(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        if self.is_router(packet.dst) {
            let pings = packet.protocol == ICMP
                && Ipv4Addr::from_bits(packet.dst) == self.config.outside_router
                && self.check_icmp(frame.bytes(), packet)? == icmpv4::kind::ECHO;
            return if pings { self.answer_echo(frame, packet) } else { Err(DropReason::ForHost) };
        }
        let rules = &self.config.behaviour.policy;
        let routed = rules.direct_inbound == DirectInbound::Route
            || self.config.policy.passes_from(Ipv4Addr::from_bits(packet.src), rules.translate_link_local);
        if !routed {
            return Err(DropReason::NotRouted);
        }
        if rules.track_direct {
            self.track_direct(frame.bytes(), packet)?;
        }
        Ok(self.pass(frame))
    }

    /// Remembers a flow that begins outside and is not translated, so that its replies are not translated either.
    fn track_direct(&mut self, frame: &[u8], packet: &Packet) -> Result<(), DropReason> {
        let link_local = self.config.behaviour.policy.translate_link_local;
        let answered_untranslated = self.config.policy.passes_from(Ipv4Addr::from_bits(packet.src), link_local);
        let translates = crate::nat::is_translatable(packet.protocol) && self.rules_of(packet.protocol).translate;
        if packet.is_fragment() || answered_untranslated || !translates {
            return Ok(());
        }
        let flow = if packet.protocol != ICMP {
            Flow::of_transport(frame, packet)?
        } else if self.check_icmp(frame, packet)? == icmpv4::kind::ECHO {
            Flow::of_query(frame, packet, false)
        } else {
            return Ok(());
        };
        self.follow_direct(&flow)
    }

    fn inbound_icmp(&mut self, frame: &mut Frame<'_>, packet: &Packet) -> Result<Verdict, DropReason> {
        let kind = self.check_icmp(frame.bytes(), packet)?;
        if icmpv4::is_error(kind) {
            return self.inbound_icmp_error(frame, packet, kind);
        }
        if kind == icmpv4::kind::ECHO {
            return self.answer_echo(frame, packet);
        }
        // Replies are numbered behind their queries, but echo's, which is 0 to 8.
        let query = if kind == icmpv4::kind::ECHO_REPLY { icmpv4::kind::ECHO } else { kind.wrapping_sub(1) };
        let rules = &self.config.behaviour;
        if !rules.icmp.translate || !rules.icmp_rules.queries.contains(&query) {
            return Err(DropReason::IcmpType);
        }
        let flow = Flow::of_query(frame.bytes(), packet, false);
        let found = self.find_inbound_rewrite(&flow)?;
        Ok(self.use_inbound(frame, packet, &flow, &found))
    }

    /// The session or mapping that an inbound packet belongs to.
    pub(crate) fn find_inbound_rewrite(&mut self, flow: &Flow) -> Result<InboundRewrite, DropReason> {
        self.table.flush();
        let hash = self.table.inbound_hash(flow.protocol, flow.addrs, flow.ports);
        if let Some(index) = self.table.find_inbound(hash, flow.protocol, flow.addrs, flow.ports) {
            let session = self.table.slab.at(index);
            if session.has(flag::HELD) {
                return Err(DropReason::NoMapping);
            }
            if !self.is_dead(index) {
                return Ok(InboundRewrite { rewrite: Rewrite::of(session, false), index, has_session: true });
            }
            self.counters.expired += 1;
            self.end_early(index, true);
        }
        let index = self.find_open_mapping(flow)?;
        let inside = self.table.slab.at(index).inside();
        let (remote, port) = flow.source();
        let new = (Addrs::new(remote, inside.0), Ports::new(port, inside.1));
        Ok(InboundRewrite { rewrite: Rewrite::between((flow.addrs, flow.ports), new), index, has_session: false })
    }

    /// A mapping whose filter lets in a sender that it has no session with.
    fn find_open_mapping(&mut self, flow: &Flow) -> Result<u32, DropReason> {
        let &ProtocolRules { overload, filtering, .. } = self.rules_of(flow.protocol);
        let (protocol, outside, remote) = (flow.protocol, flow.destination(), flow.source().0);
        let mapping = match overload {
            Overload::Never => self.living(|table| table.find_outside(protocol, outside)),
            Overload::PerAddress => self.living(|table| table.find_peer(protocol, outside, remote)),
            Overload::PerEndpoint => None,
        };
        let mapping = mapping.ok_or(DropReason::NoMapping)?;
        match filtering {
            Dependence::EndpointIndependent => Ok(mapping),
            Dependence::AddressDependent => {
                self.living(|table| table.find_peer(protocol, outside, remote)).ok_or(DropReason::Filtered)
            }
            Dependence::AddressAndPortDependent => Err(DropReason::Filtered),
        }
    }

    fn use_inbound(&mut self, frame: &mut Frame<'_>, packet: &Packet, flow: &Flow, found: &InboundRewrite) -> Verdict {
        self.follow_inbound(found, flow);
        found.rewrite.apply(frame.bytes_mut(), packet);
        decrement_ttl(frame.bytes_mut());
        self.counters.translated_in += 1;
        Verdict::Forward
    }

    /// State, deadline and statistics after an inbound packet. One without session only keeps its mapping alive, if inbound packets
    /// do that: what strangers send makes no state.
    pub(crate) fn follow_inbound(&mut self, found: &InboundRewrite, flow: &Flow) {
        if found.has_session {
            self.restore(found.index, Direction::Inbound);
            self.follow(found.index, Direction::Inbound, flow);
            return;
        }
        let session = self.table.slab.at_mut(found.index);
        session.packets_in = session.packets_in.wrapping_add(1);
        let timeout = self.refresh[Direction::Inbound as usize][session.state as usize];
        if timeout != 0 && flow.protocol != TCP {
            self.table.set_deadline(found.index, self.now.wrapping_add(timeout));
        }
    }

    /// Nobody inside waits for it.
    fn inbound_unwanted(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        flow: &Flow,
        reason: DropReason,
    ) -> Result<Verdict, DropReason> {
        let host_ports = self.config.behaviour.policy.host_ports;
        if host_ports
            && reason == DropReason::NoMapping
            && !self.ports.in_ranges(slot_of(flow.protocol), flow.destination().1)
        {
            return Err(DropReason::ForHost);
        }
        if flow.protocol != TCP {
            return Err(reason);
        }
        if flow.is_syn() {
            return match self.config.behaviour.tcp_rules.unsolicited_syn {
                UnsolicitedSyn::Drop => Err(DropReason::UnsolicitedSyn),
                UnsolicitedSyn::Wait => self.hold_syn(frame, packet, flow),
                UnsolicitedSyn::Reset => Ok(self.answer_reset(frame, packet, DropReason::UnsolicitedSyn)),
            };
        }
        if self.config.behaviour.tcp_rules.idle_expiry == IdleExpiry::ResetBoth && flow.tcp_flags & bits::RST == 0 {
            return Ok(self.answer_reset(frame, packet, DropReason::IdleExpired));
        }
        Err(reason)
    }

    /// RFC 5382 REQ-4: no answer for 6 s, in which a SYN from inside may cross it.
    fn hold_syn(&mut self, frame: &Frame<'_>, packet: &Packet, flow: &Flow) -> Result<Verdict, DropReason> {
        let wait = Wait::Syn(self.table.inbound_hash(TCP, flow.addrs, flow.ports));
        // Sent again, it waits no second time.
        let again = self.held.has_syns() && self.held.waits(wait);
        let bytes = &frame.bytes()[..packet.end()];
        let deadline = self.now.wrapping_add(ticks(UNSOLICITED_SYN_S));
        let copy = |slot: &mut [u8]| slot.copy_from_slice(bytes);
        if packet.is_fragment() || again || !self.held.push(Direction::Inbound, wait, deadline, bytes.len(), copy) {
            return Err(DropReason::UnsolicitedSyn);
        }
        self.counters.held += 1;
        Ok(Verdict::Hold)
    }
}
