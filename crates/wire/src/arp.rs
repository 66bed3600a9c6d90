//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::{MacAddr, WireError, ethernet};

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;

/// hardware type Ethernet, protocol type IPv4, address lengths 6 and 4
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];
const OPERATION: usize = 6;
const SENDER_MAC: usize = 8;
const SENDER_IP: usize = 14;
const TARGET_MAC: usize = 18;
const TARGET_IP: usize = 24;

/// What an ARP packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Request or reply.
    pub operation: Operation,
    /// Hardware address of the one who speaks.
    pub sender_mac: MacAddr,
    /// Protocol address of the one who speaks.
    pub sender_ip: Ipv4Addr,
    /// Hardware address of the one spoken to (zero in a request).
    pub target_mac: MacAddr,
    /// Protocol address asked about.
    pub target_ip: Ipv4Addr,
}

impl Repr {
    /// Parses an ARP packet (the payload of its Ethernet frame; padding behind it is ignored).
    ///
    /// # Errors
    /// [`WireError::Truncated`], or [`WireError::Malformed`] for other hardware, protocols or operations.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let bytes = bytes.first_chunk::<PACKET_LEN>().ok_or(WireError::Truncated)?;
        if bytes[..PREFIX.len()] != PREFIX {
            return Err(WireError::Malformed);
        }
        let operation = match u16::from_be_bytes([bytes[OPERATION], bytes[OPERATION + 1]]) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(WireError::Malformed),
        };
        let mac =
            |at: usize| MacAddr([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3], bytes[at + 4], bytes[at + 5]]);
        let ip = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        Ok(Self {
            operation,
            sender_mac: mac(SENDER_MAC),
            sender_ip: ip(SENDER_IP),
            target_mac: mac(TARGET_MAC),
            target_ip: ip(TARGET_IP),
        })
    }

    /// Writes the packet to the first [`PACKET_LEN`] bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if `bytes` is too short.
    pub fn emit(&self, bytes: &mut [u8]) -> Result<(), WireError> {
        let bytes = bytes.first_chunk_mut::<PACKET_LEN>().ok_or(WireError::Truncated)?;
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        bytes[..OPERATION].copy_from_slice(&PREFIX);
        bytes[OPERATION..SENDER_MAC].copy_from_slice(&operation.to_be_bytes());
        bytes[SENDER_MAC..SENDER_IP].copy_from_slice(&self.sender_mac.0);
        bytes[SENDER_IP..TARGET_MAC].copy_from_slice(&self.sender_ip.octets());
        bytes[TARGET_MAC..TARGET_IP].copy_from_slice(&self.target_mac.0);
        bytes[TARGET_IP..].copy_from_slice(&self.target_ip.octets());
        Ok(())
    }

    /// The reply by which the owner of `target_ip` at `mac` answers this request.
    #[must_use]
    pub fn answer(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }
}

/// Bytes of an ARP packet in an Ethernet frame.
pub const FRAME_LEN: usize = ethernet::HEADER_LEN + PACKET_LEN;

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 28] = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2];

    #[test]
    fn request_and_answer() {
        let request = Repr::parse(&REQUEST).unwrap();
        assert_eq!(request.operation, Operation::Request);
        assert_eq!((request.sender_ip, request.target_ip), (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)));
        let mut bytes = [0xee; 28];
        request.emit(&mut bytes).unwrap();
        assert_eq!(bytes, REQUEST);

        let mine = MacAddr([2, 0, 0, 0, 0, 9]);
        let answer = request.answer(mine);
        answer.emit(&mut bytes).unwrap();
        assert_eq!(Repr::parse(&bytes).unwrap(), answer);
        assert_eq!((answer.sender_mac, answer.target_ip), (mine, request.sender_ip));
    }

    #[test]
    fn refuses_what_is_not_ipv4_over_ethernet() {
        assert_eq!(Repr::parse(&REQUEST[..27]), Err(WireError::Truncated));
        for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3)] {
            let mut bad = REQUEST;
            bad[at] = value;
            assert_eq!(Repr::parse(&bad), Err(WireError::Malformed), "byte {at}");
        }
    }
}
