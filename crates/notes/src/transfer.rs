//! Moving everything from one store into another, so that nothing is lost on the way.
//!
//! What is moved is read in batches and kept on the other side as it is: ids, versions, authors,
//! exact times, tokens that ended or were revoked. What is there already is left alone, so a move
//! that was interrupted is begun again and goes on. At the end both sides are read once more and
//! compared by a checksum.

mod tally;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use async_trait::async_trait;

use crate::access::{AccessHash, AccessToken};
use crate::error::StoreError;
use crate::note::{Note, NoteId, Owner};
use crate::store::Store;

pub use self::tally::Tally;

/// How many notes or tokens travel at once.
pub(crate) const BATCH_ITEMS_MAX: u32 = 500;

/// How many bytes of text a batch has at most, unless its only note has more.
pub(crate) const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Moves everything that `from` has into `to`, and compares them afterwards. `watch` is told how
/// far it is and says whether to go on; it is asked between batches.
///
/// `to` may hold nothing but what `from` has just the same. `from` is only read.
pub async fn transfer(
    from: &dyn Store,
    to: &dyn Store,
    watch: &mut (dyn FnMut(Progress) -> bool + Send),
) -> Result<Tally, TransferError> {
    let counts = from.counts().await.map_err(at(Side::Source))?;
    check_target(from, to, watch).await?;
    let copied = copy(from, to, counts, watch).await?;
    let mut compared = Watch::new(Phase::Compare, counts.total() * 2, watch);
    // The source last, so that changes to it are seen for as long as possible.
    let target = tally(to, Side::Target, &mut compared).await?;
    let source = tally(from, Side::Source, &mut compared).await?;
    if source != copied {
        return Err(TransferError::SourceChanged);
    }
    if target != source {
        return Err(TransferError::Differs {
            expected: source,
            found: target,
        });
    }
    Ok(target)
}

/// What a store does so that everything in it can be moved, with a stable order of its own.
#[async_trait]
pub trait Transfer: Send + Sync {
    /// How much there is.
    async fn counts(&self) -> Result<Counts, StoreError>;

    /// The first notes of all owners after `after`: at most `limit`, fewer where they are large. A
    /// note that is there from the first batch to the last is in one of them.
    async fn export_notes(
        &self,
        after: Option<&Mark>,
        limit: u32,
    ) -> Result<Batch<Note>, StoreError>;

    /// Those of the notes so named that there are, in any order.
    async fn find_notes(&self, names: Vec<(Owner, NoteId)>) -> Result<Vec<Note>, StoreError>;

    /// The first tokens after `after` in the same way, whether they still hold or not.
    async fn export_tokens(
        &self,
        after: Option<&Mark>,
        limit: u32,
    ) -> Result<Batch<KeptToken>, StoreError>;

    /// Keeps notes as they are, and tells nobody. A note is left out if its owner has one with the
    /// same id.
    async fn import_notes(&self, notes: Vec<Note>) -> Result<(), StoreError>;

    /// Keeps tokens as they are. A token is left out if there is one with the same id.
    async fn import_tokens(&self, tokens: Vec<KeptToken>) -> Result<(), StoreError>;

    /// Everything as it is now, every write that was answered before among it, to be read while
    /// others go on. A store that has to make a copy for it makes that in `folder`, or where it is
    /// itself if the copy `stays_home`, and nothing is left of it when the snapshot is dropped.
    async fn snapshot(
        &self,
        folder: &Path,
        stays_home: bool,
    ) -> Result<Box<dyn Snapshot>, StoreError>;
}

/// What a store had, read once and in parts.
#[async_trait]
pub trait Snapshot: Send {
    /// The kind of store: `sqlite` or `mongodb`.
    fn store(&self) -> &'static str;

    /// Whether all of it is as it was at one moment.
    fn is_one_moment(&self) -> bool;

    /// How much there is, as far as that is known.
    fn counts(&self) -> Counts;

    /// The next part, the notes before the tokens; `None` at the end.
    async fn part(&mut self) -> Result<Option<Part>, StoreError>;
}

/// How much a store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Notes of all owners.
    pub notes: u64,
    /// Tokens, whether they still hold or not.
    pub tokens: u64,
}

