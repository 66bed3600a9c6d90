//! The kernel's counters per interface.

use std::io;
use std::thread;

use futures_util::TryStreamExt;
use rtnetlink::new_connection;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, Stats64};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::runtime::Builder;

use super::netns::Namespace;

/// What the kernel has counted on one interface since it exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceCounters {
    /// The namespace's name in the plan.
    pub namespace: String,
    /// The interface's name.
    pub interface: String,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that arrived and were thrown away, for want of room or of anybody who wants them.
    pub rx_dropped: u64,
    /// Frames received with an error.
    pub rx_errors: u64,
    /// Frames that nobody could take in time.
    pub rx_missed: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that were to be sent and were thrown away.
    pub tx_dropped: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
}

/// Why counters cannot be read.
#[derive(Debug, Error)]
pub enum CountersError {
    /// The thread could not change to the namespace.
    #[error("read the counters of namespace {namespace}: cannot enter it: {source}")]
    Enter {
        /// The namespace.
        namespace: String,
        /// Why.
        source: io::Error,
    },
    /// Netlink does not answer.
    #[error("read the counters of namespace {namespace}: {reason}")]
    Netlink {
        /// The namespace.
        namespace: String,
        /// Why.
        reason: String,
    },
}

/// All interfaces of all the namespaces but their loopbacks, in the kernel's order.
pub(super) fn read(namespaces: &[Namespace]) -> Result<Vec<InterfaceCounters>, CountersError> {
    let work = || {
        let mut counters = Vec::new();
        for namespace in namespaces {
            namespace
                .enter()
                .map_err(|source| CountersError::Enter { namespace: namespace.name().to_owned(), source })?;
            let links =
                dump().map_err(|reason| CountersError::Netlink { namespace: namespace.name().to_owned(), reason })?;
            counters.extend(links.iter().filter_map(|link| counters_of(namespace.name(), link)));
        }
        Ok(counters)
    };
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// The links of the calling thread's namespace.
fn dump() -> Result<Vec<LinkMessage>, String> {
    let runtime = Builder::new_current_thread().enable_io().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection().map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        let links = handle.link().get().execute();
        links.try_collect().await.map_err(|e| e.to_string())
    })
}

fn counters_of(namespace: &str, link: &LinkMessage) -> Option<InterfaceCounters> {
    let mut name = None;
    let mut stats = None;
    for attribute in &link.attributes {
        if let LinkAttribute::IfName(text) = attribute {
            name = Some(text.as_str());
        } else if let LinkAttribute::Stats64(stats64) = attribute {
            stats = Some(stats64);
        }
    }
    let (interface, stats): (&str, &Stats64) = (name?, stats?);
    (interface != "lo").then(|| InterfaceCounters {
        namespace: namespace.to_owned(),
        interface: interface.to_owned(),
        rx_frames: stats.rx_packets,
        rx_bytes: stats.rx_bytes,
        rx_dropped: stats.rx_dropped,
        rx_errors: stats.rx_errors,
        rx_missed: stats.rx_missed_errors,
        tx_frames: stats.tx_packets,
        tx_bytes: stats.tx_bytes,
        tx_dropped: stats.tx_dropped,
        tx_errors: stats.tx_errors,
    })
}
