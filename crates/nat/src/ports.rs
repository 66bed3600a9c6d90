//! Port allocation: the searches of the NATs that exist, try for try, and one of our own in constant time.

use crate::behaviour::{Clamp, LowPorts, Overload, PortRange, PortRules, PortSeed, Probe};
use crate::bitmap::{FreePorts, Parity};
use crate::sources::Blocks;
use rand::RngExt;
use rand_pcg::Pcg64Mcg;

/// What a new mapping asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortRequest<'a> {
    /// Number of the outside address.
    pub(crate) address: u16,
    /// Number of the protocol.
    pub(crate) slot: usize,
    /// Source port or identifier.
    pub(crate) port: u16,
    /// Keyed hash of the flow.
    pub(crate) hash: u64,
    /// Ports set aside for the source, if ports are.
    pub(crate) blocks: Option<&'a Blocks>,
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Search {
    pub(crate) port: Option<u16>,
    /// Ports looked at.
    pub(crate) tries: u32,
}

/// Slot numbers of the protocols.
pub(crate) const UDP_SLOT: usize = 0;
pub(crate) const TCP_SLOT: usize = 1;
pub(crate) const ICMP_SLOT: usize = 2;

/// Port spaces of all outside addresses.
#[derive(Debug)]
pub(crate) struct PortSpace {
    rules: PortRules,
    overload: [Overload; 3],
    /// Free ports by address and protocol, where ports are never overloaded; empty if all protocols' are.
    free: Vec<Option<FreePorts>>,
    /// The port given last, by address and protocol.
    last: Vec<u16>,
    reserved: Option<FreePorts>,
    pub(crate) rng: Pcg64Mcg,
}

impl PortSpace {
    pub(crate) fn new(rules: &PortRules, overload: [Overload; 3], addresses: usize, rng: Pcg64Mcg) -> Self {
        let mut reserved = (!rules.reserved.is_empty()).then(FreePorts::empty);
        for port in rules.reserved.iter().flat_map(|range| range.low..=range.high) {
            if let Some(reserved) = &mut reserved {
                reserved.give(port);
            }
        }
        let mut space =
            Self { rules: rules.clone(), overload, free: Vec::new(), last: vec![0; addresses * 3], reserved, rng };
        let fresh: [Option<FreePorts>; 3] = [UDP_SLOT, TCP_SLOT, ICMP_SLOT]
            .map(|slot| (overload[slot] == Overload::Never).then(|| space.all_free(slot)));
        if fresh.iter().any(Option::is_some) {
            space.free = (0..addresses).flat_map(|_| fresh.clone()).collect();
        }
        space
    }

    pub(crate) fn memory(&self) -> usize {
        self.free.iter().flatten().count() * FreePorts::MEMORY + self.last.len() * 2
    }

    /// True if ports of a protocol are never overloaded, so that what is in use is known here.
    pub(crate) fn keeps_account(&self) -> bool {
        self.free.iter().any(Option::is_some)
    }

    fn all_free(&self, slot: usize) -> FreePorts {
        let mut ports = FreePorts::empty();
        let low = PortRange::new(1, 1023);
        let ranges: &[PortRange] = match (slot, self.rules.extra_range) {
            (ICMP_SLOT, _) => &[self.rules.icmp_range],
            (_, Some(extra)) => &[self.rules.range, extra],
            (_, None) if self.rules.low_ports == LowPorts::Ignore => &[self.rules.range],
            (_, None) => &[self.rules.range, low],
        };
        for port in ranges.iter().flat_map(|range| range.low..=range.high) {
            if !self.is_reserved(port) {
                ports.give(port);
            }
        }
        ports
    }

    fn is_reserved(&self, port: u16) -> bool {
        self.reserved.as_ref().is_some_and(|reserved| reserved.is_free(port))
    }

    /// True if this port could be given to a mapping.
    pub(crate) fn is_given_out(&self, slot: usize, port: u16) -> bool {
        self.in_ranges(slot, port) && !self.is_reserved(port)
    }