impl Counts {
    pub(crate) fn total(self) -> u64 {
        self.notes + self.tokens
    }
}

/// Where an export goes on, as the store that made it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(pub(crate) String);

/// A part of an export.
#[derive(Debug)]
pub struct Batch<T> {
    /// What it holds, in order.
    pub items: Vec<T>,
    /// After what the next part begins; `None` when there is nothing more.
    pub next: Option<Mark>,
}

/// A part of everything.
#[derive(Debug)]
pub enum Part {
    /// Notes.
    Notes(Vec<Note>),
    /// Tokens.
    Tokens(Vec<KeptToken>),
}

/// A token with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptToken {
    /// The token, as a store keeps it.
    pub token: AccessToken,
    /// The SHA-256 hash of the token itself.
    pub hash: AccessHash,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is done now.
    pub phase: Phase,
    /// How many notes and tokens are done in this phase.
    pub done: u64,
    /// How many there are, as far as was known at the beginning.
    pub total: u64,
}

/// The parts of a move, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What the target has already is compared with the source.
    Check,
    /// Everything is copied.
    Copy,
    /// Both sides are read and compared.
    Compare,
}

/// One of the two stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From where it is moved.
    Source,
    /// Where it is moved to.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Target => "target",
        })
    }
}

/// Why not everything was moved. The source is as it was in every case.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// One of the stores could not do its work.
    #[error("the {side} failed")]
    Store {
        /// Which.
        side: Side,
        /// Why.
        source: StoreError,
    },
    /// The target holds what the source does not have just the same.
    #[error(
        "the target holds {what}, which the source does not have just the same; begin with an \
         empty target"
    )]
    Taken {
        /// One note or token that is in the way.
        what: String,
    },
    /// It was asked to stop.
    #[error("stopped before everything was moved; begin again to go on")]
    Stopped,
    /// The source was written to meanwhile.
    #[error(
        "the source was changed meanwhile; stop whatever writes to it and begin again with an \
         empty target"
    )]
    SourceChanged,
    /// The sides do not have the same at the end.
    #[error(
        "the target does not have what the source has: {found} instead of {expected}; begin again \
         with an empty target"
    )]
    Differs {
        /// What the source has.
        expected: Tally,
        /// What the target has.
        found: Tally,
    },
}

fn at(side: Side) -> impl Fn(StoreError) -> TransferError {
    move |source| TransferError::Store { side, source }
}

/// Tells how far a phase is, and hears whether to go on.
pub(crate) struct Watch<'a> {
    progress: Progress,
    watch: &'a mut (dyn FnMut(Progress) -> bool + Send),
}

/// It was asked to stop.
pub(crate) struct Stopped;

impl From<Stopped> for TransferError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl<'a> Watch<'a> {
    pub(crate) fn new(
        phase: Phase,
        total: u64,
        watch: &'a mut (dyn FnMut(Progress) -> bool + Send),
    ) -> Self {
        let done = 0;
        Self {
            progress: Progress { phase, done, total },
            watch,
        }
    }

    /// There are so many, as is known now.
    pub(crate) fn expect(&mut self, total: u64) {
        self.progress.total = total;
    }

    pub(crate) fn done(&mut self, items: u64) -> Result<(), Stopped> {
        self.progress.done += items;
        if (self.watch)(self.progress) {
            Ok(())
        } else {
            Err(Stopped)
        }
    }
}

/// Everything that a store has, in parts: first the notes, then the tokens.
struct Export<'a> {
    store: &'a dyn Store,
    side: Side,
    next: Next,
}

enum Next {
    Notes(Option<Mark>),
    Tokens(Option<Mark>),
    Nothing,
}

impl<'a> Export<'a> {
    fn new(store: &'a dyn Store, side: Side) -> Self {
        let next = Next::Notes(None);
        Self { store, side, next }
    }

