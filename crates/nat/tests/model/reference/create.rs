//! New sessions: quotas, room, and the outside end.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use natrig_nat::behaviour::{AddressChoice, Exhaustion, FullPolicy, Overload, PortBlocks};
use natrig_nat::{Direction, DropReason, Verdict};

use super::search::{self, At, Reach, Request};
use super::{Event, Flow, Judgement, Phase, Reference, Session, Tokens, must_drop, tcp};
use crate::foreign::Content;
use crate::packet::{ACK, ICMP, RST, SYN, TCP, UDP};

impl Reference {
    /// A flow from inside needs a session. It must get one unless something stands in the way, and then nobody else may suffer for it.
    pub(super) fn create(&mut self, event: &Event<'_>, flow: &Flow, only: Option<Ipv4Addr>) -> Judgement {
        self.forget_idle_blocks();
        let is_it = |row: &&super::Row| {
            // Where entries go one by one, an older session may have nothing left but its way in.
            let found = !row.held && row.entries[Direction::Outbound as usize];
            found && row.protocol == flow.protocol && row.inside == flow.from && row.remote == flow.to
        };
        let created = event.rows.iter().find(is_it).map(|row| row.outside);
        let shared = self.mapping_of(flow);
        let (must, may) = self.refusals(flow, shared.is_none());
        let gone = |session: &Session| !event.rows.iter().any(|row| row.same_session(session));
        let evicted: Vec<usize> = (0..self.sessions.len()).filter(|at| gone(&self.sessions[*at])).collect();
        match (created, shared) {
            (Some(outside), _) if !must.is_empty() => Err(format!("{flow:?} got {outside} in spite of {must:?}")),
            (Some(outside), Some(shared)) if outside != shared => {
                Err(format!("{flow:?} got {outside}, its mapping has {shared}"))
            }
            (Some(outside), Some(_)) => self.enter(event, flow, outside, &evicted, (false, only.is_some())),
            (Some(outside), None) => {
                self.check_allocation(flow, only, outside)?;
                self.enter(event, flow, outside, &evicted, (true, only.is_some()))
            }
            (None, _) if !evicted.is_empty() => {
                Err(format!("{flow:?} was refused, and yet {:?} had to go", self.sessions[evicted[0]]))
            }
            (None, _) => {
                let mut allowed = [must, may].concat();
                if shared.is_none() {
                    allowed.extend(self.allocation_refusals(flow, only));
                }
                self.spend_token(flow, false);
                self.must_refuse(event, &allowed)
            }
        }
    }

    /// Why the new session must be refused, and why it may be, apart from ports.
    fn refusals(&mut self, flow: &Flow, new_port: bool) -> (Vec<DropReason>, Vec<DropReason>) {
        let (mut must, mut may) = (Vec::new(), Vec::new());
        let quota = &self.behaviour().quota;
        let source = self.source_of(*flow.from.ip());
        let known = self.known_sources();
        if self.needs_sources() && !known.contains(&source) && known.len() >= quota.max_sources as usize {
            must.push(DropReason::SourcesFull);
        }
        let of_source = |session: &&Session| !session.direct && self.source_of(*session.inside.ip()) == source;
        let sessions = self.sessions.iter().filter(of_source).filter(|session| !session.held).count();
        if quota.sessions_per_source > 0 && sessions >= quota.sessions_per_source as usize {
            must.push(DropReason::SourceLimit);
        }
        let first_of_mapping = |at: &usize| {
            let session = &self.sessions[*at];
            let earlier = |other: &Session| !other.held && self.same_mapping(other, session);
            of_source(&session)
                && session.protocol == flow.protocol
                && (session.held || !self.sessions[..*at].iter().any(earlier))
        };
        let ports = (0..self.sessions.len()).filter(first_of_mapping).count();
        if new_port && quota.ports_per_source > 0 && ports >= quota.ports_per_source as usize {
            must.push(DropReason::SourceLimit);
        }
        if self.sessions.len() >= self.behaviour().table.capacity as usize {
            let unreplied = self.sessions.iter().any(|session| !session.replied);
            match self.behaviour().table.full {
                FullPolicy::EvictOldest | FullPolicy::EvictEntry | FullPolicy::EvictEntryRestore => {}
                // Only a few are looked at.
                FullPolicy::EvictUnreplied if unreplied => may.push(DropReason::TableFull),
                FullPolicy::EvictUnreplied | FullPolicy::Refuse => must.push(DropReason::TableFull),
            }
        }
        if !new_port && self.destination_is_full(flow, self.mapping_of(flow).map(|outside| *outside.ip())) {
            must.push(DropReason::DestinationLimit);
        }
        if new_port && quota.new_per_second > 0 {
            let (most, least) = self.token_bounds(source, known.contains(&source));
            if most < 0.999 {
                must.push(DropReason::SourceRate);
            }
            if least < 1.001 {
                may.push(DropReason::SourceRate);
            }
        }
        (must, may)
    }

