//! What this machine can do, what is missing, and what would mend it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::host::{HostFacts, line, steal_percent};
use crate::nft;
use crate::privilege::{Ability, Mode, Privilege};
use crate::programs;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, and figures will be the worse for it.
    Warn,
    /// Not there; what needs it is done without.
    Missing,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub detail: String,
    /// What to do about it, if anything can be done.
    pub mend: Option<String>,
}

/// How long the hypervisor is watched for stolen time.
const STEAL_WINDOW: Duration = Duration::from_millis(200);
/// More stolen time than this shows in the tails of latency.
const STEAL_PERCENT_MAX: f64 = 2.0;
/// Socket buffers below this lose frames in the stalls of about a millisecond that are ordinary on virtual machines.
const RMEM_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// A veth without NAPI hands frames over through this queue; a millisecond at a million frames a second.
const BACKLOG_FRAMES: u64 = 1_000;

/// Looks at everything. `privilege` is what [`crate::privilege::enter`] found. Takes about 0.2 s.
pub fn examine(privilege: &Privilege) -> Vec<Check> {
    let host = HostFacts::read();
    let mut checks = vec![mode(privilege)];
    checks.extend(
        [
            Ability::NetNamespace,
            Ability::Veth,
            Ability::PacketSocket,
            Ability::Xdp,
            Ability::DmaLatency,
            Ability::RealTime,
        ]
        .map(|ability| possible(privilege, ability)),
    );
    checks.extend([
        program(nft::PROGRAM, "the kernel's own NAT as a layer", &format!("install the package `{}`", nft::PACKAGE)),
        program(
            "clang",
            "rebuilding the XDP programs (they come built)",
            "install the package `clang`, only to change XDP programs",
        ),
        at_least("net.core.rmem_max", RMEM_MAX_BYTES, "bytes"),
        at_least("net.core.netdev_max_backlog", BACKLOG_FRAMES, "frames"),
        cores(host.cores),
        clock(&host),
        steal(steal_percent(STEAL_WINDOW)),
        governor(host.governor.as_deref()),
        huge_pages(host.transparent_huge_pages.as_deref()),
    ]);
    checks
}

fn check(name: &str, health: Health, detail: impl Into<String>, mend: Option<&str>) -> Check {
    Check { name: name.to_owned(), health, detail: detail.into(), mend: mend.map(str::to_owned) }
}

fn mode(privilege: &Privilege) -> Check {
    let name = "privileges";
    match privilege.mode {
        Mode::Root => check(name, Health::Ok, "root: namespaces without a detour", None),
        Mode::Rootless => check(name, Health::Ok, "ordinary user: namespaces inside a user namespace", None),
        Mode::Memory => check(
            name,
            Health::Warn,
            format!("links in memory only; {}", privilege.why_memory().unwrap_or_default()),
            Some(
                "run as root, or allow user namespaces: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns",
            ),
        ),
    }
}

fn possible(privilege: &Privilege, ability: Ability) -> Check {
    let name = ability.to_string();
    let needs_namespaces = matches!(ability, Ability::NetNamespace | Ability::Veth | Ability::PacketSocket);
    if let Some(reason) = privilege.refused(ability) {
        let mend = match ability {
            Ability::UserNamespace | Ability::NetNamespace => {
                "run as root, or raise user.max_user_namespaces and user.max_net_namespaces"
            }
            Ability::Veth => "use a kernel with CONFIG_VETH, or load the module veth",
            Ability::PacketSocket => "grant CAP_NET_RAW",
            Ability::Xdp => "run as root, outside of containers; without it the slower packet sockets are used",
            Ability::DmaLatency => "run as root; without it wake-ups across cores take longer",
            Ability::RealTime => "run as root; without it other programs show in the tails of latency",
        };
        let health = if needs_namespaces { Health::Missing } else { Health::Warn };
        return check(&name, health, reason, Some(mend));
    }
    if needs_namespaces && privilege.mode == Mode::Memory {
        return check(&name, Health::Missing, "not tried: something before it is missing", None);
    }
    let found = if ability == Ability::Xdp { "the privileges for it are there" } else { "tried, works" };
    check(&name, Health::Ok, found, None)
}

fn program(name: &str, purpose: &str, mend: &str) -> Check {
    match programs::find(name) {
        Some(path) => check(name, Health::Ok, path.display().to_string(), None),
        None => check(name, Health::Missing, format!("not found; it is for {purpose}"), Some(mend)),
    }
}

fn at_least(sysctl: &str, wanted: u64, unit: &str) -> Check {
    let path = format!("/proc/sys/{}", sysctl.replace('.', "/"));
    judge_at_least(sysctl, line(&path).and_then(|v| v.parse().ok()), wanted, unit)
}

