//! `mcp-notes backups`: which archives there are, and whether one is of use.

use std::path::{Path, PathBuf};

use notes::{
    Timestamp,
    backup::{self, Entry, Slip},
};
use serde_json::{Value, json};

use super::{
    Failure,
    backup::{failed, wrong},
    print, runtime,
    watch::Watching,
};
use crate::config::Config;

/// Which archives.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// The folder; without, `BACKUP_DIR`.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Reads an archive to its last byte, restores it for a trial and compares it. The list
    /// remembers what was found.
    Verify {
        /// The archive: a path, or the name of a file in `BACKUP_DIR`.
        file: PathBuf,
        /// A file with secret keys of age; without, `BACKUP_IDENTITIES`.
        #[arg(long, value_name = "FILE")]
        identities: Option<PathBuf>,
    },
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = Config::from_env()?.config;
    match args.action {
        Some(Action::Verify { file, identities }) => {
            runtime()?.block_on(verify(&file, identities.as_deref(), &config))
        }
        None => {
            let folder = args.dir.as_ref().unwrap_or(&config.backup.folder);
            let found = backup::list(folder).map_err(|error| failed(&error))?;
            if args.json {
                let found: Vec<_> = found.iter().map(json).collect();
                return print(&format!("{:#}\n", json!({ "backups": found })));
            }
            print(&table(&found))
        }
    }
}

/// The path of an archive that is named by a path or by its name alone.
pub(super) fn archive(file: &Path, config: &Config) -> PathBuf {
    let is_name = file.components().count() == 1 && !file.exists();
    if is_name {
        return config.backup.folder.join(file);
    }
    file.to_owned()
}

async fn verify(file: &Path, identities: Option<&Path>, config: &Config) -> Result<(), Failure> {
    let keys = config.backup.keys(identities).map_err(wrong)?;
    let path = archive(file, config);
    let mut watching = Watching::begin("nothing is changed by it")?;
    let mut watch = |progress| watching.show(progress);
    let tried = backup::verify(&path, &keys, Timestamp::now(), &mut watch).await;
    watching.end();
    let slip = tried.map_err(|error| failed(&error))?;
    print(&format!(
        "{}: whole, restored for a trial and the same: notes {}, tokens {}, checksum {}\n",
        path.display(),
        slip.notes,
        slip.tokens,
        slip.checksum
    ))
}

/// What is known of an archive, in one word.
fn state(entry: &Entry) -> &'static str {
    match &entry.slip {
        _ if entry.is_broken() => "broken",
        Some(Slip {
            verified_at: Some(_),
            ..
        }) => "verified",
        _ => "not verified",
    }
}

fn name(entry: &Entry) -> String {
    let name = entry.path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn table(found: &[Entry]) -> String {
    let mut rows =
        vec![["NAME", "SIZE", "NOTES", "TOKENS", "ENCRYPTED", "STATE"].map(String::from)];
    for entry in found {
        let count = |count: fn(&Slip) -> u64| {
            let slip = entry.slip.as_ref();
            slip.map_or_else(|| "?".into(), |slip| count(slip).to_string())
        };
        rows.push([
            name(entry),
            size(entry.bytes),
            count(|slip| slip.notes),
            count(|slip| slip.tokens),
            if entry.is_encrypted { "yes" } else { "no" }.into(),
            state(entry).into(),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max();
    let widths: Vec<_> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A size for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut shown = format!("{bytes} B");
    let mut unit_bytes = 1_u64;
    for unit in UNITS {
        unit_bytes *= 1000;
        if bytes < unit_bytes {
            break;
        }
        let tenths = bytes / (unit_bytes / 10);
        shown = format!("{}.{} {unit}", tenths / 10, tenths % 10);
    }
    shown
}

fn json(entry: &Entry) -> Value {
    let slip = entry.slip.as_ref();
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    json!({
        "name": name(entry),
        "path": entry.path,
        "created_at": slip.map_or(entry.time, |slip| slip.created_at).to_string(),
        "bytes": entry.bytes,
        "encrypted": entry.is_encrypted,
        "notes": slip.map(|slip| slip.notes),
        "tokens": slip.map(|slip| slip.tokens),
        "checksum": slip.map(|slip| &slip.checksum),
        "store": slip.map(|slip| &slip.store),
        "one_moment": slip.map(|slip| slip.one_moment),
        "verified_at": time(slip.and_then(|slip| slip.verified_at)),
        "broken_at": time(slip.and_then(|slip| slip.broken_at)),
        "state": state(entry),
    })
}
