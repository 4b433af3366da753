//! One server for one file: a lock beside the database for as long as its server lives.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::schema::create_folder;
use crate::error::StoreError;

/// The most bytes that are read of what another server says of itself.
const WHO_BYTES_MAX: u64 = 200;

/// Keeps other servers away from a store until it is dropped or the process ends.
///
/// The lock is on a file of its own beside the database, `notes.db.lock`, because SQLite loses its
/// own locks on the database when anybody in the process closes it. The system frees it however the
/// process ends; the file stays, since another process may have it open.
#[derive(Debug, Default)]
pub struct Claim(Option<Held>);

#[derive(Debug)]
struct Held {
    database: PathBuf,
    /// What is in it stays when it is freed, and is read by nobody until it is held again.
    _lock: File,
}

impl Claim {
    /// Takes the database at `path`, which need not be there yet, by whatever name.
    pub(crate) fn take(path: &Path, who: &str) -> Result<Self, StoreError> {
        create_folder(path)?;
        let database = one_name(path)?;
        let mut name = database.clone().into_os_string();
        name.push(".lock");
        let name = PathBuf::from(name);
        let failed = |error: std::io::Error| {
            let (name, kind) = (name.display(), error.kind());
            StoreError::Unavailable(format!("its lock {name} cannot be taken ({kind})"))
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600);
        let mut lock = options.open(&name).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let by = holder(&mut lock);
                let file = database;
                return Err(StoreError::Served { file, by });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        lock.set_len(0).map_err(failed)?;
        lock.write_all(who.as_bytes()).map_err(failed)?;
        Ok(Self(Some(Held {
            database,
            _lock: lock,
        })))
    }

    /// Whether it is the file at `address` that is held.
    pub fn holds(&self, address: &str) -> bool {
        let held = self.0.as_ref().map(|held| &held.database);
        let asked = crate::store::file(address).and_then(|path| one_name(path).ok());
        held.is_some() && held == asked.as_ref()
    }
}

/// The path without symbolic links: the same for every name of one file.
fn one_name(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |error: std::io::Error| {
        StoreError::Unavailable(format!("its file cannot be found ({})", error.kind()))
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    match (path.canonicalize(), path.file_name()) {
        (Ok(path), _) => Ok(path),
        (Err(_), Some(name)) => Ok(folder.canonicalize().map_err(failed)?.join(name)),
        (Err(error), None) => Err(failed(error)),
    }
}

/// What the server that has the lock wrote into it.
fn holder(lock: &mut File) -> String {
    let mut who = String::new();
    let read = lock.take(WHO_BYTES_MAX).read_to_string(&mut who);
    let line = who.lines().next().unwrap_or_default().trim();
    match read {
        Ok(_) if !line.is_empty() && !line.contains(char::is_control) => line.to_owned(),
        _ => "another process".to_owned(),
    }
}
