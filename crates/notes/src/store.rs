//! What a store of notes is, and the list of stores.

#[cfg(feature = "mongodb")]
pub mod mongo;
pub mod sqlite;

mod listeners;
pub(crate) mod rebuild;
pub mod turns;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::access::AccessStore;
use crate::error::{Result, StoreError};
use crate::note::{Author, Note, NoteId, NotePatch, Owner};
use crate::query::{Completion, Hit, ListQuery, Preview, TagCount, TitleMatch};
use crate::search;
use crate::service::{Change, Deleted};
use crate::transfer::Transfer;

pub use sqlite::Claim;
pub use turns::Turns;

/// Opens the store at `address`:
///
/// - `sqlite:PATH`: a SQLite database in the file PATH, created with its folder if there is none;
/// - `sqlite::memory:`: a SQLite database that is gone when the store is;
/// - `mongodb://...` and `mongodb+srv://...`: a MongoDB database, where the crate is built with the
///   feature `mongodb`. One that cannot be reached is opened all the same, and answers
///   [`StoreError::Unavailable`] until it can.
///
/// The address is never repeated in an error, because it can hold a password.
pub async fn open(address: &str) -> Result<Arc<dyn Store>, StoreError> {
    open_with(address, &Options::default()).await
}

/// As [`open`], with a say in how the store is used.
pub async fn open_with(address: &str, options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    match Kind::of(address)? {
        Kind::SqliteInMemory => Ok(Arc::new(
            sqlite::SqliteStore::in_memory(options.sqlite).await?,
        )),
        Kind::Sqlite(path) => Ok(Arc::new(
            sqlite::SqliteStore::open(Path::new(path), options.sqlite).await?,
        )),
        #[cfg(feature = "mongodb")]
        Kind::Mongodb => Ok(Arc::new(
            mongo::MongoStore::open(address, &options.mongodb).await?,
        )),
    }
}

/// Whether there is a store at `address`, as far as that can be told without opening it: a file is
/// there.
pub fn exists(address: &str) -> bool {
    file(address).is_none_or(Path::exists)
}

/// Takes the store at `address` for a server, which others are told of as `who` (one line), until
/// the claim is dropped or the process ends in any way. A SQLite file has one server at most:
/// [`StoreError::Served`] if it has one already. Any number may share the other stores.
pub fn claim(address: &str, who: &str) -> Result<Claim, StoreError> {
    match file(address) {
        Some(path) => Claim::take(path, who),
        None => Ok(Claim::default()),
    }
}

/// The file of a store that is one.
fn file(address: &str) -> Option<&Path> {
    let path = address.strip_prefix("sqlite:")?;
    (path != ":memory:" && !path.is_empty()).then(|| Path::new(path))
}

/// Whether `address` can be that of a store; nothing is opened or looked up.
pub fn check_address(address: &str) -> Result<(), StoreError> {
    match Kind::of(address)? {
        Kind::SqliteInMemory | Kind::Sqlite(_) => Ok(()),
        #[cfg(feature = "mongodb")]
        Kind::Mongodb => mongo::check_address(address),
    }
}

/// What an address names.
enum Kind<'a> {
    SqliteInMemory,
    Sqlite(&'a str),
    #[cfg(feature = "mongodb")]
    Mongodb,
}

impl<'a> Kind<'a> {
    fn of(address: &'a str) -> Result<Self, StoreError> {
        match address.split_once(':').unwrap_or(("", address)) {
            ("sqlite", ":memory:") => Ok(Self::SqliteInMemory),
            ("sqlite", "") => Err(StoreError::Address(
                "sqlite: needs the path of a file".to_owned(),
            )),
            ("sqlite", path) => Ok(Self::Sqlite(path)),
            #[cfg(feature = "mongodb")]
            ("mongodb" | "mongodb+srv", _) => Ok(Self::Mongodb),
            #[cfg(not(feature = "mongodb"))]
            ("mongodb" | "mongodb+srv", _) => Err(StoreError::Address(
                "MongoDB is not built into this program; \
                 `cargo build --release --locked --features mongodb` builds it in"
                    .to_owned(),
            )),
            _ => Err(StoreError::Address(
                "the address of the notes store must be sqlite:PATH, sqlite::memory: or \
                 mongodb://..."
                    .to_owned(),
            )),
        }
    }
}

/// How stores are used. What the address itself says of it holds where nothing is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How a SQLite database is used.
    pub sqlite: sqlite::Options,
    /// How a MongoDB database is used.
    pub mongodb: MongoOptions,
}

/// How a MongoDB database is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MongoOptions {
    /// The database, where the address names none; `mcp-notes` when neither does.
    pub database: Option<String>,
    /// How many connections there may be to each server; 10 unless said (`maxPoolSize`).
    pub pool_size_max: Option<u32>,
    /// How many connections are kept open when nothing is asked; none unless said (`minPoolSize`).
    pub pool_size_min: Option<u32>,
    /// The time to find a server that takes writes; 5 seconds unless said, and less than `timeout`
    /// (`serverSelectionTimeoutMS`).
    pub selection_timeout: Option<Duration>,
    /// The time a connection has to be made; 3 seconds unless said (`connectTimeoutMS`).
    pub connect_timeout: Option<Duration>,
    /// The time an operation has in all; 5 seconds unless said (`socketTimeoutMS`).
    pub timeout: Option<Duration>,
    /// Whose the notes are that the Node demo left; without, they stay as they are.
    pub owner_of_found: Option<Owner>,
}

