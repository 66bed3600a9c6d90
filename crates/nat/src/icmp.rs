//! ICMP errors: both the packet and the packet that it quotes are translated (RFC 5508 §4).

use crate::outbound::Flow;
use crate::packet::{L3, Packet, Rewrite, decrement_ttl, ports_at, put_u16, put_u32, query_ports, u16_at, u32_at};
use crate::pair::{Addrs, Ports};
use crate::session::{ICMP, TCP, UDP};
use crate::{DropReason, Nat, Verdict};
use natrig_wire::checksum::{self, Delta};
use natrig_wire::{Frame, icmpv4};

/// The packet quoted in an ICMP error: its header, and the first eight bytes behind it at least.
#[derive(Debug, Clone, Copy)]
struct Quote {
    /// Where its IPv4 header begins in the frame.
    at: usize,
    /// Where its transport header begins.
    l4: usize,
    end: usize,
    flow: Flow,
}

impl Quote {
    /// Reads the quote. RFC 5508 REQ-3: its header checksum must be right, its transport checksum is not looked at, and options are
    /// skipped. `reversed`: the flow is that of the quoted packet's answer.
    fn read(frame: &[u8], packet: &Packet, outbound: bool) -> Result<Self, DropReason> {
        let at = packet.l4 + icmpv4::HEADER_LEN;
        let end = packet.end();
        let quote = frame.get(at..end).ok_or(DropReason::IcmpQuote)?;
        if quote.len() < 20 || quote[0] >> 4 != 4 {
            return Err(DropReason::IcmpQuote);
        }
        let header_len = usize::from(quote[0] & 0xf) * 4;
        if header_len < 20
            || quote.len() < header_len + 8
            || checksum::fold(checksum::sum(0, &quote[..header_len])) != 0xffff
        {
            return Err(DropReason::IcmpQuote);
        }
        // Without the first fragment there are no ports to go by.
        if u16_at(quote, 6) & 0x1fff != 0 {
            return Err(DropReason::IcmpQuote);
        }
        let l4 = &quote[header_len..];
        let protocol = quote[9];
        let (src, dst) = (u32_at(quote, 12), u32_at(quote, 16));
        // The quoted packet went the other way: seen from the direction of the error, its ends are exchanged.
        let ports = match protocol {
            UDP | TCP => ports_at(l4, 0).swapped(),
            ICMP if !icmpv4::is_error(l4[0]) => query_ports(u16_at(l4, 4), outbound),
            ICMP => return Err(DropReason::IcmpQuote),
            _ => return Err(DropReason::Protocol),
        };
        let flow = Flow { protocol, addrs: Addrs::new(dst, src), ports, tcp_flags: 0, seq: 0, seq_end: 0 };
        Ok(Self { at, l4: at + header_len, end, flow })
    }
}

impl Nat {
    /// Checks an ICMP message and returns its type.
    pub(crate) fn check_icmp(&self, frame: &[u8], packet: &Packet) -> Result<u8, DropReason> {
        let message = frame.get(packet.l4..packet.end()).ok_or(DropReason::Malformed)?;
        if message.len() < icmpv4::HEADER_LEN {
            return Err(if packet.is_fragment() { DropReason::FragmentTiny } else { DropReason::Malformed });
        }
        // The checksum of a fragment covers the whole datagram.
        if !packet.is_fragment() && checksum::fold(checksum::sum(0, message)) != 0xffff {
            return Err(DropReason::IcmpChecksum);
        }
        Ok(message[0])
    }

    /// An error from outside about a packet that was sent from inside.
    pub(crate) fn inbound_icmp_error(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        kind: u8,
    ) -> Result<Verdict, DropReason> {
        let (quote, rewrite) = self.inbound_error_rewrite(frame.bytes(), packet, kind, packet.dst)?;
        let inside = rewrite.addrs.second();
        rewrite_error(frame.bytes_mut(), packet, &quote, &rewrite, (packet.src, inside));
        decrement_ttl(frame.bytes_mut());
        self.counters.icmp_errors += 1;
        self.counters.translated_in += 1;
        Ok(Verdict::Forward)
    }

    fn inbound_error_rewrite(
        &mut self,
        frame: &[u8],
        packet: &Packet,
        kind: u8,
        outer_dst: u32,
    ) -> Result<(Quote, Rewrite), DropReason> {
        if !self.config.behaviour.icmp_rules.errors.contains(&kind) {
            return Err(DropReason::IcmpType);
        }
        let quote = Quote::read(frame, packet, false)?;
        // The quoted packet was sent from the address that the error is for.
        if quote.flow.destination().0 != outer_dst {
            return Err(DropReason::IcmpNoMapping);
        }
        let found = self.find_inbound_rewrite(&quote.flow).map_err(|_| DropReason::IcmpNoMapping)?;
        Ok((quote, found.rewrite))
    }

