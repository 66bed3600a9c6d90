//! Which flows there are: pods × source ports × servers, enumerated without repetition in pseudorandom order (RFC 9693 §4.1, §4.4).

use std::net::Ipv4Addr;

use natrig_wire::template::FourTuple;

/// What a flow set is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSpec {
    /// Source addresses.
    pub pods: Vec<Ipv4Addr>,
    /// Lowest and highest source port, both used.
    pub src_ports: (u16, u16),
    /// Destination addresses.
    pub servers: Vec<Ipv4Addr>,
    /// Destination port.
    pub dst_port: u16,
    /// How many flows.
    pub flows: u32,
    /// Chooses which tuples and in what order.
    pub seed: u64,
}

/// Why a flow set cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// A set without flows, pods or servers.
    #[error("make a flow set of no {0}")]
    Empty(&'static str),
    /// The lowest source port is above the highest.
    #[error("use source ports from {0} to {1}")]
    Ports(u16, u16),
    /// More flows than pods × source ports × servers.
    #[error("make {flows} flows of {tuples} different tuples")]
    TooMany {
        /// Flows asked for.
        flows: u32,
        /// Different tuples there are.
        tuples: u64,
    },
}

/// Flows, each with a tuple of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSet {
    tuples: Vec<FourTuple>,
}

impl FlowSet {
    /// # Errors
    /// [`FlowError`].
    pub fn new(spec: &FlowSpec) -> Result<Self, FlowError> {
        for (count, name) in
            [(spec.flows as usize, "flows"), (spec.pods.len(), "pods"), (spec.servers.len(), "servers")]
        {
            if count == 0 {
                return Err(FlowError::Empty(name));
            }
        }
        let (low, high) = spec.src_ports;
        if low > high {
            return Err(FlowError::Ports(low, high));
        }
        let (pods, servers) = (spec.pods.len() as u64, spec.servers.len() as u64);
        let ports = u64::from(high - low) + 1;
        let space = pods * servers * ports;
        if u64::from(spec.flows) > space {
            return Err(FlowError::TooMany { flows: spec.flows, tuples: space });
        }
        let walk = Walk::new(space, spec.seed);
        let tuple = |index: u64| FourTuple {
            src: spec.pods[(index % pods) as usize],
            src_port: low + ((index / pods) % ports) as u16,
            dst: spec.servers[(index / (pods * ports)) as usize],
            dst_port: spec.dst_port,
        };
        Ok(Self { tuples: (0..u64::from(spec.flows)).map(|nth| tuple(walk.at(nth))).collect() })
    }

    /// Flows with these tuples, in this order.
    ///
    /// # Errors
    /// [`FlowError::Empty`].
    pub fn from_tuples(tuples: Vec<FourTuple>) -> Result<Self, FlowError> {
        if tuples.is_empty() {
            return Err(FlowError::Empty("flows"));
        }
        Ok(Self { tuples })
    }

    /// How many flows.
    #[inline]
    pub fn len(&self) -> u32 {
        self.tuples.len() as u32
    }

    /// A set is never empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tuples.is_empty()
    }

    /// The tuple of a flow as the pod sends it.
    #[inline]
    pub fn get(&self, flow: u32) -> Option<&FourTuple> {
        self.tuples.get(flow as usize)
    }

    /// All tuples in order.
    pub fn iter(&self) -> impl Iterator<Item = &FourTuple> {
        self.tuples.iter()
    }
}

/// A permutation of 0..space: multiples of a step that shares no factor with `space`, from an offset.
struct Walk {
    space: u64,
    step: u64,
    offset: u64,
}

impl Walk {
    fn new(space: u64, seed: u64) -> Self {
        // Steps near the golden section spread neighbours best (three-distance theorem).
        let golden = (space as f64 * 0.618_033_988_749_894_9) as u64;
        let wanted = golden + seed % (space / 16 + 1);
        let step = (wanted.max(1)..).find(|step| gcd(*step, space) == 1).unwrap_or(1) % space.max(2);
        Self { space, step, offset: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % space }
    }

    fn at(&self, nth: u64) -> u64 {
        ((u128::from(nth) * u128::from(self.step) + u128::from(self.offset)) % u128::from(self.space)) as u64
    }
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn spec(pods: u32, ports: u16, servers: u32, flows: u32, seed: u64) -> FlowSpec {
        let address = |base: u32| move |n| Ipv4Addr::from_bits(base + n);
        FlowSpec {
            pods: (0..pods).map(address(0x0a00_0102)).collect(),
            src_ports: (32768, 32767 + ports),
            servers: (0..servers).map(address(0xcb00_7101)).collect(),
            dst_port: 443,
            flows,
            seed,
        }
    }

    proptest! {
        #[test]
        fn every_tuple_is_used_once(pods in 1u32..9, ports in 1u16..40, servers in 1u32..5, seed: u64) {
            let all = pods * u32::from(ports) * servers;
            let set = FlowSet::new(&spec(pods, ports, servers, all, seed)).unwrap();
            prop_assert_eq!(set.iter().collect::<HashSet<_>>().len() as u32, all);
            prop_assert_eq!(&set, &FlowSet::new(&spec(pods, ports, servers, all, seed)).unwrap());
        }
    }

    #[test]
    fn a_part_of_the_space_spreads_over_pods_and_servers() {
        let set = FlowSet::new(&spec(16, 28_232, 4, 1000, 1)).unwrap();
        let pods: HashSet<_> = set.iter().map(|t| t.src).collect();
        let servers: HashSet<_> = set.iter().map(|t| t.dst).collect();
        assert_eq!((set.len(), pods.len(), servers.len()), (1000, 16, 4));
    }

    #[test]
    fn impossible_sets_are_refused() {
        assert_eq!(FlowSet::new(&spec(2, 3, 1, 7, 0)), Err(FlowError::TooMany { flows: 7, tuples: 6 }));
        assert_eq!(FlowSet::new(&spec(0, 3, 1, 1, 0)), Err(FlowError::Empty("pods")));
        assert_eq!(FlowSet::new(&spec(1, 3, 1, 0, 0)), Err(FlowError::Empty("flows")));
        let upside_down = FlowSpec { src_ports: (2, 1), ..spec(1, 1, 1, 1, 0) };
        assert_eq!(FlowSet::new(&upside_down), Err(FlowError::Ports(2, 1)));
    }
}
