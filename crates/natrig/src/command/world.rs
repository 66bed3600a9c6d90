//! `natrig up`, `exec`, `down` and `clean`: worlds for programs of the user's own.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use natrig_bench::Served;
use natrig_bench::scenario::{Design, Scenario};
use natrig_lab::lease::Lease;
use natrig_lab::plan::Plan;
use natrig_lab::privilege::{self, Mode};
use natrig_lab::world::{self, EnterWorldError, StateDir, WorldError, WorldMark, WorldRecord};

use super::{nat, need_nft, print, scenario};
use crate::args::{DEFAULT_NAME, Down, Exec, Up};
use crate::exit::{self, Failure, Outcome};
use crate::signals::{Ended, with_signals};

/// What the holder says on stdout when the world stands.
const READY: &str = "ready";

/// How long a holder may take to let go of its world.
const PATIENCE: Duration = Duration::from_secs(5);

/// Builds a world and leaves it standing, held by a process in the background (or by this one).
pub(crate) fn up(args: &Up) -> Outcome {
    let mut scenario = scenario(args.scenario.as_deref())?;
    scenario.designs = vec![args.design];
    need_nft(&scenario)?;
    let state = state_dir()?;
    state.check_free(&args.name).map_err(|error| Failure::failed(exit::USAGE, error))?;
    if args.foreground { hold(args, scenario, &state) } else { spawn_holder(args, &scenario, &state) }
}

/// Runs a program inside a world. Only returns if that fails.
pub(crate) fn exec(args: &Exec) -> Outcome {
    let record = state_dir()?.load(&args.name).map_err(|error| {
        let hint = if matches!(error, WorldError::Unknown(_)) { "\nhelp: natrig up makes one" } else { "" };
        Failure::failed(exit::USAGE, format_args!("{error}{hint}"))
    })?;
    world::enter_existing(&record, &args.namespace).map_err(|error| {
        let code = if matches!(error, EnterWorldError::UnknownNamespace { .. }) { exit::USAGE } else { exit::FAILED };
        Failure::failed(code, format_args!("failed to {error}"))
    })?;
    let [program, arguments @ ..] = &args.program[..] else {
        return Err(Failure::new(exit::USAGE, "error: no program given"));
    };
    let error = Command::new(program).args(arguments).exec();
    Err(Failure::failed(exit::FAILED, format_args!("failed to run {}: {error}", program.display())))
}

/// Takes a world down, with everything that runs in it.
pub(crate) fn down(args: &Down) -> Outcome {
    let state = state_dir()?;
    let report = world::down(&state, &args.name, PATIENCE).map_err(|error| {
        let code =
            if matches!(error, world::DownError::World(WorldError::Unknown(_))) { exit::USAGE } else { exit::FAILED };
        Failure::failed(code, error)
    })?;
    remove_log(&state, &report.name);
    let mut text = format!("world {} is down\n", report.name);
    for left in &report.left {
        text.push_str(&format!("left {}: {}\n", left.what, left.reason));
    }
    print(&text)?;
    Ok(if report.left.is_empty() { exit::OK } else { exit::FAILED })
}

/// Removes what dead holders have left.
pub(crate) fn clean() -> Outcome {
    let state = state_dir()?;
    let report = world::clean(&state).map_err(|error| Failure::failed(exit::FAILED, error))?;
    for world in &report.worlds {
        remove_log(&state, world);
    }
    let sockets: String =
        nat::clean(&state).iter().map(|path| format!("removed {}: nobody listens there\n", path.display())).collect();
    print(&format!("{report}{sockets}"))?;
    Ok(if report.left.is_empty() { exit::OK } else { exit::FAILED })
}

fn state_dir() -> Result<StateDir, Failure> {
    StateDir::locate().map_err(|error| Failure::failed(exit::ENVIRONMENT, error))
}

/// Where a holder in the background says what goes wrong.
fn log_file(state: &StateDir, world: &str) -> PathBuf {
    state.path().join(format!("{world}.log"))
}

/// A world has one only if its holder is in the background, and removes it itself unless it is killed.
fn remove_log(state: &StateDir, world: &str) {
    let _ = std::fs::remove_file(log_file(state, world));
}

