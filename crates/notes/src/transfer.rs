//! Moving everything from one store into another, so that nothing is lost on the way.
//!
//! What is moved is read in batches and kept on the other side as it is: ids, versions, authors,
//! exact times, tokens that ended or were revoked. What is there already is left alone, so a move
//! that was interrupted is begun again and goes on. At the end both sides are read once more and
//! compared by a checksum.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::access::{AccessHash, AccessToken};
use crate::error::StoreError;
use crate::note::{Note, NoteId, Owner};
use crate::store::Store;
use crate::tag::Tag;
use crate::text::hex;

/// How many notes or tokens travel at once.
const BATCH_ITEMS_MAX: u32 = 500;

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
    fn total(self) -> u64 {
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

/// Everything that a store has, as two numbers and a checksum that does not depend on the order:
/// the sum, modulo 2^256, of the SHA-256 of every note and token in its canonical form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many notes.
    pub notes: u64,
    /// How many tokens.
    pub tokens: u64,
    sum: [u8; 32],
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { notes, tokens, sum } = self;
        write!(f, "notes {notes}, tokens {tokens}, checksum {}", hex(sum))
    }
}

impl Tally {
    /// Counts a note in.
    pub fn note(&mut self, note: &Note) {
        self.notes += 1;
        self.add(note_digest(note));
    }

    /// Counts a token in.
    pub fn token(&mut self, kept: &KeptToken) {
        self.tokens += 1;
        self.add(token_digest(kept));
    }

    fn add(&mut self, digest: [u8; 32]) {
        let mut carry = 0;
        for (sum, byte) in self.sum.iter_mut().zip(digest).rev() {
            let added = u16::from(*sum) + u16::from(byte) + carry;
            [_, *sum] = added.to_be_bytes();
            carry = added >> 8;
        }
    }
}

/// The canonical form: every part with its length in front, numbers and times (in microseconds) as
/// eight bytes, the highest first.
struct Form(Sha256);

impl Form {
    fn new(kind: &str) -> Self {
        let mut form = Self(Sha256::new());
        form.text(kind);
        form
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.0.update((texts.len() as u64).to_be_bytes());
        texts.for_each(|text| self.text(text));
    }

    fn time(&mut self, time: Option<Timestamp>) {
        match time {
            Some(time) => self.bytes(&time.as_microsecond().to_be_bytes()),
            None => self.bytes(&[]),
        }
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

fn note_digest(note: &Note) -> [u8; 32] {
    let mut form = Form::new("note");
    form.text(note.owner.as_str());
    form.text(note.id.as_str());
    form.text(note.title.as_str());
    form.text(note.content.as_str());
    form.texts(note.tags.iter().map(Tag::as_str));
    form.bytes(&note.version.to_be_bytes());
    form.time(Some(note.created_at));
    form.time(Some(note.updated_at));
    form.text(note.created_by.as_str());
    form.text(note.updated_by.as_str());
    form.finish()
}

fn token_digest(kept: &KeptToken) -> [u8; 32] {
    let KeptToken { token, hash } = kept;
    let mut form = Form::new("token");
    form.bytes(hash);
    form.text(&token.id);
    form.text(token.name.as_str());
    form.text(token.owner.as_str());
    form.texts(token.scopes.iter().map(String::as_str));
    form.time(Some(token.created_at));
    form.time(token.expires_at);
    form.time(token.last_used);
    form.time(token.revoked_at);
    form.finish()
}

/// Tells how far a phase is, and hears whether to go on.
struct Watch<'a> {
    progress: Progress,
    watch: &'a mut (dyn FnMut(Progress) -> bool + Send),
}

impl<'a> Watch<'a> {
    fn new(phase: Phase, total: u64, watch: &'a mut (dyn FnMut(Progress) -> bool + Send)) -> Self {
        let done = 0;
        Self {
            progress: Progress { phase, done, total },
            watch,
        }
    }

    fn done(&mut self, items: u64) -> Result<(), TransferError> {
        self.progress.done += items;
        if (self.watch)(self.progress) {
            Ok(())
        } else {
            Err(TransferError::Stopped)
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

enum Part {
    Notes(Vec<Note>),
    Tokens(Vec<KeptToken>),
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
    fn items(&self) -> u64 {
        match self {
            Self::Notes(notes) => notes.len() as u64,
            Self::Tokens(tokens) => tokens.len() as u64,
        }
    }

    fn count_into(&self, tally: &mut Tally) {
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
        let kept = match part {
            Part::Notes(notes) => to.import_notes(notes).await,
            Part::Tokens(tokens) => to.import_tokens(tokens).await,
        };
        kept.map_err(at(Side::Target))?;
        watch.done(items)?;
    }
    Ok(copied)
}

async fn tally(
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
