//! Building worlds, using them, and taking them down.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use natrig_lab::lease::{BuildError, EnterError, Lease, SpawnError, StepError};
use natrig_lab::plan::{At, Offload, Plan, Step, VethEnd};
use natrig_lab::topology::{Boxes, Port, Topology};
use natrig_link::brings_whole_segments;
use natrig_wire::MacAddr;
use nix::sys::socket::{getsockopt, sockopt};

use crate::support::{Actor, counters, enter_or_skip, skip};

fn measurement() -> Plan {
    Plan::measurement(&Topology::default(), Boxes::STAGES).unwrap()
}

fn clients() -> Plan {
    Plan::clients(&Topology::default(), Boxes::STAGES, None).unwrap()
}

/// What the one who asks sees, in his namespace.
fn seen(lease: &Lease, namespace: &str, path: &str) -> String {
    lease.run_in(namespace, || fs::read_to_string(path)).unwrap().unwrap()
}

pub(crate) fn measurement_world_is_silent() {
    enter_or_skip();
    let lease = measurement().build().unwrap();
    let names: Vec<_> = lease.namespaces().iter().map(|n| n.name()).collect();
    assert_eq!(names, ["pods", "node", "gateway", "internet"]);
    for port in Port::ALL {
        let devices = seen(&lease, port.namespace(), "/proc/thread-self/net/dev");
        assert!(devices.contains(&format!("{}:", port.interface())), "{devices}");
        // No kernel has an address, so no route leads anywhere.
        let routes = seen(&lease, port.namespace(), "/proc/thread-self/net/route");
        assert!(routes.lines().count() <= 1, "{routes}");
        // Neighbour discovery, router solicitations, ARP: whoever would chatter has done so by now.
        let counted = counters(&lease, port.namespace(), port.interface());
        assert_eq!((counted.rx_frames, counted.tx_frames), (0, 0), "{counted:?}");
    }
    assert_eq!(seen(&lease, "node", "/proc/sys/net/ipv4/ip_forward").trim(), "0");
    lease.close().unwrap();
}

pub(crate) fn client_world_leads_to_the_stages() {
    enter_or_skip();
    let lease = clients().build().unwrap();
    let send = |from: Ipv4Addr, to: &str| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        assert_eq!(socket.send_to(b"hello", to).unwrap(), 5);
    };
    let pod = Ipv4Addr::new(10, 0, 1, 57);
    lease.run_in("pods", || send(pod, "203.0.113.10:9")).unwrap();
    // Each design's view of a client: a pod's address, the node's, the gateway's.
    let server = Ipv4Addr::new(203, 0, 113, 13);
    for client in ["10.0.1.57:9", "10.0.0.10:9", "198.51.100.8:9"] {
        lease.run_in("internet", || send(server, client)).unwrap();
    }
    // Exactly these frames and nothing else: the way is known and nobody had to ask for it.
    assert_eq!(counters(&lease, "node", "inside").rx_frames, 1);
    assert_eq!(counters(&lease, "gateway", "outside").rx_frames, 3);
    // Nobody stands at the boxes, and the kernel does not stand in.
    assert_eq!(counters(&lease, "node", "outside").tx_frames, 0);
    assert_eq!(counters(&lease, "gateway", "inside").tx_frames, 0);
    assert_eq!(counters(&lease, "pods", "eth0").rx_frames, 0);
    // Without an address of its own choice a program leaves from the first pod's, and from the first server's.
    let own_address = || {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect("192.0.2.1:9").unwrap();
        socket.local_addr().unwrap().ip().to_string()
    };
    assert_eq!(lease.run_in("pods", own_address).unwrap(), "10.0.1.50");
    assert_eq!(lease.run_in("internet", own_address).unwrap(), "203.0.113.10");
    lease.close().unwrap();
}

