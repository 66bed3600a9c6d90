//! How the search of a profile fails: the probability of a refusal by ports in use, asked of the allocator itself.
//!
//! At each of some numbers of ports in use, connections come and go until which ports are in use is as it would be after a long time; then
//! so many ask for a port. A search that finds every free port needs no such experiment.

use natrig_nat::behaviour::{Behaviour, Probe};
use natrig_nat::{Allocation, Allocator, PortsInUse, Wish};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::sim::EPHEMERAL;

/// Numbers of ports in use that are looked at.
const POINTS: u32 = 32;
/// Connections that ask at each point; a refusal that is rarer is not seen.
const ASKED: u32 = 4_000;
/// Nobody plans for more refusals than that; the search is not asked further.
const REFUSED_MAX: f64 = 0.5;
/// Pods that ask.
const PODS: u32 = 2000;

/// Refusals of one outside address towards one remote end, by ports in use.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Ports that there are, or connections that are allowed.
    pub ports: u32,
    /// Refusals are a matter of how the search goes, and were counted; else only the last port's user is the first to be refused.
    pub searched: bool,
    /// Ports in use, and the share of refusals.
    points: Vec<(f64, f64)>,
    /// Ports in use, and how many are looked at for a new connection, if it finds one.
    tries: Vec<(f64, f64)>,
}

struct Used(Box<[u64; 1024]>);

impl PortsInUse for Used {
    fn is_free(&mut self, _: u16, port: u16, _: bool) -> bool {
        self.0[usize::from(port) / 64] >> (port % 64) & 1 == 0
    }

    fn has_room(&mut self, _: u16) -> bool {
        true
    }
}

impl Used {
    fn flip(&mut self, port: u16) {
        self.0[usize::from(port) / 64] ^= 1 << (port % 64);
    }
}

impl Curve {
    /// The curve of a behaviour, whose ports are not in blocks.
    #[must_use]
    pub fn of(behaviour: &Behaviour, seed: u64) -> Self {
        let rules = &behaviour.ports;
        let total = rules.range.len() + rules.extra_range.map_or(0, natrig_nat::behaviour::PortRange::len);
        let ports = if rules.max_per_destination > 0 { total.min(rules.max_per_destination) } else { total };
        if rules.probe == Probe::Scan && (rules.max_attempts == 0 || rules.max_attempts >= total) {
            return Self { ports, searched: false, points: Vec::new(), tries: Vec::new() };
        }
        let mut alone = behaviour.clone();
        alone.quota.blocks = natrig_nat::behaviour::PortBlocks::Shared;
        let mut allocator = Allocator::new(&alone, 1, seed);
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let mut used = Used(Box::new([0; 1024]));
        let mut given: Vec<u16> = Vec::new();
        let (mut points, mut tries) = (vec![(0.0, 0.0)], vec![(0.0, 1.0)]);
        for point in 1..=POINTS {
            let target = (u64::from(ports) * u64::from(point) / u64::from(POINTS)).min(u64::from(ports) - 1) as usize;
            let mut attempts = 0;
            while given.len() < target && attempts < ports * 4 {
                attempts += 1;
                if let Some(port) = ask(&mut allocator, &mut used, &mut rng) {
                    used.flip(port);
                    given.push(port);
                }
            }
            if given.len() < target {
                // What the search can hardly reach, load does not reach either.
                points.push((given.len() as f64, 1.0));
                break;
            }
            // What the earlier points have left behind is mostly as it has to be.
            for _ in 0..target / 3 {
                let leaves = rng.random_range(0..given.len());
                let port = given.swap_remove(leaves);
                used.flip(port);
                if allocator.wants_release() {
                    allocator.release(6, 0, 0, port);
                }
                while given.len() < target {
                    if let Some(port) = ask(&mut allocator, &mut used, &mut rng) {
                        used.flip(port);
                        given.push(port);
                    }
                }
            }
            let (mut refused, mut looked_at) = (0, 0);
            for _ in 0..ASKED {
                let allocation = request(&mut allocator, &mut used, &mut rng);
                match allocation.outcome {
                    Ok(_) => looked_at += allocation.tries,
                    Err(_) => refused += 1,
                }
            }
            points.push((target as f64, f64::from(refused) / f64::from(ASKED)));
            if refused < ASKED {
                tries.push((target as f64, f64::from(looked_at) / f64::from(ASKED - refused)));
            }
            if f64::from(refused) > REFUSED_MAX * f64::from(ASKED) {
                points.push((f64::from(ports), 1.0));
                break;
            }
        }
        Self { ports, searched: true, points, tries }
    }

