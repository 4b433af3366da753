//! Notes in MongoDB: for several replicas that share one database.
//!
//! Every write is one step on one document, confirmed by most of the servers before it is answered;
//! every read is of the primary. What an operation may take is bounded, and nothing waits for a server
//! longer than that: a write is done, refused, or said to be unconfirmed, and never kept for later.
//! Each process is told only of its own changes.

mod address;
mod document;
mod fault;
mod find;
mod list;
mod questions;
mod rebuild;
mod schema;
mod snapshot;
mod terms;
mod tokens;
mod transfer;
mod turns;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bson::oid::ObjectId;
use bson::{RawDocumentBuf, doc};
use mongodb::{Client, Collection, Database};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

pub(super) use self::address::check_address;
use self::fault::Fault;
pub(super) use self::rebuild::MongoRebuild;
use self::write::Locks;
use super::listeners::Listeners;
use super::{
    Found, HitPosition, ListPosition, Listed, Listener, MongoOptions, Stamp, Store, closed,
};
use crate::error::{Error, Result, StoreError};
use crate::note::{Note, NoteId, NotePatch, Owner};
use crate::query::{Completion, ListQuery, TagCount, TitleMatch};
use crate::search;
use crate::service::Deleted;

/// How many writes may be under way; more are refused as [`StoreError::Busy`].
const WRITES_MAX: u32 = 1024;

/// How many times something is tried that can be tried again.
const TRIES: u32 = 3;

/// What has less time left is not begun, because whether it is done would not be known.
const LEAST: Duration = Duration::from_millis(50);

/// How long to wait before a database is prepared that could not be.
const PREPARE_AGAIN: Duration = Duration::from_millis(500);

/// A store in a MongoDB database.
pub struct MongoStore {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    db: Database,
    notes: Collection<RawDocumentBuf>,
    tokens: Collection<RawDocumentBuf>,
    timeout: Duration,
    owner_of_found: Option<Owner>,
    listeners: Listeners,
    /// One permit for each connection that the pool may have. Who waits here has sent nothing, and who
    /// waits in the driver could not tell.
    connections: Semaphore,
    writes: Arc<Semaphore>,
    locks: Locks,
    state: watch::Sender<State>,
}

/// What can be done with the database.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Nothing yet, because it could not be prepared: why.
    Waiting(String),
    Ready,
    Closed,
}

impl MongoStore {
    /// Opens the database at `address`: makes its indexes, and gives notes that the Node demo left an
    /// owner. A server that cannot be reached is waited for elsewhere; what time does not heal (an
    /// address that cannot be used, a user that is refused, a collection of somebody else, a newer
    /// schema) is an error.
    pub async fn open(address: &str, options: &MongoOptions) -> Result<Self, StoreError> {
        let inner = Arc::new(Inner::connect(address, options).await?);
        match inner.prepare().await {
            Ok(()) => inner.become_ready(),
            Err(fault) if fault.passes() => {
                tracing::warn!(
                    kind = fault.error.kind(),
                    error = %fault.error,
                    "the notes database cannot be prepared yet; it is tried again"
                );
                inner.wait(&fault.error);
                tokio::spawn(inner.clone().prepare_later());
            }
            Err(fault) => return Err(fault.error),
        }
        Ok(Self { inner })
    }
}

impl Drop for MongoStore {
    fn drop(&mut self) {
        // Whoever waits to prepare the database ends.
        self.inner.state.send_replace(State::Closed);
    }
}

impl Inner {
    /// A client for the database at `address`, which nothing was asked yet.
    async fn connect(address: &str, options: &MongoOptions) -> Result<Self, StoreError> {
        let place = address::place(address, options).await?;
        let client =
            Client::with_options(place.client).map_err(|error| Fault::from(error).error)?;
        let db = client.database(&place.database);
        Ok(Self {
            notes: db.collection(schema::NOTES),
            tokens: db.collection(schema::TOKENS),
            client,
            db,
            timeout: place.timeout,
            connections: Semaphore::new(place.connections),
            owner_of_found: options.owner_of_found.clone(),
            listeners: Listeners::default(),
            writes: Arc::new(Semaphore::new(WRITES_MAX as usize)),
            locks: Locks::new(),
            state: watch::Sender::new(State::Waiting(String::new())),
        })
    }

    async fn prepare(&self) -> Result<(), Fault> {
        // Whether there is anybody is known soon; what comes then may take its time.
        self.ask(self.deadline(), self.db.run_command(doc! { "ping": 1 }))
            .await?;
        schema::prepare(&self.db, self.owner_of_found.as_ref()).await
    }

    async fn prepare_later(self: Arc<Self>) {
        let mut state = self.state.subscribe();
        loop {
            let closed = state.wait_for(|state| *state == State::Closed);
            if tokio::time::timeout(PREPARE_AGAIN, closed).await.is_ok() {
                return;
            }
            match self.prepare().await {
                Ok(()) => {
                    self.become_ready();
                    tracing::info!("the notes database is ready");
                    return;
                }
                Err(fault) => {
                    if !fault.passes() {
                        tracing::error!(
                            kind = fault.error.kind(),
                            error = %fault.error,
                            "the notes database cannot be used as it is"
                        );
                    }
                    self.wait(&fault.error);
                }
            }
        }
    }

