//! Which thread runs on which processor.

use natrig_link::affinity;

use crate::result::PlacedThread;
use crate::scenario::Placement;

/// The processors of the two measuring threads; `None`: wherever the scheduler likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Generator and reflector.
    pub tester: Option<usize>,
    /// Node and gateway.
    pub layers: Option<usize>,
}

impl Placed {
    /// Settles `wanted` on this machine: the first two processors that the process may use, unless the scenario names them.
    pub(crate) fn new(wanted: Placement) -> Self {
        match wanted {
            Placement::Cpus { tester, dut } => {
                Self { tester: Some(usize::from(tester)), layers: Some(usize::from(dut)) }
            }
            Placement::Auto => match affinity::allowed_cores().as_deref() {
                Ok([tester, layers, ..]) => Self { tester: Some(*tester), layers: Some(*layers) },
                _ => Self { tester: None, layers: None },
            },
        }
    }

    /// True if the two threads take turns on one processor.
    pub(crate) fn shared(&self) -> bool {
        self.tester == self.layers
    }

    /// As the result records it.
    pub(crate) fn threads(&self) -> Vec<PlacedThread> {
        let thread = |roles: [&str; 2], cpu| PlacedThread { roles: roles.map(str::to_owned).to_vec(), cpu };
        vec![thread(["generator", "reflector"], self.tester), thread(["node", "gateway"], self.layers)]
    }
}

/// Pins the calling thread, where that was asked for and can be had.
pub(super) fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        // A processor that went away leaves the thread unpinned; the trial's own gates judge what that does.
        let _ = affinity::pin_current_thread(cpu);
    }
}