    fn needs_sources(&self) -> bool {
        let quota = &self.behaviour().quota;
        let limited = quota.ports_per_source > 0 || quota.sessions_per_source > 0 || quota.new_per_second > 0;
        limited || quota.blocks != PortBlocks::Shared || self.behaviour().pool.paired && self.config.outside.len() > 1
    }

    fn known_sources(&self) -> BTreeSet<Ipv4Addr> {
        let translated = self.sessions.iter().filter(|session| !session.direct);
        let with_sessions = translated.map(|session| self.source_of(*session.inside.ip()));
        with_sessions.chain(self.blocks.keys().copied()).collect()
    }

    /// A session takes its place in the list; others may have had to go for it.
    fn enter(
        &mut self,
        event: &Event<'_>,
        flow: &Flow,
        outside: SocketAddrV4,
        evicted: &[usize],
        (new_port, directed): (bool, bool),
    ) -> Judgement {
        if self.behaviour().table.full.by_entry() {
            self.make_room(event, 2, None)?;
        } else {
            self.evict(flow, outside, evicted, new_port)?;
        }
        // What made room may have been all that was left of the mapping: then its port is given out anew.
        if new_port || self.mapping_of(flow).is_none() {
            self.last_port.insert((*outside.ip(), flow.protocol), outside.port());
        }
        if new_port {
            self.note_hash(flow, *outside.ip());
            self.note_block(flow, outside);
            self.spend_token(flow, true);
        }
        let phase = first_phase(flow);
        let expires = self.now + self.timeout(phase);
        let session = Session::new(flow.protocol, [flow.from, flow.to, outside], phase, expires);
        self.sessions.push(Session { from_outside: flow.flags & (SYN | ACK) == SYN | ACK, directed, ..session });
        self.use_outbound(event, flow, self.sessions.len() - 1)
    }

    /// Sessions have gone for a new one: one for room, one for the port.
    fn evict(&mut self, flow: &Flow, outside: SocketAddrV4, evicted: &[usize], new_port: bool) -> Judgement {
        let full = self.sessions.len() >= self.behaviour().table.capacity as usize;
        let in_the_way = |session: &Session| {
            new_port && session.protocol == flow.protocol && session.outside == outside && session.remote == flow.to
        };
        let for_room: Vec<&Session> =
            evicted.iter().map(|at| &self.sessions[*at]).filter(|session| !in_the_way(session)).collect();
        let most = usize::from(full);
        let least = usize::from(full && for_room.len() == evicted.len());
        if for_room.len() < least || for_room.len() > most {
            return Err(format!("{} sessions went for {flow:?}: {for_room:?}", for_room.len()));
        }
        if self.behaviour().table.full == FullPolicy::EvictUnreplied
            && for_room.iter().any(|session| session.replied && !session.held)
        {
            return Err(format!("{for_room:?} was answered and yet evicted"));
        }
        if let Some(held) =
            evicted.iter().map(|at| &self.sessions[*at]).find(|session| in_the_way(session) && session.held)
        {
            return Err(format!("{held:?} was to be held"));
        }
        let mut at = 0;
        self.sessions.retain(|_| {
            at += 1;
            !evicted.contains(&(at - 1))
        });
        Ok(())
    }