/// Starts this program again as the holder and waits until the world stands.
fn spawn_holder(args: &Up, scenario: &Scenario, state: &StateDir) -> Outcome {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::failed(exit::FAILED, format_args!("failed to {what}: {error}"))
    };
    let log = log_file(state, &args.name);
    let stderr = File::create(&log).map_err(|error| failed(&format!("write {}", log.display()), &error))?;
    let program = std::env::current_exe().map_err(|error| failed("find this program", &error))?;
    let mut command = Command::new(program);
    command.args(["up", "--foreground", "--name", &args.name, "--design", &args.design.to_string()]);
    command.args(args.scenario.as_deref().map(Path::as_os_str));
    // A group of its own: Ctrl-C in this terminal is not meant for it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    let mut holder = command.spawn().map_err(|error| failed("start the holder", &error))?;
    let mut line = String::new();
    if let Some(stdout) = holder.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|error| failed("hear from the holder", &error))?;
    }
    if line.trim() == READY {
        print(&greeting(args, scenario))?;
        return Ok(exit::OK);
    }
    let code = holder.wait().ok().and_then(|status| status.code());
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    remove_log(state, &args.name);
    let code = if code == Some(5) { exit::ENVIRONMENT } else { exit::FAILED };
    Err(Failure::new(code, said.trim_end()))
}

fn hold(args: &Up, scenario: Scenario, state: &StateDir) -> Outcome {
    // Before any thread exists: only then can an ordinary user enter a user namespace.
    let privilege = privilege::enter();
    if let Some(reason) = privilege.why_memory() {
        return Err(Failure::failed(
            exit::ENVIRONMENT,
            format_args!("a world for programs needs namespaces, which this environment refuses: {reason}"),
        ));
    }
    let failed = |error: &dyn std::fmt::Display| Failure::failed(exit::FAILED, error);
    let mark = WorldMark::fresh().map_err(|error| failed(&error))?;
    let lease = Plan::clients(&scenario.topology, scenario.lineup().boxes(), Some(mark))
        .map_err(|error| Failure::failed(exit::USAGE, error))?
        .build()
        .map_err(|error| failed(&error))?;
    let mut served = Served::new(&lease, &scenario, args.design).map_err(|error| failed(&error))?;
    let held = state.publish(record(args, privilege.mode, mark, &lease)?).map_err(|error| failed(&error))?;
    let ended = with_signals(move |stop| {
        // Not before signals are heeded: whoever waits for this may end us right after.
        print(&format!("{READY}\n")).map_err(|failure| failure.to_string())?;
        serve(&mut served, &stop)
    })
    .map_err(|error| failed(&error))?;
    remove_log(state, &args.name);
    held.withdraw().map_err(|error| failed(&error))?;
    // Programs that still run inside keep the namespaces; `down` ends them, Ctrl-C here does not.
    if let Err(error) = lease.close() {
        eprintln!("warning: {error}");
    }
    match ended {
        Ended::Finished(Ok(())) => Ok(exit::OK),
        Ended::Finished(Err(message)) => Err(failed(&message)),
        Ended::Panicked => Err(failed(&"the thread that forwards frames panicked")),
    }
}

fn record(args: &Up, mode: Mode, mark: WorldMark, lease: &Lease) -> Result<WorldRecord, Failure> {
    let scenario = args.scenario.as_deref().map_or_else(|| "quick".into(), Path::to_string_lossy);
    WorldRecord::of(&args.name, mode, &scenario, mark, lease).map_err(|error| Failure::failed(exit::FAILED, error))
}

fn serve(served: &mut Served, stop: &AtomicBool) -> Result<(), String> {
    let outcome = served.run(stop).map_err(|error| error.to_string());
    let mut log = std::io::stderr().lock();
    for (place, counts) in served.counts() {
        let dropped: Vec<String> = counts.dropped().map(|(reason, frames)| format!("{reason} {frames}")).collect();
        let _ = writeln!(log, "{place}: forwarded {}, dropped: {}", counts.forwarded, dropped.join(", "));
    }
    outcome
}

fn greeting(args: &Up, scenario: &Scenario) -> String {
    let topology = &scenario.topology;
    let (pod, server) = (topology.pods.first, topology.internet.server_first);
    let list = |addresses: &[Ipv4Addr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let seen = match args.design {
        Design::None => "the pod's own address".to_owned(),
        Design::Node => list(&topology.node.addresses),
        Design::Gateway | Design::Both => list(&topology.gateway.addresses),
    };
    let name = if args.name == DEFAULT_NAME { String::new() } else { format!(" --name {}", args.name) };
    // No `-b ADDRESS`: with one, http.server first asks a name server, and there is none.
    format!(
        "World {} is up, design {}: namespaces pods, node, gateway and internet.\n\
         Pods from {pod} on ({}) reach servers from {server} on ({}), which see {seen}. For example:\n\n  \
         natrig exec{name} internet -- python3 -m http.server 80 &\n  \
         natrig exec{name} pods -- curl http://{server}/\n  \
         natrig down{name}\n",
        args.name, args.design, topology.pods.count, topology.internet.server_count,
    )
}
