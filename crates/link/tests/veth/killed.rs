//! What is left of links whose process was killed: nothing.

use crate::netns::{in_fresh_namespace_as_root, veth_pair};
use natrig_link::ring::{self, RingOptions};
use natrig_link::xdp::{self, XdpOptions};
use std::io::Read;
use std::process::{Command, Stdio};

/// Set in the process that is to be killed.
const VICTIM: &str = "NATRIG_TEST_VICTIM";

const NAME: &str = "killed::after_a_kill_the_next_start_works";

#[test]
fn after_a_kill_the_next_start_works() {
    if std::env::var_os(VICTIM).is_some() {
        // In the network namespace of the thread that started this process.
        let _ring = ring::open(&["left"], &RingOptions::default()).unwrap();
        let _xdp = xdp::open(&["right"], &XdpOptions::default()).unwrap();
        println!("open");
        loop {
            std::thread::park();
        }
    }
    in_fresh_namespace_as_root(NAME, || {
        veth_pair("left", "right", 1);
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
            victim.kill().unwrap();
            victim.wait().unwrap();
            drop(ring::open(&["left"], &RingOptions::default()).unwrap());
            drop(xdp::open(&["right"], &XdpOptions::default()).unwrap());
        }
    });
}
