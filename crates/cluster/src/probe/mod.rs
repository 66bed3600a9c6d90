//! A cluster that stands, with eyes on every interface: one question and its answer, seen everywhere they pass.

mod header;
mod talk;

use std::io;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use natrig_bench::settings::Word;
use natrig_bench::words;
use natrig_lab::lease::{
    BuildError, CloseError, EnterError, Heading, IpLosses, Lease, RuleHit, Sighting, Watch, WatchError,
};
use thiserror::Error;

pub use self::header::Header;
use self::talk::{Progress, Talk};
use crate::build;
use crate::model::Cluster;
use crate::tag::{Action, Tag};

words! {
    /// What is sent.
    Protocol {
        /// A datagram each way.
        Udp = "udp",
        /// The first two segments of a connection.
        Tcp = "tcp",
        /// An echo request and its reply.
        Icmp = "icmp",
    }
}

words! {
    /// Which of the two packets of a conversation.
    Leg {
        /// The question.
        Request = "request",
        /// Its answer.
        Answer = "answer",
    }
}

/// A program's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its namespace.
    pub namespace: String,
    /// The address that others know it by.
    pub address: Ipv4Addr,
    /// The address that its socket has; none: whichever the kernel chooses.
    pub listens: Option<Ipv4Addr>,
}

/// A question to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// What is sent.
    pub protocol: Protocol,
    /// Who asks.
    pub from: End,
    /// Who is asked.
    pub to: End,
}

/// A packet at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The namespace.
    pub namespace: String,
    /// The interface.
    pub interface: String,
    /// Into the namespace or out of it.
    pub heading: Heading,
    /// The headers.
    pub header: Header,
}

/// A rule that a packet matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// The namespace.
    pub namespace: String,
    /// The rule.
    pub tag: Tag,
    /// Which packet.
    pub leg: Leg,
    /// Its headers at the rule.
    pub header: Header,
}

/// What was seen of a question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The program that asked got an answer.
    pub answered: bool,
    /// Where the question passed, in order.
    pub request: Vec<Passage>,
    /// Where the answer passed, in order.
    pub answer: Vec<Passage>,
    /// Rules that said so.
    pub rulings: Vec<Ruling>,
    /// What the kernel told the program that asked.
    pub refusal: Option<String>,
    /// What the kernels threw away, where they did; empty if there was an answer.
    pub losses: Vec<Loss>,
}

/// Packets that a namespace's kernel threw away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossKind {
    /// An answer would leave by another interface.
    ReversePath,
    /// There is no route.
    NoRoute,
    /// The time to live was over.
    TimeToLive,
    /// Nobody here has that address.
    Address,
}

/// Something that a kernel threw away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The namespace.
    pub namespace: String,
    /// Why.
    pub kind: LossKind,
}

