//! Backups: everything in one archive, whatever store it is in, and back into any store.
//!
//! [`make`] takes a snapshot while writes go on, writes it into a folder, restores it for a trial if
//! that is wanted, and only then gives it its name. [`restore`] reads the whole archive before it
//! begins, builds a new store beside the one that is there, compares it, and only then puts it in its
//! place: what is broken or cut off changes nothing.

mod archive;
mod folder;
mod record;
mod seal;

use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::mpsc;

use self::archive::Writer;
pub use self::archive::{Broken, Header, Reader};
use self::folder::{Desk, Draft, open};
pub use self::folder::{Entry, Slip, list};
use self::seal::Sealed;
pub use self::seal::{Keys, Passphrase, Seal};
use crate::error::StoreError;
use crate::store::rebuild::{Held, Rebuild, rebuild};
use crate::store::sqlite::SqliteStore;
use crate::store::{self, Store};
use crate::transfer::{
    Counts, Part, Phase, Progress, Side, Snapshot, Stopped, Tally, TransferError, Watch, tally,
};

/// How many parts wait between the store and the file.
const QUEUE_PARTS: usize = 2;

/// How a backup is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How it is encrypted, if it is.
    pub seal: Option<Seal>,
    /// Whether it is restored for a trial before it gets its name.
    pub verify: bool,
    /// How many archives stay in the folder; all without.
    pub keep: Option<NonZeroUsize>,
}

/// Who is told how far it is, and says whether to go on.
pub type Watcher<'a> = &'a mut (dyn FnMut(Progress) -> bool + Send);

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// Where the archive is.
    pub path: PathBuf,
    /// What is in it.
    pub slip: Slip,
    /// Older archives that were removed.
    pub removed: Vec<PathBuf>,
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the archive says of itself.
    pub header: Header,
    /// What there is now.
    pub tally: Tally,
    /// Under which name what was there is kept, if it was something.
    pub aside: Option<String>,
}

/// Why a backup was not made, is of no use, or was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A store could not do its work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file or folder could not be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An archive cannot be used.
    #[error("{}", path.display())]
    Archive {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Broken,
    },
    /// Another backup is being made in the same folder.
    #[error("another backup is being made in {}", .0.display())]
    Busy(PathBuf),
    /// There is something where the archive shall be restored.
    #[error("there are {} notes and {} tokens already, and nothing was changed", .0.notes, .0.tokens)]
    Taken(Counts),
    /// There is something that cannot be read where the archive shall be restored.
    #[error("what is there cannot be read ({0}), and nothing was changed")]
    Unreadable(String),
    /// A store does not have what the archive has.
    #[error("what was restored is not what the archive has: {found} instead of {expected}")]
    Differs {
        /// What the archive has.
        expected: Tally,
        /// What was restored.
        found: Tally,
    },
    /// It was asked to stop.
    #[error("stopped, and nothing was changed")]
    Stopped,
}

impl BackupError {
    fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::File { path, source }
    }

    fn archive(path: &Path, source: Broken) -> Self {
        let path = path.to_owned();
        Self::Archive { path, source }
    }

    /// Whether the archive itself is of no use, whoever reads it.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Archive { source, .. } => {
                matches!(source, Broken::NotOurs | Broken::Damaged(_))
            }
            Self::Differs { .. } => true,
            _ => false,
        }
    }
}

impl From<Stopped> for BackupError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Makes a backup of everything in `store` as it is `now`, in `folder`, which is made if there is none.
pub async fn make(
    store: &dyn Store,
    folder: &Path,
    options: &Options,
    now: Timestamp,
    watch: Watcher<'_>,
) -> Result<Made, BackupError> {
    let place = folder.to_owned();
    let draft = blocking(move || Desk::take(&place)?.begin()).await??;
    let is_sealed = options.seal.is_some();
    let snapshot = store.snapshot(folder, is_sealed).await;
    let snapshot = snapshot.map_err(|error| match error {
        // It is not the store's own disk that is full.
        StoreError::Full => BackupError::file(folder, ErrorKind::StorageFull.into()),
        error => error.into(),
    })?;
    let (kind, moment, held) = (
        snapshot.store(),
        snapshot.is_one_moment(),
        snapshot.counts(),
    );
    let header = Header::new(now, kind, moment, held);
    let (draft, keys, written) = write(draft, snapshot, &header, options, watch).await?;
    let path = draft.path.clone();
    let mut slip = Slip::new(&header, size(&path)?, &written);
    if options.verify {
        let found = try_out(&path, &keys, scratch(folder, is_sealed), watch).await?;
        if found != written {
            let expected = written;
            return Err(BackupError::Differs { expected, found });
        }
        slip.verified_at = Some(now);
    }
    let (keep, kept) = (options.keep, slip.clone());
    let kept = blocking(move || draft.keep(&kept, is_sealed, keep)).await??;
    let (path, removed) = kept;
    Ok(Made {
        path,
        slip,
        removed,
    })
}

