//! Which way the kernel would send a packet (`ip route get … fibmatch`).

use std::io;
use std::net::Ipv4Addr;

use futures_util::TryStreamExt;
use nix::net::if_::{if_indextoname, if_nametoindex};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage};
use rtnetlink::{RouteMessageBuilder, new_connection};
use thiserror::Error;
use tokio::runtime::Builder;

use super::{EnterError, Lease};
use crate::net::Ipv4Net;

/// A packet that a route is looked up for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Its source.
    pub source: Ipv4Addr,
    /// Its destination.
    pub destination: Ipv4Addr,
    /// The interface that it came in by; none: it is sent from here.
    pub incoming: Option<String>,
    /// Its mark.
    pub mark: u32,
}

/// The route that the kernel has for a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The table that holds it.
    pub table: u32,
    /// What it is for.
    pub destination: Ipv4Net,
    /// The neighbour it leads to; none: the destination itself.
    pub via: Option<Ipv4Addr>,
    /// The interface.
    pub interface: String,
}

/// Why there is no way.
#[derive(Debug, Error)]
pub enum LookupError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// The kernel says why: no route, or none by which an answer would come back (`rp_filter`: invalid cross-device link).
    #[error("look up a route: {0}")]
    Refused(#[source] io::Error),
    /// Netlink itself does not work, or what it says makes no sense.
    #[error("look up a route: netlink: {0}")]
    Netlink(String),
}

impl Lease {
    /// Asks the kernel which way it would send a packet.
    ///
    /// # Errors
    /// It has none, or cannot be asked.
    pub fn look_up(&self, namespace: &str, lookup: &Lookup) -> Result<Way, LookupError> {
        self.run_in(namespace, || {
            let broken = |error: &dyn std::fmt::Display| LookupError::Netlink(error.to_string());
            let runtime = Builder::new_current_thread().enable_io().build().map_err(|e| broken(&e))?;
            runtime.block_on(ask(lookup))
        })?
    }
}

async fn ask(lookup: &Lookup) -> Result<Way, LookupError> {
    let (connection, netlink, _) = new_connection().map_err(|e| LookupError::Netlink(e.to_string()))?;
    tokio::spawn(connection);
    let mut question = RouteMessageBuilder::<Ipv4Addr>::new()
        .source_prefix(lookup.source, 32)
        .destination_prefix(lookup.destination, 32);
    if let Some(incoming) = &lookup.incoming {
        let index = if_nametoindex(incoming.as_str()).map_err(|e| LookupError::Refused(e.into()))?;
        question = question.input_interface(index);
    }
    if lookup.mark != 0 {
        question = question.mark(lookup.mark);
    }
    let mut question = question.build();
    // Without the first of them, the kernel says it was the main table, whichever it was (`inet_rtm_getroute`).
    question.header.flags = RouteFlags::LookupTable | RouteFlags::FibMatch;
    let answers: Result<Vec<RouteMessage>, rtnetlink::Error> =
        netlink.route().get(question).execute().try_collect().await;
    let answers = answers.map_err(|error| {
        if let rtnetlink::Error::NetlinkError(message) = error {
            LookupError::Refused(message.to_io())
        } else {
            LookupError::Netlink(error.to_string())
        }
    })?;
    answers.first().and_then(read).ok_or_else(|| LookupError::Netlink("no route in the answer".to_owned()))
}

fn read(answer: &RouteMessage) -> Option<Way> {
    let mut way =
        Way { table: answer.header.table.into(), destination: Ipv4Net::ANY, via: None, interface: String::new() };
    for attribute in &answer.attributes {
        if let RouteAttribute::Table(table) = attribute {
            way.table = *table;
        } else if let RouteAttribute::Destination(RouteAddress::Inet(network)) = attribute {
            way.destination = Ipv4Net::around(*network, answer.header.destination_prefix_length);
        } else if let RouteAttribute::Gateway(RouteAddress::Inet(via)) = attribute {
            way.via = Some(*via);
        } else if let RouteAttribute::Oif(index) = attribute {
            way.interface = if_indextoname(*index).ok()?.to_str().ok()?.to_owned();
        }
    }
    Some(way)
}
