//! Which thread runs on which processor.

use natrig_link::affinity;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::result::PlacedThread;
use crate::scenario::{Engine, KernelWork, Lineup, Placement};

/// The processors of the two measuring threads, or twice that of the only one; `None`: wherever the scheduler likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Generator and reflector.
    pub tester: Option<usize>,
    /// Node and gateway.
    pub layers: Option<usize>,
}

impl Placed {
    /// Settles `wanted` on this machine: on the first processors that the process may use, unless the scenario names them.
    pub(crate) fn new(wanted: Placement) -> Self {
        let allowed = affinity::allowed_cores().unwrap_or_default();
        let first = allowed.first().copied();
        match wanted {
            Placement::Cpus { tester, dut } => {
                Self { tester: Some(usize::from(tester)), layers: Some(usize::from(dut)) }
            }
            Placement::Auto => Self { tester: first, layers: allowed.get(1).copied().or(first) },
            Placement::RunToCompletion => Self { tester: first, layers: first },
        }
    }

    /// True if one thread does everything.
    pub(crate) fn shared(&self) -> bool {
        self.tester == self.layers
    }

    /// The processors that are measured on; none known where threads are not pinned.
    pub(crate) fn processors(&self) -> Vec<usize> {
        let mut processors: Vec<usize> = [self.tester, self.layers].into_iter().flatten().collect();
        processors.dedup();
        processors
    }

    /// As the result records it: each thread with the roles that it has in any of `lineups`.
    pub(crate) fn threads(&self, lineups: &[Lineup], work: KernelWork) -> Vec<PlacedThread> {
        let stage = |engine: fn(&Lineup) -> Engine| lineups.iter().any(|lineup| engine(lineup) == Engine::Userspace);
        let mut tester = vec!["generator", "reflector"];
        let (mut layers, mut napi) = (Vec::new(), Vec::new());
        for (name, by_kernel, stands) in [
            ("node", "node (kernel)", stage(|lineup| lineup.node)),
            ("gateway", "gateway (kernel)", stage(|lineup| lineup.gateway)),
        ] {
            if stands {
                layers.push(name);
            }
            let kernel = |lineup: &&Lineup| {
                let engine = if name == "node" { lineup.node } else { lineup.gateway };
                matches!(engine, Engine::Nftables | Engine::Redirect)
            };
            for lineup in lineups.iter().filter(kernel) {
                if work == KernelWork::Threads {
                    napi.push(by_kernel);
                    continue;
                }
                // The kernel works inside the call that hands it a frame: the tester's, or that of the stage next to it.
                if lineup.has(Engine::Userspace) {
                    layers.push(by_kernel);
                }
                tester.push(by_kernel);
            }
        }
        let thread =
            |roles: Vec<&str>, cpu| PlacedThread { roles: roles.into_iter().map(str::to_owned).collect(), cpu };
        let (tester, layers) = match self.shared() {
            true => ([tester, layers].concat(), Vec::new()),
            false => (tester, layers),
        };
        let threads = [thread(tester, self.tester), thread(layers, self.layers), thread(napi, self.layers)];
        threads.into_iter().filter(|thread| !thread.roles.is_empty()).collect()
    }
}

/// Pins a thread of the kernel's.
///
/// # Errors
/// The kernel lets nobody but root do that.
pub(crate) fn pin_kernel_thread(pid: u32, cpu: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(pid.cast_signed()), &set)
}

/// Pins the calling thread, where that was asked for and can be had.
pub(super) fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        // A processor that went away leaves the thread unpinned; the trial's own gates judge what that does.
        let _ = affinity::pin_current_thread(cpu);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(lineups: &[Lineup]) -> Vec<String> {
        roles_with(lineups, KernelWork::Inline)
    }

    fn roles_with(lineups: &[Lineup], work: KernelWork) -> Vec<String> {
        let placed = Placed { tester: Some(0), layers: Some(1) };
        placed.threads(lineups, work).into_iter().map(|thread| thread.roles.join(", ")).collect()
    }

    #[test]
    fn the_kernel_works_where_frames_come_from() {
        let kernel = Lineup::both(Engine::Nftables);
        assert_eq!(roles(&[Lineup::USERSPACE]), ["generator, reflector", "node, gateway"]);
        assert_eq!(roles(&[kernel]), ["generator, reflector, node (kernel), gateway (kernel)"]);
        let both = ["generator, reflector, node (kernel), gateway (kernel)", "node, gateway"];
        assert_eq!(roles(&[Lineup::USERSPACE, kernel]), both);
        // What the node sends goes through the gateway in the node's call, what comes back in the reflector's.
        let threads = ["generator, reflector", "node, gateway", "node (kernel), gateway (kernel)"];
        assert_eq!(roles_with(&[Lineup::USERSPACE, kernel], KernelWork::Threads), threads);
        let one = Placed { tester: Some(1), layers: Some(1) };
        let threads = one.threads(&[Lineup::USERSPACE], KernelWork::Inline);
        assert_eq!(threads.len(), 1, "{threads:?}");
        assert_eq!(threads[0].roles, ["generator", "reflector", "node", "gateway"]);
        let mixed = Lineup { node: Engine::Userspace, gateway: Engine::Nftables };
        assert_eq!(roles(&[mixed]), ["generator, reflector, gateway (kernel)", "node, gateway (kernel)"]);
    }
}
