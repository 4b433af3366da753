//! `mcp-notes migrate`: moves all notes and tokens from one store into another.

mod bar;

use std::{
    io::{IsTerminal as _, stderr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use notes::{
    Claim, Store,
    transfer::{Phase, Progress, Tally, TransferError},
};
use tokio::signal::unix::{SignalKind, signal};

use self::bar::Bar;
use super::{Failure, complain, deed::Deed, print, runtime};
use crate::{
    app::causes,
    config::{Config, StoreUrl},
};

/// What to move, and where to.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where everything is: sqlite:PATH or mongodb://..., or @FILE for an address that is the first
    /// line of FILE and hidden from the list of processes. It is only read.
    #[arg(long, value_name = "URL")]
    from: String,
    /// Where everything goes, in the same form: a store that is empty, or not there yet, or has a
    /// part of the same already because an earlier run was interrupted.
    #[arg(long, value_name = "URL")]
    to: String,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::from_env()?.config;
    let from = Place::new("--from", &args.from)?;
    let to = Place::new("--to", &args.to)?;
    let mut deed = Deed::begin(&config, "migrate")?;
    let done = runtime()?.block_on(migrate(&from, &to, &mut deed));
    deed.end();
    done
}

/// A store and the argument that names it.
struct Place {
    argument: &'static str,
    store: StoreUrl,
}

impl Place {
    fn new(argument: &'static str, text: &str) -> Result<Self, Failure> {
        let wrong = |what: String| Failure::Failed(format!("{argument}: {what}"));
        let text = match text.strip_prefix('@') {
            None => text.to_owned(),
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.map_err(|error| wrong(format!("{path}: {error}")))?;
                text.lines().next().unwrap_or_default().to_owned()
            }
        };
        let store = StoreUrl::parse(&text).map_err(wrong)?;
        Ok(Self { argument, store })
    }

    fn address(&self) -> &str {
        self.store.as_str()
    }

    /// A failure with the argument and without the password in it.
    fn failed(&self, error: impl std::fmt::Display) -> Failure {
        let Self { argument, store } = self;
        Failure::Failed(format!("{argument} {store:?}: {error}"))
    }

    /// Takes the store, so that no server works with it.
    fn claim(&self) -> Result<Claim, Failure> {
        let who = format!("process {}, which moves its notes", std::process::id());
        notes::claim(self.address(), &who).map_err(|error| self.failed(causes(&error)))
    }

    async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        let opened = notes::open(self.address()).await;
        opened.map_err(|error| self.failed(causes(&error)))
    }

    async fn close(&self, store: &dyn Store) -> Result<(), Failure> {
        let closed = store.close().await;
        closed.map_err(|error| self.failed(causes(&error)))
    }
}

async fn migrate(from: &Place, to: &Place, deed: &mut Deed) -> Result<(), Failure> {
    if !notes::exists(from.address()) {
        return Err(from.failed("there is no such file"));
    }
    let taken = from.claim()?;
    if from.store == to.store || taken.holds(to.address()) {
        return Err(to.failed("this is what --from names"));
    }
    let _taken = (taken, to.claim()?);
    let source = from.open().await?;
    let target = to.open().await?;
    complain(format_args!(
        "from {:?} to {:?}; nothing may write to either until this is done",
        from.store, to.store
    ));
    let moved = moved(source.as_ref(), target.as_ref()).await;
    if moved.is_ok() {
        deed.done(None);
    }
    let closed = to.close(target.as_ref()).await;
    from.close(source.as_ref()).await?;
    let tally = moved?;
    closed?;
    print(&format!("moved and the same on both sides: {tally}\n"))
}

async fn moved(source: &dyn Store, target: &dyn Store) -> Result<Tally, Failure> {
    let stopped = stop_on_signals()?;
    let mut bar = Bar::new(stderr(), stderr().is_terminal(), Instant::now());
    let mut watch = |progress: Progress| {
        bar.show(progress, Instant::now());
        !stopped.load(Ordering::Relaxed)
    };
    let moved = notes::transfer(source, target, &mut watch).await;
    bar.end();
    moved.map_err(|error| match error {
        TransferError::Stopped => Failure::Failed(
            "stopped before everything was moved; the same command goes on from here".into(),
        ),
        error => Failure::failed(error),
    })
}

/// Becomes true at the first signal that asks to stop; the second ends the process where it is, which
/// loses nothing.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
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
                complain("stopped at once; the same command goes on from here");
                std::process::exit(1);
            }
        }
    });
    Ok(stopped)
}

/// What is done in a phase, as one word.
fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Check => "checking",
        Phase::Copy => "copying",
        Phase::Compare => "comparing",
    }
}