    /// A flow that begins outside and is routed as it is: it takes a place in the table, and nothing else.
    pub(super) fn enter_direct(&mut self, event: &Event<'_>, flow: &Flow) -> Judgement {
        let is_it =
            |row: &super::Row| row.protocol == flow.protocol && row.inside == flow.to && row.remote == flow.from;
        let gone = |session: &Session| !event.rows.iter().any(|row| row.same_session(session));
        let evicted: Vec<usize> = (0..self.sessions.len()).filter(|at| gone(&self.sessions[*at])).collect();
        let full = self.sessions.len() >= self.behaviour().table.capacity as usize;
        if !event.rows.iter().any(is_it) {
            let must_evict = match self.behaviour().table.full {
                FullPolicy::Refuse => false,
                FullPolicy::EvictEntry | FullPolicy::EvictEntryRestore => true,
                FullPolicy::EvictOldest | FullPolicy::EvictUnreplied => {
                    self.sessions.iter().all(|session| !session.replied)
                }
            };
            if !full || !evicted.is_empty() || must_evict {
                return Err(format!("{flow:?} is not followed"));
            }
            return must_drop(event, &[DropReason::TableFull]);
        }
        if self.behaviour().table.full.by_entry() {
            self.make_room(event, 2, None)?;
        } else if evicted.len() != usize::from(full) {
            return Err(format!("{} sessions went for {flow:?}", evicted.len()));
        } else if let [at] = evicted[..] {
            self.sessions.remove(at);
        }
        let phase = first_phase(flow);
        let expires = self.now + self.timeout(phase);
        let session = Session::new(flow.protocol, [flow.to, flow.from, flow.to], phase, expires);
        self.sessions.push(Session { from_outside: true, direct: true, ..session });
        self.must_pass(event)
    }

    fn must_refuse(&mut self, event: &Event<'_>, allowed: &[DropReason]) -> Judgement {
        use DropReason::{SourceLimit, SourceRate};
        if allowed.is_empty() {
            return Err(format!("refused for no reason: {:?}", event.outcome.verdict));
        }
        // RFC 6888 REQ-11 for shortage, RFC 5508 REQ-8 for what an administrator has limited.
        let about = |reason: DropReason| match self.behaviour().exhaustion {
            Exhaustion::Drop => None,
            Exhaustion::HostUnreachable if !matches!(reason, SourceLimit | SourceRate) => Some([3, 1]),
            Exhaustion::HostUnreachable | Exhaustion::AdministrativelyProhibited => Some([3, 13]),
        };
        if self.behaviour().exhaustion == Exhaustion::Drop {
            return must_drop(event, allowed);
        }
        let answer = match event.out.map(|out| &out.content) {
            Some(Content::Error { code, .. }) => Some(*code),
            _ => None,
        };
        let reason = match event.outcome.verdict {
            Verdict::Drop(reason) if allowed.contains(&reason) => reason,
            _ => *allowed.iter().find(|reason| about(**reason).map(|[_, code]| code) == answer).unwrap_or(&allowed[0]),
        };
        let about = about(reason).unwrap_or_default();
        self.must_report(event, about, reason)
    }

    /// The addresses that a new mapping may get, in order if the order counts.
    fn addresses(&self, flow: &Flow, only: Option<Ipv4Addr>) -> (Vec<Ipv4Addr>, bool) {
        if let Some(only) = only {
            return (vec![only], true);
        }
        let all = self.config.outside.clone();
        let pool = &self.behaviour().pool;
        let source = self.source_of(*flow.from.ip());
        if pool.paired && all.len() > 1 || self.behaviour().quota.blocks != PortBlocks::Shared {
            // RFC 4787 REQ-2.
            let of_source = |session: &&Session| {
                !session.direct && !session.directed && self.source_of(*session.inside.ip()) == source
            };
            let paired = self.sessions.iter().find(of_source);
            if let Some(session) = paired {
                return (vec![*session.outside.ip()], true);
            }
        }
        if let Some((addr, blocks)) = self.blocks.get(&source)
            && !blocks.is_empty()
        {
            return (vec![*addr], true);
        }
        match pool.choice {
            AddressChoice::FirstFit => (all, true),
            AddressChoice::RoundRobin | AddressChoice::Random => (all, false),
            AddressChoice::HashSource | AddressChoice::HashSourceDestination => {
                let known = self.hashed.get(&self.hash_key(flow));
                (known.map_or(all, |addr| vec![*addr]), false)
            }
        }
    }

