//! Running traffic through the layers: one session is one schedule, from the first frame until the last has arrived or is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use natrig_lab::kernel_threads::KernelThreads;
use natrig_lab::noise::thread_waited_ns;
use natrig_lab::stage::PumpError;
use natrig_link::clock;
use natrig_link::priority::Urgent;

use super::placement::{Placed, pin};
use super::{Ends, LayerLinks, Layers, Links, RigError};

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

/// Who sends and who receives at the two outer ends during a session. One thread does all of it, so there is one of these.
pub trait Talk: Send {
    /// A session begins: frames are to bear the number `trial`, and times count from `epoch_ns`, which is yet to come.
    fn begin(&mut self, trial: u8, epoch_ns: u64);

    /// Sends what is due, if `may_send`, and takes in what has arrived; never waits.
    ///
    /// # Errors
    /// What the links return.
    fn poll(&mut self, ends: &mut Ends, now_ns: u64, may_send: bool) -> Result<Polled, RigError>;

    /// Whether all that was sent has arrived. Where that can never be said, a session lasts until nothing moves any more.
    fn is_complete(&self) -> bool;
}

/// What a call of [`Talk::poll`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polled {
    /// Frames that had arrived.
    pub arrived: usize,
    /// Nothing is left to be sent, now or later.
    pub all_sent: bool,
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Session {
    /// Number by which frames know their session.
    pub(crate) trial: u8,
    /// When sending ends even if frames are left, in nanoseconds from the epoch.
    pub(crate) give_up_after_ns: u64,
    /// The kernel's threads that may still have frames in hand when nothing arrives any more.
    pub(crate) threads: Vec<KernelThreads>,
    /// Whether frames pass boxes that nobody here polls.
    pub(crate) past_kernel: bool,
    /// For how long from the epoch the threads, where they are pinned, are before all others, in nanoseconds; none: not at all.
    pub(crate) urgent_ns: Option<u64>,
}

/// When a session was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseEnd {
    /// From the epoch until the link took the last frame, in nanoseconds.
    pub sent_after_ns: u64,
    /// True if it was called off before the schedule ended.
    pub cancelled: bool,
    /// How long the two threads, together, were ready to run and did not; none where the kernel does not count.
    pub waited_ns: Option<u64>,
}

impl Session {
    /// Runs the session on two threads, or one where there are no stages or both have the same processor, and waits for it. `cancel` ends
    /// it early.
    ///
    /// # Errors
    /// [`RigError`].
    pub(crate) fn run(
        self,
        links: &mut Links,
        layers: &mut Layers,
        talk: &mut dyn Talk,
        placed: Placed,
        cancel: &AtomicBool,
    ) -> Result<PhaseEnd, RigError> {
        let Links { tester: ends, layers: layer_links, .. } = links;
        let alone = placed.shared() || layers.stages().next().is_none();
        let watched = self.threads.iter().any(|threads| !threads.pids().is_empty());
        let shared = Shared {
            quiet_ns: if watched || !self.past_kernel { QUIET_NS } else { UNWATCHED_QUIET_NS },
            polls_wanted: if alone { 0 } else { QUIET_POLLS },
            ..Shared::default()
        };
        let shared = &shared;
        std::thread::scope(|scope| {
            if alone {
                let run = || {
                    let urgent = begin(placed.tester, self.urgent_ns);
                    let waited_before_ns = thread_waited_ns();
                    let end = run_tester(self, ends, talk, || layers.poll(layer_links), cancel, shared, urgent);
                    end.map(|end| PhaseEnd { waited_ns: waited_since(waited_before_ns), ..end })
                };
                return scope.spawn(run).join().map_err(|_| RigError::Panicked)?;
            }
            let urgent_ns = self.urgent_ns;
            let layers_thread = scope.spawn(move || {
                let urgent = begin(placed.layers, urgent_ns);
                let waited_before_ns = thread_waited_ns();
                run_layers(layers, layer_links, shared, urgent)?;
                Ok::<_, RigError>(waited_since(waited_before_ns))
            });
            let tester_thread = scope.spawn(|| {
                let urgent = begin(placed.tester, self.urgent_ns);
                let waited_before_ns = thread_waited_ns();
                let end = run_tester(self, ends, talk, || Ok(0), cancel, shared, urgent);
                shared.stop.store(true, Ordering::Release);
                end.map(|end| PhaseEnd { waited_ns: waited_since(waited_before_ns), ..end })
            });
            let end = tester_thread.join().map_err(|_| RigError::Panicked);
            // Also when the tester panicked: the layers' thread must not spin for ever.
            shared.stop.store(true, Ordering::Release);
            let layers_waited_ns = layers_thread.join().map_err(|_| RigError::Panicked)??;
            let end = end??;
            let waited_ns = end.waited_ns.zip(layers_waited_ns).map(|(tester, layers)| tester + layers);
            Ok(PhaseEnd { waited_ns, ..end })
        })
    }
}

