//! What a link says about itself.

use serde::{Deserialize, Serialize};

/// Counters of a link since it was made.
///
/// What [`send`](crate::Link::send) took is `tx_frames + tx_refused`; what it did not take the caller knows. What arrived is
/// `rx_frames + rx_overflow + rx_truncated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkStats {
    /// Frames presented by `recv`.
    pub rx_frames: u64,
    /// Their bytes, without frame check sequences.
    pub rx_bytes: u64,
    /// Frames lost on the way in because the receiver was not fast enough: its ring was full.
    pub rx_overflow: u64,
    /// Frames lost on the way in because they were longer than a slot.
    pub rx_truncated: u64,
    /// Frames handed on: to the peer in memory, or to the kernel.
    pub tx_frames: u64,
    /// Their bytes, without frame check sequences.
    pub tx_bytes: u64,
    /// Frames taken by `send` that could not be handed on, such as frames too long for the link.
    pub tx_refused: u64,
}

impl LinkStats {
    /// Counts frames that were presented, and their bytes; returns how many.
    pub(crate) const fn count_received(&mut self, (frames, bytes): (usize, u64)) -> usize {
        self.rx_frames += frames as u64;
        self.rx_bytes += bytes;
        frames
    }
}

/// The way a link moves frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// Rings in the memory of this process.
    Memory,
    /// An AF_PACKET socket with a mapped receive ring.
    Packet,
    /// pnet's datalink channel, one frame a system call.
    Pnet,
    /// An AF_XDP socket.
    Xdp,
    /// Rings in mapped BPF arrays, filled by an XDP program and sent as live frames.
    Ring,
}

impl LinkKind {
    /// The name used in scenarios and results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Packet => "packet",
            Self::Pnet => "pnet",
            Self::Xdp => "xdp",
            Self::Ring => "ring",
        }
    }
}

impl std::fmt::Display for LinkKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a link is, as a result records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDescription {
    /// The way frames move.
    pub kind: LinkKind,
    /// Frames that the receive side holds before it loses any.
    pub slots: u32,
    /// Bytes of one slot, including what the link keeps beside the frame.
    pub slot_bytes: u32,
    /// Settings and circumstances that bear on speed or correctness, in words.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_kind_is_its_serialised_form() {
        for kind in [LinkKind::Memory, LinkKind::Packet, LinkKind::Pnet, LinkKind::Xdp, LinkKind::Ring] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
    }
}