    /// True if an inbound packet to this port could ever belong to a mapping.
    pub(crate) fn in_ranges(&self, slot: usize, port: u16) -> bool {
        if slot == ICMP_SLOT {
            return self.rules.icmp_range.contains(port);
        }
        self.rules.range.contains(port)
            || self.rules.extra_range.is_some_and(|range| range.contains(port))
            || (self.rules.low_ports != LowPorts::Ignore && port < 1024)
    }

    fn bitmap(&self, address: u16, slot: usize) -> Option<&FreePorts> {
        self.free.get(usize::from(address) * 3 + slot)?.as_ref()
    }

    /// Marks a port as used, where ports are never overloaded.
    pub(crate) fn take(&mut self, address: u16, slot: usize, port: u16) {
        self.last[usize::from(address) * 3 + slot] = port;
        if let Some(Some(ports)) = self.free.get_mut(usize::from(address) * 3 + slot) {
            ports.take(port);
        }
    }

    /// Marks a port as free again.
    pub(crate) fn give(&mut self, address: u16, slot: usize, port: u16) {
        if let Some(Some(ports)) = self.free.get_mut(usize::from(address) * 3 + slot) {
            ports.give(port);
        }
    }

    /// True if the address has a port to give at all; overloaded ports are not counted.
    pub(crate) fn has_free(&self, address: u16, slot: usize) -> bool {
        self.bitmap(address, slot).is_none_or(|ports| ports.free() > 0)
    }

    /// Searches a port for `request`. `is_free(port, hard)` says if an overloaded port is free for the remote end asked for; `hard`
    /// allows it to count as free a closed connection that may be evicted.
    pub(crate) fn search(&mut self, request: &PortRequest<'_>, mut is_free: impl FnMut(u16, bool) -> bool) -> Search {
        if request.slot != ICMP_SLOT
            && let Some(extra) = self.rules.extra_range
        {
            return self.search_two(request, extra, is_free);
        }
        let range = self.range_for(request);
        self.search_range(request, range, &mut is_free)
    }

    fn search_two(
        &mut self,
        request: &PortRequest<'_>,
        extra: PortRange,
        mut is_free: impl FnMut(u16, bool) -> bool,
    ) -> Search {
        let main = self.rules.range;
        let in_main = self.rng.random_range(0..main.len() + extra.len()) < main.len();
        let (first, second) = if in_main { (main, extra) } else { (extra, main) };
        let begun = self.search_range(request, first, &mut is_free);
        if begun.port.is_some() {
            return begun;
        }
        let ended = self.search_range(request, second, &mut is_free);
        Search { port: ended.port, tries: begun.tries + ended.tries }
    }

    fn range_for(&self, request: &PortRequest<'_>) -> PortRange {
        if request.slot == ICMP_SLOT {
            return self.rules.icmp_range;
        }
        match (self.rules.low_ports, request.port) {
            (LowPorts::Netfilter, 0..512) => PortRange::new(1, 511),
            (LowPorts::Netfilter, 512..1024) => PortRange::new(600, 1023),
            (LowPorts::SameClass, 0..1024) => PortRange::new(1, 1023),
            _ => self.rules.range,
        }
    }

    fn search_range(
        &mut self,
        request: &PortRequest<'_>,
        range: PortRange,
        is_free: &mut impl FnMut(u16, bool) -> bool,
    ) -> Search {
        let overloaded = self.overload[request.slot] != Overload::Never;
        if let Some(blocks) = request.blocks {
            return self.search_blocks(request, blocks, is_free);
        }
        if !overloaded && self.rules.probe == Probe::Scan {
            return self.scan_bitmap(request, range);
        }
        let keep = self.keeps(request, range);
        let seed = self.seed(request);
        let mut rng = self.rng.clone();
        let free = |port: u16, hard: bool| self.port_is_free(request, port, hard, is_free);
        let search = match self.rules.probe {
            Probe::Step => step(range, &self.rules, keep.then_some(request.port), seed, &mut rng, free),
            Probe::Windows => windows(range, &self.rules, keep.then_some(request.port), seed, &mut rng, free),
            Probe::Random => random(range, &self.rules, keep.then_some(request.port), seed, &mut rng, free),
            Probe::Scan => scan(range, &self.rules, keep.then_some(request.port), seed, self.stride(request), free),
        };
        self.rng = rng;
        search
    }

