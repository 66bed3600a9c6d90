//! Ethernet II (RFC 894).

use crate::WireError;

/// A 48-bit MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// True for group addresses (multicast and broadcast).
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl core::fmt::Display for MacAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl core::str::FromStr for MacAddr {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or(WireError::Truncated)?;
            if part.len() != 2 {
                return Err(WireError::Malformed);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| WireError::Malformed)?;
        }
        if parts.next().is_some() { Err(WireError::Malformed) } else { Ok(Self(bytes)) }
    }
}

/// What an Ethernet frame carries, of the kinds this project speaks.
pub mod ethertype {
    /// IPv4
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826)
    pub const ARP: u16 = 0x0806;
    /// IPv6
    pub const IPV6: u16 = 0x86dd;
}

/// Bytes of the Ethernet header: destination, source, EtherType.
pub const HEADER_LEN: usize = 14;
/// Bytes of the frame check sequence, which a veth does not carry and RFC 2544 frame sizes count.
pub const FCS_LEN: usize = 4;

const DST: core::ops::Range<usize> = 0..6;
const SRC: core::ops::Range<usize> = 6..12;
const ETHERTYPE: core::ops::Range<usize> = 12..14;

/// A view of an Ethernet frame at least as long as its header.
#[derive(Debug, Clone, Copy)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// # Errors
    /// [`WireError::Truncated`] for fewer bytes than a header.
    pub fn new_checked(buffer: T) -> Result<Self, WireError> {
        if buffer.as_ref().len() < HEADER_LEN { Err(WireError::Truncated) } else { Ok(Self(buffer)) }
    }

    /// Destination address.
    pub fn dst(&self) -> MacAddr {
        mac(self.0.as_ref(), DST)
    }

    /// Source address.
    pub fn src(&self) -> MacAddr {
        mac(self.0.as_ref(), SRC)
    }

    /// EtherType, one of [`ethertype`] or another.
    pub fn ethertype(&self) -> u16 {
        let bytes = self.0.as_ref();
        u16::from_be_bytes([bytes[ETHERTYPE.start], bytes[ETHERTYPE.start + 1]])
    }

    /// What follows the header.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets both addresses.
    pub fn set_addresses(&mut self, dst: MacAddr, src: MacAddr) {
        let bytes = self.0.as_mut();
        bytes[DST].copy_from_slice(&dst.0);
        bytes[SRC].copy_from_slice(&src.0);
    }

    /// Sets the EtherType.
    pub fn set_ethertype(&mut self, value: u16) {
        self.0.as_mut()[ETHERTYPE].copy_from_slice(&value.to_be_bytes());
    }

    /// What follows the header.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.0.as_mut()[HEADER_LEN..]
    }
}

fn mac(bytes: &[u8], at: core::ops::Range<usize>) -> MacAddr {
    let mut mac = [0; 6];
    mac.copy_from_slice(&bytes[at]);
    MacAddr(mac)
}

/// An Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// EtherType.
    pub ethertype: u16,
}

impl Repr {
    /// The header of `packet`.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self { dst: packet.dst(), src: packet.src(), ethertype: packet.ethertype() }
    }

    /// Writes the header.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        packet.set_addresses(self.dst, self.src);
        packet.set_ethertype(self.ethertype);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 16] = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x06, 0xaa, 0xbb];

    #[test]
    fn header_round_trip() {
        let packet = Packet::new_checked(&FRAME[..]).unwrap();
        let repr = Repr::parse(&packet);
        assert_eq!((repr.ethertype, packet.payload()), (ethertype::ARP, &[0xaa, 0xbb][..]));
        let mut copy = [0; 16];
        repr.emit(&mut Packet::new_checked(&mut copy[..]).unwrap());
        assert_eq!(copy[..14], FRAME[..14]);
        assert_eq!(Packet::new_checked(&FRAME[..13]).unwrap_err(), WireError::Truncated);
    }

    #[test]
    fn mac_text_round_trip() {
        let mac: MacAddr = "02:0a:0b:0c:0d:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:0a:0b:0c:0d:ff");
        assert!("02:0a:0b:0c:0d".parse::<MacAddr>().is_err());
        assert!("02:0a:0b:0c:0d:ff:00".parse::<MacAddr>().is_err());
        assert!("2:0a:0b:0c:0d:ff".parse::<MacAddr>().is_err());
        assert!(MacAddr::BROADCAST.is_group() && !mac.is_group());
    }
}
