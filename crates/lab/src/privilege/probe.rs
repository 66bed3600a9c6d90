//! Each ability tried once, small.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use natrig_link::priority;
use natrig_wire::MacAddr;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Ability, CAP_NET_ADMIN, CAP_SYS_ADMIN, Refusal, effective_capabilities, has};
use crate::lease::{BuildError, StepError};
use crate::plan::{At, Plan, Step, VethEnd};

const CAP_BPF: u32 = 39;
/// `PROC_USER_INIT_INO` in the kernel's `include/linux/proc_ns.h`.
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// Builds the smallest world there is and opens a packet socket in it.
pub(super) fn namespaces() -> Vec<Refusal> {
    let end =
        |name: &str, number| VethEnd { at: At::new("probe", name), mac: MacAddr([0x02, 0x6e, 0x61, 0, 2, number]) };
    let plan = Plan {
        steps: vec![
            Step::Namespace { name: "probe".to_owned() },
            Step::Veth { a: end("a", 1), b: end("b", 2), mtu: 1500, queues: 1 },
        ],
    };
    let refusal = |ability, reason| vec![Refusal { ability, reason }];
    let lease = match plan.build() {
        Ok(lease) => lease,
        Err(BuildError { number: 1, reason, .. }) => {
            return refusal(Ability::NetNamespace, reason.to_string());
        }
        Err(BuildError { reason, .. }) => {
            return refusal(Ability::Veth, explain_veth(&reason));
        }
    };
    let opened = lease.run_in("probe", || socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None));
    match opened {
        Ok(Ok(_)) => Vec::new(),
        Ok(Err(Errno::EPERM)) => refusal(Ability::PacketSocket, "CAP_NET_RAW is missing".to_owned()),
        Ok(Err(errno)) => refusal(Ability::PacketSocket, errno.desc().to_owned()),
        Err(error) => refusal(Ability::NetNamespace, error.to_string()),
    }
}

fn explain_veth(reason: &StepError) -> String {
    let unsupported = Some(Errno::EOPNOTSUPP as i32);
    if matches!(reason, StepError::Refused(error) if error.raw_os_error() == unsupported) {
        "this kernel has no veth".to_owned()
    } else {
        reason.to_string()
    }
}

/// By capabilities only: attaching for real needs a program and the system call.
pub(super) fn xdp() -> Option<Refusal> {
    let reason = if !Path::new("/proc/sys/net/core/bpf_jit_enable").exists()
        && !Path::new("/proc/sys/kernel/unprivileged_bpf_disabled").exists()
    {
        "this kernel has no BPF"
    } else if std::fs::read_link("/proc/self/ns/user").is_ok_and(|link| link != Path::new(INITIAL_USER_NAMESPACE)) {
        "the kernel loads XDP programs only for the initial user namespace"
    } else {
        let set = effective_capabilities().unwrap_or(0);
        let bpf = has(set, CAP_BPF) || has(set, CAP_SYS_ADMIN);
        match (bpf, has(set, CAP_NET_ADMIN)) {
            (true, true) => return None,
            (false, _) => "CAP_BPF is missing",
            (true, false) => "CAP_NET_ADMIN is missing",
        }
    };
    Some(Refusal { ability: Ability::Xdp, reason: reason.to_owned() })
}

pub(super) fn dma_latency() -> Option<Refusal> {
    let path = "/dev/cpu_dma_latency";
    let error = OpenOptions::new().write(true).open(path).err()?;
    Some(Refusal {
        ability: Ability::DmaLatency,
        reason: if error.kind() == io::ErrorKind::NotFound {
            format!("there is no {path}")
        } else {
            format!("{path} cannot be opened for writing: {error}")
        },
    })
}

pub(super) fn real_time() -> Option<Refusal> {
    let error = priority::allowed().err()?;
    Some(Refusal {
        ability: Ability::RealTime,
        reason: if error.kind() == io::ErrorKind::PermissionDenied {
            "CAP_SYS_NICE is missing, or is not that of the initial user namespace".to_owned()
        } else {
            error.to_string()
        },
    })
}
