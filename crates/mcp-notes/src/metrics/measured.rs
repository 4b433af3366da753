//! A store whose answers are timed and whose failures are counted.

use std::{future::Future, path::Path, sync::Arc, time::Instant};

use async_trait::async_trait;
use mcp_serve::metrics::{Dependency, Metrics};
use notes::{
    AccessHash, AccessStore, AccessToken, Completion, Deleted, Error, ListQuery, Note, NoteId,
    NotePatch, Owner, Result, Store, StoreError, TagCount, Timestamp, TitleMatch, Transfer, search,
    store::{
        Found, HitPosition, ListPosition, Listed, Listener, Load, Stamp, Turns,
        turns::{Claimed, Turn},
    },
    transfer::{Batch, Counts, KeptToken, Mark, Snapshot},
};

/// A store, and where its calls are counted: the dependency `database`. What the store answers to a
/// caller's mistake is an answer.
pub(crate) struct Measured {
    store: Arc<dyn Store>,
    calls: Dependency,
}

impl Measured {
    pub(crate) fn new(store: Arc<dyn Store>, metrics: &Metrics) -> Self {
        Self {
            store,
            calls: metrics.dependency("database"),
        }
    }

    async fn timed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let answer = work.await;
        let failure = match &answer {
            Err(Error::Store(error)) => Some(error.kind()),
            _ => None,
        };
        self.calls.called(begun.elapsed(), failure);
        answer
    }

    async fn asked<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let answer = work.await;
        let failure = answer.as_ref().err().map(StoreError::kind);
        self.calls.called(begun.elapsed(), failure);
        answer
    }
}

#[async_trait]
impl Store for Measured {
    fn on_change(&self, listener: Listener) {
        self.store.on_change(listener);
    }

    async fn insert(&self, note: Note) -> Result<Note> {
        self.timed(self.store.insert(note)).await
    }

    async fn get(&self, owner: &Owner, id: &NoteId) -> Result<Note> {
        self.timed(self.store.get(owner, id)).await
    }

    async fn list(
        &self,
        owner: &Owner,
        query: &ListQuery,
        after: Option<ListPosition>,
    ) -> Result<Listed> {
        self.timed(self.store.list(owner, query, after)).await
    }

    async fn search(
        &self,
        owner: &Owner,
        query: &search::Query,
        after: Option<HitPosition>,
        limit: u32,
    ) -> Result<Found> {
        self.timed(self.store.search(owner, query, after, limit))
            .await
    }

    async fn update(
        &self,
        owner: &Owner,
        id: &NoteId,
        patch: NotePatch,
        expected: Option<u64>,
        stamp: Stamp,
    ) -> Result<Note> {
        self.timed(self.store.update(owner, id, patch, expected, stamp))
            .await
    }

    async fn delete(&self, owner: &Owner, id: &NoteId, expected: Option<u64>) -> Result<Deleted> {
        self.timed(self.store.delete(owner, id, expected)).await
    }

    async fn tags(&self, owner: &Owner, typed: &str, limit: u32) -> Result<Completion<TagCount>> {
        self.timed(self.store.tags(owner, typed, limit)).await
    }

    async fn titles(
        &self,
        owner: &Owner,
        typed: &str,
        limit: u32,
    ) -> Result<Completion<TitleMatch>> {
        self.timed(self.store.titles(owner, typed, limit)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.asked(self.store.ping()).await
    }

    async fn turn(&self) -> Result<(), StoreError> {
        self.store.turn().await
    }

    fn load(&self) -> Option<Load> {
        self.store.load()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

#[async_trait]
impl AccessStore for Measured {
    async fn add_token(&self, token: AccessToken, hash: AccessHash) -> Result<bool, StoreError> {
        self.asked(self.store.add_token(token, hash)).await
    }

    async fn token_of_hash(&self, hash: AccessHash) -> Result<Option<AccessToken>, StoreError> {
        self.asked(self.store.token_of_hash(hash)).await
    }

    async fn token(&self, id: &str) -> Result<Option<AccessToken>, StoreError> {
        self.asked(self.store.token(id)).await
    }

    async fn tokens(&self, limit: u32) -> Result<Vec<AccessToken>, StoreError> {
        self.asked(self.store.tokens(limit)).await
    }

    async fn token_used(&self, id: &str, at: Timestamp) -> Result<(), StoreError> {
        self.asked(self.store.token_used(id, at)).await
    }

    async fn revoke_token(
        &self,
        id_or_name: &str,
        at: Timestamp,
    ) -> Result<Option<AccessToken>, StoreError> {
        self.asked(self.store.revoke_token(id_or_name, at)).await
    }
}

/// Moving everything takes as long as there is much of it, so it is not timed.
#[async_trait]
impl Transfer for Measured {
    async fn counts(&self) -> Result<Counts, StoreError> {
        self.store.counts().await
    }

    async fn find_notes(&self, wanted: Vec<(Owner, NoteId)>) -> Result<Vec<Note>, StoreError> {
        self.store.find_notes(wanted).await
    }

    async fn export_notes(
        &self,
        after: Option<&Mark>,
        limit: u32,
    ) -> Result<Batch<Note>, StoreError> {
        self.store.export_notes(after, limit).await
    }

    async fn export_tokens(
        &self,
        after: Option<&Mark>,
        limit: u32,
    ) -> Result<Batch<KeptToken>, StoreError> {
        self.store.export_tokens(after, limit).await
    }

    async fn import_notes(&self, notes: Vec<Note>) -> Result<(), StoreError> {
        self.store.import_notes(notes).await
    }

    async fn import_tokens(&self, tokens: Vec<KeptToken>) -> Result<(), StoreError> {
        self.store.import_tokens(tokens).await
    }

    async fn snapshot(
        &self,
        folder: &Path,
        stays_home: bool,
    ) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot(folder, stays_home).await
    }
}

#[async_trait]
impl Turns for Measured {
    async fn take_turn(&self, turn: &Claimed<'_>) -> Result<Turn, StoreError> {
        self.asked(self.store.take_turn(turn)).await
    }

    async fn end_turn(&self, turn: &Claimed<'_>, is_done: bool) -> Result<(), StoreError> {
        self.asked(self.store.end_turn(turn, is_done)).await
    }
}
