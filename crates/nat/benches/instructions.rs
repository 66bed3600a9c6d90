//! Instructions per operation, counted by valgrind: what a change may be judged by on any machine, however busy.
//!
//! `cargo bench -p natrig-nat --bench instructions` runs itself under `valgrind --tool=callgrind`, once per case, and fails if a case takes
//! more than its limit. Without valgrind it says so and does nothing; without `--bench` (`cargo test --benches`) each case only runs.
//! When a case has become better, or worse for a reason, its limit is changed here.
//!
//! gungraun does the same with more comfort, but needs a runner of its own version beside it, installed by hand; here valgrind is enough.

mod support;

use natrig_nat::{Direction, Nat, Verdict};
use std::hint::black_box;
use std::process::{Command, ExitCode};
use support::{BURST, Numbers, Ring, fill, inside_of, translator};

/// Mappings of one outside address, all ports.
const PORTS: usize = 64_512;
const FLOWS: usize = 4_000;

/// An operation: what is prepared, what is counted, how often it does what it does, and how many instructions each may take.
struct Case {
    name: &'static str,
    prepare: fn() -> Bench,
    operations: u64,
    limit: u64,
}

struct Bench {
    nat: Nat,
    ring: Ring,
    dir: Direction,
    /// Frames of the burst that are looked at.
    frames: usize,
    len: usize,
    now_ns: u64,
}

const CASES: &[Case] = &[
    Case { name: "hit_udp_outbound", prepare: || hit(Direction::Outbound, 17), operations: BURST as u64, limit: 187 },
    Case { name: "hit_udp_inbound", prepare: || hit(Direction::Inbound, 17), operations: BURST as u64, limit: 176 },
    Case { name: "hit_tcp_outbound", prepare: || hit(Direction::Outbound, 6), operations: BURST as u64, limit: 197 },
    Case { name: "miss_at_50_percent", prepare: || miss(0.5), operations: 64, limit: 1910 },
    Case { name: "miss_at_99_percent", prepare: || miss(0.99), operations: 64, limit: 2010 },
    Case { name: "miss_at_99.9_percent", prepare: || miss(0.999), operations: 32, limit: 2180 },
    Case { name: "icmp_error_inbound", prepare: icmp_error, operations: BURST as u64, limit: 1120 },
    Case { name: "fragment_outbound", prepare: fragment, operations: BURST as u64, limit: 660 },
    Case { name: "expire", prepare: expire, operations: FLOWS as u64, limit: 980 },
];

impl Bench {
    fn new(nat: Nat) -> Self {
        Self { nat, ring: Ring::new(), dir: Direction::Outbound, frames: BURST, len: support::FRAME_LEN, now_ns: 2 }
    }

    fn burst(&mut self) {
        let Self { nat, ring, dir, frames: count, len, now_ns } = self;
        ring.with_frames(0, |frames| {
            let mut verdicts = [Verdict::Skip; BURST];
            verdicts[..*count].fill(Verdict::Forward);
            for frame in frames.iter_mut() {
                frame.resize(*len);
            }
            measured(nat, *dir, frames, &mut verdicts, *now_ns);
            assert!(verdicts[..*count].iter().all(|verdict| *verdict == Verdict::Forward), "{verdicts:?}");
        });
    }

    /// The same, not counted.
    fn warm(&mut self) {
        let Self { nat, ring, dir, len, now_ns, .. } = self;
        ring.with_frames(0, |frames| {
            for frame in frames.iter_mut() {
                frame.resize(*len);
            }
            nat.translate_burst(*dir, frames, &mut [Verdict::Forward; BURST], *now_ns);
        });
    }
}

