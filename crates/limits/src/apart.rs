//! How far apart the two processors are: what moves from one to the other moves by cache lines.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use natrig_link::affinity;

use crate::stand::Cores;

/// Enough for a median of stalls not to matter, and over in a few milliseconds.
const TRIES: usize = 15;
const TURNS: u32 = 500;

/// A word that lies in a cache line of its own, and in one of those that processors fetch in pairs.
#[repr(align(128))]
struct Line(AtomicU32);

/// Nanoseconds in which a line of the cache goes from the first processor to the second and back; none where there is only one.
pub(crate) fn line_ns(cores: Cores) -> Option<f64> {
    let second = cores.second?;
    let line = Line(AtomicU32::new(0));
    let turns = TRIES as u32 * TURNS;
    let tries = std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(second);
            for turn in 0..turns {
                wait_for(&line, 2 * turn + 1);
                line.0.store(2 * turn + 2, Ordering::Release);
            }
        });
        let asking = scope.spawn(|| {
            pin(cores.first);
            let mut turn = 0;
            let mut tries = [0.0; TRIES];
            for ns in &mut tries {
                let began = Instant::now();
                for _ in 0..TURNS {
                    line.0.store(2 * turn + 1, Ordering::Release);
                    wait_for(&line, 2 * turn + 2);
                    turn += 1;
                }
                *ns = began.elapsed().as_nanos() as f64 / f64::from(TURNS);
            }
            tries
        });
        asking.join().ok()
    })?;
    natrig_bench::stats::median(&tries)
}

fn wait_for(line: &Line, value: u32) {
    while line.0.load(Ordering::Acquire) != value {
        spin_loop();
    }
}

/// Where that is refused, both may share a processor for a while: it takes longer, and says so.
fn pin(core: u16) {
    let _ = affinity::pin_current_thread(usize::from(core));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_where_there_are_two_processors() {
        let cores = Cores::here();
        let ns = line_ns(cores);
        assert_eq!(ns.is_some(), cores.second.is_some());
        assert!(ns.is_none_or(|ns| ns > 0.0));
        assert_eq!(line_ns(Cores { second: None, ..cores }), None);
    }
}