    /// The port that a search for this source port is likely to begin with, when `seeds` is what its randomness is going to be.
    pub(crate) fn likely(&self, slot: usize, port: u16, seeds: &mut Pcg64Mcg) -> u16 {
        let range = if slot == ICMP_SLOT { self.rules.icmp_range } else { self.rules.range };
        // Every search draws a seed, also one that begins with the source port.
        let seed = if self.rules.seed == PortSeed::Random { seeds.random() } else { port };
        if self.rules.preserve && range.contains(port) {
            return port;
        }
        match self.rules.probe {
            Probe::Windows => clamp(Clamp::Modulo, range, seed),
            Probe::Scan | Probe::Step | Probe::Random => clamp(self.rules.clamp, range, seed),
        }
    }

    /// True if the source port is the first to be tried.
    fn keeps(&self, request: &PortRequest<'_>, range: PortRange) -> bool {
        // Linux keeps privileged ports beside its class ranges as well (those from 512 to 599).
        let low = self.rules.low_ports == LowPorts::Netfilter && request.slot != ICMP_SLOT && request.port < 1024;
        self.rules.preserve && request.port != 0 && (range.contains(request.port) || low)
    }

    fn port_is_free(
        &self,
        request: &PortRequest<'_>,
        port: u16,
        hard: bool,
        is_free: &mut impl FnMut(u16, bool) -> bool,
    ) -> bool {
        match self.bitmap(request.address, request.slot) {
            Some(ports) => ports.is_free(port),
            None => !self.is_reserved(port) && is_free(port, hard),
        }
    }

    /// Two where parity is kept, so that every second port is looked at.
    fn stride(&self, request: &PortRequest<'_>) -> u16 {
        if self.rules.parity && request.slot == UDP_SLOT { 2 } else { 1 }
    }

    fn seed(&mut self, request: &PortRequest<'_>) -> u16 {
        match self.rules.seed {
            PortSeed::Random => self.rng.random(),
            PortSeed::Hash => (request.hash >> 16) as u16,
            PortSeed::Sequential => self.last[usize::from(request.address) * 3 + request.slot].wrapping_add(1),
            PortSeed::Source => request.port,
        }
    }

    /// Our own: a starting point, and from there the next free port.
    fn scan_bitmap(&mut self, request: &PortRequest<'_>, range: PortRange) -> Search {
        let seed = self.seed(request);
        let start = match self.rules.seed {
            // A number on the whole 16 bits is brought into the range; a port in the range stays.
            PortSeed::Random | PortSeed::Hash => clamp(Clamp::Multiply, range, seed),
            PortSeed::Sequential | PortSeed::Source => {
                if range.contains(seed) {
                    seed
                } else {
                    range.low
                }
            }
        };
        let parity = if self.stride(request) == 2 { Parity::of(request.port) } else { Parity::Any };
        let Some(ports) = self.bitmap(request.address, request.slot) else { return Search { port: None, tries: 0 } };
        if self.keeps(request, range) && ports.is_free(request.port) {
            return Search { port: Some(request.port), tries: 1 };
        }
        // RFC 4787 REQ-4 is a recommendation: when a parity is used up, the other one serves.
        let port = ports
            .next_free_around(start, range.low, range.high, parity)
            .or_else(|| ports.next_free_around(start, range.low, range.high, Parity::Any));
        Search { port, tries: 1 }
    }

    fn search_blocks(
        &mut self,
        request: &PortRequest<'_>,
        blocks: &Blocks,
        is_free: &mut impl FnMut(u16, bool) -> bool,
    ) -> Search {
        let count = blocks.len();
        if count == 0 {
            return Search { port: None, tries: 0 };
        }
        let start = u32::from(self.seed(request)) % count;
        let attempts = if self.rules.max_attempts == 0 { count } else { self.rules.max_attempts.min(count) };
        for tries in 1..=attempts {
            let port = blocks.nth((start + tries - 1) % count);
            if self.port_is_free(request, port, false, is_free) {
                return Search { port: Some(port), tries };
            }
        }
        Search { port: None, tries: attempts }
    }
}