pub(crate) fn two_worlds_do_not_meet() {
    enter_or_skip();
    let (one, other) = (clients().build().unwrap(), clients().build().unwrap());
    let inodes: HashSet<_> = one.namespaces().iter().chain(other.namespaces()).map(|n| n.inode()).collect();
    assert_eq!(inodes.len(), 8);
    let send = || UdpSocket::bind("10.0.1.50:0").unwrap().send_to(b"x", "203.0.113.10:9").unwrap();
    one.run_in("pods", send).unwrap();
    assert_eq!(counters(&one, "node", "inside").rx_frames, 1);
    assert_eq!(counters(&other, "node", "inside").rx_frames, 0);
    one.close().unwrap();
    other.run_in("pods", send).unwrap();
    assert_eq!(counters(&other, "node", "inside").rx_frames, 1);
    other.close().unwrap();
}

pub(crate) fn a_panic_inside_goes_on_outside() {
    enter_or_skip();
    let lease = measurement().build().unwrap();
    let own = fs::read_link("/proc/self/ns/net").unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| lease.run_in("node", || panic!("on purpose"))));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap(), own);
    assert!(matches!(lease.run_in("moon", || ()), Err(EnterError::Unknown(_))));
    lease.close().unwrap();
}

pub(crate) fn programs_run_inside() {
    enter_or_skip();
    let lease = measurement().build().unwrap();
    let mut cat = Command::new("cat");
    cat.arg("/proc/self/net/dev").stdout(Stdio::piped());
    let output = lease.spawn_in("gateway", &mut cat).unwrap().wait_with_output().unwrap();
    let devices = String::from_utf8(output.stdout).unwrap();
    assert!(devices.contains("inside:") && devices.contains("outside:"), "{devices}");
    let missing = lease.spawn_in("gateway", &mut Command::new("/no/such/program"));
    assert!(matches!(missing, Err(SpawnError::Program { .. })));
    lease.close().unwrap();
}

pub(crate) fn close_tells_who_is_inside() {
    enter_or_skip();
    let lease = measurement().build().unwrap();
    let mut sleep = lease.spawn_in("node", Command::new("sleep").arg("60")).unwrap();
    let closed = lease.close();
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    let users = closed.unwrap_err().users;
    assert_eq!(users.len(), 1, "{users:?}");
    assert_eq!((users[0].pid, users[0].namespace.as_str()), (sleep.id(), "node"));
}

pub(crate) fn impossible_steps_are_named() {
    enter_or_skip();
    let namespace = || Step::Namespace { name: "a".to_owned() };
    let sysctl = |key: &str| Step::Sysctl {
        namespace: "a".to_owned(),
        key: key.to_owned(),
        value: "1".to_owned(),
        optional: false,
    };
    let fault = |step: Step| -> BuildError { Plan { steps: vec![namespace(), step] }.build().unwrap_err() };

    let error = fault(Step::Up { at: At::new("b", "eth0") });
    assert_eq!(
        error.to_string(),
        "build the world: step 2 of 2 (up        b:eth0): the plan has no namespace `b` at this point"
    );
    assert!(matches!(fault(namespace()).reason, StepError::DuplicateNamespace(_)));
    assert!(matches!(fault(Step::Up { at: At::new("a", "eth0") }).reason, StepError::UnknownInterface(_)));
    assert!(matches!(fault(sysctl("net.ipv4.no_such_thing")).reason, StepError::Sysctl { .. }));
    for key in ["kernel.panic", "net/../kernel/panic", "net...kernel.panic"] {
        assert!(matches!(fault(sysctl(key)).reason, StepError::SysctlName(_)), "{key}");
    }
    // The loopback always computes checksums, so this is kept on, and said.
    let error = fault(Step::OffloadsOff { at: At::new("a", "lo"), offloads: Offload::ALL.to_vec() });
    assert!(matches!(&error.reason, StepError::OffloadsStayOn(what) if what.contains("tx-checksum")), "{error}");
    let twice = Plan { steps: measurement().steps.into_iter().chain([measurement().steps[24].clone()]).collect() };
    assert!(matches!(twice.steps[24], Step::Veth { .. }));
    assert!(matches!(twice.build().unwrap_err().reason, StepError::Refused(_)));
}

