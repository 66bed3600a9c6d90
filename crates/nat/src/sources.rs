//! What is remembered about each inside source: its quota, its outside address, its port blocks.

use crate::behaviour::{PortBlocks, PortRange, QuotaRules};
use crate::hash::{KeyKind, KeyedHash};
use crate::index::{Index, Load, NONE};
use crate::time::ticks;

/// A block doubles at most so often: 1 to 65536 ports is 16 doublings.
const BLOCKS_MAX: usize = 17;
/// No outside address chosen yet.
pub(crate) const NO_ADDRESS: u16 = u16::MAX;

/// The blocks of ports set aside for one source: the first one, then each as large as all before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    starts: [u16; BLOCKS_MAX],
    count: u8,
    first_len: u32,
}

impl Blocks {
    /// How many ports they hold.
    pub(crate) const fn len(&self) -> u32 {
        match self.count {
            0 => 0,
            count => self.first_len << (count - 1),
        }
    }

    /// The ports' numbers in order; `n` is below [`Blocks::len`].
    pub(crate) fn nth(&self, n: u32) -> u16 {
        let doubled = n / self.first_len;
        if doubled == 0 {
            return self.starts[0] + n as u16;
        }
        // Block k (from 1) holds ports first_len << (k - 1) up to first_len << k.
        let block = doubled.ilog2() + 1;
        self.starts[block as usize] + (n - (self.first_len << (block - 1))) as u16
    }

    /// True if a port is one of theirs.
    pub(crate) fn contains(&self, port: u16) -> bool {
        (0..self.count).any(|block| {
            let start = self.starts[usize::from(block)];
            port >= start && u32::from(port - start) < self.block_len(block)
        })
    }

    const fn block_len(&self, block: u8) -> u32 {
        if block == 0 { self.first_len } else { self.first_len << (block - 1) }
    }

    /// How long the next block must be.
    const fn next_len(&self) -> u32 {
        match self.count {
            0 => self.first_len,
            count => self.first_len << (count - 1),
        }
    }
}

/// One inside source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    key: u32,
    pub(crate) sessions: u32,
    /// Outside ports by protocol.
    pub(crate) ports: [u32; 3],
    /// Number of the outside address it is paired with.
    pub(crate) address: u16,
    pub(crate) blocks: Blocks,
    /// New mappings it may still make, as of `filled`.
    tokens: u32,
    filled: u32,
    next_free: u32,
}

/// All inside sources that have sessions (with static blocks: that ever had one).
#[derive(Debug)]
pub(crate) struct Sources {
    mask: u32,
    rules: QuotaRules,
    index: Index,
    entries: Vec<Source>,
    free: u32,
    /// Units of `block_min` ports in use, by outside address.
    units: Vec<Vec<bool>>,
    range: PortRange,
}

/// Why a source may not have a new mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceRefusal {
    Full,
    Ports,
    Sessions,
    Rate,
}

