//! Real namespaces, as root and as an ordinary user.
//!
//! Entering a user namespace needs a process with one thread, and some cases end processes or set limits: so every case is a process
//! of its own, this binary started again. Root runs each case twice, as itself and as an ordinary user; anybody else once. What is not
//! possible on this machine is skipped aloud; with `NATRIG_REQUIRE_NAMESPACES=1` it is a failure if nothing ran.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test, with a harness of its own")]

mod backends;
mod clients;
mod kernel;
mod lease;
mod privilege;
mod roles;
mod support;
mod world;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

/// What a case says when the machine does not allow it: the exit code, after a line with the reason.
const SKIPPED: u8 = 77;
const CASE_TIMEOUT: Duration = Duration::from_secs(60);
/// The user number of `nobody`: somebody without privileges.
const ORDINARY_USER: u32 = 65_534;

struct Case {
    name: &'static str,
    /// Only as an ordinary user: it changes settings that are root's for everybody.
    ordinary_only: bool,
    run: fn(),
}

const fn case(name: &'static str, run: fn()) -> Case {
    Case { name, ordinary_only: false, run }
}

const fn ordinary(name: &'static str, run: fn()) -> Case {
    Case { name, ordinary_only: true, run }
}

const CASES: [Case; 33] = [
    case("lease::measurement_world_is_silent", lease::measurement_world_is_silent),
    case("lease::client_world_leads_to_the_stages", lease::client_world_leads_to_the_stages),
    case("lease::two_worlds_do_not_meet", lease::two_worlds_do_not_meet),
    case("lease::a_panic_inside_goes_on_outside", lease::a_panic_inside_goes_on_outside),
    case("lease::programs_run_inside", lease::programs_run_inside),
    case("lease::close_tells_who_is_inside", lease::close_tells_who_is_inside),
    case("lease::impossible_steps_are_named", lease::impossible_steps_are_named),
    case("lease::offloads_and_mtu_are_as_planned", lease::offloads_and_mtu_are_as_planned),
    ordinary("lease::nothing_is_left_of_it", lease::nothing_is_left_of_it),
    ordinary("lease::nothing_is_left_after_sigkill", lease::nothing_is_left_after_sigkill),
    case("backends::over_memory", backends::over_memory),
    case("backends::over_packet_slots", backends::over_packet_slots),
    case("backends::over_packet_blocks", backends::over_packet_blocks),
    case("backends::over_pnet", backends::over_pnet),
    case("backends::over_af_xdp", backends::over_af_xdp),
    case("backends::over_rings_and_live_frames", backends::over_rings_and_live_frames),
    case("clients::over_packet_slots", clients::over_packet_slots),
    case("clients::over_packet_blocks", clients::over_packet_blocks),
    case("clients::over_pnet", clients::over_pnet),
    case("clients::over_af_xdp", clients::over_af_xdp),
    case("clients::over_rings", clients::over_rings),
    case("kernel::designs_one_after_the_other_in_one_world", kernel::designs_one_after_the_other_in_one_world),
    case("kernel::ports_and_addresses_are_as_asked", kernel::ports_and_addresses_are_as_asked),
    case("kernel::drops_are_counted_with_their_reason", kernel::drops_are_counted_with_their_reason),
    case("kernel::napi_runs_in_threads", kernel::napi_runs_in_threads),
    case("kernel::what_cannot_be_is_said", kernel::what_cannot_be_is_said),
    case("world::up_exec_down", world::up_exec_down),
    case("world::clean_removes_what_sigkill_left_and_nothing_else", world::clean_removes_what_sigkill_left),
    case("world::clean_spares_strangers_in_a_reused_namespace_number", world::clean_spares_strangers),
    case("world::stubborn_programs_are_killed", world::stubborn_programs_are_killed),
    case("privilege::the_mode_is_what_the_user_allows", privilege::the_mode_is_what_the_user_allows),
    ordinary("privilege::a_limit_of_zero_leads_to_memory", privilege::a_limit_of_zero_leads_to_memory),
    ordinary("privilege::the_state_dir_stays_the_same", privilege::the_state_dir_stays_the_same),
];

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--role") => roles::play(arguments),
        Some("--case") => {
            let name = arguments.next().unwrap_or_default();
            let case = CASES.iter().find(|case| case.name == name).unwrap();
            (case.run)();
            ExitCode::SUCCESS
        }
        Some("--list") => {
            for case in &CASES {
                println!("{}: test", case.name);
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
    let binary = directory.path().join("namespaces");
    fs::copy(env::current_exe().unwrap(), &binary).unwrap();

    let root = geteuid().is_root();
    let users: &[bool] = if root { &[false, true] } else { &[true] };
    let (mut passed, mut skipped, mut failed) = (0, 0, 0);
    for case in CASES.iter().filter(|case| filter.is_none_or(|word| case.name.contains(word))) {
        for &as_ordinary in users {
            if case.ordinary_only && !as_ordinary {
                continue;
            }
            let user = if as_ordinary { "ordinary user" } else { "root" };
            let outcome = run_case(&binary, case, root && as_ordinary);
            println!("case {} ({user}) ... {outcome}", case.name);
            match outcome.split(':').next() {
                Some("ok") => passed += 1,
                Some("skipped") => skipped += 1,
                _ => failed += 1,
            }
        }
    }
    println!("namespace cases: {passed} passed, {failed} failed, {skipped} skipped");
    let required = env::var("NATRIG_REQUIRE_NAMESPACES").is_ok_and(|value| value == "1");
    if failed > 0 || (required && passed == 0) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_case(binary: &Path, case: &Case, drop_root: bool) -> String {
    let mut command = Command::new(binary);
    command.args(["--case", case.name]).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
    if drop_root {
        command.uid(ORDINARY_USER).gid(ORDINARY_USER).env_remove("XDG_RUNTIME_DIR");
    }
    let mut child = command.spawn().unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > CASE_TIMEOUT {
            child.kill().unwrap();
            child.wait().unwrap();
            return "FAILED: it takes too long".to_owned();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match output.status.code() {
        Some(0) => "ok".to_owned(),
        Some(code) if code == i32::from(SKIPPED) => format!("skipped: {words}"),
        _ => format!("FAILED: {} {words}", output.status),
    }
}
