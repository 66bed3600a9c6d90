//! Running traffic through the layers: one session is one schedule, from the first frame until the last has arrived or is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use natrig_lab::kernel_threads::KernelThreads;
use natrig_link::{BURST_MAX, clock};
use natrig_traffic::{Generator, Receiver, Reflector, Schedule, SendProgress};

use super::placement::{Placed, pin};
use super::{LayerLinks, Layers, Links, RigError, TesterLinks};

/// How long nothing may arrive before what is missing counts as lost, in nanoseconds: what the kernel may still carry from one link
/// end to the other on another processor.
const QUIET_NS: u64 = 2_000_000;

/// The same where the kernel's threads cannot be watched: they may have to wait for their turn on the processor.
const UNWATCHED_QUIET_NS: u64 = 20_000_000;

/// How long to wait at most for the kernel's threads to come to rest: others may keep them at work for ever.
const THREADS_PATIENCE_NS: u64 = 1_000_000_000;

/// How often the layers must have found all their links empty since then. Time alone proves nothing: their thread may be stalled.
const QUIET_POLLS: u64 = 64;

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
    /// The kernel's threads that may still have frames in hand when nothing arrives any more.
    pub(crate) threads: Vec<KernelThreads>,
}

/// When a session was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PhaseEnd {
    /// From the epoch until the link took the last frame, in nanoseconds.
    pub(crate) sent_after_ns: u64,
    /// True if it was called off before the schedule ended.
    pub(crate) cancelled: bool,
    /// Where the tester's thread spent its time.
    pub(crate) tester: TesterTimes,
}

/// Where the tester's thread spent its time, calls that moved no frame not counted, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TesterTimes {
    /// Making frames at the pods' end and handing them to the link, with all that the kernel does before it returns from that.
    pub(crate) generate_ns: u64,
    /// Receiving at the servers' end, and answering.
    pub(crate) reflect_ns: u64,
    /// Receiving answers at the pods' end.
    pub(crate) collect_ns: u64,
}

impl Session {
    /// Runs the session on two threads, or one where there are no stages, and waits for it. `cancel` ends it early.
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
        let Links { tester, layers: layer_links, .. } = links;
        let stages = layers.stages().count();
        let watched = self.threads.iter().any(|threads| !threads.pids().is_empty());
        let shared = Shared {
            quiet_ns: if watched || stages == 2 { QUIET_NS } else { UNWATCHED_QUIET_NS },
            polls_wanted: if stages == 0 { 0 } else { QUIET_POLLS },
            ..Shared::default()
        };
        let one_processor = stages > 0 && placed.shared();
        std::thread::scope(|scope| {
            let layers_thread = scope.spawn(|| {
                if stages == 0 {
                    // A thread that spins for nothing would take a processor from the kernel.
                    return Ok(());
                }
                pin(placed.layers);
                run_layers(layers, layer_links, &shared, one_processor)
            });
            let tester_thread = scope.spawn(|| {
                pin(placed.tester);
                let end = run_tester(self, tester, traffic, one_processor, cancel, &shared);
                shared.stop.store(true, Ordering::Release);
                end
            });
            let end = tester_thread.join().map_err(|_| RigError::Panicked);
            // Also when the tester panicked: the layers' thread must not spin for ever.
            shared.stop.store(true, Ordering::Release);
            layers_thread.join().map_err(|_| RigError::Panicked)??;
            end?
        })
    }
}

/// What the two threads tell each other, and what both go by.
#[derive(Debug, Default)]
struct Shared {
    /// How long it must be quiet.
    quiet_ns: u64,
    /// How often the layers must find nothing meanwhile.
    polls_wanted: u64,
    stop: AtomicBool,
    /// Polls in which the layers found frames; written by their thread only.
    busy_polls: AtomicU64,
    /// Polls in which they found none.
    empty_polls: AtomicU64,
}

fn run_layers(
    layers: &mut Layers,
    links: &mut LayerLinks,
    shared: &Shared,
    one_processor: bool,
) -> Result<(), RigError> {
    let (mut busy_polls, mut empty_polls) = (0, 0);
    let outcome = loop {
        match layers.poll(links) {
            Ok(0) => {
                if shared.stop.load(Ordering::Acquire) {
                    break Ok(());
                }
                empty_polls += 1;
                shared.empty_polls.store(empty_polls, Ordering::Release);
                if one_processor {
                    std::thread::yield_now();
                }
            }
            Ok(_) => {
                busy_polls += 1;
                shared.busy_polls.store(busy_polls, Ordering::Release);
            }
            Err(error) => break Err(error.into()),
        }
    };
    // A tester that waits for frames which no longer come must learn of it.
    shared.stop.store(true, Ordering::Release);
    outcome
}

