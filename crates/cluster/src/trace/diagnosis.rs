//! What a death is called, why it came, and the setting that mends it.

use natrig_bench::settings::Word;
use natrig_bench::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::death::{Cause, Death};
use crate::model::{Cilium, Cluster, Exit, Plugin, PodNetwork};
use crate::probe::{Leg, Observation, Passage};
use crate::tag::Book;

words! {
    /// Mistakes that have a name.
    Misconfiguration {
        /// A pod's address belongs to a secondary interface, and its packet left by the primary one.
        SecondaryByPrimary = "secondary-address-by-primary-interface",
        /// No interface has the name that is to be masqueraded on.
        SelectorMatchesNothing = "selector-matches-no-interface",
        /// The VPC has never heard of an overlay's addresses.
        OverlayAtSourceCheck = "overlay-address-at-source-check",
        /// A request came in by a secondary interface, and its answer left by the primary one.
        AnswerByPrimary = "answer-by-primary-interface",
        /// The internet gateway knows no public address for the source.
        NoPublicAddress = "no-public-address",
        /// Packets come in by another interface than their answers would leave by.
        ReversePath = "reverse-path-filter",
        /// Answers of the metadata endpoint do not live long enough to come to a pod.
        HopLimit = "metadata-hop-limit",
        /// Nobody asked for it, and nobody knows where it should go.
        NoWayIn = "no-way-in",
    }
}

/// Why a packet died, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnosis {
    /// What it is called.
    pub name: Misconfiguration,
    /// Why it is so, in a sentence.
    pub why: String,
    /// What mends it, in a sentence.
    pub mend: String,
}

impl Diagnosis {
    /// None: it has no name.
    pub(super) fn of(cluster: &Cluster, observation: &Observation, death: &Death) -> Option<Self> {
        match death.cause {
            Cause::SourceCheck => source_check(cluster, observation, death),
            Cause::NoPublicAddress => Some(no_public_address(death)),
            Cause::ReversePath => Some(Self {
                name: Misconfiguration::ReversePath,
                why: format!(
                    "{} came in by {}, and an answer would leave by another interface: strict rp_filter drops it.",
                    death.leg,
                    death.interface.as_deref().unwrap_or("an interface")
                ),
                mend: "Set net.ipv4.conf.<interface>.rp_filter to 2 (reverse_path = \"loose\").".to_owned(),
            }),
            Cause::TimeToLive => Some(Self {
                name: Misconfiguration::HopLimit,
                why: format!("The time to live of the answer was over at {}.", death.place),
                mend: "Raise the hop limit of the instance metadata options to 2 (metadata_hop_limit = 2).".to_owned(),
            }),
            Cause::NoRoute | Cause::Unsolicited | Cause::NoSuchAddress => Some(Self {
                name: Misconfiguration::NoWayIn,
                why: format!("At {} nothing leads to that address, and no flow from inside asked for it.", death.place),
                mend: "Reach the pod by an address that the place can route to: a load balancer, a public address, or a route."
                    .to_owned(),
            }),
            Cause::NoEgressAddress | Cause::AnotherSource | Cause::Protocol | Cause::Unexplained => None,
        }
    }
}

