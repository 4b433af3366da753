//! Notes in one SQLite file: a thread that writes in groups, and connections that read beside it.
//!
//! The database has a write-ahead log and syncs it with every commit, so what was answered is on
//! the disk. Several processes may use one file; each is told only of its own changes, which is why
//! at most one of them may be a server ([`Claim`]).

mod claim;
mod find;
mod list;
mod read;
mod readers;
mod rebuild;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod tokens;
mod transfer;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::thread;

use async_trait::async_trait;
use rusqlite::Connection;

pub use self::claim::Claim;
use self::readers::{Readers, task};
pub(super) use self::rebuild::SqliteRebuild;
use self::write::Write;
use self::writer::{Job, Writer, gone};
use super::{Found, HitPosition, ListPosition, Listed, Listener, Load, Stamp, Store, Turns};
use crate::error::{Result, StoreError};
use crate::note::{Note, NoteId, NotePatch, Owner};
use crate::query::{Completion, ListQuery, TagCount, TitleMatch};
use crate::search;
use crate::service::Deleted;

/// How the database is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long to wait for a lock that another process holds, in milliseconds.
    pub busy_millis_max: u32,
    /// How many writes, and how many reads, may wait; more are refused as [`StoreError::Busy`].
    pub queue_max: usize,
    /// How many writes share one transaction at most.
    pub batch_max: usize,
    /// How many threads read.
    pub readers: usize,
    /// How many pages of 4096 bytes the database may have; more is [`StoreError::Full`].
    pub pages_max: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(2, usize::from);
        Self {
            busy_millis_max: 2000,
            queue_max: 1024,
            batch_max: 256,
            readers: cores.clamp(2, 16),
            pages_max: None,
        }
    }
}

/// A store in a SQLite database.
pub struct SqliteStore {
    options: Options,
    /// The file, unless the database has no name.
    path: Option<PathBuf>,
    writer: Writer,
    /// A database in memory has none: everything goes through the connection that writes.
    readers: Option<Readers>,
}

impl SqliteStore {
    /// Opens the database in the file at `path`. Makes it, readable by its user only, and its
    /// folder, if there is none; applies migrations it lacks. Refuses, and leaves untouched, a file
    /// that is read-only ([`StoreError::ReadOnly`]), is not a database of notes
    /// ([`StoreError::NotOurs`]) or has a newer schema ([`StoreError::NewerSchema`]).
    pub async fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let file = path.clone();
        let open = move || open_all(&file, &options);
        let (writer, (at_hand, pool)) =
            Writer::start(options.queue_max, options.batch_max, open).await?;
        let readers = Readers::start(at_hand, pool, options.queue_max)?;
        Ok(Self {
            options,
            path: Some(path),
            writer,
            readers: Some(readers),
        })
    }

    /// A database in memory, gone when the store is.
    pub async fn in_memory(options: Options) -> Result<Self, StoreError> {
        let open = || Connection::open_in_memory().map_err(schema::store_error);
        Self::alone(options, open).await
    }

    /// A database that only its one connection knows.
    async fn alone(
        options: Options,
        open: impl FnOnce() -> Result<Connection, StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let open = move || Ok((schema::prepare_alone(open()?, &options)?, ()));
        let (writer, ()) = Writer::start(options.queue_max, options.batch_max, open).await?;
        Ok(Self {
            options,
            path: None,
            writer,
            readers: None,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        match &self.readers {
            Some(readers) => readers.read(read).await,
            None => self.between_writes(read).await,
        }
    }

    async fn read_here<T: Send + 'static>(
        &self,
        read: impl Fn(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match &self.readers {
            Some(readers) => readers.read_here(read).await,
            None => self.between_writes(read).await?,
        }
    }

    async fn between_writes<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (task, result) = task(read);
        self.writer.submit(Job::Between(task))?;
        result.await.map_err(|_| gone())
    }
}

type ReadConnections = (Vec<Connection>, Vec<Connection>);

