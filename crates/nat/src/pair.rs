//! Two addresses, two ports: the ends of a packet, as they lie next to each other on the wire.
//!
//! Kept in memory order, so that the ordinary path loads, compares and stores them as one word and never turns bytes round.

/// A pair of IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Addrs(u64);

impl Addrs {
    #[inline(always)]
    pub(crate) const fn new(first: u32, second: u32) -> Self {
        let ([a, b, c, d], [e, f, g, h]) = (first.to_be_bytes(), second.to_be_bytes());
        Self::from_wire([a, b, c, d, e, f, g, h])
    }

    #[inline(always)]
    pub(crate) const fn from_wire(bytes: [u8; 8]) -> Self {
        Self(u64::from_ne_bytes(bytes))
    }

    #[inline(always)]
    pub(crate) const fn to_wire(self) -> [u8; 8] {
        self.0.to_ne_bytes()
    }

    #[inline(always)]
    pub(crate) const fn first(self) -> u32 {
        let [a, b, c, d, ..] = self.to_wire();
        u32::from_be_bytes([a, b, c, d])
    }

    #[inline(always)]
    pub(crate) const fn second(self) -> u32 {
        let [.., e, f, g, h] = self.to_wire();
        u32::from_be_bytes([e, f, g, h])
    }

    #[inline(always)]
    pub(crate) const fn swapped(self) -> Self {
        Self(self.0.rotate_left(32))
    }

    /// For hashing: all of it, in no order that means anything.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }
}

/// A pair of ports. ICMP queries have their identifier in one half, and zero in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ports(u32);

impl Ports {
    #[inline(always)]
    pub(crate) const fn new(first: u16, second: u16) -> Self {
        let ([a, b], [c, d]) = (first.to_be_bytes(), second.to_be_bytes());
        Self::from_wire([a, b, c, d])
    }

    #[inline(always)]
    pub(crate) const fn from_wire(bytes: [u8; 4]) -> Self {
        Self(u32::from_ne_bytes(bytes))
    }

    #[inline(always)]
    pub(crate) const fn to_wire(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    #[inline(always)]
    pub(crate) const fn first(self) -> u16 {
        let [a, b, ..] = self.to_wire();
        u16::from_be_bytes([a, b])
    }

    #[inline(always)]
    pub(crate) const fn second(self) -> u16 {
        let [.., c, d] = self.to_wire();
        u16::from_be_bytes([c, d])
    }

    #[inline(always)]
    pub(crate) const fn swapped(self) -> Self {
        Self(self.0.rotate_left(16))
    }

    /// The identifier of a query, whichever half it is in.
    pub(crate) const fn ident(self) -> u16 {
        self.first() | self.second()
    }

    /// For hashing.
    #[inline(always)]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_what_lies_on_the_wire() {
        let addrs = Addrs::from_wire([10, 0, 0, 1, 192, 0, 2, 53]);
        assert_eq!(addrs, Addrs::new(0x0a00_0001, 0xc000_0235));
        assert_eq!((addrs.first(), addrs.second()), (0x0a00_0001, 0xc000_0235));
        assert_eq!(addrs.swapped().to_wire(), [192, 0, 2, 53, 10, 0, 0, 1]);
        let ports = Ports::from_wire([4, 210, 0, 53]);
        assert_eq!(ports, Ports::new(1234, 53));
        assert_eq!((ports.first(), ports.second(), ports.swapped()), (1234, 53, Ports::new(53, 1234)));
        assert_eq!((Ports::new(7, 0).ident(), Ports::new(0, 7).ident()), (7, 7));
    }
}
