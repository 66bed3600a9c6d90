//! The thread that moves frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use natrig_lab::interface::Interface;
use natrig_lab::router::{Router, RouterConfig, poll};
use natrig_lab::stage::PumpError;
use natrig_link::wait::Rest;
use natrig_link::{RecvError, SendError, clock};
use natrig_nat::{Adopted, MappingView, Nat};

use super::links::Links;
use super::report::{Identity, Report};

/// What the thread is asked to do between two bursts.
pub(super) enum Order {
    /// Tell the counters.
    Report(Sender<Report>),
    /// Tell the mappings.
    List(Sender<Vec<MappingView>>),
    /// Go on with another configuration.
    Reload(Box<Replacement>, Sender<Adopted>),
}

/// Another configuration.
pub(super) struct Replacement {
    pub(super) router: RouterConfig,
    pub(super) nat: Nat,
    pub(super) profile: String,
}

/// What the thread works on.
pub(super) struct Forwarding {
    pub(super) router: Router,
    pub(super) links: Links,
    pub(super) identity: Identity,
    pub(super) interfaces: [Interface; 2],
    pub(super) profile: String,
    pub(super) began_ns: u64,
}

/// How long to sleep at most while nothing arrives: orders, timers and the end wait as long as that.
const NAP: Duration = Duration::from_millis(50);

/// How often to look whether an interface that is down is up again.
const DOWN_NAP: Duration = Duration::from_millis(200);

impl Forwarding {
    /// Until `stop` is set.
    ///
    /// # Errors
    /// An interface has gone, or a link fails.
    pub(super) fn run(&mut self, orders: &Receiver<Order>, stop: &AtomicBool) -> Result<(), String> {
        let mut rest = Rest::default();
        let mut is_down = false;
        while !stop.load(Ordering::Acquire) {
            while let Ok(order) = orders.try_recv() {
                self.obey(order);
            }
            match poll(&mut self.router, &mut *self.links.inside, &mut *self.links.outside, clock::now_ns) {
                Ok(0) => rest
                    .rest(&[&*self.links.inside, &*self.links.outside], NAP)
                    .map_err(|error| format!("failed to wait for frames: {error}"))?,
                Ok(_) => {
                    rest.work();
                    if let Some((address, mac)) = self.router.take_conflict() {
                        eprintln!("warning: {mac} claims {address}, which is natrig's");
                    }
                    if std::mem::take(&mut is_down) {
                        eprintln!("natrig nat: frames arrive again");
                    }
                }
                Err(error) if is_about_down(&error) => {
                    self.check_interfaces()?;
                    if !std::mem::replace(&mut is_down, true) {
                        eprintln!("warning: {error}; natrig nat waits for it to come up");
                    }
                    std::thread::sleep(DOWN_NAP);
                }
                Err(error) => return Err(format!("failed to {error}")),
            }
        }
        Ok(())
    }

    pub(super) fn report(&mut self) -> Report {
        let now_ns = clock::now_ns();
        let links: [&mut dyn natrig_link::Link; 2] = [&mut *self.links.inside, &mut *self.links.outside];
        Report::of(&self.router, &self.identity, &self.profile, links, now_ns, now_ns - self.began_ns)
    }

    /// Whoever has asked may have gone away: that is no failure.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Report(answer) => drop(answer.send(self.report())),
            // Only copied here: frames wait.
            Order::List(answer) => drop(answer.send(self.router.nat().mappings().collect())),
            Order::Reload(replacement, answer) => {
                let Replacement { router, mut nat, profile } = *replacement;
                let adopted = nat.adopt(self.router.nat());
                self.router.replace(router, nat);
                self.profile = profile;
                let _ = answer.send(adopted);
            }
        }
    }

    /// One that is down comes up again; one that has gone does not, even if another gets its name.
    fn check_interfaces(&self) -> Result<(), String> {
        match self.interfaces.iter().find(|interface| !interface.exists()) {
            Some(gone) => Err(format!("interface {} has gone", gone.name)),
            None => Ok(()),
        }
    }
}

const fn is_about_down(error: &PumpError) -> bool {
    matches!(error, PumpError::Recv(RecvError::Down) | PumpError::Send(SendError::Down))
}