impl Sources {
    pub(crate) fn new(rules: &QuotaRules, range: PortRange, addresses: usize) -> Self {
        let mask = if rules.source_prefix_len == 0 { 0 } else { u32::MAX << (32 - u32::from(rules.source_prefix_len)) };
        let units = match rules.blocks {
            PortBlocks::Shared => Vec::new(),
            PortBlocks::Static | PortBlocks::Dynamic => {
                vec![vec![false; (range.len() / rules.block_min) as usize]; addresses]
            }
        };
        Self {
            mask,
            rules: rules.clone(),
            index: Index::new(rules.max_sources as usize, rules.max_sources, Load::Dense),
            entries: Vec::with_capacity(rules.max_sources as usize),
            free: NONE,
            units,
            range,
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.index.memory()
            + self.entries.capacity() * size_of::<Source>()
            + self.units.iter().map(Vec::len).sum::<usize>()
    }

    fn hash(hash: &KeyedHash, key: u32) -> u64 {
        hash.hash(KeyKind::Source, 0, u64::from(key), 0)
    }

    pub(crate) fn find(&self, hash: &KeyedHash, addr: u32) -> Option<u32> {
        let key = addr & self.mask;
        self.index.find(Self::hash(hash, key), |entry| self.entries[entry as usize].key == key)
    }

    /// The source's number; a new source is entered.
    pub(crate) fn find_or_insert(&mut self, hash: &KeyedHash, addr: u32, now: u32) -> Result<u32, SourceRefusal> {
        if let Some(found) = self.find(hash, addr) {
            return Ok(found);
        }
        let key = addr & self.mask;
        let fresh = Source {
            key,
            sessions: 0,
            ports: [0; 3],
            address: NO_ADDRESS,
            blocks: Blocks { starts: [0; BLOCKS_MAX], count: 0, first_len: self.rules.block_min.max(1) },
            tokens: self.rules.new_per_second,
            filled: now,
            next_free: NONE,
        };
        let number = if let Some(entry) = self.entries.get_mut(self.free as usize) {
            core::mem::replace(&mut self.free, core::mem::replace(entry, fresh).next_free)
        } else if self.entries.len() < self.entries.capacity().min(self.rules.max_sources as usize) {
            self.entries.push(fresh);
            self.entries.len() as u32 - 1
        } else {
            return Err(SourceRefusal::Full);
        };
        self.index.insert(Self::hash(hash, key), number);
        Ok(number)
    }

    pub(crate) fn at(&self, number: u32) -> &Source {
        &self.entries[number as usize]
    }

    pub(crate) fn at_mut(&mut self, number: u32) -> &mut Source {
        &mut self.entries[number as usize]
    }

    /// Forgets a source that has nothing left.
    pub(crate) fn release_if_idle(&mut self, hash: &KeyedHash, number: u32) {
        let source = self.entries[number as usize];
        let keeps_blocks = self.rules.blocks == PortBlocks::Static && source.blocks.count > 0;
        if source.sessions > 0 || source.ports != [0; 3] || keeps_blocks {
            return;
        }
        self.mark_blocks(&source, false);
        self.index.remove(Self::hash(hash, source.key), number);
        self.entries[number as usize].next_free = self.free;
        self.free = number;
    }

    /// Checks the quota for one more session, and for one more port if the session needs a new one.
    pub(crate) fn admit(&mut self, number: u32, slot: usize, new_port: bool, now: u32) -> Result<(), SourceRefusal> {
        let rules = &self.rules;
        let source = &mut self.entries[number as usize];
        if new_port && rules.ports_per_source > 0 && source.ports[slot] >= rules.ports_per_source {
            return Err(SourceRefusal::Ports);
        }
        if rules.sessions_per_source > 0 && source.sessions >= rules.sessions_per_source {
            return Err(SourceRefusal::Sessions);
        }
        if new_port && rules.new_per_second > 0 {
            let passed = u64::from(now.wrapping_sub(source.filled));
            let gained = passed * u64::from(rules.new_per_second) / u64::from(ticks(1));
            if gained > 0 {
                source.tokens = (u64::from(source.tokens) + gained).min(u64::from(rules.new_per_second)) as u32;
                source.filled = now;
            }
            source.tokens = source.tokens.checked_sub(1).ok_or(SourceRefusal::Rate)?;
        }
        Ok(())
    }

    /// Whether the source's quota leaves room for one more session, and for one more port if that needs a new one.
    pub(crate) fn has_room(&self, number: u32, slot: usize, new_port: bool) -> bool {
        let (rules, source) = (&self.rules, self.at(number));
        let ports = !new_port || rules.ports_per_source == 0 || source.ports[slot] < rules.ports_per_source;
        ports && (rules.sessions_per_source == 0 || source.sessions < rules.sessions_per_source)
    }

    /// Gives the source of an address the blocks that it had in `old`, which has the same rules; `new_number` says which number an outside
    /// address has now, if any.
    pub(crate) fn adopt_blocks(
        &mut self,
        hash: &KeyedHash,
        (old, old_hash): (&Self, &KeyedHash),
        addr: u32,
        new_number: impl Fn(u16) -> Option<u16>,
        now: u32,
    ) {
        let Some(source) = old.find(old_hash, addr).map(|number| *old.at(number)) else { return };
        let Some(address) = new_number(source.address).filter(|_| self.find(hash, addr).is_none()) else { return };
        let Ok(number) = self.find_or_insert(hash, addr, now) else { return };
        let entry = &mut self.entries[number as usize];
        (entry.address, entry.blocks) = (address, source.blocks);
        let entry = *entry;
        self.mark_blocks(&entry, true);
    }

    /// Notes for all blocks of a source that they are in use, or that they are not.
    fn mark_blocks(&mut self, source: &Source, in_use: bool) {
        let Some(units) = self.units.get_mut(usize::from(source.address)) else { return };
        for block in 0..source.blocks.count {
            let len = source.blocks.block_len(block);
            let at = u32::from(source.blocks.starts[usize::from(block)] - self.range.low) / self.rules.block_min;
            units[at as usize..][..(len / self.rules.block_min) as usize].fill(in_use);
        }
    }

    /// True if ports are set aside per source.
    pub(crate) const fn has_blocks(&self) -> bool {
        !matches!(self.rules.blocks, PortBlocks::Shared)
    }

    /// Gives the source its first block, or doubles what it has; false if that may or can not be.
    pub(crate) fn grow(&mut self, number: u32) -> bool {
        let source = &self.entries[number as usize];
        let len = source.blocks.next_len();
        let most = if self.rules.blocks == PortBlocks::Static { self.rules.block_min } else { self.rules.block_max };
        if source.blocks.len() + len > most || usize::from(source.blocks.count) == BLOCKS_MAX {
            return false;
        }
        let Some(units) = self.units.get_mut(usize::from(source.address)) else { return false };
        let want = (len / self.rules.block_min) as usize;
        let Some(at) = units.chunks_exact(want).position(|run| run.iter().all(|used| !used)) else { return false };
        units[at * want..][..want].fill(true);
        let start = u32::from(self.range.low) + at as u32 * len;
        let blocks = &mut self.entries[number as usize].blocks;
        blocks.starts[usize::from(blocks.count)] = start as u16;
        blocks.count += 1;
        true
    }
}
