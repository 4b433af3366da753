//! Notes in one SQLite file.

use std::path::Path;

use async_trait::async_trait;

use super::{Found, HitPosition, ListPosition, Listed, Listener, Stamp, Store};
use crate::error::{Result, StoreError};
use crate::note::{Note, NoteId, NotePatch, Owner};
use crate::query::{Completion, ListQuery, TagCount, TitleMatch};
use crate::search;
use crate::service::Deleted;

/// How the database is used.
#[derive(Clone, Debug, Default)]
pub struct Options {}

/// A store in a SQLite database.
pub struct SqliteStore {}

fn missing() -> StoreError {
    StoreError::Unavailable("not built yet".to_owned())
}

impl SqliteStore {
    /// Opens the database in the file at `path`; makes it, and its folder, if there is none.
    pub async fn open(_path: &Path, _options: Options) -> Result<Self, StoreError> {
        Ok(Self {})
    }

    /// A database in memory.
    pub async fn in_memory(_options: Options) -> Result<Self, StoreError> {
        Ok(Self {})
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn on_change(&self, _listener: Listener) {}

    async fn insert(&self, _note: Note) -> Result<Note> {
        Err(missing().into())
    }

    async fn get(&self, _owner: &Owner, _id: &NoteId) -> Result<Note> {
        Err(missing().into())
    }

    async fn list(
        &self,
        _owner: &Owner,
        _query: &ListQuery,
        _after: Option<ListPosition>,
    ) -> Result<Listed> {
        Err(missing().into())
    }

    async fn search(
        &self,
        _owner: &Owner,
        _query: &search::Query,
        _after: Option<HitPosition>,
        _limit: u32,
    ) -> Result<Found> {
        Err(missing().into())
    }

    async fn update(
        &self,
        _owner: &Owner,
        _id: &NoteId,
        _patch: NotePatch,
        _expected: Option<u64>,
        _stamp: Stamp,
    ) -> Result<Note> {
        Err(missing().into())
    }

    async fn delete(
        &self,
        _owner: &Owner,
        _id: &NoteId,
        _expected: Option<u64>,
    ) -> Result<Deleted> {
        Err(missing().into())
    }

    async fn tags(
        &self,
        _owner: &Owner,
        _typed: &str,
        _limit: u32,
    ) -> Result<Completion<TagCount>> {
        Err(missing().into())
    }

    async fn titles(
        &self,
        _owner: &Owner,
        _typed: &str,
        _limit: u32,
    ) -> Result<Completion<TitleMatch>> {
        Err(missing().into())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Err(missing())
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
