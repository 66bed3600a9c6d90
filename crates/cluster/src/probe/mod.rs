//! A cluster that stands, with eyes on every interface: one question and its answer, seen everywhere they pass.

pub(crate) mod header;
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
use crate::boxes::{Boxes, NO_PUBLIC_ADDRESS};
use crate::build::{self, place};
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
    /// Nobody inside had asked for it.
    Unsolicited,
    /// Its source has no public address.
    NoPublicAddress,
    /// A translator that does not know its protocol.
    Protocol,
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
    /// A box of natrig's cannot be set up.
    #[error("set up natrig's own NATs: {0}")]
    Boxes(String),
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
            Self::Watch(_) | Self::Boxes(_) | Self::Enter(_) | Self::Socket(_) | Self::Close(_) => false,
        }
    }
}

/// A cluster that stands, and eyes in each of its namespaces.
#[derive(Debug)]
pub struct Site {
    lease: Lease,
    boxes: Boxes,
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
        let (plan, boxes) = build::layout(cluster);
        let lease = plan.build()?;
        let boxes = Boxes::start(cluster, &lease, &boxes).map_err(ProbeError::Boxes)?;
        let names = lease.namespaces().iter().map(|namespace| namespace.name().to_owned());
        let watches = names.map(|name| Ok((name.clone(), lease.watch(&name)?))).collect::<Result<_, WatchError>>()?;
        Ok(Self { lease, boxes, watches, shots: 0 })
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
        drop((self.boxes, self.watches));
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
        self.boxes.take_lost();
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
        let mut in_boxes = Vec::new();
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
                in_boxes.extend(self.boxes.take_lost());
                if dropped || !in_boxes.is_empty() || !losses(&before, &self.counters()?).is_empty() {
                    break;
                }
            }
            thread::sleep(PAUSE);
        }
        if !observation.answered {
            in_boxes.extend(self.boxes.take_lost());
            observation.losses =
                in_boxes.into_iter().map(|(namespace, reason)| loss_in_box(&namespace, reason)).collect();
            observation.losses.extend(losses(&before, &self.counters()?));
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
        restore(&mut request);
        restore(&mut answer);
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

/// A box of natrig's sends past the eyes (PACKET_QDISC_BYPASS): what came out of it is what came to the next one. A box at a node's
/// interface is part of the node: it decides what the packet is like on the wire.
fn restore(way: &mut Vec<Passage>) {
    let mut at = 0;
    while at < way.len() {
        let next = way.get(at + 1).map(|next| next.header.clone());
        let Passage { namespace, interface, heading, header } = way[at].clone();
        let leaves_unseen =
            way.get(at + 1).is_some_and(|next| next.namespace != namespace && next.heading == Heading::In);
        if heading != Heading::In || place::of(&namespace) == namespace && !leaves_unseen {
            at += 1;
        } else if place::of(&namespace) == namespace {
            if let Some(header) = next {
                let interface = if interface == "inside" { "outside" } else { "inside" }.to_owned();
                way.insert(at + 1, Passage { namespace, interface, heading: Heading::Out, header });
            }
            at += 2;
        } else {
            way.remove(at);
            let node = place::of(&namespace).to_owned();
            if interface == "inside" {
                if let (Some(out), Some(header)) = (at.checked_sub(1).and_then(|before| way.get_mut(before)), next)
                    && out.namespace == node
                {
                    out.header = header;
                }
            } else if let Some(came) = way.get_mut(at).filter(|came| came.namespace == node) {
                came.header = header;
                at += 1;
            }
        }
    }
}

fn loss_in_box(namespace: &str, reason: &'static str) -> Loss {
    let kind = match reason {
        NO_PUBLIC_ADDRESS => LossKind::NoPublicAddress,
        "time-to-live" | "ttl_expired" => LossKind::TimeToLive,
        "no-such-address" => LossKind::Address,
        "protocol" | "icmp_type" => LossKind::Protocol,
        _ => LossKind::Unsolicited,
    };
    Loss { namespace: place::of(namespace).to_owned(), kind }
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