/// Brings `value` into the range. An address block of one port has only that.
fn clamp(clamp: Clamp, range: PortRange, value: u16) -> u16 {
    let n = range.len();
    let value = u32::from(value);
    let offset = match clamp {
        Clamp::Multiply => (value * n) >> 16,
        Clamp::Modulo => value % n,
        Clamp::ModuloExclusive => value % (n - 1).max(1),
    };
    (u32::from(range.low) + offset) as u16
}

/// Cilium's search (bpf/lib/nat.h, `snat_v4_new_mapping`): the source port counts as the first try.
fn step(
    range: PortRange,
    rules: &PortRules,
    keep: Option<u16>,
    seed: u16,
    rng: &mut Pcg64Mcg,
    mut free: impl FnMut(u16, bool) -> bool,
) -> Search {
    let mut port = keep.unwrap_or_else(|| clamp(rules.clamp, range, seed));
    for tries in 1..=rules.max_attempts {
        if free(port, false) {
            return Search { port: Some(port), tries };
        }
        let next = if tries == 1 { rng.random() } else { port.wrapping_add(1) };
        port = clamp(rules.clamp, range, next);
    }
    Search { port: None, tries: rules.max_attempts }
}

/// Linux's search (net/netfilter/nf_nat_core.c, `nf_nat_l4proto_unique_tuple`).
fn windows(
    range: PortRange,
    rules: &PortRules,
    keep: Option<u16>,
    seed: u16,
    rng: &mut Pcg64Mcg,
    mut free: impl FnMut(u16, bool) -> bool,
) -> Search {
    let mut tries = 0;
    if let Some(port) = keep {
        tries += 1;
        if free(port, false) {
            return Search { port: Some(port), tries };
        }
    }
    let n = range.len();
    let mut window = rules.max_attempts.min(n);
    let mut offset = seed;
    loop {
        for at in 0..window {
            tries += 1;
            let port = (u32::from(range.low) + u32::from(offset) % n) as u16;
            if free(port, window - at <= rules.evict_closing_within) {
                return Search { port: Some(port), tries };
            }
            offset = offset.wrapping_add(1);
        }
        if window >= n || window < 16 {
            return Search { port: None, tries };
        }
        window /= 2;
        offset = rng.random();
    }
}

fn random(
    range: PortRange,
    rules: &PortRules,
    keep: Option<u16>,
    seed: u16,
    rng: &mut Pcg64Mcg,
    mut free: impl FnMut(u16, bool) -> bool,
) -> Search {
    let mut port = keep.unwrap_or_else(|| clamp(rules.clamp, range, seed));
    for tries in 1..=rules.max_attempts {
        if free(port, false) {
            return Search { port: Some(port), tries };
        }
        port = clamp(rules.clamp, range, rng.random());
    }
    Search { port: None, tries: rules.max_attempts }
}

/// One port after the other, round the range.
fn scan(
    range: PortRange,
    rules: &PortRules,
    keep: Option<u16>,
    seed: u16,
    stride: u16,
    mut free: impl FnMut(u16, bool) -> bool,
) -> Search {
    let n = range.len();
    let mut tries = 0;
    if let Some(port) = keep {
        tries += 1;
        if free(port, false) {
            return Search { port: Some(port), tries };
        }
    }
    let most = if rules.max_attempts == 0 { n } else { rules.max_attempts.min(n) };
    let mut offset = u32::from(clamp(rules.clamp, range, seed)) - u32::from(range.low);
    for _ in 0..most {
        tries += 1;
        let port = (u32::from(range.low) + offset) as u16;
        if free(port, false) {
            return Search { port: Some(port), tries };
        }
        offset = (offset + u32::from(stride)) % n;
    }
    Search { port: None, tries }
}