/// Since when nothing has moved any more, neither at the tester's ends nor between the layers.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    since_ns: u64,
    busy_polls: u64,
    empty_polls: u64,
    /// Before that, the kernel's threads had nothing in hand.
    threads_idle: bool,
    /// Since when it would be over but for these threads.
    waiting_since_ns: Option<u64>,
}

impl Quiet {
    fn begin(shared: &Shared, now_ns: u64) -> Self {
        // The order matters: what was found empty counts only if nothing was found after.
        let empty_polls = shared.empty_polls.load(Ordering::Acquire);
        let busy_polls = shared.busy_polls.load(Ordering::Acquire);
        Self { since_ns: now_ns, busy_polls, empty_polls, threads_idle: false, waiting_since_ns: None }
    }

    /// True if it has been quiet long enough for what is missing to be lost.
    fn is_over(&mut self, shared: &Shared, threads: &[KernelThreads], now_ns: u64) -> bool {
        let now = Self::begin(shared, now_ns);
        if now.busy_polls != self.busy_polls {
            *self = now;
        }
        let long_enough = now_ns.saturating_sub(self.since_ns) > shared.quiet_ns
            && now.empty_polls - self.empty_polls >= shared.polls_wanted;
        if long_enough && !self.threads_idle {
            // A thread that has just come to rest has just handed over its last frame: from then on it must be quiet once more.
            let since_ns = self.waiting_since_ns.unwrap_or(now_ns);
            let impatient = now_ns.saturating_sub(since_ns) > THREADS_PATIENCE_NS;
            let threads_idle = impatient || !threads.iter().any(KernelThreads::any_at_work);
            *self = Self { threads_idle, waiting_since_ns: Some(since_ns), ..now };
            return false;
        }
        long_enough
    }
}

fn run_tester(
    session: Session,
    links: &mut TesterLinks,
    traffic: &mut Traffic,
    one_processor: bool,
    cancel: &AtomicBool,
    shared: &Shared,
) -> Result<PhaseEnd, RigError> {
    let Traffic { generator, returns, reflector } = traffic;
    let epoch_ns = clock::now_ns() + LEAD_IN_NS;
    generator.begin(session.trial, session.schedule, epoch_ns);
    reflector.begin(session.trial, epoch_ns);
    if let Some(returns) = returns {
        returns.begin(session.trial, epoch_ns);
    }
    let mut sent_after_ns = None;
    let mut quiet = Quiet::begin(shared, epoch_ns);
    let mut over = false;
    let mut cancelled = false;
    let mut times = TesterTimes::default();
    loop {
        let now_ns = clock::now_ns();
        let sent_before = generator.counts().sent;
        if sent_after_ns.is_none() {
            cancelled = cancel.load(Ordering::Relaxed);
            let given_up = now_ns.saturating_sub(epoch_ns) > session.give_up_after_ns;
            if cancelled || given_up || generator.send_due(&mut *links.pods, now_ns)? == SendProgress::Finished {
                sent_after_ns = Some(now_ns.saturating_sub(epoch_ns));
                quiet = Quiet::begin(shared, now_ns);
            }
        }
        let generated_ns = clock::now_ns();
        if generator.counts().sent > sent_before {
            times.generate_ns += generated_ns - now_ns;
        }
        let mut arrived = reflector.poll(&mut *links.internet, clock::now_ns)?;
        let reflected_ns = if arrived > 0 { clock::now_ns() } else { generated_ns };
        times.reflect_ns += reflected_ns - generated_ns;
        if let Some(returns) = returns {
            let collected = links.pods.recv(BURST_MAX, &mut |frames| {
                let now_ns = clock::now_ns();
                for frame in frames {
                    returns.receive(frame.bytes(), now_ns);
                }
            })?;
            if collected > 0 {
                times.collect_ns += clock::now_ns() - reflected_ns;
                arrived += collected;
            }
        }
        if arrived > 0 {
            (quiet, over) = (Quiet::begin(shared, now_ns), false);
            continue;
        }
        if let Some(sent_after_ns) = sent_after_ns {
            let expected = generator.counts().sent;
            let complete = reflector.receiver().counts().received == expected
                && returns.as_ref().is_none_or(|returns| returns.counts().received == expected);
            // What lay in the tester's own rings when the layers fell silent has arrived by the poll after.
            if complete || over || shared.stop.load(Ordering::Acquire) {
                return Ok(PhaseEnd { sent_after_ns, cancelled, tester: times });
            }
            over = quiet.is_over(shared, &session.threads, now_ns);
        } else if shared.stop.load(Ordering::Acquire) {
            return Ok(PhaseEnd { sent_after_ns: 0, cancelled: true, tester: times });
        }
        if one_processor {
            std::thread::yield_now();
        }
    }
}
