//! What this process may do: found out by trying, each refusal with its reason in words.

mod probe;
mod user_namespace;

use std::fmt;
use std::fs;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::procfs;

/// How a world can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In namespaces, with the privileges the process came with.
    Root,
    /// In namespaces, inside a user namespace that the process has entered.
    Rootless,
    /// Not at all: links in memory only.
    Memory,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Rootless => "rootless",
            Self::Memory => "memory",
        })
    }
}

/// Something that may or may not be possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ability {
    /// Entering a user namespace, where the process has no privileges of its own.
    UserNamespace,
    /// Making network namespaces.
    NetNamespace,
    /// Veth pairs between them.
    Veth,
    /// Packet sockets in them.
    PacketSocket,
    /// Attaching XDP programs.
    Xdp,
    /// Holding the processor out of its deeper sleep states.
    DmaLatency,
    /// Threads that no ordinary thread takes the processor from.
    RealTime,
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserNamespace => "user namespace",
            Self::NetNamespace => "network namespaces",
            Self::Veth => "veth pairs",
            Self::PacketSocket => "packet sockets",
            Self::Xdp => "XDP",
            Self::DmaLatency => "holding CPU latency down",
            Self::RealTime => "real-time priority",
        })
    }
}

/// Something that is not possible, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What.
    pub ability: Ability,
    /// Why, in words.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {}: {}", self.ability, self.reason)
    }
}

/// What this process may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Privilege {
    /// How a world can be made.
    pub mode: Mode,
    /// What is not possible.
    pub refusals: Vec<Refusal>,
}

impl Privilege {
    /// Why `ability` is missing; none if it is there.
    pub fn refused(&self, ability: Ability) -> Option<&str> {
        self.refusals.iter().find(|refusal| refusal.ability == ability).map(|refusal| refusal.reason.as_str())
    }

    /// Why there are no namespaces: the refusals that lead to [`Mode::Memory`], in words. None in the other modes.
    pub fn why_memory(&self) -> Option<String> {
        (self.mode == Mode::Memory).then(|| {
            let reasons: Vec<_> = self
                .refusals
                .iter()
                .filter(|refusal| match refusal.ability {
                    Ability::UserNamespace | Ability::NetNamespace | Ability::Veth | Ability::PacketSocket => true,
                    Ability::Xdp | Ability::DmaLatency | Ability::RealTime => false,
                })
                .map(Refusal::to_string)
                .collect();
            reasons.join("; ")
        })
    }
}

/// Gets what it takes to make namespaces, and finds out what can be done. With the capabilities already there it changes nothing;
/// otherwise it moves the process into a user namespace and a network namespace of its own, and where that is refused, says why.
///
/// To be called first thing in `main`: a process with more than one thread cannot enter a user namespace (unshare(2)). Processes that
/// look after worlds made earlier (`exec`, `down`, `clean`) must not call it: in a user namespace of its own a process sees neither.
pub fn enter() -> Privilege {
    let mut refusals = Vec::new();
    let mut mode = if has_capabilities() {
        Mode::Root
    } else {
        match user_namespace::enter() {
            Ok(()) => Mode::Rootless,
            Err(error) => {
                refusals.push(Refusal { ability: Ability::UserNamespace, reason: error.to_string() });
                Mode::Memory
            }
        }
    };
    if mode != Mode::Memory {
        let missing = probe::namespaces();
        if !missing.is_empty() {
            mode = Mode::Memory;
        }
        refusals.extend(missing);
    }
    refusals.extend(probe::xdp());
    refusals.extend(probe::dma_latency());
    refusals.extend(probe::real_time());
    Privilege { mode, refusals }
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

fn has_capabilities() -> bool {
    effective_capabilities().is_some_and(|set| has(set, CAP_NET_ADMIN) && has(set, CAP_SYS_ADMIN))
}

const fn has(set: u64, capability: u32) -> bool {
    set & (1 << capability) != 0
}

fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    u64::from_str_radix(procfs::field(&status, "CapEff")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_for_namespaces_explains_memory() {
        let refusal = |ability, reason: &str| Refusal { ability, reason: reason.to_owned() };
        let mut privilege = Privilege {
            mode: Mode::Memory,
            refusals: vec![refusal(Ability::NetNamespace, "the limit is 0"), refusal(Ability::Xdp, "no CAP_BPF")],
        };
        assert_eq!(privilege.why_memory().as_deref(), Some("no network namespaces: the limit is 0"));
        assert_eq!(privilege.refused(Ability::Xdp), Some("no CAP_BPF"));
        assert_eq!(privilege.refused(Ability::Veth), None);
        privilege.mode = Mode::Rootless;
        assert_eq!(privilege.why_memory(), None);
    }

    #[test]
    fn the_kernel_tells_our_capabilities() {
        assert!(effective_capabilities().is_some());
        assert!(has(1 << 21, CAP_SYS_ADMIN) && !has(1 << 21, CAP_NET_ADMIN));
    }
}
