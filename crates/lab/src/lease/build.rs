//! Carries out a plan.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage, State};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};
use thiserror::Error;
use tokio::runtime::Builder;

use super::conntrack::Conntrack;
use super::ethtool::Ethtool;
use super::napi;
use super::netns::Namespace;
use super::routing;
use crate::nft::{self, NftError};
use crate::plan::kernel_nat::no_ruleset;
use crate::plan::{At, CONNTRACK_MAX, Offload, Plan, Step, VethEnd};

/// A step that could not be done. What the steps before it made is gone again.
#[derive(Debug, Error)]
#[error("build the world: step {number} of {total} ({step}): {reason}")]
pub struct BuildError {
    /// Which step, from 1.
    pub number: usize,
    /// Of how many.
    pub total: usize,
    /// The step in words.
    pub step: String,
    /// What went wrong.
    #[source]
    pub reason: StepError,
}

/// Why a step could not be done.
#[derive(Debug, Error)]
pub enum StepError {
    /// The plan names a namespace that it has not made.
    #[error("the plan has no namespace `{0}` at this point")]
    UnknownNamespace(String),
    /// The plan makes a namespace twice.
    #[error("the plan already has a namespace `{0}`")]
    DuplicateNamespace(String),
    /// There is no such interface in the namespace.
    #[error("no such interface: {0}")]
    UnknownInterface(At),
    /// The kernel makes no further namespace.
    #[error("cannot make a network namespace: {0}{hint}", hint = limit_hint(.0))]
    Namespace(#[source] io::Error),
    /// The thread could not change to the namespace.
    #[error("cannot enter the namespace: {0}")]
    Enter(#[source] io::Error),
    /// The kernel refuses over netlink.
    #[error("the kernel refuses: {0}")]
    Refused(#[source] io::Error),
    /// Netlink itself does not work.
    #[error("netlink: {0}")]
    Netlink(String),
    /// The setting's name would lead out of the network settings.
    #[error("`{0}` is not the name of a network setting")]
    SysctlName(String),
    /// The setting cannot be read or written.
    #[error("cannot set {path}: {source}")]
    Sysctl {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The interface keeps features on.
    #[error("{0} stays on")]
    OffloadsStayOn(String),
    /// The other end of the link does not come up.
    #[error("there is no carrier")]
    NoCarrier,
    /// NAPI does not go to threads.
    #[error("NAPI in threads (Linux 5.12 has it): {0}")]
    NapiThreads(#[source] io::Error),
    /// The interface keeps receive offload off, and with it NAPI.
    #[error("generic receive offload stays off")]
    GroStaysOff,
    /// The kernel cannot be told how to translate.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// Connections cannot be forgotten.
    #[error("connection tracking: {0}")]
    Conntrack(#[source] io::Error),
    /// The kernel tracks too few connections, and the limit is the machine's.
    #[error(
        "the kernel tracks at most {allowed} connections, and {needed} are needed: as root, sysctl -w {CONNTRACK_MAX}={needed}"
    )]
    ConntrackRoom {
        /// How many it tracks.
        allowed: u32,
        /// How many it should.
        needed: u32,
    },
}

impl StepError {
    /// True if something is missing on this machine that could be there.
    pub const fn is_environment(&self) -> bool {
        matches!(self, Self::Nft(NftError::Missing) | Self::ConntrackRoom { .. } | Self::Namespace(_))
    }
}

/// How long a link may take to be up after both its ends are.
const CARRIER: Duration = Duration::from_secs(5);

fn limit_hint(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(Errno::ENOSPC as i32) {
        " (the limit user.max_net_namespaces is reached)"
    } else {
        ""
    }
}

/// Carries out a plan that starts with `namespaces`, and returns these and what it has added.
///
/// Works in a thread of its own, which wanders from namespace to namespace and ends: no other thread ever changes its own.
pub(super) fn build(plan: &Plan, namespaces: Vec<Namespace>) -> Result<Vec<Namespace>, BuildError> {
    let work = move || {
        let failed = |index: usize, reason: StepError| BuildError {
            number: index + 1,
            total: plan.steps.len(),
            step: plan.steps.get(index).map_or_else(String::new, Step::to_string),
            reason,
        };
        let runtime = Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|e| failed(0, StepError::Netlink(e.to_string())))?;
        runtime.block_on(async {
            let rooms = namespaces.into_iter().map(|namespace| Room { namespace, netlink: None }).collect();
            let mut site = Site { rooms, current: None };
            for (index, step) in plan.steps.iter().enumerate() {
                site.execute(step).await.map_err(|e| failed(index, e))?;
            }
            Ok(site.rooms.into_iter().map(|room| room.namespace).collect())
        })
    };
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

struct Site {
    rooms: Vec<Room>,
    /// The room that the thread is in; none: where it was born.
    current: Option<usize>,
}

struct Room {
    namespace: Namespace,
    /// A netlink socket that was opened in this namespace and so speaks for it, wherever the thread is.
    netlink: Option<Handle>,
}

impl Site {
    async fn execute(&mut self, step: &Step) -> Result<(), StepError> {
        match step {
            Step::Namespace { name } => self.make_namespace(name),
            Step::Sysctl { namespace, key, value, optional } => {
                self.go_to(namespace)?;
                write_sysctl(key, value, *optional)
            }
            Step::Veth { a, b, mtu, queues } => self.make_veth(a, b, *mtu, *queues).await,
            Step::OffloadsOff { at, offloads } => {
                self.go_to(&at.namespace)?;
                switch_off(&at.interface, offloads)
            }
            Step::Napi { at } => {
                self.go_to(&at.namespace)?;
                switch_gro_on(&at.interface)
            }
            Step::NapiThreads { at } => {
                self.go_to(&at.namespace)?;
                napi::run_in_threads(&at.interface).map_err(StepError::NapiThreads)
            }
            Step::ArpOff { at } => self.change(at, |link| link.arp(false)).await,
            Step::Up { at } => self.change(at, LinkMessageBuilder::up).await,
            Step::AwaitCarrier { at } => self.await_carrier(at).await,
            Step::Addresses { at, first, count } => {
                let (netlink, index) = self.interface(at)?;
                for i in 0..*count {
                    let address = Ipv4Addr::from_bits(first.to_bits().wrapping_add(i));
                    refused(netlink.address().add(index, address.into(), 32).execute().await)?;
                }
                Ok(())
            }
            Step::Neighbour { at, address, mac } => {
                let (netlink, index) = self.interface(at)?;
                let request = netlink.neighbours().add(index, (*address).into()).link_layer_address(&mac.0);
                refused(request.execute().await)
            }
            Step::Route { at, destination, via, source } => {
                let (netlink, index) = self.interface(at)?;
                let route = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(destination.network(), destination.prefix_len())
                    .gateway(*via)
                    .onlink()
                    .pref_source(*source)
                    .output_interface(index)
                    .build();
                refused(netlink.route().add(route).execute().await)
            }
            Step::TableRoute { at, table, destination, via } => {
                let (netlink, index) = self.interface(at)?;
                refused(routing::add_route(&netlink, index, *table, *destination, *via).await)
            }
            Step::Rule { namespace, rule } => {
                let room = self.go_to(namespace)?;
                refused(routing::add_rule(&self.netlink(room)?, rule).await)
            }
            Step::Vxlan { at, id, port, local, mac, mtu } => {
                let room = self.go_to(&at.namespace)?;
                let link = routing::vxlan(&at.interface, *id, *port, *local, *mac, *mtu);
                refused(self.netlink(room)?.link().add(link).execute().await)
            }
            Step::TunnelPeer { at, mac, remote } => {
                let (netlink, index) = self.interface(at)?;
                refused(routing::add_tunnel_peer(&netlink, index, *mac, *remote).await)
            }
            Step::Ruleset { namespace, text } => {
                self.go_to(namespace)?;
                Ok(nft::load_text(text)?)
            }
            Step::Nat { at, nat } => {
                self.go_to(&at.namespace)?;
                Ok(nft::load(&nat.ruleset(&at.interface))?)
            }
            Step::NoNat { namespace } => {
                self.go_to(namespace)?;
                match nft::load(&no_ruleset()) {
                    // Without the program there has never been a ruleset.
                    Ok(()) | Err(NftError::Missing) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Step::ConntrackRoom { namespace, connections } => {
                self.go_to(namespace)?;
                make_conntrack_room(*connections)
            }
            Step::ForgetConnections { namespace } => {
                self.go_to(namespace)?;
                Conntrack::open().and_then(|mut conntrack| conntrack.forget()).map_err(StepError::Conntrack)
            }
        }
    }

    fn make_namespace(&mut self, name: &str) -> Result<(), StepError> {
        if self.find(name).is_some() {
            return Err(StepError::DuplicateNamespace(name.to_owned()));
        }
        // Should the second half of it fail, the thread is in a namespace without a room: any room is then a change.
        self.current = None;
        let namespace = Namespace::make_and_enter(name).map_err(StepError::Namespace)?;
        self.current = Some(self.rooms.len());
        self.rooms.push(Room { namespace, netlink: None });
        Ok(())
    }

    /// Both ends in one request, each born in its own namespace under its own name.
    async fn make_veth(&mut self, a: &VethEnd, b: &VethEnd, mtu: u16, queues: u16) -> Result<(), StepError> {
        let there = self.require(&b.at.namespace)?;
        let fd = self.rooms[there].namespace.fd_number();
        let here = self.require(&a.at.namespace)?;
        let netlink = self.netlink(here)?;
        let mut peer = end(LinkMessageBuilder::<LinkUnspec>::new(), b, mtu, queues).build();
        peer.attributes.push(LinkAttribute::NetNsFd(fd));
        let link = end(LinkMessageBuilder::<LinkVeth>::new(&a.at.interface, &b.at.interface), a, mtu, queues)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        refused(netlink.link().add(link).execute().await)
    }

    async fn await_carrier(&mut self, at: &At) -> Result<(), StepError> {
        let (netlink, index) = self.interface(at)?;
        let since = Instant::now();
        loop {
            let links = netlink.link().get().match_index(index).execute();
            let links: Vec<LinkMessage> = refused(links.try_collect().await)?;
            let up = LinkAttribute::OperState(State::Up);
            if links.iter().any(|link| link.attributes.contains(&up)) {
                break;
            }
            if since.elapsed() > CARRIER {
                return Err(StepError::NoCarrier);
            }
            thread::sleep(CARRIER / 5000);
        }
        // The state is set before the queueing discipline; whoever changes the link waits for both (`linkwatch_do_dev` in
        // `net/core/link_watch.c`, which runs under the same lock).
        self.change(at, LinkMessageBuilder::up).await
    }

    async fn change(
        &mut self,
        at: &At,
        what: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
    ) -> Result<(), StepError> {
        let (netlink, index) = self.interface(at)?;
        let message: LinkMessage = what(LinkUnspec::new_with_index(index)).build();
        refused(netlink.link().change(message).execute().await)
    }

    fn interface(&mut self, at: &At) -> Result<(Handle, u32), StepError> {
        let room = self.go_to(&at.namespace)?;
        let index = if_nametoindex(at.interface.as_str()).map_err(|_| StepError::UnknownInterface(at.clone()))?;
        Ok((self.netlink(room)?, index))
    }

    fn netlink(&mut self, room: usize) -> Result<Handle, StepError> {
        if self.rooms[room].netlink.is_none() {
            self.enter(room)?;
            let (connection, handle, _) = new_connection().map_err(|e| StepError::Netlink(e.to_string()))?;
            tokio::spawn(connection);
            self.rooms[room].netlink = Some(handle);
        }
        self.rooms[room].netlink.clone().ok_or_else(|| StepError::Netlink("no connection".to_owned()))
    }

    fn go_to(&mut self, namespace: &str) -> Result<usize, StepError> {
        let room = self.require(namespace)?;
        self.enter(room)?;
        Ok(room)
    }

    fn enter(&mut self, room: usize) -> Result<(), StepError> {
        if self.current != Some(room) {
            self.rooms[room].namespace.enter().map_err(StepError::Enter)?;
            self.current = Some(room);
        }
        Ok(())
    }

    fn require(&self, namespace: &str) -> Result<usize, StepError> {
        self.find(namespace).ok_or_else(|| StepError::UnknownNamespace(namespace.to_owned()))
    }

    fn find(&self, namespace: &str) -> Option<usize> {
        self.rooms.iter().position(|room| room.namespace.name() == namespace)
    }
}

fn end<T>(link: LinkMessageBuilder<T>, end: &VethEnd, mtu: u16, queues: u16) -> LinkMessageBuilder<T> {
    link.name(end.at.interface.clone())
        .address(end.mac.0.to_vec())
        .mtu(mtu.into())
        .append_extra_attribute(LinkAttribute::NumTxQueues(queues.into()))
        .append_extra_attribute(LinkAttribute::NumRxQueues(queues.into()))
}

fn refused<T>(result: Result<T, rtnetlink::Error>) -> Result<T, StepError> {
    result.map_err(|error| {
        if let rtnetlink::Error::NetlinkError(message) = error {
            StepError::Refused(message.to_io())
        } else {
            StepError::Netlink(error.to_string())
        }
    })
}

/// The thread is in the namespace: `/proc/sys/net` is what the one who opens it sees.
fn write_sysctl(key: &str, value: &str, optional: bool) -> Result<(), StepError> {
    if !key.starts_with("net.") || key.contains("..") || key.contains('/') {
        return Err(StepError::SysctlName(key.to_owned()));
    }
    let path = format!("/proc/sys/{}", key.replace('.', "/"));
    let now = match fs::read_to_string(&path) {
        Err(e) if optional && e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other,
    };
    // A container may mount /proc/sys read-only: no need to write what is already so.
    if now.is_ok_and(|now| now.split_whitespace().eq(value.split_whitespace())) {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| StepError::Sysctl { path, source })
}

/// Until Linux 6.18 at least, the limit is the machine's and can only be read in a namespace other than the first; then it must do.
fn make_conntrack_room(needed: u32) -> Result<(), StepError> {
    let path = format!("/proc/sys/{}", CONNTRACK_MAX.replace('.', "/"));
    // Older kernels hide it in user namespaces.
    let Some(allowed) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()) else {
        return Ok(());
    };
    if allowed >= needed || fs::write(&path, needed.to_string()).is_ok() {
        return Ok(());
    }
    Err(StepError::ConntrackRoom { allowed, needed })
}

fn switch_gro_on(interface: &str) -> Result<(), StepError> {
    const GRO: &str = "rx-gro";
    let mut ethtool = Ethtool::open().map_err(StepError::Refused)?;
    ethtool.switch(interface, &[GRO.to_owned()], true).map_err(StepError::Refused)?;
    let active = ethtool.active(interface).map_err(StepError::Refused)?;
    if active.iter().any(|feature| feature == GRO) { Ok(()) } else { Err(StepError::GroStaysOff) }
}

/// Switches off what is on of them, and looks again: some features cannot be changed on some drivers.
fn switch_off(interface: &str, offloads: &[Offload]) -> Result<(), StepError> {
    let mut ethtool = Ethtool::open().map_err(StepError::Refused)?;
    let mut on = covered(&mut ethtool, interface, offloads)?;
    if !on.is_empty() {
        ethtool.switch(interface, &on, false).map_err(StepError::Refused)?;
        on = covered(&mut ethtool, interface, offloads)?;
    }
    if on.is_empty() { Ok(()) } else { Err(StepError::OffloadsStayOn(on.join(", "))) }
}

fn covered(ethtool: &mut Ethtool, interface: &str, offloads: &[Offload]) -> Result<Vec<String>, StepError> {
    let mut active = ethtool.active(interface).map_err(StepError::Refused)?;
    active.retain(|feature| offloads.iter().any(|offload| offload.covers(feature)));
    Ok(active)
}
