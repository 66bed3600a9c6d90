//! Stamped frames on a schedule, received and perhaps answered: what most sessions carry.

use natrig_link::{BURST_MAX, clock};
use natrig_traffic::{Generator, Receiver, Reflector, Schedule, SendProgress};

use super::run::{Polled, Talk};
use super::{Ends, RigError};

/// Who sends and who receives.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// At the pods' end.
    pub(crate) generator: Generator,
    /// At the pods' end, where servers answer.
    pub(crate) returns: Option<Receiver>,
    /// At the servers' end.
    pub(crate) reflector: Reflector,
    /// When frames are meant to leave in the next session.
    pub(crate) schedule: Schedule,
    /// Of the last session.
    pub(crate) times: TesterTimes,
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

impl Talk for Traffic {
    fn begin(&mut self, trial: u8, epoch_ns: u64) {
        self.generator.begin(trial, self.schedule.clone(), epoch_ns);
        self.reflector.begin(trial, epoch_ns);
        if let Some(returns) = &mut self.returns {
            returns.begin(trial, epoch_ns);
        }
        self.times = TesterTimes::default();
    }

    fn poll(&mut self, ends: &mut Ends, now_ns: u64, may_send: bool) -> Result<Polled, RigError> {
        let Self { generator, returns, reflector, times, .. } = self;
        let sent_before = generator.counts().sent;
        let all_sent = may_send && generator.send_due(&mut *ends.pods, now_ns)? == SendProgress::Finished;
        let generated_ns = clock::now_ns();
        if generator.counts().sent > sent_before {
            times.generate_ns += generated_ns - now_ns;
        }
        let mut arrived = reflector.poll(&mut *ends.internet, clock::now_ns)?;
        let reflected_ns = if arrived > 0 { clock::now_ns() } else { generated_ns };
        times.reflect_ns += reflected_ns - generated_ns;
        if let Some(returns) = returns {
            let collected = ends.pods.recv(BURST_MAX, &mut |frames| {
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
        Ok(Polled { arrived, all_sent })
    }

    fn is_complete(&self) -> bool {
        let expected = self.generator.counts().sent;
        self.reflector.receiver().counts().received == expected
            && self.returns.as_ref().is_none_or(|returns| returns.counts().received == expected)
    }
}
