//! One link of an arena: some receive queues of an interface, and the way out through it.

use super::RingOptions;
use super::arena::{Arena, LIVE_FRAME_LEN_MAX, SLOT_HEADER_BYTES, SLOT_TIME_AT, TIMED_BATCH, Template, WAITS_NS};
use super::loan::RingLoan;
use crate::packet::{socket, transmit};
use crate::sys::{Interface, StateWatch};
use crate::{
    BURST_MAX, Link, LinkDescription, LinkKind, LinkStats, Loan, OpenError, RecvError, SendError, clock, send_at_once,
};
use arrayvec::ArrayVec;
use natrig_wire::Frame;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

const ETHERNET_HEADER_LEN: usize = 14;

/// How many bursts of live frames are looked after: a veth takes them only if its other end receives by NAPI (kernel: `veth_xdp_xmit` in
/// `drivers/net/veth.c`), and whose end that is nobody can see from here.
const LIVE_BURSTS_WATCHED: u32 = 16;

/// An interface as all links through it see it.
#[derive(Debug)]
pub(super) struct Port {
    interface: Interface,
    number: usize,
    /// The driver's counters of frames that XDP handed to it and it took.
    taken_statistics: Vec<usize>,
    /// Their sum when the port was made.
    taken_before: u64,
    /// Frames that the links have redirected to this port.
    redirected: AtomicU64,
    /// Of these, how many the driver is known not to have taken.
    lost: AtomicU64,
    /// Of those, how many no link has counted yet.
    unclaimed: AtomicU64,
}

impl Port {
    pub(super) fn new(interface: Interface, number: usize) -> Result<Self, OpenError> {
        // veth: what `veth_xdp_xmit` put into the peer's ring, by the queue of the peer.
        let taken_statistics =
            interface.find_statistics(|name| name.starts_with("tx_queue_") && name.ends_with("_xdp_xmit"));
        let failed = |source| OpenError::System { what: "read the interface's statistics", source };
        let taken_before = match taken_statistics.as_slice() {
            [] => 0,
            indices => interface.sum_statistics(indices).map_err(failed)?,
        };
        let [redirected, lost, unclaimed] = [const { AtomicU64::new(0) }; 3];
        Ok(Self { interface, number, taken_statistics, taken_before, redirected, lost, unclaimed })
    }

    /// Whether the driver has taken none of the frames redirected to it, ever: nobody receives them by NAPI at the other end.
    fn takes_nothing(&self) -> bool {
        !self.taken_statistics.is_empty()
            && self.interface.sum_statistics(&self.taken_statistics).is_ok_and(|taken| taken <= self.taken_before)
    }

    /// Claims up to `max` frames that were lost between the redirect and the driver: its ring was full, or nobody receives.
    fn take_lost(&self, max: u64) -> u64 {
        if self.taken_statistics.is_empty() {
            return 0;
        }
        let redirected = self.redirected.load(Ordering::Acquire);
        let Ok(taken) = self.interface.sum_statistics(&self.taken_statistics) else { return 0 };
        let lost = redirected.saturating_sub(taken.saturating_sub(self.taken_before));
        let known = self.lost.fetch_max(lost, Ordering::Relaxed);
        self.unclaimed.fetch_add(lost.saturating_sub(known), Ordering::Relaxed);
        let claim = |unclaimed: u64| Some(unclaimed.saturating_sub(max));
        let unclaimed = self.unclaimed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim);
        unclaimed.unwrap_or_else(|unclaimed| unclaimed).min(max)
    }
}

/// A link over rings in mapped BPF arrays; made by [`super::open`].
#[derive(Debug)]
pub struct RingLink {
    arena: Arc<Arena>,
    port: Arc<Port>,
    /// This link's number in the arena.
    number: usize,
    rings: Vec<Cursor>,
    /// The ring looked at last.
    next_ring: usize,
    live_frames_min: usize,
    /// Bursts of live frames after which it is still to be seen whether any were taken.
    live_bursts_watched: u32,
    /// The longest frame that the interface lets out.
    tx_len_max: usize,
    small: SmallBursts,
    template: Template,
    stats: LinkStats,
    /// Frames sent live and not known to be lost.
    live_frames: u64,
    /// Whether a [`RingLoan`] lives.
    lent: Arc<AtomicBool>,
    watch: StateWatch,
}

/// How far this link has received from a ring.
#[derive(Debug)]
struct Cursor {
    ring: u32,
    consumed: u32,
}