pub(crate) fn offloads_and_mtu_are_as_planned() {
    enter_or_skip();
    let topology = Topology { mtu: 1400, queues: 2, ..Topology::default() };
    // The build itself looks whether the offloads are off.
    let lease = Plan::clients(&topology, Boxes::STAGES, None).unwrap().build().unwrap();
    let mtu = lease.run_in("pods", || {
        let socket = UdpSocket::bind("10.0.1.50:0").unwrap();
        socket.connect("203.0.113.10:9").unwrap();
        getsockopt(&socket, sockopt::IpMtu).unwrap()
    });
    assert_eq!(mtu.unwrap(), 1400);
    lease.close().unwrap();
    // The kernel makes the ends of a pair so that segments may be left to them in one piece.
    let end = |name: &str, number| VethEnd { at: At::new("a", name), mac: MacAddr([2, 0x6e, 0x61, 0, 3, number]) };
    let fresh = Plan {
        steps: vec![
            Step::Namespace { name: "a".to_owned() },
            Step::Veth { a: end("left", 1), b: end("right", 2), mtu: 1500, queues: 1 },
            Step::OffloadsOff { at: At::new("a", "right"), offloads: vec![Offload::Tso] },
        ],
    };
    let lease = fresh.build().unwrap();
    let whole = |interface: &str| lease.run_in("a", || brings_whole_segments(interface)).unwrap();
    assert!(whole("left") && !whole("right") && !whole("lo"));
    lease.close().unwrap();
}

/// Room for one world beside the namespace that this process is in, and no more: a world that stays shows at once.
fn limit_to_one_world() {
    enter_or_skip();
    if fs::write("/proc/sys/user/max_net_namespaces", "5").is_err() {
        skip("user.max_net_namespaces cannot be set");
    }
}

fn no_room(error: &BuildError) -> bool {
    matches!(error.reason, StepError::Namespace(_))
}

/// Builds until it is not for want of room that it fails. What went before, the attempts of `enter` and of this function included, the
/// kernel takes down in the background: without a pause each attempt would find the remains of the one before.
fn build_when_there_is_room(plan: &Plan) -> Result<Lease, BuildError> {
    for _ in 0..20 {
        match plan.build() {
            Err(error) if no_room(&error) => thread::sleep(Duration::from_millis(500)),
            outcome => return outcome,
        }
    }
    plan.build()
}

pub(crate) fn hold_measurement_world() -> Lease {
    build_when_there_is_room(&measurement()).unwrap()
}

pub(crate) fn nothing_is_left_of_it() {
    limit_to_one_world();
    let lease = hold_measurement_world();
    let error = measurement().build().unwrap_err();
    assert!(no_room(&error), "{error}");
    assert!(error.to_string().contains("user.max_net_namespaces"), "{error}");
    lease.close().unwrap();

    // By an error in the middle.
    let mut plan = measurement();
    plan.steps.push(Step::Up { at: At::new("node", "nothing") });
    for _ in 0..3 {
        let error = build_when_there_is_room(&plan).unwrap_err();
        assert!(matches!(error.reason, StepError::UnknownInterface(_)), "{error}");
    }

    // By a panic.
    let lease = hold_measurement_world();
    let panicked = catch_unwind(AssertUnwindSafe(move || lease.run_in("node", || panic!("on purpose"))));
    assert!(panicked.is_err());
    drop(hold_measurement_world());
}

pub(crate) fn nothing_is_left_after_sigkill() {
    limit_to_one_world();
    let mut holder = Actor::start(&["measurement"]);
    assert_eq!(holder.first_line, "ready");
    assert!(no_room(&measurement().build().unwrap_err()));
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    hold_measurement_world().close().unwrap();
}