fn judge_at_least(sysctl: &str, found: Option<u64>, wanted: u64, unit: &str) -> Check {
    match found {
        // A network namespace other than the first one does not show it.
        None => check(sysctl, Health::Ok, "cannot be seen from here", None),
        Some(value) if value >= wanted => check(sysctl, Health::Ok, format!("{value} {unit}"), None),
        Some(value) => check(
            sysctl,
            Health::Warn,
            format!("{value} {unit}, bursts may be lost"),
            Some(&format!("sysctl -w {sysctl}={wanted}")),
        ),
    }
}

fn cores(count: usize) -> Check {
    match count {
        0 | 1 => check(
            "cores",
            Health::Warn,
            "one: generator and NAT take turns, so rates are those of both together",
            Some("give this machine a second core"),
        ),
        _ => check("cores", Health::Ok, count.to_string(), None),
    }
}

fn clock(host: &HostFacts) -> Check {
    let source = host.clocksource.as_deref().unwrap_or("unknown");
    // kvm-clock and Hyper-V's page are the time stamp counter with an offset, read without a system call.
    let quick = matches!(source, "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter");
    if quick {
        check("clock source", Health::Ok, source, None)
    } else {
        check(
            "clock source",
            Health::Warn,
            format!("{source}: every look at the clock is a system call"),
            Some("boot with clocksource=tsc, if the processor's counter is invariant"),
        )
    }
}

fn steal(percent: Option<f64>) -> Check {
    let name = "stolen time";
    match percent {
        None => check(name, Health::Ok, "cannot be seen here", None),
        Some(percent) if percent <= STEAL_PERCENT_MAX => check(name, Health::Ok, format!("{percent:.1} % now"), None),
        Some(percent) => check(
            name,
            Health::Warn,
            format!("{percent:.1} % now: the hypervisor gives our time to others"),
            Some("measure at another time, or on a machine of its own"),
        ),
    }
}

fn governor(found: Option<&str>) -> Check {
    let name = "CPU governor";
    match found {
        None => check(name, Health::Ok, "none to be seen, the host decides", None),
        Some("performance") => check(name, Health::Ok, "performance", None),
        Some(other) => check(
            name,
            Health::Warn,
            format!("{other}: the frequency follows the load"),
            Some("cpupower frequency-set -g performance"),
        ),
    }
}

fn huge_pages(found: Option<&str>) -> Check {
    let name = "huge pages";
    match found {
        Some(mode @ ("always" | "madvise")) => check(name, Health::Ok, mode, None),
        Some(_) | None => check(
            name,
            Health::Warn,
            "off: large mapping tables take more time to walk",
            Some("echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privilege::Refusal;

    fn memory(ability: Ability, reason: &str) -> Privilege {
        Privilege { mode: Mode::Memory, refusals: vec![Refusal { ability, reason: reason.to_owned() }] }
    }

    #[test]
    fn every_trouble_comes_with_a_detail_and_most_with_a_mend() {
        let privilege = memory(Ability::NetNamespace, "user.max_net_namespaces is 0");
        let checks = examine(&privilege);
        assert_eq!(checks.len(), 16);
        assert!(checks.iter().all(|check| !check.detail.is_empty()));
        assert_eq!(checks[0].health, Health::Warn);
        assert!(checks[0].detail.contains("user.max_net_namespaces is 0"));
        assert_eq!(checks[1].health, Health::Missing);
        assert!(checks[1].mend.is_some());
        // What comes after the first thing missing was not tried, and is not praised.
        assert_eq!(checks[2].health, Health::Missing);
        assert_eq!(checks[2].mend, None);
    }

    #[test]
    fn without_xdp_things_go_on_slower() {
        let privilege = Privilege { mode: Mode::Rootless, ..memory(Ability::Xdp, "not in a user namespace") };
        assert_eq!(possible(&privilege, Ability::Xdp).health, Health::Warn);
        assert_eq!(possible(&privilege, Ability::Veth).health, Health::Ok);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let check = program("no-such-program", "nothing", "install the package `x`");
        assert_eq!(check.health, Health::Missing);
        assert_eq!(check.mend.as_deref(), Some("install the package `x`"));
        assert_eq!(program("sh", "scripts", "").health, Health::Ok);
    }

    #[test]
    fn low_settings_name_the_command() {
        let low = judge_at_least("net.core.rmem_max", Some(1), 2, "bytes");
        assert_eq!(low.health, Health::Warn);
        assert_eq!(low.mend.as_deref(), Some("sysctl -w net.core.rmem_max=2"));
        assert_eq!(judge_at_least("x", Some(2), 2, "bytes").health, Health::Ok);
    }

    #[test]
    fn noise_is_a_warning() {
        assert_eq!(steal(Some(30.0)).health, Health::Warn);
        assert_eq!(steal(Some(0.5)).health, Health::Ok);
        assert_eq!(governor(Some("powersave")).health, Health::Warn);
        assert_eq!(huge_pages(Some("never")).health, Health::Warn);
        assert_eq!(cores(1).health, Health::Warn);
    }
}
