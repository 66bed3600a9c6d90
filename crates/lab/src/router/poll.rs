//! A router on two links.

use arrayvec::ArrayVec;
use natrig_link::{BURST_MAX, Link};

use super::Router;
use crate::stage::{PumpError, Side};

/// Moves at most one burst each way, and does what else is due. Returns how many frames arrived.
///
/// # Errors
/// [`PumpError`]: what the links return. Frames that a full link does not take are dropped and counted; so are those for a link that
/// fails, and the router can be polled again.
pub fn poll(
    router: &mut Router,
    inside: &mut dyn Link,
    outside: &mut dyn Link,
    clock: fn() -> u64,
) -> Result<usize, PumpError> {
    let out = burst(router, Side::Inside, inside, outside, clock);
    // What has waited leaves before what arrives next.
    let sent = send(router, inside, outside);
    let back = burst(router, Side::Outside, outside, inside, clock);
    router.settle(clock());
    send(router, inside, outside)?;
    sent?;
    Ok(out? + back?)
}

fn burst(
    router: &mut Router,
    from: Side,
    near: &mut dyn Link,
    far: &mut dyn Link,
    clock: fn() -> u64,
) -> Result<usize, PumpError> {
    let mut forward = ArrayVec::<u16, BURST_MAX>::new();
    let mut sending = Ok(0);
    let received = near.recv(BURST_MAX, &mut |frames| {
        router.process(from, frames, clock(), &mut forward);
        if !forward.is_empty() {
            sending = far.send(frames, &forward);
            let taken = *sending.as_ref().unwrap_or(&0);
            router.counts.forwarded += taken as u64;
            router.counts.link_full += (forward.len() - taken) as u64;
        }
    });
    sending?;
    Ok(received?)
}

fn send(router: &mut Router, inside: &mut dyn Link, outside: &mut dyn Link) -> Result<(), PumpError> {
    let sent = router.send(Side::Inside, inside);
    router.send(Side::Outside, outside)?;
    Ok(sent?)
}
