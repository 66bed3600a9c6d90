//! The design that comes to mind first, to be measured beside: a hash map from keys to a slab, one packet at a time, nothing fetched ahead.

use hashbrown::HashMap;
use natrig_wire::Frame;
use natrig_wire::checksum::{self, Delta};

/// Addresses and ports as they lie in the header, and the protocol.
type Key = ([u8; 12], u8);

struct Session {
    outside: (u32, u16),
    last_used_ns: u64,
    packets: u64,
}

/// Outbound translation only.
pub(crate) struct Hashed {
    sessions: Vec<Session>,
    outbound: HashMap<Key, u32>,
}

impl Hashed {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { sessions: Vec::with_capacity(capacity), outbound: HashMap::with_capacity(capacity) }
    }

    /// Makes a session for the flow of this frame.
    pub(crate) fn insert(&mut self, frame: &[u8]) {
        let Some(key) = key_of(frame) else { return };
        let number = self.sessions.len() as u32;
        let outside = (0xc612_0000 + number / 64_512, 1024 + (number % 64_512) as u16);
        self.sessions.push(Session { outside, last_used_ns: 0, packets: 0 });
        self.outbound.insert(key, number);
    }

    /// Translates; how many.
    pub(crate) fn run(&mut self, frames: &mut [Frame<'_>], now_ns: u64) -> usize {
        frames.iter_mut().filter_map(|frame| self.translate(frame.bytes_mut(), now_ns)).count()
    }

    fn translate(&mut self, bytes: &mut [u8], now_ns: u64) -> Option<()> {
        let key = key_of(bytes)?;
        let session = self.sessions.get_mut(*self.outbound.get(&key)? as usize)?;
        session.last_used_ns = now_ns;
        session.packets += 1;
        let (addr, port) = session.outside;
        let old_addr = u32::from_be_bytes(*bytes[26..].first_chunk()?);
        let old_port = u16::from_be_bytes(*bytes[34..].first_chunk()?);
        let addresses = Delta::new().u32(old_addr, addr);
        let ttl = Delta::new().u16(0x0100, 0);
        bytes[22] -= 1;
        let sum = addresses.and(ttl).apply(u16::from_be_bytes(*bytes[24..].first_chunk()?));
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        let sum = addresses.u16(old_port, port).apply_udp(u16::from_be_bytes(*bytes[40..].first_chunk()?));
        bytes[40..42].copy_from_slice(&sum.to_be_bytes());
        bytes[26..30].copy_from_slice(&addr.to_be_bytes());
        bytes[34..36].copy_from_slice(&port.to_be_bytes());
        Some(())
    }
}

/// Checks what the translator checks of a UDP packet, and reads its key.
fn key_of(bytes: &[u8]) -> Option<Key> {
    let header = bytes.get(14..34)?;
    let is_plain = bytes[12..14] == [8, 0] && header[0] == 0x45 && header[6] & 0x3f == 0 && header[7] == 0;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if !is_plain || header[8] <= 1 || header[9] != 17 || total_len < 28 || total_len + 14 > bytes.len() {
        return None;
    }
    if checksum::fold(checksum::sum(0, header)) != 0xffff {
        return None;
    }
    Some((*bytes[26..].first_chunk()?, 17))
}