    /// An error from inside about a packet that came from outside. It neither refreshes nor ends anything (RFC 5508 REQ-6).
    pub(crate) fn outbound_icmp_error(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        kind: u8,
    ) -> Result<Verdict, DropReason> {
        let quote = Quote::read(frame.bytes(), packet, true)?;
        let flow = &quote.flow;
        let hash = self.table.outbound_hash(flow.protocol, flow.addrs, flow.ports);
        let session =
            self.table.find_outbound(hash, flow.protocol, flow.addrs, flow.ports).filter(|index| !self.is_dead(*index));
        let rewrite = match session {
            Some(index) => Rewrite::of(self.table.slab.at(index), true),
            None => match self.outbound_error_mapping(flow) {
                Some(rewrite) => rewrite,
                None if matches!(self.decide(packet.src, packet.dst), crate::Decision::Pass(_)) => {
                    return self.pass_out(frame, packet);
                }
                None => return Err(DropReason::IcmpNoMapping),
            },
        };
        if !self.config.behaviour.icmp_rules.errors.contains(&kind) {
            return Err(DropReason::IcmpType);
        }
        if self.address_number(packet.dst).is_some() {
            return self.hairpin_icmp_error(frame, packet, kind, &quote, &rewrite);
        }
        let outside = rewrite.addrs.first();
        rewrite_error(frame.bytes_mut(), packet, &quote, &rewrite, (outside, packet.dst));
        self.renew_ident(frame.bytes_mut(), packet);
        decrement_ttl(frame.bytes_mut());
        self.counters.icmp_errors += 1;
        self.counters.translated_out += 1;
        Ok(Verdict::Forward)
    }

    /// The quoted packet was let in by a mapping without a session.
    fn outbound_error_mapping(&mut self, flow: &Flow) -> Option<Rewrite> {
        let (protocol, inside, remote) = (flow.protocol, flow.source(), flow.destination().0);
        let index = self.living(|table| table.find_mapping(protocol, inside, remote))?;
        let outside = self.table.slab.at(index).outside();
        let remote = flow.destination();
        let new = (Addrs::new(outside.0, remote.0), Ports::new(outside.1, remote.1));
        Some(Rewrite::between((flow.addrs, flow.ports), new))
    }

    /// An error about a hairpinned packet goes back to the inside (RFC 5508 REQ-7).
    fn hairpin_icmp_error(
        &mut self,
        frame: &mut Frame<'_>,
        packet: &Packet,
        kind: u8,
        quote: &Quote,
        there: &Rewrite,
    ) -> Result<Verdict, DropReason> {
        let inbound = Flow { addrs: there.addrs, ports: there.ports, ..quote.flow };
        let back = self.find_inbound_rewrite(&inbound).map_err(|_| DropReason::IcmpNoMapping)?;
        if !self.config.behaviour.icmp_rules.errors.contains(&kind) {
            return Err(DropReason::IcmpType);
        }
        let (outside, inside) = (there.addrs.first(), back.rewrite.addrs.second());
        rewrite_error(frame.bytes_mut(), packet, quote, there, (outside, packet.dst));
        let quote = Quote { flow: inbound, ..*quote };
        let packet = Packet { src: outside, ..*packet };
        rewrite_error(frame.bytes_mut(), &packet, &quote, &back.rewrite, (outside, inside));
        decrement_ttl(frame.bytes_mut());
        self.counters.icmp_errors += 1;
        self.counters.hairpinned += 1;
        Ok(Verdict::Back)
    }
}

/// Writes new ends into an ICMP error and its quote. `rewrite` is in terms of the error's direction; the quote has its ends exchanged.
fn rewrite_error(frame: &mut [u8], packet: &Packet, quote: &Quote, rewrite: &Rewrite, outer: (u32, u32)) {
    // What the message's own checksum covers changes by what changes in the quote, its checksums included.
    let mut change = Delta::new();
    let addrs = rewrite.addrs.swapped();
    let ip = &mut frame[quote.at..quote.end];
    let old_sum = u16_at(ip, 10);
    let new_sum = rewrite.addr_delta.apply(old_sum);
    put_u16(ip, 10, new_sum);
    ip[12..20].copy_from_slice(&addrs.to_wire());
    change = change.and(rewrite.addr_delta).u16(old_sum, new_sum);
    let l4 = &mut frame[quote.l4..quote.end];
    match quote.flow.protocol {
        UDP | TCP => {
            let ports = rewrite.ports.swapped();
            let old = ports_at(l4, 0);
            change = change.u16(old.first(), ports.first()).u16(old.second(), ports.second());
            l4[..4].copy_from_slice(&ports.to_wire());
            let at = if quote.flow.protocol == UDP { 6 } else { 16 };
            if l4.len() >= at + 2 {
                let old = u16_at(l4, at);
                let new = if quote.flow.protocol == UDP {
                    rewrite.l4_delta.apply_udp(old)
                } else {
                    rewrite.l4_delta.apply(old)
                };
                put_u16(l4, at, new);
                change = change.u16(old, new);
            }
        }
        _ => {
            let ident = rewrite.ports.ident();
            let (old_ident, old) = (u16_at(l4, 4), u16_at(l4, 2));
            let new = Delta::new().u16(old_ident, ident).apply(old);
            put_u16(l4, 4, ident);
            put_u16(l4, 2, new);
            change = change.u16(old_ident, ident).u16(old, new);
        }
    }
    let message = &mut frame[packet.l4..];
    let sum = change.apply(u16_at(message, 2));
    put_u16(message, 2, sum);
    let ip = &mut frame[L3..];
    let sum = Delta::new().u32(packet.src, outer.0).u32(packet.dst, outer.1).apply(u16_at(ip, 10));
    put_u16(ip, 10, sum);
    put_u32(ip, 12, outer.0);
    put_u32(ip, 16, outer.1);
}
