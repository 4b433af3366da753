//! `mcp-notes restore`: everything from an archive into a store.

use std::path::PathBuf;

use notes::{Timestamp, backup, store};

use super::{
    Failure,
    backup::{failed, wrong},
    complain,
    deed::Deed,
    place::Place,
    print, runtime,
    watch::Watching,
};
use crate::config::Config;

/// What to restore, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The archive: a path, or the name of a file in `BACKUP_DIR`.
    file: PathBuf,
    /// Where it goes, sqlite:PATH or mongodb://..., or @FILE for an address that is the first line of
    /// FILE; without, `NOTES_STORE`.
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Puts aside what is there. It is kept, and the command says under which name.
    #[arg(long)]
    replace: bool,
    /// A file with secret keys of age; without, `BACKUP_IDENTITIES`.
    #[arg(long, value_name = "FILE")]
    identities: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::from_env()?.config;
    let place = match &args.to {
        Some(url) => Place::new("--to", url)?,
        None => Place::of_settings(&config.notes_store),
    };
    let mut deed = Deed::begin(&config, "restore")?;
    let done = runtime()?.block_on(restore(args, &config, &place, &mut deed));
    deed.end();
    done
}

async fn restore(
    args: &Args,
    config: &Config,
    place: &Place,
    deed: &mut Deed,
) -> Result<(), Failure> {
    let keys = config.backup.keys(args.identities.as_deref());
    let keys = keys.map_err(wrong)?;
    let file = super::backups::archive(&args.file, config);
    let _taken = place.claim()?;
    complain(format_args!(
        "to {:?}; nothing may use it until this is done",
        place.store
    ));
    let options = store::Options {
        mongodb: config.mongodb.clone(),
        ..store::Options::default()
    };
    let mut watching = Watching::begin("what is there stays as it is")?;
    let mut watch = |progress| watching.show(progress);
    let to = (place.address(), &options);
    let now = Timestamp::now();
    let restored = backup::restore(&file, &keys, to, args.replace, now, &mut watch).await;
    watching.end();
    let restored = restored.map_err(|error| failed(&error))?;
    deed.done(None);
    if let Some(aside) = &restored.aside {
        complain(format_args!("what was there is kept: {aside}"));
    }
    let (taken, tally) = (restored.header.created_at, restored.tally);
    print(&format!("restored as of {taken} and compared: {tally}\n"))
}
