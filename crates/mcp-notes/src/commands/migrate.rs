//! `mcp-notes migrate`: moves all notes and tokens from one store into another.

use notes::{
    Store,
    transfer::{Tally, TransferError},
};

use super::{Failure, complain, deed::Deed, place::Place, print, runtime, watch::Watching};
use crate::config::Config;

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
    let mut watching = Watching::begin("the same command goes on from here")?;
    let moved = notes::transfer(source, target, &mut |progress| watching.show(progress)).await;
    watching.end();
    moved.map_err(|error| match error {
        TransferError::Stopped => Failure::Failed(
            "stopped before everything was moved; the same command goes on from here".into(),
        ),
        error => Failure::failed(error),
    })
}
