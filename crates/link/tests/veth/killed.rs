//! What is left of links whose process was killed: nothing.

use crate::netns::{in_fresh_namespace_as_root, veth_pair};
use crate::tap::is_tapped;
use natrig_link::kernel_tap::{ForwardingTap, KernelTap as _};
use natrig_link::passage::Sample;
use natrig_link::ring::{self, RingOptions};
use natrig_link::xdp::{self, XdpOptions};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that is to be killed.
const VICTIM: &str = "NATRIG_TEST_VICTIM";

const NAME: &str = "killed::after_a_kill_the_next_start_works";

#[test]
fn after_a_kill_the_next_start_works() {
    if std::env::var_os(VICTIM).is_some() {
        // In the network namespace of the thread that started this process.
        let _ring = ring::open(&["left"], &RingOptions::default()).unwrap();
        let _xdp = xdp::open(&["right"], &XdpOptions::default()).unwrap();
        let mut tap = ForwardingTap::between("left", "right").unwrap();
        tap.begin(Some(Sample::of(1, 1, 0))).unwrap();
        println!("open");
        loop {
            std::thread::park();
        }
    }
    in_fresh_namespace_as_root(NAME, || {
        veth_pair("left", "right", 1);
        let pinned = pinned();
        for _ in 0..3 {
            let mut victim = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--nocapture"])
                .env(VICTIM, "1")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut output = victim.stdout.take().unwrap();
            let mut said = Vec::new();
            while !said.ends_with(b"open\n") {
                let mut byte = [0];
                assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
                said.push(byte[0]);
            }
            assert!(ring::open(&["left"], &RingOptions::default()).is_err(), "the victim holds it");
            assert!(is_tapped("left") && is_tapped("right"));
            victim.kill().unwrap();
            victim.wait().unwrap();
            // At once, which is within 100 ms; what the kernel has not let go of yet is waited for.
            let again = Instant::now();
            drop(ring::open(&["left"], &RingOptions::default()).unwrap());
            drop(xdp::open(&["right"], &XdpOptions::default()).unwrap());
            println!("open again after {:?}", again.elapsed());
            for interface in ["left", "right"] {
                let deadline = Instant::now() + Duration::from_secs(10);
                while has_program(interface) || is_tapped(interface) {
                    assert!(Instant::now() < deadline, "{interface} has kept its program");
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            assert_eq!(self::pinned(), pinned);
        }
    });
}

/// Objects in the BPF file system, where one is mounted.
fn pinned() -> usize {
    fn under(directory: &Path) -> usize {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| 1 + if entry.path().is_dir() { under(&entry.path()) } else { 0 }).sum()
    }
    under(Path::new("/sys/fs/bpf"))
}

/// What `ip` says; no program where it is not installed.
fn has_program(interface: &str) -> bool {
    let output = Command::new("ip").args(["link", "show", interface]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("xdp"))
}