    async fn part(&mut self) -> Result<Option<Part>, TransferError> {
        let failed = at(self.side);
        match &self.next {
            Next::Notes(after) => {
                let batch = self.store.export_notes(after.as_ref(), BATCH_ITEMS_MAX);
                let batch = batch.await.map_err(failed)?;
                let more = batch.next.map(|mark| Next::Notes(Some(mark)));
                self.next = more.unwrap_or(Next::Tokens(None));
                Ok(Some(Part::Notes(batch.items)))
            }
            Next::Tokens(after) => {
                let batch = self.store.export_tokens(after.as_ref(), BATCH_ITEMS_MAX);
                let batch = batch.await.map_err(failed)?;
                let more = batch.next.map(|mark| Next::Tokens(Some(mark)));
                self.next = more.unwrap_or(Next::Nothing);
                Ok(Some(Part::Tokens(batch.items)))
            }
            Next::Nothing => Ok(None),
        }
    }
}

impl Part {
    pub(crate) fn items(&self) -> u64 {
        match self {
            Self::Notes(notes) => notes.len() as u64,
            Self::Tokens(tokens) => tokens.len() as u64,
        }
    }

    /// Keeps it in a store.
    pub(crate) async fn import_into(self, store: &dyn Store) -> Result<(), StoreError> {
        match self {
            Self::Notes(notes) => store.import_notes(notes).await,
            Self::Tokens(tokens) => store.import_tokens(tokens).await,
        }
    }

    pub(crate) fn count_into(&self, tally: &mut Tally) {
        match self {
            Self::Notes(notes) => notes.iter().for_each(|note| tally.note(note)),
            Self::Tokens(tokens) => tokens.iter().for_each(|kept| tally.token(kept)),
        }
    }
}

/// Refuses a target with anything that the source does not have just the same.
async fn check_target(
    from: &dyn Store,
    to: &dyn Store,
    watch: &mut (dyn FnMut(Progress) -> bool + Send),
) -> Result<(), TransferError> {
    let held = to.counts().await.map_err(at(Side::Target))?;
    let mut watch = Watch::new(Phase::Check, held.total(), watch);
    let mut held = Export::new(to, Side::Target);
    while let Some(part) = held.part().await? {
        let foreign = match &part {
            Part::Notes(notes) => foreign_note(from, notes).await,
            Part::Tokens(tokens) => foreign_token(from, tokens).await,
        };
        if let Some(what) = foreign.map_err(at(Side::Source))? {
            return Err(TransferError::Taken { what });
        }
        watch.done(part.items())?;
    }
    Ok(())
}

async fn foreign_note(from: &dyn Store, notes: &[Note]) -> Result<Option<String>, StoreError> {
    let name = |note: &Note| (note.owner.clone(), note.id.clone());
    let found = from.find_notes(notes.iter().map(name).collect()).await?;
    let found: HashMap<_, _> = found.iter().map(|found| (name(found), found)).collect();
    let foreign = notes
        .iter()
        .find(|note| found.get(&name(note)) != Some(note));
    Ok(foreign.map(|note| format!("the note {} of {:?}", note.id, note.owner.as_str())))
}

async fn foreign_token(
    from: &dyn Store,
    tokens: &[KeptToken],
) -> Result<Option<String>, StoreError> {
    for KeptToken { token, hash } in tokens {
        if from.token_of_hash(*hash).await?.as_ref() != Some(token) {
            return Ok(Some(format!("the token {} ({})", token.name, token.id)));
        }
    }
    Ok(None)
}

async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    counts: Counts,
    watch: &mut (dyn FnMut(Progress) -> bool + Send),
) -> Result<Tally, TransferError> {
    let mut watch = Watch::new(Phase::Copy, counts.total(), watch);
    let mut copied = Tally::default();
    let mut export = Export::new(from, Side::Source);
    while let Some(part) = export.part().await? {
        part.count_into(&mut copied);
        let items = part.items();
        let kept = part.import_into(to).await;
        kept.map_err(at(Side::Target))?;
        watch.done(items)?;
    }
    Ok(copied)
}

pub(crate) async fn tally(
    store: &dyn Store,
    side: Side,
    watch: &mut Watch<'_>,
) -> Result<Tally, TransferError> {
    let mut tally = Tally::default();
    let mut export = Export::new(store, side);
    while let Some(part) = export.part().await? {
        part.count_into(&mut tally);
        watch.done(part.items())?;
    }
    Ok(tally)
}
