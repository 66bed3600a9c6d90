//! What a translator is asked, and what it answers, per frame.

use core::fmt;

/// Which way a frame travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the inside (pods, subscribers) to the outside.
    Outbound,
    /// From the outside to the inside.
    Inbound,
}

impl Direction {
    /// The other way.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Outbound => Self::Inbound,
            Self::Inbound => Self::Outbound,
        }
    }
}

/// What is to be done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// On entry: look at this frame. On exit: send it on, out of the other side.
    Forward,
    /// Send it out of the side it came from: an ICMP error or a reset built in its place, or a hairpinned packet.
    Back,
    /// It ends here, for this reason.
    Drop(DropReason),
    /// The translator kept a copy and will present it again through `release`; the caller forgets the frame.
    Hold,
    /// Not looked at, neither on entry nor on exit.
    Skip,
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Why a frame was dropped, or (in [`Counters::answered`](crate::Counters::answered)) why it was answered instead of forwarded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $($(#[doc = $doc])+ $name,)+ }

        impl DropReason {
            /// Every reason, in a stable order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason's stable name, in snake case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

drop_reasons! {
    /// Not IPv4 (the stage answers ARP before the translator sees it).
    NotIpv4 = "not_ipv4",
    /// Truncated, or a length field contradicts another.
    Malformed = "malformed",
    /// The IPv4 header checksum is wrong (RFC 1812 §5.2.2).
    HeaderChecksum = "header_checksum",
    /// An address that may not travel: source or destination zero, loopback, multicast, broadcast, or an inside packet with an outside source.
    Martian = "martian",
    /// TTL ran out.
    TtlExpired = "ttl_expired",
    /// Larger than the next link's MTU, with "don't fragment" set.
    TooBig = "too_big",
    /// A protocol that is not translated.
    Protocol = "protocol",
    /// Inbound, and nobody has a mapping for the outside address and port.
    NoMapping = "no_mapping",
    /// Inbound, there is a mapping, and its filter does not let this sender in (RFC 4787 §5).
    Filtered = "filtered",
    /// Addressed to the translator itself; a router would hand it to its own stack.
    ForHost = "for_host",
    /// Not from an outside that may reach inside addresses directly.
    NotRouted = "not_routed",
    /// No outside port could be had for a new mapping.
    PortsExhausted = "ports_exhausted",
    /// As many connections to one destination as the profile allows for one outside address.
    DestinationLimit = "destination_limit",
    /// The inside source has as many mappings as it may have.
    SourceLimit = "source_limit",
    /// The inside source creates mappings faster than it may.
    SourceRate = "source_rate",
    /// The mapping table is full.
    TableFull = "table_full",
    /// The table of inside sources is full.
    SourcesFull = "sources_full",
    /// A TCP segment that belongs to no known connection and does not start one.
    Midstream = "midstream",
    /// A TCP connection attempt from outside that nothing inside waits for.
    UnsolicitedSyn = "unsolicited_syn",
    /// A packet of a connection that ended by being idle.
    IdleExpired = "idle_expired",
    /// From inside to an outside address of the translator, which does not hairpin.
    Hairpin = "hairpin",
    /// An ICMP message of a type that is not translated.
    IcmpType = "icmp_type",
    /// An ICMP message with a wrong checksum (RFC 5508 REQ-3).
    IcmpChecksum = "icmp_checksum",
    /// An ICMP error whose quoted packet is truncated or malformed.
    IcmpQuote = "icmp_quote",
    /// An ICMP error about a packet that belongs to no mapping.
    IcmpNoMapping = "icmp_no_mapping",
    /// A fragment of a protocol whose fragments the profile does not translate.
    Fragment = "fragment",
    /// A fragment whose first fragment is not known.
    FragmentUnknown = "fragment_unknown",
    /// A fragment too small for its transport header, or that overlaps it (RFC 1858, RFC 3128).
    FragmentTiny = "fragment_tiny",
    /// A fragment for which there was no room to wait.
    FragmentNoRoom = "fragment_no_room",
    /// A fragment that waited too long for its first fragment.
    FragmentTimeout = "fragment_timeout",
    /// From an address that the network in between would not let pass (source checking).
    SourceCheck = "source_check",
    /// Policy forbids it.
    Policy = "policy",
    /// Over the profile's packet or bit rate.
    Capacity = "capacity",
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn reasons_have_distinct_snake_case_names_and_index_themselves() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(
                reason.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
    }
}
