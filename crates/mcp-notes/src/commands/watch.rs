//! Shows how far long work is, and stops it when somebody asks for that.

use std::{
    io::{IsTerminal as _, Stderr, stderr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use notes::transfer::Progress;
use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, bar::Bar, complain};

/// A bar on standard error, and the signals that stop the work.
pub(super) struct Watching {
    bar: Bar<Stderr>,
    stopped: Arc<AtomicBool>,
}

impl Watching {
    /// Begins; `what_then` is told whoever stops the process at once.
    pub(super) fn begin(what_then: &'static str) -> Result<Self, Failure> {
        let bar = Bar::new(stderr(), stderr().is_terminal(), Instant::now());
        let stopped = stop_on_signals(what_then)?;
        Ok(Self { bar, stopped })
    }

    /// Shows how far it is; whether to go on.
    pub(super) fn show(&mut self, progress: Progress) -> bool {
        self.bar.show(progress, Instant::now());
        !self.stopped.load(Ordering::Relaxed)
    }

    /// Leaves the line of the bar.
    pub(super) fn end(&mut self) {
        self.bar.end();
    }
}

/// Becomes true at the first signal that asks to stop; the second ends the process where it is, which
/// loses nothing.
fn stop_on_signals(what_then: &'static str) -> Result<Arc<AtomicBool>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let stopped = Arc::new(AtomicBool::new(false));
    let asked = stopped.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if asked.swap(true, Ordering::Relaxed) {
                complain(format_args!("stopped at once; {what_then}"));
                std::process::exit(1);
            }
        }
    });
    Ok(stopped)
}