/// Reads an archive from its first byte to its last and restores it for a trial; what it has. The
/// slip of the archive remembers what was found.
pub async fn verify(
    path: &Path,
    keys: &Keys,
    now: Timestamp,
    watch: Watcher<'_>,
) -> Result<Slip, BackupError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let bytes = size(path)?;
    let (opened, known) = (path.to_owned(), keys.clone());
    let header = blocking(move || open(&opened, &known).map(|it| it.header().clone())).await?;
    let is_sealed = path.extension().is_some_and(|ending| ending == "age");
    let tried = match header {
        Err(error) => Err(error),
        Ok(header) => {
            let found = try_out(path, keys, scratch(folder, is_sealed), watch).await;
            found.map(|found| Slip {
                verified_at: Some(now),
                ..Slip::new(&header, bytes, &found)
            })
        }
    };
    let remembered = match &tried {
        Ok(slip) => Some(slip.clone()),
        Err(error) if error.is_damage() => Slip::read(path).map(|slip| Slip {
            broken_at: Some(now),
            ..slip
        }),
        Err(_) => None,
    };
    if let Some(slip) = remembered
        && let Err(error) = slip.write(path)
    {
        tracing::warn!(error = %error, "what was found of the archive cannot be written beside it");
    }
    tried
}

/// Restores the archive at `path` into the store at `address`, which the caller has claimed and which
/// is empty unless it may be replaced. What it had is kept aside.
pub async fn restore(
    path: &Path,
    keys: &Keys,
    (address, options): (&str, &store::Options),
    may_replace: bool,
    now: Timestamp,
    watch: Watcher<'_>,
) -> Result<Restored, BackupError> {
    let (header, expected) = read(path, keys, None, Phase::Check, watch).await?;
    let mut place = rebuild(address, options).await?;
    match place.held() {
        Held::Something(counts) if !may_replace => return Err(BackupError::Taken(*counts)),
        Held::Unreadable(why) if !may_replace => {
            return Err(BackupError::Unreadable(why.clone()));
        }
        _ => {}
    }
    if let Err(error) = fill(place.as_mut(), path, keys, expected, watch).await {
        place.discard().await;
        return Err(error);
    }
    // A swap that fails in its middle needs what was built.
    let aside = place.swap(now).await?;
    Ok(Restored {
        header,
        tally: expected,
        aside,
    })
}

/// Builds the new store and compares it with the archive.
async fn fill(
    place: &mut dyn Rebuild,
    path: &Path,
    keys: &Keys,
    expected: Tally,
    watch: Watcher<'_>,
) -> Result<(), BackupError> {
    let store = place.begin().await?;
    read(path, keys, Some(store.as_ref()), Phase::Copy, watch).await?;
    let found = counted(store.as_ref(), expected, watch).await?;
    if found == expected {
        return Ok(());
    }
    Err(BackupError::Differs { expected, found })
}

/// Everything that a store has, read once more.
async fn counted(
    store: &dyn Store,
    expected: Tally,
    watch: Watcher<'_>,
) -> Result<Tally, BackupError> {
    let mut watch = Watch::new(Phase::Compare, expected.notes + expected.tokens, watch);
    let found = tally(store, Side::Target, &mut watch).await;
    found.map_err(|error| match error {
        TransferError::Store { source, .. } => source.into(),
        // Nothing else can happen where only one side is read.
        _ => BackupError::Stopped,
    })
}

/// Restores an archive into a store that is gone afterwards; what that has.
async fn try_out(
    path: &Path,
    keys: &Keys,
    scratch: Option<PathBuf>,
    watch: Watcher<'_>,
) -> Result<Tally, BackupError> {
    let options = store::sqlite::Options::default();
    let store = match SqliteStore::nameless(scratch.as_deref(), options).await {
        // An archive may lie where nobody can write.
        Err(_) if scratch.is_some() => SqliteStore::nameless(None, options).await?,
        opened => opened?,
    };
    let tried = async {
        let (_, expected) = read(path, keys, Some(&store), Phase::Check, watch).await?;
        let found = counted(&store, expected, watch).await?;
        if found == expected {
            return Ok(found);
        }
        Err(BackupError::Differs { expected, found })
    };
    let tried = tried.await;
    store.close().await?;
    tried
}

/// Where a trial has its files: beside the archive, unless nothing may lie there that is not encrypted.
fn scratch(folder: &Path, is_sealed: bool) -> Option<PathBuf> {
    (!is_sealed).then(|| folder.to_owned())
}