    fn hash_key(&self, flow: &Flow) -> (Ipv4Addr, Option<Ipv4Addr>) {
        let by_both = self.behaviour().pool.choice == AddressChoice::HashSourceDestination;
        (*flow.from.ip(), by_both.then_some(*flow.to.ip()))
    }

    fn hashes(&self) -> bool {
        matches!(self.behaviour().pool.choice, AddressChoice::HashSource | AddressChoice::HashSourceDestination)
    }

    /// Where the hash of a flow leads is learnt from the first mapping that went there, and holds from then on.
    fn note_hash(&mut self, flow: &Flow, addr: Ipv4Addr) {
        let pinned = self.behaviour().pool.paired
            || self.behaviour().quota.blocks != PortBlocks::Shared
            || self.behaviour().ports.reuse_source_mapping
            || self.is_outside(*flow.from.ip());
        if self.hashes() && !pinned && self.config.policy.egress_gateway.is_empty() {
            let key = self.hash_key(flow);
            self.hashed.insert(key, addr);
        }
    }

    fn check_allocation(&self, flow: &Flow, only: Option<Ipv4Addr>, outside: SocketAddrV4) -> Judgement {
        if let Some(found) = self.reusable(flow, only, outside) {
            return found;
        }
        let (addresses, in_order) = self.addresses(flow, only);
        let reaches: Vec<(Ipv4Addr, Reach)> = addresses.iter().map(|addr| (*addr, self.reach(flow, *addr))).collect();
        for (addr, reach) in &reaches {
            if addr == outside.ip() {
                return if reach.ports.contains(&outside.port()) {
                    Ok(())
                } else {
                    Err(format!("{flow:?} got {outside}, could have had {reach:?}"))
                };
            }
            if in_order && !reach.may_fail {
                return Err(format!("{flow:?} got {outside} past {addr}, which has {reach:?}"));
            }
        }
        Err(format!("{flow:?} got {outside}, which is none of {addresses:?}"))
    }

    /// Linux, find_appropriate_src: an outside end that the inside end has already, if it is free towards the new remote end. Only one is
    /// looked at. None: the choice is the allocator's.
    fn reusable(&self, flow: &Flow, only: Option<Ipv4Addr>, outside: SocketAddrV4) -> Option<Judgement> {
        if !self.behaviour().ports.reuse_source_mapping {
            return None;
        }
        let same_source =
            |session: &&Session| !session.held && session.protocol == flow.protocol && session.inside == flow.from;
        let is_free = |end: SocketAddrV4| {
            let taken = |session: &Session| {
                session.protocol == flow.protocol && session.outside == end && session.remote == flow.to
            };
            !self.sessions.iter().any(taken)
        };
        let ends: Vec<SocketAddrV4> = self.sessions.iter().filter(same_source).map(|session| session.outside).collect();
        let fits = |end: &SocketAddrV4| is_free(*end) && only.is_none_or(|only| only == *end.ip());
        if ends.contains(&outside) && fits(&outside) {
            return Some(Ok(()));
        }
        if !ends.is_empty() && ends.iter().all(fits) {
            return Some(Err(format!("{flow:?} got {outside}, should have had one of {ends:?}")));
        }
        None
    }

    /// Why no outside end may have been found.
    fn allocation_refusals(&self, flow: &Flow, only: Option<Ipv4Addr>) -> Vec<DropReason> {
        let (addresses, _) = self.addresses(flow, only);
        let unknown_hash = self.hashes() && addresses.len() > 1;
        let fails = |addr: &Ipv4Addr| self.reach(flow, *addr).may_fail;
        let may_fail = if unknown_hash { addresses.iter().any(fails) } else { addresses.iter().all(fails) };
        if !may_fail {
            return Vec::new();
        }
        let mut reasons = vec![DropReason::PortsExhausted];
        if addresses.iter().any(|addr| self.destination_is_full(flow, Some(*addr))) {
            reasons.push(DropReason::DestinationLimit);
        }
        reasons
    }

