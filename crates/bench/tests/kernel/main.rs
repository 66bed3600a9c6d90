//! Runs in which the kernel forwards and translates, over real namespaces: as root, and as an ordinary user.
//!
//! Entering a user namespace needs a process with a single thread, so every case is a process of its own, this binary started again.
//! Root runs each case twice, as itself and as an ordinary user; anybody else once. What is not possible on this machine, for want of
//! namespaces or of the program `nft`, is skipped aloud; with `NATRIG_REQUIRE_NAMESPACES=1` it is a failure if nothing ran.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with a harness of its own")]

mod cases;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use nix::unistd::geteuid;

/// What a case says when the machine does not allow it: the exit code, after a line with the reason.
const SKIPPED: u8 = 77;
/// The user number of `nobody`: somebody without privileges.
const ORDINARY_USER: u32 = 65_534;

const CASES: [(&str, fn()); 9] = [
    ("both_engines_in_one_run", cases::both_engines_in_one_run),
    ("an_engine_at_each_layer", cases::an_engine_at_each_layer),
    ("the_kernel_in_threads_of_its_own", cases::the_kernel_in_threads_of_its_own),
    ("nobody_forwards_at_the_gateway", cases::nobody_forwards_at_the_gateway),
    ("the_fastest_links_are_taken", cases::the_fastest_links_are_taken),
    ("a_tap_by_another_clock", cases::a_tap_by_another_clock),
    ("every_kind_of_link_accounts_for_every_frame", cases::every_kind_of_link_accounts_for_every_frame),
    ("what_the_kernel_drops_is_accounted_for", cases::what_the_kernel_drops_is_accounted_for),
    ("more_flows_than_the_kernel_tracks", cases::more_flows_than_the_kernel_tracks),
];

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--case") => {
            let name = arguments.next().unwrap_or_default();
            let (_, case) = CASES.iter().find(|(case, _)| *case == name).unwrap();
            case();
            ExitCode::SUCCESS
        }
        Some("--list") => {
            for (name, _) in CASES {
                println!("{name}: test");
            }
            ExitCode::SUCCESS
        }
        filter => run_all(filter.filter(|word| !word.starts_with("--"))),
    }
}

fn run_all(filter: Option<&str>) -> ExitCode {
    // A place from where an ordinary user can execute it, too.
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let binary = directory.path().join("kernel");
    fs::copy(env::current_exe().unwrap(), &binary).unwrap();

    let root = geteuid().is_root();
    let users: &[bool] = if root { &[false, true] } else { &[true] };
    let (mut passed, mut skipped, mut failed) = (0, 0, 0);
    for (name, _) in CASES.iter().filter(|(name, _)| filter.is_none_or(|word| name.contains(word))) {
        for &as_ordinary in users {
            let user = if as_ordinary { "ordinary user" } else { "root" };
            let outcome = run_case(&binary, name, root && as_ordinary);
            println!("case {name} ({user}) ... {outcome}");
            match outcome.split(':').next() {
                Some("ok") => passed += 1,
                Some("skipped") => skipped += 1,
                _ => failed += 1,
            }
        }
    }
    println!("kernel cases: {passed} passed, {failed} failed, {skipped} skipped");
    let required = env::var("NATRIG_REQUIRE_NAMESPACES").is_ok_and(|value| value == "1");
    if failed > 0 || (required && passed == 0) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_case(binary: &Path, name: &str, drop_root: bool) -> String {
    let mut command = Command::new(binary);
    command.args(["--case", name]).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
    if drop_root {
        command.uid(ORDINARY_USER).gid(ORDINARY_USER).env_remove("XDG_RUNTIME_DIR");
    }
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => "ok".to_owned(),
        Some(code) if code == i32::from(SKIPPED) => format!("skipped: {words}"),
        _ => format!("FAILED: {} {words}", output.status),
    }
}
