//! Signals and questions, beside the thread that moves frames.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};

use natrig_nat::Nat;
use natrig_wire::MacAddr;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::forward::{Forwarding, Order, Replacement};
use super::links::Interfaces;
use super::report::{Mapping, Reloaded};
use super::settings::Settings;
use super::socket::{Question, Socket};
use crate::args::nat::Typed;
use crate::command::print;
use crate::exit::{self, Code, Failure};
use crate::signals::Ended;

/// Whoever speaks to the thread that moves frames.
#[derive(Debug, Clone)]
pub(super) struct Control {
    orders: Sender<Order>,
    /// What the configuration is read from again.
    typed: Arc<Typed>,
    /// Interfaces, link and kind of MAC address, which a reload cannot change.
    started_with: Arc<Settings>,
    macs: [MacAddr; 2],
}

impl Control {
    pub(super) fn new(typed: Typed, settings: Settings, macs: [MacAddr; 2]) -> (Self, Receiver<Order>) {
        let (orders, inbox) = mpsc::channel();
        (Self { orders, typed: Arc::new(typed), started_with: Arc::new(settings), macs }, inbox)
    }

    /// Sends an order and waits for its answer. None: the thread has ended.
    fn order<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> Option<T> {
        let (answer, answered) = mpsc::channel();
        self.orders.send(order(answer)).ok()?;
        answered.recv().ok()
    }

    /// Counters, as text or as a line of JSON.
    fn stats(&self) -> Option<String> {
        let report = self.order(Order::Report)?;
        Some(if self.typed.json { format!("{}\n", serde_json::to_string(&report).ok()?) } else { report.to_text() })
    }

    /// Reads file and profile again and goes on with them. If that fails, nothing has changed.
    fn reload(&self) -> Result<Reloaded, Failure> {
        let settings = Settings::load(&self.typed)?;
        let before = &self.started_with;
        let fixed =
            |settings: &Settings| (settings.inside.clone(), settings.outside.clone(), settings.link, settings.mac);
        if fixed(&settings) != fixed(before) {
            let what =
                "interfaces, link and kind of MAC address are those of the start: end natrig nat and start it again";
            return Err(Failure::failed(exit::USAGE, what));
        }
        Interfaces::check_addresses(&settings)?;
        let interfaces = Interfaces::find(&settings)?;
        let replacement = Replacement {
            router: settings.router(self.macs),
            nat: translator(&settings, &interfaces)?,
            profile: settings.profile_name.clone(),
        };
        let adopted = self.order(|answer| Order::Reload(Box::new(replacement), answer));
        let adopted = adopted.ok_or_else(|| Failure::failed(exit::FAILED, "natrig nat is ending"))?;
        Ok(Reloaded { kept: adopted.kept, revoked: adopted.revoked })
    }

    fn answer(&self, question: Question) -> Result<Value, String> {
        let ending = || "natrig nat is ending".to_owned();
        let value = match question {
            Question::List => {
                let mappings = self.order(Order::List).ok_or_else(ending)?;
                serde_json::to_value(mappings.iter().map(Mapping::of).collect::<Vec<_>>())
            }
            Question::Stats => serde_json::to_value(self.order(Order::Report).ok_or_else(ending)?),
            Question::Reload => serde_json::to_value(self.reload().map_err(|failure| failure.to_string())?),
        };
        value.map_err(|error| error.to_string())
    }
}

/// A translator with empty tables and a seed that nobody can guess.
pub(super) fn translator(settings: &Settings, interfaces: &Interfaces) -> Result<Nat, Failure> {
    let mut seed = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut seed))
        .map_err(|error| Failure::failed(exit::ENVIRONMENT, format_args!("failed to read /dev/urandom: {error}")))?;
    let config = settings.translator(interfaces.mtus())?;
    Nat::new(config, u64::from_ne_bytes(seed)).map_err(|error| Failure::failed(exit::USAGE, error))
}

/// Runs `forwarding` on a thread of its own until a signal ends it, or it fails. SIGUSR1 prints the counters, SIGHUP reloads; a second
/// SIGINT or SIGTERM ends the process at once, which is safe: the kernel takes everything back.
///
/// # Errors
/// The handlers or a thread cannot be set up, or forwarding failed.
pub(super) fn run(
    mut forwarding: Forwarding,
    control: Control,
    inbox: Receiver<Order>,
    socket: &Socket,
    greeting: &str,
) -> Result<Code, Failure> {
    let failed = |error: io::Error| Failure::failed(exit::FAILED, error);
    let questions = socket.try_clone().map_err(failed)?;
    let asked = control.clone();
    std::thread::Builder::new()
        .name("natrig-socket".to_owned())
        .spawn(move || questions.answer_all(|question| asked.answer(question)))
        .map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
    let json = control.typed.json;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (done, mut finished) = tokio::sync::oneshot::channel();
        let flag = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("natrig-nat".to_owned()).spawn(move || {
            let outcome = forwarding.run(&inbox, &flag);
            let report = forwarding.report();
            let _ = done.send((outcome, report));
        })?;
        // Not before signals are heeded: whoever waits for this may send one right after.
        let _ = print(greeting);
        let value = loop {
            let told = tokio::select! {
                value = &mut finished => break value,
                told = signals.next() => told,
            };
            match told {
                Told::Stop if stop.swap(true, Ordering::AcqRel) => std::process::exit(130),
                Told::Stop => {}
                Told::Stats => drop(control.stats().map(|text| print(&text))),
                Told::Reload => match control.reload() {
                    Ok(Reloaded { kept, revoked }) => {
                        eprintln!("natrig nat: reloaded; mappings kept {kept}, revoked {revoked}");
                    }
                    Err(failure) => eprintln!("{failure}\nnatrig nat: goes on as before"),
                },
            }
        };
        let _ = thread.join();
        io::Result::Ok(match value {
            Ok(value) => Ended::Finished(value),
            Err(_) => Ended::Panicked,
        })
    });
    match ended.map_err(failed)? {
        Ended::Panicked => Err(Failure::failed(exit::FAILED, "the thread that forwards frames panicked")),
        Ended::Finished((outcome, report)) => {
            let line = || serde_json::to_string(&report).map(|line| format!("{line}\n")).unwrap_or_default();
            print(&if json { line() } else { report.to_text() })?;
            outcome.map_err(|message| Failure::failed(exit::FAILED, message))?;
            Ok(exit::OK)
        }
    }
}

/// What a signal means.
#[derive(Debug, Clone, Copy)]
enum Told {
    Stop,
    Stats,
    Reload,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.quit.recv() => Told::Stop,
            _ = self.hangup.recv() => Told::Reload,
            _ = self.user.recv() => Told::Stats,
        }
    }
}