/// The way out for bursts that are not worth a call of the program.
#[derive(Debug)]
struct SmallBursts {
    batch: transmit::Batch,
    fd: OwnedFd,
}

impl RingLink {
    pub(super) fn new(
        arena: Arc<Arena>,
        port: Arc<Port>,
        number: usize,
        rings: Vec<u32>,
        options: &RingOptions,
    ) -> Result<Self, OpenError> {
        let mtu = port.interface.mtu().map_err(|source| OpenError::System { what: "ask for the MTU", source })?;
        let fd = socket::open_for_sending(port.interface.index())?;
        arena.outgoing_of(number).port.store(port.number as u32, Ordering::Relaxed);
        Ok(Self {
            rings: rings.into_iter().map(|ring| Cursor { ring, consumed: 0 }).collect(),
            next_ring: 0,
            live_frames_min: options.live_frames_min,
            live_bursts_watched: LIVE_BURSTS_WATCHED,
            tx_len_max: (mtu as usize + ETHERNET_HEADER_LEN).min(arena.room()).min(LIVE_FRAME_LEN_MAX),
            template: Arena::template(number),
            small: SmallBursts { batch: transmit::Batch::new(), fd },
            stats: LinkStats::default(),
            live_frames: 0,
            lent: Arc::default(),
            watch: StateWatch::default(),
            arena,
            port,
            number,
        })
    }

    /// The same link, sending whatever it sends by sendmmsg(2): for where nobody consumes what a call sends before the call ends.
    #[must_use]
    pub fn without_live_frames(mut self) -> Self {
        self.live_frames_min = usize::MAX;
        self
    }

    /// Whether frames of that length can leave at all.
    fn fits(&self, len: usize) -> bool {
        (ETHERNET_HEADER_LEN..=self.tx_len_max).contains(&len)
    }

