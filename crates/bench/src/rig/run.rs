//! Running traffic through the layers: one session is one schedule, from the first frame until the last has arrived or is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use natrig_link::{BURST_MAX, clock};
use natrig_traffic::{Generator, Receiver, Reflector, Schedule, SendProgress};

use super::placement::{Placed, pin};
use super::{LayerLinks, Layers, Links, RigError, TesterLinks};

/// How long nothing may arrive before what is missing counts as lost, in nanoseconds: several times the longest stall that a
/// hypervisor is known to make.
const QUIET_NS: u64 = 20_000_000;

/// Time from the start of the threads to a schedule's epoch, in nanoseconds: both must be polling by then.
const LEAD_IN_NS: u64 = 300_000;

/// Who sends and who receives.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// At the pods' end.
    pub(crate) generator: Generator,
    /// At the pods' end, where servers answer.
    pub(crate) returns: Option<Receiver>,
    /// At the servers' end.
    pub(crate) reflector: Reflector,
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Session {
    /// Number by which frames know their session.
    pub(crate) trial: u8,
    /// When frames are meant to leave.
    pub(crate) schedule: Schedule,
    /// When sending ends even if frames are left, in nanoseconds from the epoch.
    pub(crate) give_up_after_ns: u64,
}

/// When a session was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhaseEnd {
    /// From the epoch until the link took the last frame, in nanoseconds.
    pub(crate) sent_after_ns: u64,
    /// True if it was called off before the schedule ended.
    pub(crate) cancelled: bool,
}

impl Session {
    /// Runs the session on two threads and waits for it. `cancel` ends it early.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn run(
        self,
        links: &mut Links,
        layers: &mut Layers,
        traffic: &mut Traffic,
        placed: Placed,
        cancel: &AtomicBool,
    ) -> Result<PhaseEnd, RigError> {
        let stop = AtomicBool::new(false);
        let Links { tester, layers: layer_links, .. } = links;
        std::thread::scope(|scope| {
            let layers_thread = scope.spawn(|| {
                pin(placed.layers);
                run_layers(layers, layer_links, &stop, placed.shared())
            });
            let tester_thread = scope.spawn(|| {
                pin(placed.tester);
                let end = run_tester(self, tester, traffic, placed.shared(), cancel, &stop);
                stop.store(true, Ordering::Release);
                end
            });
            let end = tester_thread.join().map_err(|_| RigError::Panicked);
            // Also when the tester panicked: the layers' thread must not spin for ever.
            stop.store(true, Ordering::Release);
            layers_thread.join().map_err(|_| RigError::Panicked)??;
            end?
        })
    }
}

fn run_layers(
    layers: &mut Layers,
    links: &mut LayerLinks,
    stop: &AtomicBool,
    shared: bool,
) -> Result<(), RigError> {
    let outcome = loop {
        match layers.poll(links) {
            Ok(0) if stop.load(Ordering::Acquire) => break Ok(()),
            Ok(0) if shared => std::thread::yield_now(),
            Ok(0) => std::hint::spin_loop(),
            Ok(_) => {}
            Err(error) => break Err(error.into()),
        }
    };
    // A tester that waits for frames which no longer come must learn of it.
    stop.store(true, Ordering::Release);
    outcome
}

fn run_tester(
    session: Session,
    links: &mut TesterLinks,
    traffic: &mut Traffic,
    shared: bool,
    cancel: &AtomicBool,
    stop: &AtomicBool,
) -> Result<PhaseEnd, RigError> {
    let Traffic { generator, returns, reflector } = traffic;
    let epoch_ns = clock::now_ns() + LEAD_IN_NS;
    generator.begin(session.trial, session.schedule, epoch_ns);
    reflector.begin(session.trial, epoch_ns);
    if let Some(returns) = returns {
        returns.begin(session.trial, epoch_ns);
    }
    let mut sent_after_ns = None;
    let mut last_arrival_ns = epoch_ns;
    let mut cancelled = false;
    loop {
        let now_ns = clock::now_ns();
        if sent_after_ns.is_none() {
            cancelled = cancel.load(Ordering::Relaxed);
            let given_up = now_ns.saturating_sub(epoch_ns) > session.give_up_after_ns;
            if cancelled || given_up || generator.send_due(&mut *links.pods, now_ns)? == SendProgress::Finished {
                sent_after_ns = Some(now_ns.saturating_sub(epoch_ns));
                last_arrival_ns = now_ns;
            }
        }
        let mut arrived = reflector.poll(&mut *links.internet, clock::now_ns)?;
        if let Some(returns) = returns {
            arrived += links.pods.recv(BURST_MAX, &mut |frames| {
                let now_ns = clock::now_ns();
                for frame in frames {
                    returns.receive(frame.bytes(), now_ns);
                }
            })?;
        }
        if arrived > 0 {
            last_arrival_ns = now_ns;
            continue;
        }
        if let Some(sent_after_ns) = sent_after_ns {
            let expected = generator.counts().sent;
            let complete = reflector.receiver().counts().received == expected
                && returns.as_ref().is_none_or(|returns| returns.counts().received == expected);
            let quiet = now_ns.saturating_sub(last_arrival_ns) > QUIET_NS;
            if complete || quiet || stop.load(Ordering::Acquire) {
                return Ok(PhaseEnd { sent_after_ns, cancelled });
            }
        } else if stop.load(Ordering::Acquire) {
            return Ok(PhaseEnd { sent_after_ns: 0, cancelled: true });
        }
        if shared {
            std::thread::yield_now();
        }
    }
}
