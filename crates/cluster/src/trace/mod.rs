//! One packet and its answer, hop by hop: what each box did with it, by which rule, and where it died.

mod diagnosis;
mod hop;
mod tell;

use natrig_bench::settings::Word;
use natrig_lab::plan::Plan;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::diagnosis::{Diagnosis, Misconfiguration};
pub use self::hop::{Hop, Port, Route, RuleMatch};
use crate::build;
use crate::death::Death;
use crate::matrix::Destination;
use crate::model::{Cluster, Pod};
use crate::probe::{End, Leg, Observation, ProbeError, Protocol, Shot, Site};

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// What was sent.
    pub protocol: Protocol,
    /// Who asked.
    pub from: String,
    /// Who was asked.
    pub to: String,
    /// The one who asked got an answer.
    pub answered: bool,
    /// The way of the question.
    pub request: Vec<Hop>,
    /// The way of the answer.
    pub answer: Vec<Hop>,
    /// What the kernel told the one who asked.
    pub refusal: Option<String>,
    /// Where it ended instead.
    pub death: Option<Death>,
    /// What that is called, why it is so, and what mends it.
    pub diagnosis: Option<Diagnosis>,
}

/// Sends a question and follows it.
///
/// # Errors
/// The cluster cannot be built or watched.
pub fn trace(cluster: &Cluster, shot: &Shot) -> Result<Trace, ProbeError> {
    let mut site = Site::build(cluster)?;
    let observation = site.observe(shot)?;
    let trace = told(cluster, &site, shot, observation);
    site.close()?;
    Ok(trace)
}

fn told(cluster: &Cluster, site: &Site, shot: &Shot, observation: Observation) -> Trace {
    let plan: Plan = build::plan(cluster);
    let death = Death::of(shot, &observation);
    let diagnosis = death.as_ref().and_then(|death| Diagnosis::of(cluster, &observation, death));
    let hops = |leg| hop::hops(site.lease(), &plan, leg, &observation);
    Trace {
        protocol: shot.protocol,
        from: shot.from.namespace.clone(),
        to: shot.to.namespace.clone(),
        answered: observation.answered,
        request: hops(Leg::Request),
        answer: hops(Leg::Answer),
        refusal: observation.refusal.clone(),
        death,
        diagnosis,
    }
}

impl Cluster {
    /// A question between two places: pods (`n1-p1`) or kinds of destinations (`internet`).
    ///
    /// # Errors
    /// The name that is neither, or that neither is a pod, in words.
    pub fn question(&self, protocol: Protocol, from: &str, to: &str) -> Result<Shot, String> {
        let pod_of = |name: &str| name.parse::<Pod>().ok().filter(|pod| self.pod_list().any(|known| known == *pod));
        let destination_of = |name: &str| Destination::from_word(name);
        let unknown = |name: &str| {
            let pods: Vec<String> = self.pod_list().map(Pod::name).collect();
            let destinations: Vec<&str> = Destination::ALL.iter().map(|destination| destination.word()).collect();
            let known = format!("pods are {}; destinations are {}", pods.join(", "), destinations.join(", "));
            format!("there is no place called `{name}`\nhelp: {known}")
        };
        let end = |pod: Pod| {
            let address = self.pod_address(pod);
            End { namespace: pod.name(), address, listens: Some(address) }
        };
        match (pod_of(from), pod_of(to), destination_of(from), destination_of(to)) {
            (Some(from), Some(to), ..) if from != to => Ok(Shot { protocol, from: end(from), to: end(to) }),
            (Some(_), Some(_), ..) => Err("a pod does not need the network to reach itself".to_owned()),
            (Some(pod), None, _, Some(destination)) => Ok(self.shot(protocol, pod, destination, true)),
            (None, Some(pod), Some(destination), _) => Ok(self.shot(protocol, pod, destination, false)),
            (None, None, Some(_), Some(_)) => Err("one of the two must be a pod\nhelp: for example n1-p1".to_owned()),
            (None, _, None, _) => Err(unknown(from)),
            _ => Err(unknown(to)),
        }
    }
}
