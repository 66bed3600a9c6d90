//! The generator alone: how much it sends into an end that only drops, and how late.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use natrig_bench::result::Role;
use natrig_bench::{Bench, Ends, Outlet, Polled, RigError, Subject, Talk};
use natrig_link::{Link, LinkDescription, LinkKind, LinkStats, RecvError, SendError};
use natrig_traffic::{FlowSet, FrameSizes, Generator, GeneratorConfig, Schedule, SendProgress};
use natrig_wire::Frame;

use crate::cells::Offer;
use crate::record::{RoleCost, Round};

/// Sends, and receives nothing.
pub(crate) struct Alone {
    generator: Generator,
    schedule: Schedule,
    /// What it hands its frames to.
    to: To,
    /// In calls that sent something.
    busy_ns: u64,
}

impl Talk for Alone {
    fn begin(&mut self, trial: u8, epoch_ns: u64) {
        self.generator.begin(trial, self.schedule.clone(), epoch_ns);
        self.busy_ns = 0;
    }

    fn poll(&mut self, ends: &mut Ends, now_ns: u64, may_send: bool) -> Result<Polled, RigError> {
        let sent_before = self.generator.counts().sent;
        let link: &mut dyn Link = match self.to {
            To::Link => &mut *ends.pods,
            To::Nobody => &mut Nobody,
        };
        let all_sent = may_send && self.generator.send_due(link, now_ns)? == SendProgress::Finished;
        if self.generator.counts().sent > sent_before {
            self.busy_ns += natrig_link::clock::now_ns() - now_ns;
        }
        Ok(Polled { arrived: 0, all_sent })
    }

    /// Nothing that was sent is waited for.
    fn is_complete(&self) -> bool {
        true
    }
}

/// Where the frames go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// Into the link.
    Link,
    /// Nowhere: what is late then is late for the machine's sake.
    Nobody,
}

/// Takes every frame and does nothing with it.
#[derive(Debug)]
struct Nobody;

impl Link for Nobody {
    fn recv(&mut self, _: usize, _: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        Ok(0)
    }

    fn send(&mut self, _: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        Ok(pick.len())
    }

    fn stats(&mut self) -> LinkStats {
        LinkStats::default()
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn describe(&self) -> LinkDescription {
        LinkDescription { kind: LinkKind::Memory, slots: 0, slot_bytes: 0, notes: Vec::new() }
    }
}

/// How far ahead frames are made, in nanoseconds: long enough for calls to be few, short enough for the next frames to be made in time.
const AHEAD_NS: u64 = 250_000;

/// Sends `schedule`, which lasts `duration_ns`, and says what left. When it left counts unless as much was offered as there can be.
///
/// # Errors
/// Why it could not, in words.
pub(crate) fn send(
    bench: &mut Bench<'_>,
    mut subject: Subject,
    flows: &Arc<FlowSet>,
    frame_bytes_with_fcs: u16,
    schedule: Schedule,
    duration_ns: u64,
    offer: Offer,
) -> Result<Round, String> {
    let sizes = FrameSizes::cycle(&[frame_bytes_with_fcs]).map_err(|error| error.to_string())?;
    let Outlet { endpoint, burst, refused, .. } = subject.initiator(bench);
    let generator = Generator::new(GeneratorConfig { flows: Arc::clone(flows), sizes, endpoint, burst, refused });
    // Nothing is received meanwhile, so the link may wait for each frame's time.
    let generator = generator.map_err(|error| error.to_string())?.ahead(AHEAD_NS);
    let timed_ns = (offer != Offer::Alone).then_some(duration_ns);
    let to = if offer == Offer::LagFloor { To::Nobody } else { To::Link };
    let mut alone = Alone { generator, schedule, to, busy_ns: 0 };
    let account = subject.session(bench, &mut alone, duration_ns, timed_ns).map_err(|error| error.to_string())?;
    let counts = alone.generator.counts();
    let lost: u64 = account.drops.iter().map(|drop| drop.frames).sum();
    let left = counts.sent.saturating_sub(counts.refused + lost);
    let seconds = account.end.sent_after_ns.max(duration_ns) as f64 / 1e9;
    let lag_ns = alone.generator.lag_ns();
    let p999 = (!lag_ns.is_empty()).then(|| lag_ns.value_at_quantile(0.999) as f64);
    Ok(Round {
        rate_pps: left as f64 / seconds,
        lost: (counts.refused + lost) as i64,
        roles: vec![RoleCost {
            role: Role::Generator,
            cpu: None,
            ns_per_packet: alone.busy_ns as f64 / left.max(1) as f64,
        }],
        send_lag_ns_p999: p999,
        ..Round::default()
    })
}