fn open_all(path: &Path, options: &Options) -> Result<(Connection, ReadConnections), StoreError> {
    let writer = schema::open_writer(path, options)?;
    let several = |options: Options| {
        let open = |_| schema::open_reader(path, &options);
        (0..options.readers.max(1))
            .map(open)
            .collect::<Result<Vec<_>, _>>()
    };
    // Where these read, nothing may wait.
    let at_hand = several(Options {
        busy_millis_max: 0,
        ..*options
    })?;
    let pool = several(*options)?;
    Ok((writer, (at_hand, pool)))
}

/// It has one server at most, whose turn it always is.
impl Turns for SqliteStore {}

#[async_trait]
impl Store for SqliteStore {
    fn on_change(&self, listener: Listener) {
        self.writer.on_change(listener);
    }

    async fn insert(&self, note: Note) -> Result<Note> {
        self.writer
            .write(Write::Insert(Box::new(note)))
            .await?
            .into_note()
    }

    async fn get(&self, owner: &Owner, id: &NoteId) -> Result<Note> {
        let (owner, id) = (owner.clone(), id.clone());
        self.read_here(move |conn| read::get(conn, &owner, &id))
            .await
    }

    async fn list(
        &self,
        owner: &Owner,
        query: &ListQuery,
        after: Option<ListPosition>,
    ) -> Result<Listed> {
        let (owner, query) = (owner.clone(), query.clone());
        let selective = list::is_selective(&query);
        let list = move |conn: &Connection| Ok(list::list(conn, &owner, &query, after.as_ref())?);
        if selective {
            self.read(list).await?
        } else {
            self.read_here(list).await
        }
    }

    async fn search(
        &self,
        owner: &Owner,
        query: &search::Query,
        after: Option<HitPosition>,
        limit: u32,
    ) -> Result<Found> {
        let (owner, query) = (owner.clone(), query.clone());
        let find =
            move |conn: &Connection| find::search(conn, &owner, &query, after.as_ref(), limit);
        Ok(self.read(find).await??)
    }

    async fn update(
        &self,
        owner: &Owner,
        id: &NoteId,
        patch: NotePatch,
        expected: Option<u64>,
        stamp: Stamp,
    ) -> Result<Note> {
        let (owner, id) = (owner.clone(), id.clone());
        let write = Write::Update {
            owner,
            id,
            patch,
            expected,
            stamp,
        };
        self.writer.write(write).await?.into_note()
    }

    async fn delete(&self, owner: &Owner, id: &NoteId, expected: Option<u64>) -> Result<Deleted> {
        let (owner, id) = (owner.clone(), id.clone());
        self.writer
            .write(Write::Delete {
                owner,
                id,
                expected,
            })
            .await?
            .into_deleted()
    }

    async fn tags(&self, owner: &Owner, typed: &str, limit: u32) -> Result<Completion<TagCount>> {
        let (owner, typed) = (owner.clone(), typed.to_owned());
        Ok(self
            .read(move |conn| read::tags(conn, &owner, &typed, limit))
            .await??)
    }

    async fn titles(
        &self,
        owner: &Owner,
        typed: &str,
        limit: u32,
    ) -> Result<Completion<TitleMatch>> {
        let (owner, typed) = (owner.clone(), typed.to_owned());
        Ok(self
            .read(move |conn| read::titles(conn, &owner, &typed, limit))
            .await??)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let look = |conn: &Connection| {
            conn.query_row("SELECT EXISTS (SELECT 1 FROM notes)", [], |_| Ok(()))
                .map_err(schema::store_error)
        };
        self.read(look).await??;
        let options = self.options;
        self.between_writes(move |conn| schema::check_writable(conn, &options))
            .await?
    }

    async fn turn(&self) -> Result<(), StoreError> {
        self.writer.turn().await
    }

    fn load(&self) -> Option<Load> {
        Some(self.writer.load())
    }

    async fn close(&self) -> Result<(), StoreError> {
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
        self.writer.close().await;
        Ok(())
    }
}
