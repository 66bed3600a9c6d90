//! Who opens a connection to whom: tuples that no two connections share.

use std::collections::HashSet;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::Zipf;

/// One end of a connection to be, and where it goes. Numbers stand for addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// The pod, counted over all nodes.
    pub(crate) pod: u32,
    /// Its source port.
    pub(crate) port: u16,
    /// The server.
    pub(crate) server: u32,
}

/// Draws origins: pods and source ports evenly at random, as kernels of different pods choose theirs independently of each other;
/// servers by popularity. None comes twice while it is in use.
#[derive(Debug, Clone)]
pub(crate) struct Origins {
    pods: std::ops::Range<u32>,
    ports: (u16, u16),
    servers: Zipf,
    used: HashSet<Origin>,
    rng: Pcg64Mcg,
}

impl Origins {
    /// Origins at `pods`, with source ports from the first to the second of `ports`.
    ///
    /// # Panics
    /// If there are no pods or no ports.
    pub(crate) fn new(pods: std::ops::Range<u32>, ports: (u16, u16), servers: Zipf, seed: u64) -> Self {
        assert!(!pods.is_empty() && ports.0 <= ports.1, "origins from nowhere");
        Self { pods, ports, servers, used: HashSet::new(), rng: Pcg64Mcg::seed_from_u64(seed) }
    }

    /// One that is not in use; none after so many that are in vain: the source ports themselves have run out.
    pub(crate) fn draw(&mut self) -> Option<Origin> {
        const DRAWS_MAX: u32 = 10_000;
        (0..DRAWS_MAX).find_map(|_| {
            let origin = Origin {
                pod: self.rng.random_range(self.pods.clone()),
                port: self.rng.random_range(self.ports.0..=self.ports.1),
                server: self.servers.draw(&mut self.rng),
            };
            self.used.insert(origin).then_some(origin)
        })
    }

    /// It may come again.
    pub(crate) fn give_back(&mut self, origin: &Origin) {
        self.used.remove(origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_come_once_and_again_when_given_back() {
        let mut origins = Origins::new(3..5, (10, 12), Zipf::new(2, 0.0), 7);
        let all: HashSet<Origin> = (0..12).map(|_| origins.draw().unwrap()).collect();
        assert_eq!(all.len(), 12);
        assert!(all.iter().all(|origin| (3..5).contains(&origin.pod) && (10..=12).contains(&origin.port)));
        assert_eq!(origins.draw(), None);
        let one = *all.iter().next().unwrap();
        origins.give_back(&one);
        assert_eq!(origins.draw(), Some(one));
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed| {
            let mut origins = Origins::new(0..100, (1024, 65_535), Zipf::new(8, 1.1), seed);
            (0..50).map(|_| origins.draw().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