fn size(path: &Path) -> Result<u64, BackupError> {
    let about = std::fs::metadata(path);
    Ok(about
        .map_err(|source| BackupError::file(path, source))?
        .len())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Other(Box::new(error)).into())
}

/// What goes to the thread that writes.
enum Page {
    Part(Part),
    /// There is no more; without it, nothing was whole.
    End,
}

/// Writes everything of a snapshot; what opens it again, and what it has.
async fn write(
    draft: Draft,
    mut snapshot: Box<dyn Snapshot>,
    header: &Header,
    options: &Options,
    watch: Watcher<'_>,
) -> Result<(Draft, Keys, Tally), BackupError> {
    let (pages, mut queue) = mpsc::channel(QUEUE_PARTS);
    let (seal, first) = (options.seal.clone(), header.clone());
    let writing = blocking(move || {
        let path = draft.path.clone();
        let written = write_pages(&draft, seal.as_ref(), &first, &mut queue);
        match written {
            Ok((keys, Some(tally))) => Ok((draft, keys, tally)),
            Ok((_, None)) => Err(BackupError::Stopped),
            Err(source) => Err(BackupError::file(&path, source)),
        }
    });
    let writing = tokio::spawn(writing);
    let total = header.notes + header.tokens;
    let mut watch = Watch::new(Phase::Copy, total, watch);
    let feeding = async {
        watch.done(0)?;
        while let Some(part) = snapshot.part().await? {
            let items = part.items();
            if pages.send(Page::Part(part)).await.is_err() {
                break;
            }
            watch.done(items)?;
        }
        // Where nobody takes it, the one who wrote knows why.
        let _ = pages.send(Page::End).await;
        Ok::<_, BackupError>(())
    };
    let fed = feeding.await;
    drop((pages, snapshot));
    let written = writing
        .await
        .map_err(|error| StoreError::Other(Box::new(error)))?;
    fed?;
    written?
}

/// Writes until the end is told; nothing came out if it never is.
fn write_pages(
    draft: &Draft,
    seal: Option<&Seal>,
    header: &Header,
    queue: &mut mpsc::Receiver<Page>,
) -> io::Result<(Keys, Option<Tally>)> {
    let (sealed, keys) = Sealed::begin(BufWriter::new(&draft.file), seal)?;
    let mut archive = Writer::begin(sealed, header)?;
    while let Some(page) = queue.blocking_recv() {
        match page {
            Page::Part(part) => archive.part(&part)?,
            Page::End => {
                let (sealed, tally) = archive.finish()?;
                sealed.finish()?.flush()?;
                draft.file.sync_all()?;
                return Ok((keys, Some(tally)));
            }
        }
    }
    Ok((keys, None))
}

/// What comes from the thread that reads.
enum Leaf {
    Header(Header),
    Part(Part),
}

/// Reads an archive to its end, into a store if one is given: what it says of itself and what it has.
async fn read(
    path: &Path,
    keys: &Keys,
    into: Option<&dyn Store>,
    phase: Phase,
    watch: Watcher<'_>,
) -> Result<(Header, Tally), BackupError> {
    let (leaves, mut queue) = mpsc::channel(QUEUE_PARTS);
    let (source, keys) = (path.to_owned(), keys.clone());
    let reading = blocking(move || read_leaves(&source, &keys, &leaves));
    let reading = tokio::spawn(reading);
    let mut header = None;
    let mut watch = Watch::new(phase, 0, watch);
    let taking = async {
        while let Some(leaf) = queue.recv().await {
            match leaf {
                Leaf::Header(found) => {
                    watch.expect(found.notes + found.tokens);
                    header = Some(found);
                    watch.done(0)?;
                }
                Leaf::Part(part) => {
                    let items = part.items();
                    if let Some(store) = into {
                        part.import_into(store).await?;
                    }
                    watch.done(items)?;
                }
            }
        }
        Ok::<_, BackupError>(())
    };
    let taken = taking.await;
    drop(queue);
    let read = reading
        .await
        .map_err(|error| StoreError::Other(Box::new(error)))?;
    taken?;
    let tally = read??;
    let header = header.ok_or(BackupError::Stopped)?;
    Ok((header, tally))
}

fn read_leaves(
    path: &Path,
    keys: &Keys,
    leaves: &mpsc::Sender<Leaf>,
) -> Result<Tally, BackupError> {
    let mut archive = open(path, keys)?;
    let gone = |_| BackupError::Stopped;
    let header = archive.header().clone();
    leaves.blocking_send(Leaf::Header(header)).map_err(gone)?;
    loop {
        let part = archive.part();
        match part.map_err(|source| BackupError::archive(path, source))? {
            Some(part) => leaves.blocking_send(Leaf::Part(part)).map_err(gone)?,
            None => return Ok(archive.tally()),
        }
    }
}