/// Keeps notes, and the tokens of those who may reach them. `tests/contract.rs` says what every store must do; [`crate::Notes`] is the way to
/// use one.
///
/// Each write is atomic, and durable when it is answered. A write that has been accepted runs to
/// its end even if its caller stops waiting.
#[async_trait]
pub trait Store: AccessStore + Transfer + Turns {
    /// Adds someone to be told of every change, once it is durable and before it is answered, in
    /// order for each note. The listener must return at once: a store may call it where it writes.
    fn on_change(&self, listener: Listener);

    /// Keeps a new note. [`crate::Error::Exists`] if its owner has one with the same id.
    async fn insert(&self, note: Note) -> Result<Note>;

    /// The note, or [`crate::Error::NotFound`].
    async fn get(&self, owner: &Owner, id: &NoteId) -> Result<Note>;

    /// A page of the owner's notes as [`ListQuery`] says, after `after`; `query.cursor` is not
    /// looked at.
    async fn list(
        &self,
        owner: &Owner,
        query: &ListQuery,
        after: Option<ListPosition>,
    ) -> Result<Listed>;

    /// A page of at most `limit` of the owner's notes that match, as [`crate::search`] says, after
    /// `after`.
    async fn search(
        &self,
        owner: &Owner,
        query: &search::Query,
        after: Option<HitPosition>,
        limit: u32,
    ) -> Result<Found>;

    /// Changes a note in one step: reads it, compares its version with `expected` if that is given
    /// ([`crate::Error::Conflict`]), applies the patch, adds one to the version, and sets time and
    /// author. The time of change becomes `stamp.at`, or stays if that is earlier.
    async fn update(
        &self,
        owner: &Owner,
        id: &NoteId,
        patch: NotePatch,
        expected: Option<u64>,
        stamp: Stamp,
    ) -> Result<Note>;

    /// Deletes a note, if it is at version `expected` or none is given.
    async fn delete(&self, owner: &Owner, id: &NoteId, expected: Option<u64>) -> Result<Deleted>;

    /// At most `limit` of the owner's tags that start with `typed`, then such that contain it; each
    /// group with the most used first, then by name.
    async fn tags(&self, owner: &Owner, typed: &str, limit: u32) -> Result<Completion<TagCount>>;

    /// At most `limit` titles of the owner's notes that start with `typed`, then such that contain
    /// it, upper and lower case being the same; each group with the newest change first.
    async fn titles(
        &self,
        owner: &Owner,
        typed: &str,
        limit: u32,
    ) -> Result<Completion<TitleMatch>>;

    /// Whether the store answers, and would begin a write. Writes nothing, so a disk that is full is
    /// found by the next write and not by this.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Returns when what the store runs in this process has taken a turn, with an error when that has
    /// ended; never while it stands still. Asks no server and no disk.
    async fn turn(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How much it has to do, as plain numbers; `None` for a store that leaves that to a server.
    fn load(&self) -> Option<Load> {
        None
    }

    /// Ends the store: what was accepted is written, what comes later is refused as
    /// [`StoreError::Unavailable`]. Closing twice is allowed.
    async fn close(&self) -> Result<(), StoreError>;
}

/// How much a store has to do and has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait to be written.
    pub waiting: usize,
    /// How many commits there were of each size: up to as many writes as [`Self::SIZES`] says, and
    /// more than was counted for the size before. The last are larger than all of them.
    pub commits: [u64; Self::SIZES.len() + 1],
    /// Writes in all of these commits.
    pub writes: u64,
}

impl Load {
    /// The sizes for which commits are counted, in writes.
    pub const SIZES: [u64; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
}

/// Who is told of changes.
pub type Listener = Arc<dyn Fn(&Change) + Send + Sync>;

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// When and by whom a note is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When, in whole microseconds.
    pub at: Timestamp,
    /// By whom.
    pub by: Author,
}

/// A place in a list: after this note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// When the note was changed.
    pub updated_at: Timestamp,
    /// Its id.
    pub id: NoteId,
}

/// A place among the hits of a search: after this note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HitPosition {
    /// How well the note matched ([`search::Query::score`]).
    pub score: u32,
    /// When the note was changed.
    pub updated_at: Timestamp,
    /// Its id.
    pub id: NoteId,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The notes, in order.
    pub items: Vec<Preview>,
    /// Whether there are more after them.
    pub more: bool,
    /// How many there are on all pages, if known exactly.
    pub total: Option<u64>,
}

/// A page of a search.
#[derive(Clone, Debug)]
pub struct Found {
    /// The hits, in order.
    pub items: Vec<Hit>,
    /// Whether there are more after them.
    pub more: bool,
    /// How many there are on all pages, if known exactly.
    pub total: Option<u64>,
}
