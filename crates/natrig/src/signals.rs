//! Signals while something is measured or held.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// How a piece of work came to its end.
#[derive(Debug)]
pub(crate) enum Ended<T> {
    /// By itself, or after it had been asked to stop.
    Finished(T),
    /// It panicked.
    Panicked,
}

/// Runs `work` on a thread of its own. SIGINT, SIGTERM and SIGHUP set the flag it is given; a second one ends the process at once,
/// which is safe: the kernel takes the namespaces down with it.
///
/// # Errors
/// The handlers or the thread cannot be set up.
pub(crate) fn with_signals<T: Send + 'static>(
    work: impl FnOnce(Arc<AtomicBool>) -> T + Send + 'static,
) -> io::Result<Ended<T>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [mut interrupt, mut terminate, mut hangup] = [signal(kinds[0])?, signal(kinds[1])?, signal(kinds[2])?];
        let stop = Arc::new(AtomicBool::new(false));
        let (done, mut finished) = tokio::sync::oneshot::channel();
        let flag = stop.clone();
        let thread = std::thread::Builder::new().name("natrig-work".to_owned()).spawn(move || {
            let _ = done.send(work(flag));
        })?;
        let mut asked = false;
        let value = loop {
            tokio::select! {
                value = &mut finished => break value,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if asked {
                std::process::exit(130);
            }
            asked = true;
            stop.store(true, Ordering::Release);
        };
        let _ = thread.join();
        Ok(match value {
            Ok(value) => Ended::Finished(value),
            Err(_) => Ended::Panicked,
        })
    })
}
