//! Everything in the database at one moment, from a copy that SQLite makes in one step.
//!
//! Neither the file nor its log is ever copied as it is, and no copy is made in small steps: the one is
//! no database, and the other begins anew at every commit of somebody else.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};

use super::schema::{connect, create_folder, file_error, store_error};
use super::transfer::{counts, export_notes, export_tokens};
use super::{Options, SqliteStore};
use crate::error::StoreError;
use crate::transfer::{BATCH_ITEMS_MAX, Counts, Part, Snapshot};

/// The copy in a folder that is not the database's.
const NAME: &str = ".mcp-notes-snapshot";

/// How often somebody else may take the name of the copy away.
const TRIES: u32 = 10;

/// A copy that has no name any more, so that nothing stays of it however this ends.
struct Copied {
    counts: Counts,
    reading: Option<Reading>,
}

struct Reading {
    conn: Connection,
    next: Next,
}

enum Next {
    Notes(i64),
    Tokens(i64),
    Nothing,
}

/// Takes a snapshot of `store`, as [`crate::transfer::Transfer::snapshot`] says.
pub(super) async fn take(
    store: &SqliteStore,
    folder: &Path,
    stays_home: bool,
) -> Result<Box<dyn Snapshot>, StoreError> {
    let home = store.path.clone();
    let place = match home.as_deref().filter(|_| stays_home) {
        Some(path) => beside(path),
        None => folder.join(NAME),
    };
    let options = store.options;
    let conn = match home {
        Some(path) => {
            // A store that is closed has nobody to ask.
            store.read(|_| ()).await?;
            blocking(move || copy(&connect(&path, &options)?, &place)).await?
        }
        None => store.between_writes(move |conn| copy(conn, &place)).await?,
    }?;
    let counts = counts(&conn).map_err(store_error)?;
    let next = Next::Notes(i64::MIN);
    let reading = Some(Reading { conn, next });
    Ok(Box::new(Copied { counts, reading }))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".snapshot");
    name.into()
}

/// Runs what waits for a disk where that holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Other(Box::new(error)))
}

/// Copies the database to `place`, opens the copy and takes its name away.
fn copy(conn: &Connection, place: &Path) -> Result<Connection, StoreError> {
    // Who has the lock may write there; what an interrupted copy left is written over.
    let lock = claim(place)?;
    let copied = vacuum(conn, place);
    let removed = fs::remove_file(place);
    drop(lock);
    let copied = copied?;
    removed.map_err(file_error)?;
    Ok(copied)
}

/// Takes the name of the copy: an empty file that nobody else may read.
fn claim(place: &Path) -> Result<File, StoreError> {
    create_folder(place)?;
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(place).map_err(file_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy),
            Err(TryLockError::Error(error)) => return Err(file_error(error)),
        }
        let held = file.metadata().map_err(file_error)?;
        // Another backup may have ended and taken the name away meanwhile.
        if fs::metadata(place).is_ok_and(|named| named.ino() == held.ino()) {
            file.set_len(0).map_err(file_error)?;
            return Ok(file);
        }
    }
    Err(StoreError::Busy)
}

fn vacuum(conn: &Connection, place: &Path) -> Result<Connection, StoreError> {
    let name = place.to_str().ok_or_else(|| {
        StoreError::Unavailable("SQLite copies to a path of UTF-8 text only".to_owned())
    })?;
    conn.execute("VACUUM INTO ?1", [name])
        .map_err(store_error)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copied = Connection::open_with_flags(place, flags).map_err(store_error)?;
    // It is opened in fact, and locked for good, with the first page that is read.
    copied
        .pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))
        .map_err(store_error)?;
    counts(&copied).map_err(store_error)?;
    Ok(copied)
}

impl Reading {
    fn part(&mut self) -> Result<Option<Part>, StoreError> {
        let after = |mark: Option<crate::transfer::Mark>| super::transfer::seq(mark.as_ref());
        loop {
            match self.next {
                Next::Notes(from) => {
                    let batch = export_notes(&self.conn, from, BATCH_ITEMS_MAX);
                    let batch = batch.map_err(store_error)?;
                    self.next = match batch.next {
                        None => Next::Tokens(i64::MIN),
                        mark => Next::Notes(after(mark)?),
                    };
                    if !batch.items.is_empty() {
                        return Ok(Some(Part::Notes(batch.items)));
                    }
                }
                Next::Tokens(from) => {
                    let batch = export_tokens(&self.conn, from, BATCH_ITEMS_MAX);
                    let batch = batch.map_err(store_error)?;
                    self.next = match batch.next {
                        None => Next::Nothing,
                        mark => Next::Tokens(after(mark)?),
                    };
                    if !batch.items.is_empty() {
                        return Ok(Some(Part::Tokens(batch.items)));
                    }
                }
                Next::Nothing => return Ok(None),
            }
        }
    }
}

#[async_trait]
impl Snapshot for Copied {
    fn store(&self) -> &'static str {
        "sqlite"
    }

    fn is_one_moment(&self) -> bool {
        true
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    async fn part(&mut self) -> Result<Option<Part>, StoreError> {
        let Some(mut reading) = self.reading.take() else {
            return Ok(None);
        };
        let (reading, part) = blocking(move || {
            let part = reading.part();
            (reading, part)
        })
        .await?;
        self.reading = Some(reading);
        part
    }
}

impl SqliteStore {
    /// A database that has no name and is gone when the store is, to try a backup on. It is in
    /// `folder`, or where SQLite has its temporary files.
    pub(crate) async fn nameless(
        folder: Option<&Path>,
        options: Options,
    ) -> Result<Self, StoreError> {
        let place = folder.map(|folder| folder.join(".mcp-notes-scratch"));
        Self::alone(options, move || {
            let Some(place) = place else {
                return Connection::open("").map_err(store_error);
            };
            let lock = claim(&place)?;
            let opened = Connection::open(&place).map_err(store_error);
            let touched = opened.and_then(|conn| {
                // Without a log beside it the name is not needed once it is open.
                for (name, value) in [("locking_mode", "exclusive"), ("journal_mode", "memory")] {
                    conn.pragma_update_and_check(None, name, value, |_| Ok(()))
                        .map_err(store_error)?;
                }
                conn.pragma_update(None, "user_version", 0)
                    .map_err(store_error)?;
                Ok(conn)
            });
            fs::remove_file(&place).map_err(file_error)?;
            drop(lock);
            touched
        })
        .await
    }
}
