//! Several nodes in front of one gateway: to the gateway they look like one link, as subnets behind a VPC's implicit router do.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

use natrig_link::{Link, LinkDescription, LinkStats, RecvError, SendError};
use natrig_wire::{Frame, ethernet, ipv4};

/// Many links as one: what arrives on any arrives here; what is sent goes by its destination address.
pub(crate) struct Junction {
    links: Vec<Box<dyn Link>>,
    routes: HashMap<Ipv4Addr, usize>,
    /// Where the next look begins, so that no link waits for the others.
    next: usize,
    unrouted: u64,
}

impl Junction {
    /// Joins links, each with the addresses that lie behind it.
    pub(crate) fn new(links: Vec<(Box<dyn Link>, Vec<Ipv4Addr>)>) -> Self {
        let mut routes = HashMap::new();
        let mut all = Vec::new();
        for (number, (link, addresses)) in links.into_iter().enumerate() {
            routes.extend(addresses.into_iter().map(|address| (address, number)));
            all.push(link);
        }
        Self { links: all, routes, next: 0, unrouted: 0 }
    }

    fn route(&self, frame: &Frame<'_>) -> Option<usize> {
        let packet = ipv4::Packet::new_checked(frame.bytes().get(ethernet::HEADER_LEN..)?).ok()?;
        self.routes.get(&packet.dst()).copied()
    }
}

impl Link for Junction {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        for _ in 0..self.links.len() {
            let at = self.next;
            self.next = (self.next + 1) % self.links.len();
            let frames = self.links[at].recv(max, on_burst)?;
            if frames > 0 {
                return Ok(frames);
            }
        }
        Ok(0)
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        for (taken, index) in pick.iter().enumerate() {
            match self.route(&frames[usize::from(*index)]) {
                None => self.unrouted += 1,
                Some(link) if self.links[link].send(frames, &[*index])? == 0 => return Ok(taken),
                Some(_) => {}
            }
        }
        Ok(pick.len())
    }

    fn stats(&mut self) -> LinkStats {
        let mut sum = LinkStats { tx_refused: self.unrouted, ..LinkStats::default() };
        for link in &mut self.links {
            let one = link.stats();
            sum.rx_frames += one.rx_frames;
            sum.rx_bytes += one.rx_bytes;
            sum.rx_overflow += one.rx_overflow;
            sum.rx_truncated += one.rx_truncated;
            sum.tx_frames += one.tx_frames;
            sum.tx_bytes += one.tx_bytes;
            sum.tx_refused += one.tx_refused;
        }
        sum
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn describe(&self) -> LinkDescription {
        self.links[0].describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_link::memory;
    use natrig_wire::ipv4::protocol;

    fn frame(dst: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![0; 60];
        let packet = ipv4::Repr {
            src: Ipv4Addr::LOCALHOST,
            dst: dst.into(),
            protocol: protocol::UDP,
            ttl: 9,
            ident: 0,
            dont_fragment: true,
            payload_len: 0,
        };
        packet.emit(&mut bytes[ethernet::HEADER_LEN..]).unwrap();
        bytes
    }

    #[test]
    fn frames_go_where_their_address_lies_and_come_from_everywhere() {
        let (near_a, mut far_a) = memory::pair(8, 64);
        let (near_b, mut far_b) = memory::pair(8, 64);
        let mut junction = Junction::new(vec![
            (Box::new(near_a), vec![Ipv4Addr::new(10, 0, 0, 1)]),
            (Box::new(near_b), vec![Ipv4Addr::new(10, 0, 0, 2)]),
        ]);
        let mut all = [frame([10, 0, 0, 2]), frame([10, 0, 0, 9]), frame([10, 0, 0, 1])];
        let frames: Vec<Frame<'_>> = all.iter_mut().map(|bytes| Frame::new(bytes, 60)).collect();
        assert_eq!(junction.send(&frames, &[0, 1, 2]).unwrap(), 3);
        assert_eq!((far_a.recv(8, &mut |_| {}).unwrap(), far_b.recv(8, &mut |_| {}).unwrap()), (1, 1));
        assert_eq!(junction.stats().tx_refused, 1);
        assert_eq!(far_a.send(&frames, &[0]).unwrap() + far_b.send(&frames, &[0, 1]).unwrap(), 3);
        let mut seen = 0;
        while junction.recv(8, &mut |burst| seen += burst.len()).unwrap() > 0 {}
        assert_eq!(seen, 3);
    }
}