/// What is counted.
#[inline(never)]
fn measured(
    nat: &mut Nat,
    dir: Direction,
    frames: &mut [natrig_wire::Frame<'_>],
    verdicts: &mut [Verdict],
    now_ns: u64,
) {
    nat.translate_burst(dir, frames, verdicts, now_ns);
    nat.expire(now_ns);
    black_box(verdicts);
}

/// Established flows in random order.
fn hit(dir: Direction, protocol: u8) -> Bench {
    let mut bench = Bench::new(translator("rfc4787", FLOWS, 1));
    let mut numbers = Numbers(7);
    let flows: Vec<usize> = (0..BURST).map(|_| numbers.below(FLOWS)).collect();
    let write = |bench: &mut Bench, flags: u8| {
        for (slot, flow) in flows.iter().enumerate() {
            bench.ring.write(0, slot, *flow);
            if protocol == 6 {
                bench.ring.make_tcp(slot, flags);
            }
        }
    };
    let (syn, ack) = (0x02, 0x10);
    write(&mut bench, syn);
    bench.warm();
    bench.ring.turn_round(BURST);
    for slot in 0..BURST {
        if protocol == 6 {
            bench.ring.set_tcp_flags(slot, syn | ack);
        }
    }
    bench.dir = Direction::Inbound;
    bench.warm();
    bench.dir = Direction::Outbound;
    write(&mut bench, ack);
    bench.warm();
    if dir == Direction::Inbound {
        bench.ring.turn_round(BURST);
        bench.dir = Direction::Inbound;
    } else {
        write(&mut bench, ack);
    }
    bench
}

/// New flows when this share of the ports is taken.
fn miss(share: f64) -> Bench {
    let mut bench = Bench::new(translator("rfc4787", PORTS, 1));
    bench.frames = if share > 0.995 { 32 } else { 64 };
    let taken = (PORTS as f64 * share) as usize;
    fill(&mut bench.nat, &mut bench.ring, 0, taken, 1);
    for slot in 0..BURST {
        bench.ring.write(0, slot, taken + slot);
    }
    bench
}

/// ICMP errors about packets of known flows.
fn icmp_error() -> Bench {
    let mut bench = hit(Direction::Outbound, 17);
    bench.warm();
    for slot in 0..BURST {
        bench.ring.make_icmp_error(slot);
    }
    bench.dir = Direction::Inbound;
    bench.len = support::ICMP_ERROR_LEN;
    bench
}

/// Later fragments of datagrams whose first one is known.
fn fragment() -> Bench {
    let mut bench = Bench::new(translator("rfc4787", FLOWS, 1));
    for offset in [0, 24] {
        for slot in 0..BURST {
            bench.ring.write(0, slot, slot);
            bench.ring.make_fragment(slot, offset);
        }
        if offset == 0 {
            bench.warm();
        }
    }
    bench
}

/// The end of all mappings, and the release of their ports.
fn expire() -> Bench {
    let mut bench = Bench::new(translator("rfc4787", FLOWS, 1));
    fill(&mut bench.nat, &mut bench.ring, 0, FLOWS, 1);
    bench.frames = 0;
    bench.now_ns = 4000 * 1_000_000_000;
    bench
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let Some(name) = args.iter().position(|arg| arg == "--case").and_then(|at| args.get(at + 1)) {
        if let Some(case) = CASES.iter().find(|case| case.name == name) {
            (case.prepare)().burst();
        }
        return ExitCode::SUCCESS;
    }
    if !args.iter().any(|arg| arg == "--bench") {
        for case in CASES {
            (case.prepare)().burst();
        }
        println!("{} cases run", CASES.len());
        return ExitCode::SUCCESS;
    }
    // A port that is looked for where few are left shows how many instructions that takes; where it lies is no matter of luck.
    assert!(inside_of(0) != inside_of(1));
    let mut worse = 0;
    for case in CASES {
        let Some(counted) = count(case.name) else {
            println!("valgrind is not to be had: nothing counted");
            return ExitCode::SUCCESS;
        };
        let each = counted / case.operations;
        let verdict = if each > case.limit { "TOO MANY" } else { "ok" };
        worse += u32::from(each > case.limit);
        println!("{:>24} {each:>6} instructions, limit {:>6}  {verdict}", case.name, case.limit);
    }
    if worse > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Instructions within [`measured`], callees included; None without valgrind.
fn count(case: &str) -> Option<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=instructions::measured*")
        .arg(std::env::current_exe().ok()?)
        .args(["--case", case])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}