/// The calling thread begins a session on its processor.
fn begin(cpu: Option<usize>, urgent_ns: Option<u64>) -> Urgent {
    pin(cpu);
    Urgent::begin(cpu.is_some() && urgent_ns.is_some())
}

fn waited_since(before_ns: Option<u64>) -> Option<u64> {
    Some(thread_waited_ns()?.saturating_sub(before_ns?))
}

/// What the two threads tell each other, and what both go by.
#[derive(Debug, Default)]
struct Shared {
    /// How long it must be quiet.
    quiet_ns: u64,
    /// How often the layers must find nothing meanwhile.
    polls_wanted: u64,
    stop: AtomicBool,
    /// What is under way is no longer timed.
    untimed: AtomicBool,
    /// Polls in which the layers found frames; written by their thread only.
    busy_polls: AtomicU64,
    /// Polls in which they found none.
    empty_polls: AtomicU64,
}

fn run_layers(
    layers: &mut Layers,
    links: &mut LayerLinks,
    shared: &Shared,
    mut urgent: Urgent,
) -> Result<(), RigError> {
    let (mut busy_polls, mut empty_polls) = (0, 0);
    let outcome = loop {
        match layers.poll(links) {
            Ok(0) => {
                if shared.stop.load(Ordering::Acquire) {
                    break Ok(());
                }
                if shared.untimed.load(Ordering::Relaxed) {
                    urgent.end();
                }
                empty_polls += 1;
                shared.empty_polls.store(empty_polls, Ordering::Release);
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

/// `between` moves what lies between the two ends, where that is this thread's business; it returns how many frames there were.
fn run_tester(
    session: Session,
    ends: &mut Ends,
    talk: &mut dyn Talk,
    mut between: impl FnMut() -> Result<usize, PumpError>,
    cancel: &AtomicBool,
    shared: &Shared,
    mut urgent: Urgent,
) -> Result<PhaseEnd, RigError> {
    let epoch_ns = clock::now_ns() + LEAD_IN_NS;
    talk.begin(session.trial, epoch_ns);
    let mut sent_after_ns = None;
    let mut quiet = Quiet::begin(shared, epoch_ns);
    let mut over = false;
    let mut cancelled = false;
    loop {
        let now_ns = clock::now_ns();
        let mut may_send = sent_after_ns.is_none();
        if may_send {
            cancelled = cancel.load(Ordering::Relaxed);
            may_send = !cancelled && now_ns.saturating_sub(epoch_ns) <= session.give_up_after_ns;
        }
        if !may_send || session.urgent_ns.is_some_and(|urgent_ns| now_ns.saturating_sub(epoch_ns) > urgent_ns) {
            // The last frames may need others of the kernel's threads.
            urgent.end();
            shared.untimed.store(true, Ordering::Relaxed);
        }
        let polled = talk.poll(ends, now_ns, may_send)?;
        if sent_after_ns.is_none() && (!may_send || polled.all_sent) {
            sent_after_ns = Some(now_ns.saturating_sub(epoch_ns));
            quiet = Quiet::begin(shared, now_ns);
        }
        if between()? + polled.arrived > 0 {
            (quiet, over) = (Quiet::begin(shared, now_ns), false);
            continue;
        }
        if let Some(sent_after_ns) = sent_after_ns {
            // What lay in the tester's own rings when the layers fell silent has arrived by the poll after.
            if talk.is_complete() || over || shared.stop.load(Ordering::Acquire) {
                return Ok(PhaseEnd { sent_after_ns, cancelled, waited_ns: None });
            }
            over = quiet.is_over(shared, &session.threads, now_ns);
        } else if shared.stop.load(Ordering::Acquire) {
            return Ok(PhaseEnd { sent_after_ns: 0, cancelled: true, waited_ns: None });
        }
    }
}