    fn destination_is_full(&self, flow: &Flow, outside: Option<Ipv4Addr>) -> bool {
        let most = self.behaviour().ports.max_per_destination as usize;
        let counts = |session: &&Session| {
            !session.held
                && session.protocol == flow.protocol
                && session.remote == flow.to
                && Some(*session.outside.ip()) == outside
        };
        most > 0 && self.sessions.iter().filter(counts).count() >= most
    }

    /// What a search at one outside address may find.
    fn reach(&self, flow: &Flow, addr: Ipv4Addr) -> Reach {
        if self.destination_is_full(flow, Some(addr)) {
            return Reach { ports: BTreeSet::new(), may_fail: true };
        }
        let at = |port: u16| self.at(flow, SocketAddrV4::new(addr, port));
        if self.behaviour().quota.blocks != PortBlocks::Shared && flow.protocol != ICMP {
            return self.reach_in_blocks(flow, addr, &at);
        }
        let rules = &self.behaviour().ports;
        let request = Request {
            rules,
            overload: self.rules(flow.protocol).overload,
            range: search::range_for(rules, flow.protocol == ICMP, flow.from.port()),
            is_udp: flow.protocol == UDP,
            is_icmp: flow.protocol == ICMP,
            source: flow.from.port(),
            last: self.last_port.get(&(addr, flow.protocol)).copied().unwrap_or(0),
            at: &at,
        };
        let Some(extra) = rules.extra_range.filter(|_| flow.protocol != ICMP) else { return search::search(&request) };
        // Either range may come first; the other one is for when it fails.
        let main = search::search(&Request { range: rules.range, ..request });
        let extra = search::search(&Request { range: extra, ..request });
        Reach { ports: main.ports.union(&extra.ports).copied().collect(), may_fail: main.may_fail && extra.may_fail }
    }

    fn at(&self, flow: &Flow, end: SocketAddrV4) -> At {
        let overload = self.rules(flow.protocol).overload;
        let in_the_way = |session: &&Session| {
            let same = session.protocol == flow.protocol && session.outside == end;
            same && session.has_entry(Direction::Inbound)
                && match overload {
                    Overload::Never => true,
                    Overload::PerAddress => session.remote.ip() == flow.to.ip(),
                    Overload::PerEndpoint => session.remote == flow.to,
                }
        };
        let Some(user) = self.sessions.iter().find(in_the_way) else { return At::Free };
        let begins = flow.protocol == TCP && flow.flags & (SYN | ACK | RST) == SYN;
        let over = matches!(user.phase, Phase::Tcp(state) if tcp::is_over(state)) && !user.held;
        let past = |end: u32| flow.seq.wrapping_sub(end).cast_signed() > 0;
        match (begins && over && overload == Overload::PerEndpoint, past(user.seq_end_least), past(user.seq_end)) {
            (true, true, true) => At::Over,
            (true, false, false) | (false, _, _) => At::Taken,
            (true, _, _) => At::PerhapsOver,
        }
    }

    /// Port blocks: a source's own ports first, then those of the next block it can get.
    fn reach_in_blocks(&self, flow: &Flow, addr: Ipv4Addr, at: &dyn Fn(u16) -> At) -> Reach {
        let source = self.source_of(*flow.from.ip());
        let none = (addr, Vec::new());
        let (own_addr, blocks) = self.blocks.get(&source).unwrap_or(&none);
        debug_assert!(*own_addr == addr || blocks.is_empty());
        let reserved = |port: u16| self.behaviour().ports.reserved.iter().any(|range| range.contains(port));
        let free_in = |(start, len): (u16, u32)| {
            (0..len)
                .map(move |n| start + n as u16)
                .filter(|port| at(*port) == At::Free && !reserved(*port))
                .collect::<Vec<_>>()
        };
        let free: BTreeSet<u16> = blocks.iter().flat_map(|block| free_in(*block)).collect();
        if !free.is_empty() {
            return Reach { ports: free, may_fail: false };
        }
        let next: BTreeSet<u16> = self.next_blocks(flow, addr).into_iter().flat_map(free_in).collect();
        Reach { may_fail: next.is_empty(), ports: next }
    }