    /// Sends up to one batch of `pick` as live frames, of which the first `differ` bytes are not alike; how many of `pick` were taken.
    fn send_live(
        &mut self,
        frames: &[Frame<'_>],
        pick: &[u16],
        differ: usize,
        times: Option<&mut [u64]>,
    ) -> Result<usize, SendError> {
        if self.watch.finds_down(&self.port.interface) {
            return Err(SendError::Down);
        }
        let batch = &pick[..pick.len().min(BURST_MAX)];
        let first = batch.first().map(|index| frames[usize::from(*index)].bytes());
        if let Some(first) = first.filter(|first| differ < first.len() && self.fits(first.len())) {
            self.template.fill(first);
        }
        self.arena.outgoing_of(self.number).differ.store(differ as u32, Ordering::Relaxed);
        let Ran { named, ran, bytes, error } = self.stage_and_run(frames, batch, times);
        let (taken, bytes) = if ran == named { (batch.len(), bytes) } else { self.before(frames, batch, ran) };
        let sent = ran as u64 - u64::from(self.arena.outgoing_of(self.number).refused.load(Ordering::Relaxed));
        self.port.redirected.fetch_add(sent, Ordering::Relaxed);
        self.live_frames += sent;
        if self.live_bursts_watched > 0 && sent > 0 {
            self.live_bursts_watched -= 1;
            if self.port.takes_nothing() {
                self.live_frames_min = usize::MAX;
            }
        }
        self.stats.tx_frames += sent;
        self.stats.tx_bytes += bytes;
        self.stats.tx_refused += taken as u64 - sent;
        match error {
            Some(error) if taken == 0 => Err(SendError::Io(error)),
            _ => Ok(taken),
        }
    }

    /// How many of `batch` come before the fitting frame with running number `ran`, and the bytes of those of them that fit.
    #[cold]
    fn before(&self, frames: &[Frame<'_>], batch: &[u16], ran: usize) -> (usize, u64) {
        let (mut taken, mut left, mut bytes) = (0, ran, 0);
        for index in batch {
            let len = frames[usize::from(*index)].len();
            if self.fits(len) {
                if left == 0 {
                    break;
                }
                left -= 1;
                bytes += len as u64;
            }
            taken += 1;
        }
        (taken, bytes)
    }

    /// Names the slots of the frames that fit, after copying those that lie elsewhere into slots of our own, and runs the program on
    /// them.
    fn stage_and_run(&self, frames: &[Frame<'_>], batch: &[u16], times: Option<&mut [u64]>) -> Ran {
        let outgoing = self.arena.outgoing_of(self.number);
        let (mut named, mut staged, mut first_len, mut bytes) = (0, 0, 0, 0);
        for index in batch {
            let frame = frames[usize::from(*index)].bytes();
            if !self.fits(frame.len()) {
                continue;
            }
            let slot = match self.arena.slot_at(frame.as_ptr()) {
                Some(slot) => slot,
                None => {
                    let slot = self.arena.staging_slot(self.number, staged);
                    staged += 1;
                    let to = self.arena.slot(slot);
                    // SAFETY: a staging slot is this link's and used nowhere else, so does not overlap `frame`; it has room for
                    // `tx_len_max` bytes after its header.
                    unsafe {
                        to.add(SLOT_HEADER_BYTES).copy_from_nonoverlapping(NonNull::from(frame).cast(), frame.len());
                    }
                    slot
                }
            };
            // SAFETY: the header lies in front of what `frame` borrows. The slot is a staging slot, or one that the caller was
            // presented and that is not released yet, so that the program does not write it.
            unsafe { self.arena.slot(slot).cast::<u32>().write(frame.len() as u32) };
            outgoing.slot[named].store(slot, Ordering::Relaxed);
            if named == 0 {
                first_len = frame.len();
            }
            named += 1;
            bytes += frame.len() as u64;
        }
        outgoing.next.store(0, Ordering::Relaxed);
        outgoing.refused.store(0, Ordering::Relaxed);
        outgoing.timed.store(u32::from(times.is_some()), Ordering::Relaxed);
        for (slot, time) in outgoing.slot.iter().zip(times.iter().flat_map(|times| times.iter())) {
            // SAFETY: as above, of the slots that have just been named.
            unsafe { self.time_of(slot).write(*time) };
        }
        let (mut ran, mut calls) = (0, 0);
        while ran < named {
            calls += 1;
            // The system call orders what was written above before what the program reads, and what it writes before `next` below.
            let outcome = self.arena.send(&self.template, named - ran, first_len, times.is_some());
            ran = (outgoing.next.load(Ordering::Relaxed) as usize).min(named);
            match outcome {
                // Cut short by a signal; the program goes on where it was.
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Ran { named, ran, bytes, error: Some(error) },
                Ok(()) => break,
            }
        }
        if let Some(times) = times {
            self.tell_times(&mut times[..named], calls == 1);
        }
        Ran { named, ran, bytes, error: None }
    }

    /// Where the time of a named slot is.
    fn time_of(&self, slot: &AtomicU32) -> NonNull<u64> {
        // SAFETY: a slot has a header, and the time is in it.
        unsafe { self.arena.slot(slot.load(Ordering::Relaxed)).add(SLOT_TIME_AT).cast() }
    }

    /// By when each of the named slots had left, if the program ran on all of them: the kernel lets a batch go before the next begins.
    fn tell_times(&self, times: &mut [u64], in_one_call: bool) {
        let mut left_ns = clock::now_ns();
        // Where a signal came in between, batches began elsewhere.
        let batch = if in_one_call { TIMED_BATCH as usize } else { times.len().max(1) };
        let slots = &self.arena.outgoing_of(self.number).slot[..times.len()];
        for (times, slots) in times.chunks_mut(batch).zip(slots.chunks(batch)).rev() {
            times.fill(left_ns);
            // SAFETY: the slot was named by this link, which is borrowed, and the program does not run.
            left_ns = slots.first().map_or(left_ns, |slot| unsafe { self.time_of(slot).read() });
        }
    }
}

/// What became of a batch of live frames.
struct Ran {
    /// Frames that could leave.
    named: usize,
    /// Of these, how many the program ran on: all, unless there is an error.
    ran: usize,
    /// Bytes of those that could leave.
    bytes: u64,
    error: Option<io::Error>,
}

impl Link for RingLink {
    fn recv(&mut self, max: usize, on_burst: &mut dyn FnMut(&mut [Frame<'_>])) -> Result<usize, RecvError> {
        let max = max.min(BURST_MAX) as u32;
        for _ in 0..self.rings.len() {
            self.next_ring = (self.next_ring + 1) % self.rings.len();
            let cursor = &mut self.rings[self.next_ring];
            let counters = self.arena.ring(cursor.ring);
            // Acquire: pairs with the program's store of `produced`, before which it has written the slots.
            let arrived = counters.produced.load(Ordering::Acquire).wrapping_sub(cursor.consumed);
            let count = arrived.min(max);
            if count == 0 {
                continue;
            }
            let mut burst = ArrayVec::<Frame<'_>, BURST_MAX>::new();
            let mut bytes = 0;
            for nth in 0..count {
                let slot = self.arena.slot(self.arena.ring_slot(cursor.ring, cursor.consumed.wrapping_add(nth)));
                // SAFETY: the slot is ours: `produced` is past it, and `consumed` is stored below, after the last use of `burst`. No
                // slot comes up twice, as the program never gets further than the number of slots ahead of `consumed`.
                let ([len, arrived], buf) = unsafe {
                    let lens = slot.cast::<[u32; 2]>().read();
                    let frame = slot.add(SLOT_HEADER_BYTES);
                    (lens, NonNull::slice_from_raw_parts(frame, self.arena.room()).as_mut())
                };
                bytes += u64::from(arrived);
                burst.push(Frame::new(buf, len as usize));
            }
            on_burst(&mut burst);
            drop(burst);
            cursor.consumed = cursor.consumed.wrapping_add(count);
            // Release: whatever was done to the slots is over when the program reads this.
            counters.consumed.store(cursor.consumed, Ordering::Release);
            self.stats.rx_frames += u64::from(count);
            self.stats.rx_bytes += bytes;
            return Ok(count as usize);
        }
        if self.watch.finds_down(&self.port.interface) { Err(RecvError::Down) } else { Ok(0) }
    }

    fn send(&mut self, frames: &[Frame<'_>], pick: &[u16]) -> Result<usize, SendError> {
        self.send_alike(frames, pick, usize::MAX)
    }

    fn send_alike(&mut self, frames: &[Frame<'_>], pick: &[u16], differ: usize) -> Result<usize, SendError> {
        let mut taken = 0;
        while taken < pick.len() {
            let rest = &pick[taken..];
            let sent = if rest.len() < self.live_frames_min {
                self.small.batch.send(self.small.fd.as_fd(), frames, rest, &mut self.stats)
            } else {
                self.send_live(frames, rest, differ, None)
            };
            match sent {
                Ok(0) => break,
                Ok(sent) => taken += sent,
                Err(_) if taken > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    fn waits_ns(&self) -> u64 {
        if self.live_frames_min == usize::MAX { 0 } else { WAITS_NS }
    }

    fn send_timed(
        &mut self,
        frames: &[Frame<'_>],
        pick: &[u16],
        differ: usize,
        times: &mut [u64],
    ) -> Result<usize, SendError> {
        if self.waits_ns() == 0 || !pick.iter().all(|index| self.fits(frames[usize::from(*index)].len())) {
            return send_at_once(self, frames, pick, differ, times);
        }
        // Each call leaves callbacks to RCU. A thread that is in such calls nearly all the time lets no grace period end, until the kernel
        // insists after 100 ms and a thousand callbacks run at once, for 0.4 ms. This is a moment in which one can.
        std::thread::yield_now();
        self.send_live(frames, pick, differ, Some(times))
    }

    fn lend(&mut self) -> Option<Box<dyn Loan>> {
        Some(Box::new(RingLoan::new(&self.arena, self.number, &self.lent)?))
    }

    /// Losses between a redirect and the driver are found out here, and move frames from `tx_frames` to `tx_refused`; where several
    /// links share an interface, any of them may find those of another.
    fn stats(&mut self) -> LinkStats {
        let lost = self.port.take_lost(self.live_frames);
        self.live_frames -= lost;
        self.stats.tx_frames -= lost;
        self.stats.tx_refused += lost;
        let mut stats = self.stats;
        for cursor in &self.rings {
            let counters = self.arena.ring(cursor.ring);
            stats.rx_overflow += counters.overflow.load(Ordering::Relaxed);
            stats.rx_truncated += counters.too_long.load(Ordering::Relaxed);
        }
        stats
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn describe(&self) -> LinkDescription {
        let mut notes = vec![
            format!("{} receive queues, a ring of {} slots each", self.rings.len(), self.arena.ring_slots()),
            match self.live_frames_min {
                usize::MAX => "frames leave by sendmmsg".to_owned(),
                min => format!("bursts of {min} and more leave as live frames, smaller ones by sendmmsg"),
            },
        ];
        if self.port.taken_statistics.is_empty() {
            notes.push(
                "the driver does not say which live frames it took: losses on the way out are not counted".to_owned(),
            );
        }
        LinkDescription {
            kind: LinkKind::Ring,
            slots: self.arena.ring_slots() * self.rings.len() as u32,
            slot_bytes: self.arena.slot_bytes() as u32,
            notes,
        }
    }
}
