//! A new database file beside the one that is there, and then under its name.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::schema::{create_folder, file_error};
use super::snapshot::blocking;
use super::{Options, SqliteStore};
use crate::error::StoreError;
use crate::store::Store;
use crate::store::rebuild::{Held, Rebuild, free_stamp};
use crate::transfer::Transfer as _;

/// What SQLite keeps beside a database while it is used.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// A database on its way into the place of another.
pub(in crate::store) struct SqliteRebuild {
    path: PathBuf,
    new: PathBuf,
    options: Options,
    held: Held,
    store: Option<Arc<SqliteStore>>,
}

impl SqliteRebuild {
    /// Looks at the database at `path`, and closes it again.
    pub(in crate::store) async fn look(path: &Path, options: Options) -> Result<Self, StoreError> {
        // A link to the file stays a link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        forget_interrupted(&path)?;
        let held = held(&path, options).await?;
        Ok(Self {
            new: with(&path, ".restoring"),
            path,
            options,
            held,
            store: None,
        })
    }

    fn remove_new(&self) {
        let names = COMPANIONS.map(|companion| with(&self.new, companion));
        for name in names.iter().chain([&self.new]) {
            // What is not there need not be removed.
            let _ = fs::remove_file(name);
        }
    }
}

#[async_trait]
impl Rebuild for SqliteRebuild {
    fn held(&self) -> &Held {
        &self.held
    }

    async fn begin(&mut self) -> Result<Arc<dyn Store>, StoreError> {
        self.remove_new();
        let store = Arc::new(SqliteStore::open(&self.new, self.options).await?);
        self.store = Some(store.clone());
        Ok(store)
    }

    async fn swap(&mut self, now: Timestamp) -> Result<Option<String>, StoreError> {
        if let Some(store) = self.store.take() {
            store.close().await?;
        }
        let (path, new) = (self.path.clone(), self.new.clone());
        let aside = match &self.held {
            Held::Nothing => None,
            Held::Something(_) | Held::Unreadable(_) => {
                let before = |stamp: &str| with(&path, &format!(".before-{stamp}"));
                let stamp = free_stamp(now, |stamp| !before(stamp).exists())?;
                Some(before(&stamp))
            }
        };
        let is_readable = !matches!(self.held, Held::Unreadable(_));
        let named = aside.clone();
        let swapped = blocking(move || swap(&path, &new, named.as_deref(), is_readable)).await?;
        if swapped.is_err() {
            self.remove_new();
        }
        swapped?;
        Ok(aside.map(|aside| aside.display().to_string()))
    }

    async fn discard(&mut self) {
        if let Some(store) = self.store.take() {
            // It is removed in either case.
            let _ = store.close().await;
        }
        self.remove_new();
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

async fn held(path: &Path, options: Options) -> Result<Held, StoreError> {
    if !path.exists() {
        return Ok(Held::Nothing);
    }
    let counted = async {
        let store = SqliteStore::open(path, options).await?;
        let counts = store.counts().await;
        store.close().await?;
        counts
    };
    match counted.await {
        Ok(counts) if counts.total() == 0 => Ok(Held::Nothing),
        Ok(counts) => Ok(Held::Something(counts)),
        Err(why @ (StoreError::Corrupt | StoreError::NotOurs | StoreError::NewerSchema { .. }))
            if path.is_file() =>
        {
            Ok(Held::Unreadable(why.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Gives the new file the name of the old one, which gets the name `aside`.
fn swap(
    path: &Path,
    new: &Path,
    aside: Option<&Path>,
    is_readable: bool,
) -> Result<(), StoreError> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    create_folder(path)?;
    take_after(path, folder, new);
    File::open(new)
        .and_then(|file| file.sync_all())
        .map_err(file_error)?;
    if is_readable {
        check_unused(path)?;
    }
    if let Some(aside) = aside {
        for companion in COMPANIONS.iter().filter(|_| !is_readable) {
            match fs::rename(with(path, companion), with(aside, companion)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(file_error(error)),
                _ => {}
            }
        }
        // By a second name the old file is there until the new one is, whatever happens between.
        match fs::hard_link(path, aside) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(file_error(error));
            }
            // Not every file system has such names.
            Err(_) => fs::rename(path, aside).map_err(file_error)?,
            Ok(()) => {}
        }
    }
    if let Err(error) = fs::rename(new, path) {
        // The old file has its name, and maybe a second one.
        match aside {
            Some(aside) if path.exists() => fs::remove_file(aside).map_err(file_error)?,
            Some(aside) => fs::rename(aside, path).map_err(file_error)?,
            None => {}
        }
        return Err(file_error(error));
    }
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(file_error)
}

/// The new file belongs to whom the old one did, or to whom the folder does: a server that does not
/// run as the one who restores must be able to open it.
fn take_after(path: &Path, folder: &Path, new: &Path) {
    if let Ok(old) = fs::metadata(path) {
        let _ = fs::set_permissions(new, old.permissions());
    }
    if let Ok(like) = fs::metadata(path).or_else(|_| fs::metadata(folder)) {
        // Only the superuser can give a file away, and nobody else has to.
        let _ = chown(new, Some(like.uid()), Some(like.gid()));
    }
}

/// A log beside the old file belongs to somebody who has it open, and would destroy the new one.
fn check_unused(path: &Path) -> Result<(), StoreError> {
    if COMPANIONS.iter().any(|it| with(path, it).exists()) {
        return Err(StoreError::Unavailable(
            "another process has its file open; stop every `mcp-notes` that uses it".to_owned(),
        ));
    }
    Ok(())
}

/// A swap that was cut off in its middle has left the old file with two names.
fn forget_interrupted(path: &Path) -> Result<(), StoreError> {
    let Ok(old) = fs::metadata(path) else {
        return Ok(());
    };
    let prefix = with(path, ".before-");
    let (Some(folder), true) = (path.parent(), old.is_file() && old.nlink() > 1) else {
        return Ok(());
    };
    let entries = fs::read_dir(folder).map_err(file_error)?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.path();
        let is_own = name.as_os_str().as_encoded_bytes();
        let is_own = is_own.starts_with(prefix.as_os_str().as_encoded_bytes());
        if is_own && fs::metadata(&name).is_ok_and(|it| it.ino() == old.ino()) {
            fs::remove_file(&name).map_err(file_error)?;
        }
    }
    Ok(())
}
