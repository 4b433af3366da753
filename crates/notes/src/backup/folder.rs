//! A folder of archives: their names, the slip beside each, and which of them are kept.
//!
//! An archive gets its name when it is whole and on the disk. Beside it lies a slip, a line of JSON that
//! says what is in it, so that a list needs no key; nothing is restored by what a slip says. Files
//! with other names are left alone.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::BackupError;
use super::archive::{Header, Reader};
use super::seal::Keys;
use crate::store::rebuild::stamp;
use crate::transfer::Tally;

/// What the name of an archive ends with, and what follows if it is encrypted.
const ENDING: &str = ".mcpnotes";
const SEALED: &str = ".age";

/// Who has it locked makes a backup here.
const LOCK: &str = ".mcp-notes-backup.lock";

/// An archive that is not whole yet; only who has the lock may have one.
const PART: &str = ".mcp-notes-backup.part";

/// The most bytes of a slip.
const SLIP_BYTES_MAX: u64 = 4096;

/// How many backups may have the same second.
const SAME_SECOND_MAX: i64 = 60;

/// What is known of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slip {
    /// When the backup was begun.
    pub created_at: Timestamp,
    /// The size of the file.
    pub bytes: u64,
    /// How many notes it has.
    pub notes: u64,
    /// How many tokens it has.
    pub tokens: u64,
    /// The checksum of what it has, as [`Tally`] says.
    pub checksum: String,
    /// The kind of store that it was taken from.
    pub store: String,
    /// Whether all of it is as it was at one moment.
    pub one_moment: bool,
    /// When it was last found to be whole and restored for a trial.
    pub verified_at: Option<Timestamp>,
    /// When it was found to be damaged.
    pub broken_at: Option<Timestamp>,
}

impl Slip {
    pub(super) fn new(header: &Header, bytes: u64, tally: &Tally) -> Self {
        Self {
            created_at: header.created_at,
            bytes,
            notes: tally.notes,
            tokens: tally.tokens,
            checksum: tally.checksum(),
            store: header.store.clone(),
            one_moment: header.one_moment,
            verified_at: None,
            broken_at: None,
        }
    }

    /// Writes the slip of the archive at `path`.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let slip = slip_of(path);
        let mut new = slip.clone().into_os_string();
        new.push(".new");
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new)?;
        file.write_all(&line)?;
        file.sync_all()?;
        fs::rename(&new, &slip)
    }

    /// The slip of the archive at `path`, if it has one that can be read.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let mut line = Vec::new();
        let file = File::open(slip_of(path)).ok()?;
        file.take(SLIP_BYTES_MAX).read_to_end(&mut line).ok()?;
        serde_json::from_slice(&line).ok()
    }
}

fn slip_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// An archive in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// When the backup was begun, as its name has it.
    pub time: Timestamp,
    /// The size of the file.
    pub bytes: u64,
    /// Whether it is encrypted.
    pub is_encrypted: bool,
    /// What is known of it.
    pub slip: Option<Slip>,
}

impl Entry {
    /// Whether it is known to be of no use.
    pub fn is_broken(&self) -> bool {
        let slip = self.slip.as_ref();
        slip.is_some_and(|slip| slip.broken_at.is_some() || slip.bytes != self.bytes)
    }
}

/// The archives in `folder`, the newest first; none where there is no such folder.
pub fn list(folder: &Path) -> Result<Vec<Entry>, BackupError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|source| BackupError::file(folder, source))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| BackupError::file(folder, source))?;
        let name = entry.file_name();
        let Some((time, is_encrypted)) = name.to_str().and_then(parsed) else {
            continue;
        };
        // A link is not followed: what it leads to is not ours.
        let Ok(about) = entry.metadata() else {
            continue;
        };
        if about.is_file() {
            let path = entry.path();
            found.push(Entry {
                slip: Slip::read(&path).or_else(|| slip_of_header(&path)),
                path,
                time,
                bytes: about.len(),
                is_encrypted,
            });
        }
    }
    found.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| b.path.cmp(&a.path)));
    Ok(found)
}

/// What the beginning of an archive tells that has lost its slip.
fn slip_of_header(path: &Path) -> Option<Slip> {
    let file = File::open(path).ok()?;
    let bytes = file.metadata().ok()?.len();
    let reader = Reader::unlock(file, &Keys::default()).ok()?;
    let header = reader.header();
    let tally = Tally::default();
    Some(Slip {
        notes: header.notes,
        tokens: header.tokens,
        checksum: String::new(),
        ..Slip::new(header, bytes, &tally)
    })
}

