//! Where a packet died, and of what.

use std::fmt;

use natrig_bench::settings::Word;
use natrig_bench::words;
use natrig_lab::lease::Heading;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::build::place;
use crate::probe::{Leg, LossKind, Observation, Shot};
use crate::tag::Action;

words! {
    /// What stands at a place.
    Layer {
        /// A pod.
        Pod = "pod",
        /// A node.
        Node = "node",
        /// The VPC's network.
        Vpc = "vpc",
        /// The internet gateway.
        InternetGateway = "internet-gateway",
        /// A NAT gateway.
        NatGateway = "nat-gateway",
        /// The provider's NAT behind it.
        Upstream = "upstream",
        /// Any other host.
        Host = "host",
    }
}

words! {
    /// What a packet died of.
    Cause {
        /// Its source does not belong to the interface that it left the node by.
        SourceCheck = "source-check",
        /// Its source has no public address.
        NoPublicAddress = "no-public-address",
        /// Nobody inside had asked for it.
        Unsolicited = "unsolicited",
        /// An egress gateway has no address for it.
        NoEgressAddress = "no-egress-address",
        /// An answer would leave by another interface than it came in by.
        ReversePath = "reverse-path",
        /// There was no route for it.
        NoRoute = "no-route",
        /// Its time to live was over.
        TimeToLive = "time-to-live",
        /// Nobody there has its destination.
        NoSuchAddress = "no-such-address",
        /// It came back from another address than had been asked, and nobody waited for that.
        AnotherSource = "another-source",
        /// What stands there does not translate its protocol.
        Protocol = "protocol-not-translated",
        /// Nobody says.
        Unexplained = "unexplained",
    }
}

/// The end of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Death {
    /// The question or its answer.
    pub leg: Leg,
    /// The namespace.
    pub place: String,
    /// The interface that it had come in by there; none: it began there.
    pub interface: Option<String>,
    /// What stands there.
    pub layer: Layer,
    /// Of what.
    pub cause: Cause,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.leg == Leg::Answer {
            f.write_str("answer ")?;
        }
        write!(f, "at {}", self.place)?;
        if let Some(interface) = self.interface.as_ref().filter(|name| *name != "eth0" || self.layer == Layer::Node) {
            write!(f, ":{interface}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl Layer {
    /// What stands in the namespace of that name.
    pub fn of(namespace: &str) -> Self {
        match namespace {
            place::VPC => Self::Vpc,
            place::INTERNET_GATEWAY => Self::InternetGateway,
            place::UPSTREAM => Self::Upstream,
            place::INTERNET | place::HOST | place::METADATA | place::PEERED => Self::Host,
            _ if namespace.starts_with("natgw-") => Self::NatGateway,
            _ if namespace.contains("-p") => Self::Pod,
            _ => Self::Node,
        }
    }
}

impl Death {
    /// What became of a question without an answer; none: it was answered.
    pub fn of(shot: &Shot, observation: &Observation) -> Option<Self> {
        if observation.answered {
            return None;
        }
        // The answer set out: the question had come.
        let leg = if observation.answer.is_empty() { Leg::Request } else { Leg::Answer };
        let way = if leg == Leg::Request { &observation.request } else { &observation.answer };
        let came_by = |namespace: &str| {
            let last = way.iter().rev().find(|at| at.namespace == namespace && at.heading == Heading::In);
            last.map(|passage| passage.interface.clone())
        };
        let death = |leg, namespace: &str, cause| Self {
            leg,
            place: namespace.to_owned(),
            interface: came_by(namespace),
            layer: Layer::of(namespace),
            cause,
        };
        if let Some(ruling) = observation.rulings.iter().find(|ruling| ruling.tag.action == Action::Drop) {
            let cause = match ruling.tag.rule.as_str() {
                "source_check" => Cause::SourceCheck,
                "no_public_address" => Cause::NoPublicAddress,
                "unsolicited" => Cause::Unsolicited,
                "egress_gateway" => Cause::NoEgressAddress,
                _ => Cause::Unexplained,
            };
            return Some(death(ruling.leg, &ruling.namespace, cause));
        }
        if leg == Leg::Answer && way.last().is_some_and(|last| last.namespace == shot.from.namespace) {
            return Some(death(leg, &shot.from.namespace, Cause::AnotherSource));
        }
        if let Some(loss) = observation.losses.first() {
            let cause = match loss.kind {
                // The VPC has no other use for that check.
                LossKind::ReversePath if loss.namespace == place::VPC => Cause::SourceCheck,
                LossKind::ReversePath => Cause::ReversePath,
                LossKind::NoRoute => Cause::NoRoute,
                LossKind::TimeToLive => Cause::TimeToLive,
                LossKind::Address => Cause::NoSuchAddress,
                LossKind::Unsolicited => Cause::Unsolicited,
                LossKind::NoPublicAddress => Cause::NoPublicAddress,
                LossKind::Protocol => Cause::Protocol,
            };
            return Some(death(leg, &loss.namespace, cause));
        }
        let last = way.last().map_or(shot.from.namespace.as_str(), |passage| passage.namespace.as_str());
        Some(death(leg, last, Cause::Unexplained))
    }
}
