//! Frames as bytes.
//!
//! A [`Frame`] is a window on a slot of memory that somebody else owns. The protocol modules give, for each protocol, a `Packet` (a
//! checked view over bytes, in the manner of smoltcp) and a `Repr` (the parsed, always-valid form), with byte offsets as named
//! constants. Nothing here does I/O, reads a clock or allocates, except [`pcap`].
//!
//! Lengths are bytes, multi-byte fields are in network order on the wire and host order in the API, and an Ethernet frame is counted
//! without its frame check sequence unless a name says otherwise (`frame_size` counts it, as RFC 2544 does).
#![forbid(unsafe_code)]

pub mod arp;
pub mod checksum;
pub mod ethernet;
mod frame;
pub mod icmpv4;
pub mod ipv4;
pub mod pcap;
pub mod tcp;
pub mod template;
pub mod udp;

pub use ethernet::MacAddr;
pub use frame::Frame;

/// Why bytes are not a valid packet of the protocol asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// Shorter than the header, or than a length field inside says.
    Truncated,
    /// A field holds a value that the protocol does not allow.
    Malformed,
    /// A checksum does not match.
    Checksum,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated packet",
            Self::Malformed => "malformed packet",
            Self::Checksum => "wrong checksum",
        })
    }
}

impl core::error::Error for WireError {}