    /// The blocks that a source may get next: as long as all it has, aligned, and nobody else's.
    fn next_blocks(&self, flow: &Flow, addr: Ipv4Addr) -> Vec<(u16, u32)> {
        let quota = &self.behaviour().quota;
        let range = self.behaviour().ports.range;
        let source = self.source_of(*flow.from.ip());
        let has: u32 = self.blocks.get(&source).map_or(0, |(_, blocks)| blocks.iter().map(|(_, len)| len).sum());
        let len = if has == 0 { quota.block_min } else { has };
        let most = if quota.blocks == PortBlocks::Static { quota.block_min } else { quota.block_max };
        if has + len > most {
            return Vec::new();
        }
        let taken = |start: u32| {
            let overlaps = |(other, other_len): &(u16, u32)| {
                start < u32::from(*other) + other_len && u32::from(*other) < start + len
            };
            self.blocks.values().any(|(at, blocks)| *at == addr && blocks.iter().any(overlaps))
        };
        let starts = (0..range.len() / len).map(|n| u32::from(range.low) + n * len);
        starts.filter(|start| !taken(*start)).map(|start| (start as u16, len)).collect()
    }

    fn note_block(&mut self, flow: &Flow, outside: SocketAddrV4) {
        if self.behaviour().quota.blocks == PortBlocks::Shared || flow.protocol == ICMP {
            return;
        }
        let source = self.source_of(*flow.from.ip());
        let contains = |(start, len): &(u16, u32)| {
            (u32::from(*start)..u32::from(*start) + len).contains(&u32::from(outside.port()))
        };
        if self.blocks.get(&source).is_some_and(|(_, blocks)| blocks.iter().any(contains)) {
            return;
        }
        let grown = self.next_blocks(flow, *outside.ip()).into_iter().find(|block| contains(block));
        let entry = self.blocks.entry(source).or_insert_with(|| (*outside.ip(), Vec::new()));
        entry.1.extend(grown);
    }

    /// Dynamic blocks go back when their source has nothing left; static ones stay with it.
    fn forget_idle_blocks(&mut self) {
        if self.behaviour().quota.blocks != PortBlocks::Dynamic {
            return;
        }
        let translated = self.sessions.iter().filter(|session| !session.direct);
        let busy: BTreeSet<Ipv4Addr> = translated.map(|session| self.source_of(*session.inside.ip())).collect();
        self.blocks.retain(|source, _| busy.contains(source));
    }

    /// The most and the least that a source may have left of its rate: attempts that fail may count or not, and a part of a token that
    /// has not grown whole may be lost.
    fn token_bounds(&mut self, source: Ipv4Addr, known: bool) -> (f64, f64) {
        let rate = f64::from(self.behaviour().quota.new_per_second);
        let now = self.now;
        let full = Tokens { most: rate, least: rate, since: now };
        let tokens = self.tokens.entry(source).and_modify(|tokens| *tokens = if known { *tokens } else { full });
        let tokens = tokens.or_insert(full);
        let grown = (now - tokens.since) as f64 / super::ticks(1) as f64 * rate;
        tokens.since = now;
        tokens.most = (tokens.most + grown).min(rate);
        tokens.least = (tokens.least + (grown - 1.0).max(0.0)).min(rate);
        (tokens.most, tokens.least)
    }

    fn spend_token(&mut self, flow: &Flow, made: bool) {
        let source = self.source_of(*flow.from.ip());
        if let Some(tokens) = self.tokens.get_mut(&source) {
            tokens.most -= if made { 1.0 } else { 0.0 };
            tokens.least = (tokens.least - 1.0).max(0.0);
        }
    }
}

const fn first_phase(flow: &Flow) -> Phase {
    match flow.protocol {
        UDP => Phase::Udp { answered: false },
        TCP => Phase::Tcp(tcp::first(flow.flags)),
        _ => Phase::Icmp,
    }
}