/// Why nothing can be observed.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The cluster cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A namespace cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A socket refuses.
    #[error("watch packets: {0}")]
    Socket(#[from] io::Error),
    /// The cluster does not go.
    #[error(transparent)]
    Close(#[from] CloseError),
}

impl ProbeError {
    /// True if something is missing on this machine that could be there.
    #[must_use]
    pub const fn is_environment(&self) -> bool {
        match self {
            Self::Build(error) => error.reason.is_environment(),
            Self::Watch(_) | Self::Enter(_) | Self::Socket(_) | Self::Close(_) => false,
        }
    }
}

/// A cluster that stands, and eyes in each of its namespaces.
#[derive(Debug)]
pub struct Site {
    lease: Lease,
    watches: Vec<(String, Watch)>,
    shots: u32,
}

/// Longest time that an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the kernels are asked whether they have thrown something away, once there could have been an answer.
const LOOK: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_micros(100);

impl Site {
    /// Builds the cluster.
    ///
    /// # Errors
    /// It cannot be built or watched.
    pub fn build(cluster: &Cluster) -> Result<Self, ProbeError> {
        let lease = build::plan(cluster).build()?;
        let names = lease.namespaces().iter().map(|namespace| namespace.name().to_owned());
        let watches = names.map(|name| Ok((name.clone(), lease.watch(&name)?))).collect::<Result<_, WatchError>>()?;
        Ok(Self { lease, watches, shots: 0 })
    }

    /// The world.
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Takes it down.
    ///
    /// # Errors
    /// Others are inside.
    pub fn close(self) -> Result<(), ProbeError> {
        drop(self.watches);
        Ok(self.lease.close()?)
    }

    /// Asks one question, waits for its answer or for what becomes of it instead, and tells what was seen.
    ///
    /// # Errors
    /// A namespace cannot be entered, or a socket refuses.
    pub fn observe(&mut self, shot: &Shot) -> Result<Observation, ProbeError> {
        for (_, watch) in &mut self.watches {
            watch.seen()?;
        }
        let before = self.counters()?;
        self.shots += 1;
        let mut observation = Observation {
            answered: false,
            request: Vec::new(),
            answer: Vec::new(),
            rulings: Vec::new(),
            refusal: None,
            losses: Vec::new(),
        };
        let mut talk = match Talk::begin(&self.lease, shot, self.shots)? {
            Ok(talk) => talk,
            Err(error) => {
                observation.refusal = Some(error.to_string());
                observation.losses.push(Loss { namespace: shot.from.namespace.clone(), kind: LossKind::NoRoute });
                return Ok(observation);
            }
        };
        let began = Instant::now();
        let mut look = LOOK;
        let mut seen = Sightings::default();
        loop {
            match talk.go_on() {
                Progress::Answered => observation.answered = true,
                Progress::Refused(error) => observation.refusal = Some(error.to_string()),
                Progress::Waiting => {}
            }
            if observation.answered || observation.refusal.is_some() || began.elapsed() > PATIENCE {
                break;
            }
            if began.elapsed() > look {
                look += LOOK;
                self.collect(&mut seen)?;
                let dropped = seen.rulings(&talk).iter().any(|ruling| ruling.tag.action == Action::Drop);
                if dropped || !losses(&before, &self.counters()?).is_empty() {
                    break;
                }
            }
            thread::sleep(PAUSE);
        }
        if !observation.answered {
            observation.losses = losses(&before, &self.counters()?);
        }
        self.collect(&mut seen)?;
        (observation.request, observation.answer) = seen.passages(&talk);
        observation.rulings = seen.rulings(&talk);
        Ok(observation)
    }

    fn counters(&self) -> Result<Vec<(String, IpLosses)>, EnterError> {
        let names = self.watches.iter().map(|(name, _)| name);
        names.map(|name| Ok((name.clone(), self.lease.ip_losses(name)?))).collect()
    }

    fn collect(&mut self, seen: &mut Sightings) -> io::Result<()> {
        for (name, watch) in &mut self.watches {
            let news = watch.seen()?;
            seen.packets.extend(news.sightings.into_iter().map(|sighting| (name.clone(), sighting)));
            seen.rules.extend(news.rules.into_iter().map(|hit| (name.clone(), hit)));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Sightings {
    packets: Vec<(String, Sighting)>,
    rules: Vec<(String, RuleHit)>,
}

impl Sightings {
    /// The ways of question and answer, each in the order of time. What comes by a second time, being sent again, is left out.
    fn passages(&mut self, talk: &Talk) -> (Vec<Passage>, Vec<Passage>) {
        self.packets.sort_by_key(|(_, sighting)| sighting.at_ns);
        let (mut request, mut answer) = (Vec::<Passage>::new(), Vec::<Passage>::new());
        for (namespace, sighting) in &self.packets {
            let Some(packet) = header::dissect(&sighting.packet) else { continue };
            let way = match talk.leg(&packet) {
                Some(Leg::Request) => &mut request,
                Some(Leg::Answer) => &mut answer,
                None => continue,
            };
            let (namespace, interface) = (namespace.clone(), sighting.interface.clone());
            let passage = Passage { namespace, interface, heading: sighting.heading, header: packet.header };
            let again = way.iter().any(|earlier| {
                (&earlier.namespace, &earlier.interface, earlier.heading)
                    == (&passage.namespace, &passage.interface, passage.heading)
            });
            if !again {
                way.push(passage);
            }
        }
        (request, answer)
    }

    fn rulings(&self, talk: &Talk) -> Vec<Ruling> {
        let ruling = |(namespace, hit): &(String, RuleHit)| {
            let packet = header::dissect(&hit.packet)?;
            let leg = talk.leg(&packet)?;
            Some(Ruling { namespace: namespace.clone(), tag: hit.prefix.parse().ok()?, leg, header: packet.header })
        };
        self.rules.iter().filter_map(ruling).collect()
    }
}

fn losses(before: &[(String, IpLosses)], after: &[(String, IpLosses)]) -> Vec<Loss> {
    let mut losses = Vec::new();
    for ((namespace, before), (_, after)) in before.iter().zip(after) {
        let lost = after.since(before);
        let kinds = [
            (lost.reverse_path, LossKind::ReversePath),
            (lost.no_route_in + lost.no_route_out, LossKind::NoRoute),
            (lost.header, LossKind::TimeToLive),
            (lost.address, LossKind::Address),
        ];
        let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
        losses.extend(kinds.map(|(_, kind)| Loss { namespace: namespace.clone(), kind }));
    }
    losses
}
