//! What this binary plays for a case in processes of their own.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread;

use natrig_lab::plan::Plan;
use natrig_lab::privilege;
use natrig_lab::topology::{Boxes, Topology};
use natrig_lab::world::{StateDir, WorldMark, WorldRecord, enter_existing};
use nix::sys::signal::{SigSet, Signal};

use crate::lease::hold_measurement_world;

pub(crate) fn play(arguments: impl Iterator<Item = String>) -> ExitCode {
    let arguments: Vec<String> = arguments.collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["holder", state, name] => hold_world(state, name),
        ["measurement"] => hold_measurement(),
        ["mode"] => {
            let privilege = privilege::enter();
            println!("{} {}", privilege.mode, privilege.why_memory().unwrap_or_default());
        }
        ["exec", state, name, namespace, program, ref rest @ ..] => {
            let world = StateDir::at(state).unwrap().load(name).unwrap();
            if let Err(error) = enter_existing(&world, namespace) {
                println!("error: {error}");
                return ExitCode::FAILURE;
            }
            panic!("{}", Command::new(program).args(rest).exec());
        }
        _ => panic!("no such role: {words:?}"),
    }
    ExitCode::SUCCESS
}

/// `natrig up`, in short.
fn hold_world(state: &str, name: &str) {
    let mut end = SigSet::empty();
    end.add(Signal::SIGTERM);
    end.thread_block().unwrap();
    let state = StateDir::at(state).unwrap();
    if let Err(error) = state.check_free(name) {
        println!("error: {error}");
        return;
    }
    let privilege = privilege::enter();
    if let Some(why) = privilege.why_memory() {
        println!("skip: {why}");
        return;
    }
    end_with_parent();
    let mark = WorldMark::fresh().unwrap();
    let lease = Plan::clients(&Topology::default(), Boxes::STAGES, Some(mark)).unwrap().build().unwrap();
    let record = WorldRecord::of(name, privilege.mode, "built-in", mark, &lease).unwrap();
    let held = state.publish(record).unwrap();
    println!("ready");
    end.wait().unwrap();
    held.withdraw().unwrap();
}

fn hold_measurement() {
    end_with_parent();
    let _lease = hold_measurement_world();
    println!("ready");
    loop {
        thread::park();
    }
}

/// Should the case be killed, nobody would end us.
fn end_with_parent() {
    thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
