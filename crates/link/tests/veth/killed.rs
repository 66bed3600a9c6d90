//! What is left of links whose process has ended, in whatever way: nothing.

use crate::netns::{has_program, in_fresh_namespace_as_root, veth_pair};
use crate::tap::is_tapped;
use natrig_link::OpenError;
use natrig_link::kernel_tap::{ForwardingTap, KernelTap as _};
use natrig_link::packet::{PacketLink, PacketOptions};
use natrig_link::passage::Sample;
use natrig_link::redirect::Redirect;
use natrig_link::ring::{self, RingOptions};
use natrig_link::xdp::{self, XdpOptions};
use std::any::Any;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that is to end: the kind of link that it opens.
const VICTIM: &str = "NATRIG_TEST_VICTIM";

const NAME: &str = "killed::whatever_ends_it_the_next_start_works";

/// What there is to open, and whether nobody else can have it meanwhile.
const KINDS: [(&str, bool); 4] = [("ring", true), ("xdp", true), ("redirect", true), ("packet", false)];

/// How a process ends.
const ENDS: [End; 3] = [End::Unloads, End::Crashes, End::Killed];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Unloads,
    Crashes,
    Killed,
}

/// Both interfaces.
fn open(kind: &str) -> Result<Box<dyn Any>, OpenError> {
    let both = ["left", "right"];
    Ok(match kind {
        "ring" => Box::new(ring::open(&both, &RingOptions::default())?),
        "xdp" => Box::new(xdp::open(&both, &XdpOptions::default())?),
        "redirect" => Box::new(Redirect::between(both[0], both[1])?),
        _ => Box::new(both.map(|end| PacketLink::open(end, &PacketOptions::default()).unwrap())),
    })
}

#[test]
fn whatever_ends_it_the_next_start_works() {
    if let Ok(kind) = std::env::var(VICTIM) {
        // In the network namespace of the thread that started this process.
        let links = open(&kind).unwrap();
        let mut tap = ForwardingTap::between("left", "right").unwrap();
        tap.begin(Some(Sample::of(1, 1, 0))).unwrap();
        println!("open");
        let mut word = [0];
        match std::io::stdin().read(&mut word) {
            Ok(1) => std::process::abort(),
            _ => drop((links, tap)),
        }
        return;
    }
    in_fresh_namespace_as_root(NAME, || {
        veth_pair("left", "right", 1);
        let pinned = pinned();
        for ((kind, alone), end) in KINDS.into_iter().flat_map(|kind| ENDS.map(|end| (kind, end))) {
            let mut victim = victim(kind);
            assert_eq!(["left", "right"].map(has_program), [alone; 2], "{kind}");
            assert_eq!(["left", "right"].map(is_tapped), [true; 2], "{kind}");
            assert_eq!(open(kind).is_err(), alone, "{kind}: the victim holds it");
            finish(&mut victim, end);
            // At once, which is within 100 ms; what the kernel has not let go of yet is waited for.
            let again = Instant::now();
            drop(open(kind).unwrap_or_else(|error| panic!("{kind} after {end:?}: {error}")));
            println!("{kind} after {end:?}: open again after {:?}", again.elapsed());
            for interface in ["left", "right"] {
                let deadline = Instant::now() + Duration::from_secs(10);
                while has_program(interface) || is_tapped(interface) {
                    assert!(Instant::now() < deadline, "{interface} has kept its program: {kind}, {end:?}");
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            assert_eq!(self::pinned(), pinned, "{kind}, {end:?}");
        }
    });
}

/// A process that has links of that kind open.
fn victim(kind: &str) -> Child {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(VICTIM, kind)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = victim.stdout.as_mut().unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"open\n") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    victim
}

fn finish(victim: &mut Child, end: End) {
    let mut input = victim.stdin.take().unwrap();
    match end {
        End::Unloads => drop(input),
        End::Crashes => input.write_all(b"!").unwrap(),
        End::Killed => victim.kill().unwrap(),
    }
    // Its output is read to the end, or else a process that says goodbye would die of that.
    victim.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(victim.wait().unwrap().success(), end == End::Unloads);
}

/// Objects in the BPF file system, where one is mounted.
fn pinned() -> usize {
    fn under(directory: &Path) -> usize {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| 1 + if entry.path().is_dir() { under(&entry.path()) } else { 0 }).sum()
    }
    under(Path::new("/sys/fs/bpf"))
}
