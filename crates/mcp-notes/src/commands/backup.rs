//! `mcp-notes backup`: everything into one archive, while the server goes on.

use std::path::PathBuf;

use notes::{
    Timestamp,
    backup::{self, BackupError, Made, Options},
};

use super::{Failure, complain, deed::Deed, place::Place, print, runtime, watch::Watching};
use crate::{
    app::{causes, open_store},
    config::{Config, ConfigError, Mistake},
};

/// What a backup shall be.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder for the archive; without, `BACKUP_DIR`.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Restores the archive for a trial and compares it before it gets its name.
    #[arg(long)]
    verify: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::from_env()?.config;
    let mut deed = Deed::begin(&config, "backup")?;
    let done = runtime()?.block_on(make(args, &config, &mut deed));
    deed.end();
    done
}

async fn make(args: &Args, config: &Config, deed: &mut Deed) -> Result<(), Failure> {
    let place = Place::of_settings(&config.notes_store);
    if !notes::exists(place.address()) {
        return Err(place.failed("there is no such file"));
    }
    let options = Options {
        seal: config.backup.seal().map_err(wrong)?,
        verify: args.verify,
        keep: config.backup.keep,
    };
    let folder = args.to.as_ref().unwrap_or(&config.backup.folder);
    let store = open_store(config).await.map_err(Failure::failed)?;
    let mut watching =
        Watching::begin("nothing was left behind that the next one does not remove")?;
    let mut watch = |progress| watching.show(progress);
    let made = backup::make(
        store.as_ref(),
        folder,
        &options,
        Timestamp::now(),
        &mut watch,
    )
    .await;
    watching.end();
    if made.is_ok() {
        deed.done(None);
    }
    let closed = place.close(store.as_ref()).await;
    let made = made.map_err(|error| failed(&error))?;
    closed?;
    tell(&made)
}

fn tell(made: &Made) -> Result<(), Failure> {
    for path in &made.removed {
        complain(format_args!("removed {}", path.display()));
    }
    if !made.slip.one_moment {
        complain(
            "this server cannot be read as of one moment: notes that changed meanwhile are in the \
             backup as they were before or after; a replica set can",
        );
    }
    let (path, slip) = (made.path.display(), &made.slip);
    let verified = match slip.verified_at {
        Some(_) => ", restored for a trial and the same",
        None => "",
    };
    print(&format!(
        "{path}: notes {}, tokens {}, checksum {}{verified}\n",
        slip.notes, slip.tokens, slip.checksum
    ))
}

/// A file that a setting names is wrong.
pub(super) fn wrong(mistake: Mistake) -> Failure {
    let mistakes = vec![mistake];
    Failure::Config(ConfigError { mistakes })
}

/// What went wrong, for the person at the terminal.
pub(super) fn failed(error: &BackupError) -> Failure {
    let what_to_do = match error {
        BackupError::Taken(_) | BackupError::Unreadable(_) => {
            "; with --replace it is put aside and the archive takes its place"
        }
        _ => "",
    };
    Failure::Failed(causes(error) + what_to_do)
}