    /// Probability of a refusal at so many ports in use.
    #[must_use]
    pub fn refusal(&self, used: f64) -> f64 {
        if used >= f64::from(self.ports) {
            return 1.0;
        }
        between(&self.points, used).unwrap_or(0.0)
    }

    /// Ports that are looked at for a new connection that finds one, at so many ports in use; none if it is not known how they are searched.
    #[must_use]
    pub fn tries(&self, used: f64) -> Option<f64> {
        between(&self.tries, used)
    }

    /// Ports in use at which a refusal first has this probability.
    #[must_use]
    pub fn usable(&self, refusal: f64) -> f64 {
        let (mut low, mut high) = (0.0, f64::from(self.ports));
        while high - low > 0.5 {
            let middle = f64::midpoint(low, high);
            if self.refusal(middle) < refusal { low = middle } else { high = middle }
        }
        high
    }
}

/// On the line between the points on either side; beyond the last, as there.
fn between(points: &[(f64, f64)], used: f64) -> Option<f64> {
    let at = points.partition_point(|(ports, _)| *ports <= used);
    match (at.checked_sub(1).and_then(|before| points.get(before)), points.get(at)) {
        (Some((left, low)), Some((right, high))) => Some(low + (high - low) * (used - left) / (right - left)),
        (Some((_, last)), None) => Some(*last),
        (None, _) => None,
    }
}

fn ask(allocator: &mut Allocator, used: &mut Used, rng: &mut Pcg64Mcg) -> Option<u16> {
    request(allocator, used, rng).outcome.ok().map(|(_, port)| port)
}

fn request(allocator: &mut Allocator, used: &mut Used, rng: &mut Pcg64Mcg) -> Allocation {
    let inside = (0x0a00_0000 + rng.random_range(0..PODS), rng.random_range(EPHEMERAL));
    let wish = Wish { protocol: 6, inside, remote: (0xcb00_7105, 443) };
    allocator.allocate(&wish, Some(0), used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use natrig_nat::Profile;

    fn curve(profile: &str) -> Curve {
        Curve::of(&Profile::builtin(profile).unwrap().behaviour, 1)
    }

    #[test]
    fn gateways_refuse_at_their_published_limits_only() {
        let aws = curve("aws-natgw");
        assert_eq!((aws.ports, aws.searched), (55_000, false));
        assert_eq!((aws.refusal(54_999.0), aws.refusal(55_000.0)), (0.0, 1.0));
        assert_eq!(curve("azure-natgw").ports, 50_000);
    }

    /// Where connections come and go, the ports that Cilium's contracting search ends at are always taken: refusals begin earlier than when
    /// a range is only filled (63 % at one in a hundred).
    #[test]
    fn searches_refuse_before_the_last_port() {
        let cilium = curve("cilium-bpf");
        let share = |refusal| cilium.usable(refusal) / f64::from(cilium.ports);
        assert!((0.4..0.55).contains(&share(0.01)), "{}", share(0.01));
        assert!((0.6..0.9).contains(&share(0.5)), "{}", share(0.5));
        assert_eq!(cilium.refusal(0.0), 0.0);
        assert_eq!(cilium.refusal(1e9), 1.0);
    }
}
