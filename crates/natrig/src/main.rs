//! The command line.
#![forbid(unsafe_code)]

mod args;
mod command;
mod exit;
mod progress;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // clap knows where its text belongs: help on stdout, mistakes on stderr.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE.into() } else { exit::OK.into() };
        }
    };
    let outcome = match args.command.unwrap_or_default() {
        Command::Run(run) => command::run::run(&run),
        Command::Trace(trace) => command::trace::trace(&trace),
        Command::Import(import) => command::import::import(&import),
        Command::Up(up) => command::world::up(&up),
        Command::Exec(exec) => command::world::exec(&exec),
        Command::Down(down) => command::world::down(&down),
        Command::Clean => command::world::clean(),
        Command::Nat(nat) => command::nat::nat(&nat),
        Command::Doctor(doctor) => command::doctor::doctor(&doctor),
        Command::Report(report) => command::report::report(&report),
        Command::Compare(compare) => command::compare::compare(&compare),
        Command::History(history) => command::compare::history(&history),
        Command::Export(export) => command::compare::export(&export),
        Command::Plan(plan) => command::plan::plan(&plan),
        Command::Profiles(profiles) => command::profiles::profiles(&profiles),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.code.into()
        }
    }
}