/// The name of an archive.
fn name(time: Timestamp, is_encrypted: bool) -> String {
    let sealed = if is_encrypted { SEALED } else { "" };
    format!("notes-{}{ENDING}{sealed}", stamp(time))
}

/// What a name says, if it is that of an archive.
fn parsed(text: &str) -> Option<(Timestamp, bool)> {
    let (plain, is_encrypted) = match text.strip_suffix(SEALED) {
        Some(plain) => (plain, true),
        None => (text, false),
    };
    let digits = plain.strip_prefix("notes-")?.strip_suffix(ENDING)?;
    let time = DateTime::strptime("%Y%m%dT%H%M%SZ", digits).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?.timestamp();
    (name(time, is_encrypted) == text).then_some((time, is_encrypted))
}

/// A folder in which a backup is made: nobody else makes one there as long as this lives.
pub(super) struct Desk {
    folder: PathBuf,
    _lock: File,
}

impl Desk {
    /// Makes the folder if there is none, takes it, and removes what a backup left that was cut off.
    pub(super) fn take(folder: &Path) -> Result<Self, BackupError> {
        let failed = |source| BackupError::file(folder, source);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(folder.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy(folder.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        match fs::remove_file(folder.join(PART)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// A new file for an archive, readable by its owner only, and gone unless it is kept.
    pub(super) fn begin(self) -> Result<Draft, BackupError> {
        let path = self.folder.join(PART);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path);
        let file = file.map_err(|source| BackupError::file(&path, source))?;
        Ok(Draft {
            desk: self,
            path,
            file,
            is_kept: false,
        })
    }
}

/// An archive that is not whole yet.
pub(super) struct Draft {
    desk: Desk,
    pub(super) path: PathBuf,
    pub(super) file: File,
    is_kept: bool,
}

impl Draft {
    /// Gives a whole archive its name, once it is on the disk. What is then in its folder and too much
    /// is removed: where it is, and what was removed.
    pub(super) fn keep(
        mut self,
        slip: &Slip,
        is_encrypted: bool,
        keep: Option<NonZeroUsize>,
    ) -> Result<(PathBuf, Vec<PathBuf>), BackupError> {
        let folder = &self.desk.folder;
        let failed = |source| BackupError::file(folder, source);
        self.file.sync_all().map_err(failed)?;
        let taken = || failed(ErrorKind::AlreadyExists.into());
        let path = (0..SAME_SECOND_MAX)
            .filter_map(|later| {
                slip.created_at
                    .checked_add(SignedDuration::from_secs(later))
                    .ok()
            })
            .map(|time| folder.join(name(time, is_encrypted)))
            .find(|path| !path.exists())
            .ok_or_else(taken)?;
        fs::rename(&self.path, &path).map_err(failed)?;
        self.is_kept = true;
        slip.write(&path).map_err(failed)?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        let removed = keep.map_or(Ok(Vec::new()), |keep| prune(folder, &path, keep))?;
        Ok((path, removed))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // If it stays, the next backup removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the oldest archives, so that `keep` stay that are not known to be broken. `newest`, which
/// was made just now, is one of them whatever the other names say.
fn prune(folder: &Path, newest: &Path, keep: NonZeroUsize) -> Result<Vec<PathBuf>, BackupError> {
    let mut left = keep.get() - 1;
    let mut removed = Vec::new();
    for entry in list(folder)?.into_iter().filter(|it| it.path != newest) {
        if left == 0 {
            let failed = |source| BackupError::file(&entry.path, source);
            fs::remove_file(&entry.path).map_err(failed)?;
            // It may never have had one.
            let _ = fs::remove_file(slip_of(&entry.path));
            removed.push(entry.path);
        } else if !entry.is_broken() {
            left -= 1;
        }
    }
    Ok(removed)
}

/// Opens the archive at `path`.
pub(super) fn open(
    path: &Path,
    keys: &Keys,
) -> Result<Reader<Box<dyn io::BufRead + Send>>, BackupError> {
    let opened = File::open(path).and_then(|file| {
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("it is not a file"))
        }
    });
    let file = opened.map_err(|source| BackupError::file(path, source))?;
    let broken = |source| BackupError::archive(path, source);
    Reader::unlock(file, keys).map_err(broken)
}
