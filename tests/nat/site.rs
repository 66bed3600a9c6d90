//! Five namespaces in a row, all but the middle one the kernel's:
//!
//! ```text
//! client ═ near (router) ═ nat ═ far (router) ═ server
//! ```

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use natrig_lab::lease::Lease;
use natrig_lab::plan::{At, Plan, Step, VethEnd};
use natrig_lab::privilege;
use natrig_link::{LinkKind, available};
use natrig_wire::MacAddr;

use crate::support::limits;
use crate::support::process::{Ended, Process};

/// The client has this address and the next fifteen.
pub(crate) const CLIENT: &str = "10.0.1.50";
const CLIENTS: u32 = 16;
pub(crate) const NEAR: &str = "10.0.1.1";
const NEAR_OUTER: &str = "10.0.9.2";
pub(crate) const NAT_INSIDE: &str = "10.0.9.1";
pub(crate) const NAT_OUTSIDE: &str = "198.51.100.2";
pub(crate) const POOL: &str = "198.51.100.8";
/// May be in the pool as well.
pub(crate) const SPARE: &str = "198.51.100.9";
pub(crate) const FAR: &str = "198.51.100.1";
const FAR_OUTER: &str = "203.0.113.1";
pub(crate) const SERVER: &str = "203.0.113.10";

const NAMESPACES: [&str; 5] = ["client", "near", "nat", "far", "server"];

/// MTUs of the four links, from the client outwards.
pub(crate) type Mtus = [u16; 4];
pub(crate) const WIDE: Mtus = [1500; 4];

pub(crate) struct Site {
    pub(crate) lease: Lease,
    natrig: PathBuf,
}

impl Site {
    /// Ends the role where there are no namespaces. All interfaces are as the kernel makes them.
    pub(crate) fn build(natrig: &str, mtus: Mtus) -> Self {
        Self::with_neighbours(natrig, mtus, |_| Vec::new())
    }

    /// The same, with more done to the two interfaces that the NAT's links end at.
    pub(crate) fn with_neighbours(natrig: &str, mtus: Mtus, more: fn(At) -> Vec<Step>) -> Self {
        let privilege = privilege::enter();
        if let Some(why) = privilege.why_memory() {
            limits::give_up(&why);
        }
        Self { lease: plan(mtus, more).build().unwrap(), natrig: natrig.into() }
    }

    /// The same names with other links. The role is root already.
    pub(crate) fn rebuild(self, mtus: Mtus) -> Self {
        let Self { lease, natrig } = self;
        drop(lease);
        Self { lease: plan(mtus, |_| Vec::new()).build().unwrap(), natrig }
    }

    /// Starts `natrig` in the middle.
    pub(crate) fn natrig(&self, arguments: &[&str]) -> Process {
        self.start("nat", Command::new(&self.natrig).args(arguments))
    }

    /// Runs `natrig` in the middle to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.natrig(arguments).finish()
    }

    /// Starts `natrig nat` with the site's addresses and more, and waits until it is ready.
    pub(crate) fn nat(&self, more: &[&str]) -> Process {
        let nat = self.natrig(&[&ARGUMENTS, more].concat());
        nat.says("ready: ");
        nat
    }

    /// Starts this binary in a role.
    pub(crate) fn role(&self, namespace: &str, words: &[&str]) -> Process {
        let actor = std::env::current_exe().unwrap();
        self.start(namespace, Command::new(actor).arg("--role").args(words))
    }

    /// Starts any program.
    pub(crate) fn start(&self, namespace: &str, command: &mut Command) -> Process {
        self.lease.run_in(namespace, || Process::start(command)).unwrap()
    }
}

/// Rings, where this user may have them.
pub(crate) fn fastest() -> &'static str {
    if available(LinkKind::Ring).is_ok() { "ring" } else { "packet" }
}

/// What is typed behind `natrig`, but for the link.
pub(crate) const ARGUMENTS: [&str; 13] = [
    "nat",
    "--inside=in",
    "--outside=out",
    "--profile=rfc4787",
    "--inside-address=10.0.9.1/24",
    "--route=10.0.1.0/24=10.0.9.2",
    "--outside-address=198.51.100.2/24",
    "--gateway",
    FAR,
    "--address",
    POOL,
    "--name",
    "site",
];

fn plan(mtus: Mtus, more: fn(At) -> Vec<Step>) -> Plan {
    let mut plan = Plan::default();
    let mut steps = Vec::new();
    for name in NAMESPACES {
        steps.push(Step::Namespace { name: name.to_owned() });
        // In the middle as well: natrig must get along with a kernel that would forward.
        for (key, value) in [
            ("net.ipv4.ip_forward", "1"),
            ("net.ipv4.conf.all.rp_filter", "0"),
            ("net.ipv4.conf.default.rp_filter", "0"),
        ] {
            let (key, value) = (key.to_owned(), value.to_owned());
            steps.push(Step::Sysctl { namespace: name.to_owned(), key, value, optional: false });
        }
        steps.push(Step::Up { at: At::new(name, "lo") });
    }
    let links = [
        ("client", "up", "near", "down"),
        ("near", "up", "nat", "in"),
        ("nat", "out", "far", "down"),
        ("far", "up", "server", "down"),
    ];
    for (number, ((a, a_name, b, b_name), mtu)) in (1u8..).zip(links.into_iter().zip(mtus)) {
        let end = |namespace, interface, last| VethEnd {
            at: At::new(namespace, interface),
            mac: MacAddr([2, 0x73, 0, 0, number, last]),
        };
        steps.push(Step::Veth { a: end(a, a_name, 1), b: end(b, b_name, 2), mtu, queues: 1 });
        for at in [At::new(a, a_name), At::new(b, b_name)] {
            steps.push(Step::Up { at });
        }
    }
    for at in [At::new("near", "up"), At::new("far", "down")] {
        steps.extend(more(at));
    }
    let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    for (namespace, interface, first, count) in [
        ("client", "up", CLIENT, CLIENTS),
        ("near", "down", NEAR, 1),
        ("near", "up", NEAR_OUTER, 1),
        ("far", "down", FAR, 1),
        ("far", "up", FAR_OUTER, 1),
        ("server", "down", SERVER, 1),
    ] {
        steps.push(Step::Addresses { at: At::new(namespace, interface), first: address(first), count });
    }
    for (namespace, interface, destination, via, source) in [
        ("client", "up", "0.0.0.0/0", NEAR, CLIENT),
        ("near", "down", "10.0.1.0/24", CLIENT, NEAR),
        ("near", "up", "0.0.0.0/0", NAT_INSIDE, NEAR_OUTER),
        ("far", "down", "198.51.100.2/32", NAT_OUTSIDE, FAR),
        ("far", "down", "198.51.100.8/32", POOL, FAR),
        ("far", "down", "198.51.100.9/32", SPARE, FAR),
        ("far", "up", "203.0.113.10/32", SERVER, FAR_OUTER),
        ("server", "down", "0.0.0.0/0", FAR_OUTER, SERVER),
    ] {
        let (at, destination) = (At::new(namespace, interface), destination.parse().unwrap());
        steps.push(Step::Route { at, destination, via: address(via), source: address(source) });
    }
    for at in [At::new("client", "up"), At::new("near", "up"), At::new("far", "down"), At::new("server", "down")] {
        steps.push(Step::AwaitCarrier { at });
    }
    plan.steps = steps;
    plan
}