    fn become_ready(&self) {
        self.state.send_if_modified(|state| {
            let waits = matches!(state, State::Waiting(_));
            if waits {
                *state = State::Ready;
            }
            waits
        });
    }

    fn wait(&self, why: &StoreError) {
        let why = match why {
            StoreError::Unavailable(why) => why.clone(),
            other => other.to_string(),
        };
        self.state.send_if_modified(|state| {
            let waits = matches!(state, State::Waiting(_));
            if waits {
                *state = State::Waiting(why);
            }
            waits
        });
    }

    /// Fails at once while nothing can be done, and tells until when an answer must be there.
    fn begin(&self) -> Result<Instant, StoreError> {
        match &*self.state.borrow() {
            State::Ready => Ok(self.deadline()),
            State::Waiting(why) => Err(StoreError::Unavailable(why.clone())),
            State::Closed => Err(closed()),
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Waits for an answer until `deadline`.
    async fn ask<T>(
        &self,
        deadline: Instant,
        asked: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> Result<T, Fault> {
        let connection = timeout_at(deadline, self.connections.acquire()).await;
        if connection.is_err() || Instant::now() + LEAST > deadline {
            return Err(Fault::crowded());
        }
        match timeout_at(deadline, asked.into_future()).await {
            Ok(answer) => answer.map_err(Fault::from),
            Err(_) => Err(Fault::late()),
        }
    }

    /// Reads. What fails in passing is tried again while there is time.
    async fn read<T, F>(&self, deadline: Instant, ask: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        let mut tries = 1;
        loop {
            match self.ask(deadline, ask()).await {
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.again() && tries < TRIES && Instant::now() < deadline => {
                    tries += 1;
                }
                Err(fault) => return Err(fault.error),
            }
        }
    }

    /// The time that is left, which is told to the server as well.
    fn left(deadline: Instant) -> Duration {
        deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1))
    }
}

#[async_trait]
impl Store for MongoStore {
    fn on_change(&self, listener: Listener) {
        self.inner.listeners.add(listener);
    }

    async fn insert(&self, note: Note) -> Result<Note> {
        write::insert(&self.inner, note).await
    }

    async fn get(&self, owner: &Owner, id: &NoteId) -> Result<Note> {
        let inner = &self.inner;
        let deadline = inner.begin()?;
        match inner.current(deadline, owner, id).await? {
            Some(found) => Ok(document::note(&found)?),
            None => Err(Error::NotFound { id: id.clone() }),
        }
    }

    async fn list(
        &self,
        owner: &Owner,
        query: &ListQuery,
        after: Option<ListPosition>,
    ) -> Result<Listed> {
        Ok(list::list(&self.inner, owner, query, after.as_ref()).await?)
    }

    async fn search(
        &self,
        owner: &Owner,
        query: &search::Query,
        after: Option<HitPosition>,
        limit: u32,
    ) -> Result<Found> {
        Ok(find::search(&self.inner, owner, query, after.as_ref(), limit).await?)
    }

    async fn update(
        &self,
        owner: &Owner,
        id: &NoteId,
        patch: NotePatch,
        expected: Option<u64>,
        stamp: Stamp,
    ) -> Result<Note> {
        write::update(&self.inner, owner, id, patch, expected, stamp).await
    }

    async fn delete(&self, owner: &Owner, id: &NoteId, expected: Option<u64>) -> Result<Deleted> {
        write::delete(&self.inner, owner, id, expected).await
    }

    async fn tags(&self, owner: &Owner, typed: &str, limit: u32) -> Result<Completion<TagCount>> {
        Ok(list::tags(&self.inner, owner, typed, limit).await?)
    }

    async fn titles(
        &self,
        owner: &Owner,
        typed: &str,
        limit: u32,
    ) -> Result<Completion<TitleMatch>> {
        Ok(list::titles(&self.inner, owner, typed, limit).await?)
    }

    /// Deletes a document that is not there, as a write, confirmed like any other: a server that takes
    /// no writes, too few servers and a user that may only read are found by it.
    async fn ping(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        let deadline = inner.begin()?;
        let nobody = ObjectId::from_bytes([0; 12]);
        inner
            .read(deadline, || async {
                inner.notes.delete_one(doc! { "_id": nobody }).await
            })
            .await?;
        Ok(())
    }

    async fn close(&self) -> Result<(), StoreError> {
        let inner = &self.inner;
        if inner.state.send_replace(State::Closed) == State::Closed {
            return Ok(());
        }
        // Each write has its own deadline, so this ends.
        let last = inner.deadline();
        let _ = timeout_at(last, inner.writes.acquire_many(WRITES_MAX)).await;
        inner.writes.close();
        let shutdown = inner.client.clone().shutdown().immediate(true);
        let _ = timeout_at(last, shutdown.into_future()).await;
        Ok(())
    }
}