fn source_check(cluster: &Cluster, observation: &Observation, death: &Death) -> Option<Diagnosis> {
    let way = if death.leg == Leg::Request { &observation.request } else { &observation.answer };
    let last: &Passage = way.iter().rev().find(|passage| passage.namespace == death.place)?;
    let source = last.header.source;
    let pod = cluster.pod_list().find(|pod| cluster.pod_address(*pod) == source)?;
    let left_by = death.interface.as_deref()?.split_once('-')?.1;
    if cluster.pods == PodNetwork::Overlay {
        return Some(overlay(cluster, source, left_by, death.leg));
    }
    let owner = &cluster.node.interfaces[cluster.owner(pod)];
    if death.leg == Leg::Answer {
        return Some(Diagnosis {
            name: Misconfiguration::AnswerByPrimary,
            why: format!(
                "The request came in by {owner}, which {source} belongs to, and its answer left by {left_by}: the VPC drops \
                 what an interface sends under an address that is not its own."
            ),
            mend: "Have answers leave by the interface that the request came in by (answers_leave_where_requests_came = true): \
                   a Cilium that redirects them (cilium#20554), or masquerading off, which routes by the pod's address."
                .to_owned(),
        });
    }
    let ruling = observation.rulings.iter().find(|ruling| ruling.leg == death.leg && ruling.tag.book == Book::Cilium);
    let rule = ruling.map_or("", |ruling| ruling.tag.rule.as_str());
    let left =
        format!("{source} belongs to {owner}, and the packet left by {left_by} untranslated, where the VPC drops it");
    let (name, why, mend) = match (&cluster.plugin, rule) {
        (Plugin::Cilium(cilium), "interface") => selector(cilium, left_by, &left),
        (Plugin::Cilium(_), "link_local") => (
            Misconfiguration::SecondaryByPrimary,
            format!("{left}: ip-masq-agent excludes link-local destinations from masquerading."),
            "Set masqLinkLocal to true below [cilium.ip-masq-agent].".to_owned(),
        ),
        (Plugin::Cilium(_), "non_masquerade") => (
            Misconfiguration::SecondaryByPrimary,
            format!("{left}: the destination is among ip-masq-agent's nonMasqueradeCIDRs, and beyond the VPC."),
            "Take the destination out of nonMasqueradeCIDRs, or switch enable-ipv4-masquerade off.".to_owned(),
        ),
        (Plugin::Cilium(_), "native_routing") => (
            Misconfiguration::SecondaryByPrimary,
            format!("{left}: ipv4-native-routing-cidr covers the destination, which is beyond the VPC."),
            format!("Set ipv4-native-routing-cidr to the VPC's block, {}.", cluster.vpc.cidr),
        ),
        _ => (
            Misconfiguration::SecondaryByPrimary,
            format!("{left}."),
            "Masquerade on that interface, or route by the pod's address (enable-ipv4-masquerade = false).".to_owned(),
        ),
    };
    Some(Diagnosis { name, why, mend })
}

fn selector(cilium: &Cilium, left_by: &str, left: &str) -> (Misconfiguration, String, String) {
    let stem = left_by.trim_end_matches(|character: char| character.is_ascii_digit());
    (
        Misconfiguration::SelectorMatchesNothing,
        format!(
            "{left}: egress-masquerade-interfaces is {}, and does not match {left_by}.",
            cilium.interfaces.join(", ")
        ),
        format!("Set egress-masquerade-interfaces to \"{left_by}\", or to \"{stem}+\"."),
    )
}

fn overlay(cluster: &Cluster, source: std::net::Ipv4Addr, left_by: &str, leg: Leg) -> Diagnosis {
    let masquerades = cluster.masquerades();
    let what = if leg == Leg::Answer { "an answer from" } else { "a packet from" };
    let mend = match &cluster.plugin {
        Plugin::Cilium(cilium) if masquerades && !cilium.interfaces.is_empty() => {
            format!("Have egress-masquerade-interfaces match {left_by}.")
        }
        Plugin::Cilium(_) if masquerades => "Take the destination out of what is not masqueraded.".to_owned(),
        Plugin::Cilium(_) | Plugin::VpcCni(_) => "Set enable-ipv4-masquerade to true.".to_owned(),
    };
    Diagnosis {
        name: Misconfiguration::OverlayAtSourceCheck,
        why: format!(
            "{source} is an address of the overlay {}: {what} it left by {left_by} untranslated, and the VPC, which never gave \
             it out, drops it.",
            cluster.overlay_cidr
        ),
        mend,
    }
}

fn no_public_address(death: &Death) -> Diagnosis {
    Diagnosis {
        name: Misconfiguration::NoPublicAddress,
        why: format!(
            "The internet gateway ({}) translates one to one, and the packet's source has no public address.",
            death.place
        ),
        mend: format!(
            "Route the subnet through a NAT gateway (exit = \"{}\"), set enable-ipv4-masquerade to true where nodes have public \
             addresses, or give the pod one.",
            Exit::NatGateway
        ),
    }
}
