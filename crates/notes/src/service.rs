//! The operations on notes: time, ids, owners and rules that hold for every store.

use std::sync::Arc;

use crate::clock::{Clock, Ids, SystemClock, UuidV7, to_micros};
use crate::cursor;
use crate::error::{Problem, ProblemCode, Result, StoreError};
use crate::note::{Author, Limits, NewNote, Note, NoteId, NotePatch, Owner};
use crate::query::{
    Completion, Hit, ListQuery, PAGE_ITEMS_MAX, Page, Preview, SearchQuery, TagCount, TitleMatch,
};
use crate::search;
use crate::store::{HitPosition, ListPosition, Listener, Stamp, Store};
use crate::tag::Tag;

/// A set of notes in a store. A clone is another handle to the same set.
#[derive(Clone)]
pub struct Notes {
    store: Arc<dyn Store>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

/// On whose behalf a write is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose notes are meant.
    pub owner: Owner,
    /// Who does it: recorded as the author.
    pub author: Author,
}

/// Something that happened to a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose note it is.
    pub owner: Owner,
    /// The note.
    pub id: NoteId,
    /// What happened.
    pub kind: ChangeKind,
    /// The version the note has now; for a deleted note, the last one it had.
    pub version: u64,
}

/// What can happen to a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It has another title, content or tags.
    Updated,
    /// It is gone.
    Deleted,
}

/// A note that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// The id it had.
    pub id: NoteId,
    /// The version it had.
    pub version: u64,
}

impl Notes {
    /// The notes in `store`, with the machine's clock and UUIDv7 ids.
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self {
            store,
            limits,
            clock: Arc::new(SystemClock),
            ids: Arc::new(UuidV7),
        }
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Takes the ids of new notes from `ids`.
    #[must_use]
    pub fn with_ids(self, ids: Arc<dyn Ids>) -> Self {
        Self { ids, ..self }
    }

    /// Tells `listener` of every change to the store, once it is durable and before it is answered,
    /// in order for each note, even when the caller has stopped waiting. It must return at once.
    #[must_use]
    pub fn on_change(self, listener: Listener) -> Self {
        self.store.on_change(listener);
        self
    }

    /// What a note may hold: for the parse functions of [`NewNote`] and [`NotePatch`].
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Keeps a new note and returns it.
    pub async fn create(&self, caller: &Caller, new: NewNote) -> Result<Note> {
        let now = to_micros(self.clock.now());
        let note = Note {
            id: self.ids.next(now),
            owner: caller.owner.clone(),
            title: new.title,
            content: new.content,
            tags: new.tags,
            version: 1,
            created_at: now,
            updated_at: now,
            created_by: caller.author.clone(),
            updated_by: caller.author.clone(),
        };
        self.store.insert(note).await
    }

    /// The note with this id, or [`crate::Error::NotFound`].
    pub async fn get(&self, owner: &Owner, id: &NoteId) -> Result<Note> {
        self.store.get(owner, id).await
    }

    /// A page of notes without their contents.
    ///
    /// Pages are stable while notes change: a note that does not change between two pages is on
    /// exactly one of them. A note that changes moves to the front, before the first page.
    pub async fn list(&self, owner: &Owner, query: &ListQuery) -> Result<Page<Preview>> {
        check_limit(query.limit)?;
        let scope = cursor::Scope::list(owner, query);
        let after = query
            .cursor
            .as_deref()
            .map(|text| cursor::to_list(&scope, text))
            .transpose()?;
        let found = self.store.list(owner, query, after).await?;
        let last = found.items.last().filter(|_| found.more);
        let next_cursor = last.map(|note| {
            let position = ListPosition {
                updated_at: note.updated_at,
                id: note.id.clone(),
            };
            cursor::of_list(&scope, &position)
        });
        Ok(Page {
            items: found.items,
            next_cursor,
            total: found.total,
        })
    }

    /// A page of the notes that match, best match first. Any text is understood ([`search`]); only
    /// an empty one is refused.
    ///
    /// Pages are stable while notes change: a note that does not change between two pages is on
    /// exactly one of them. A note that changes may move to either side of where a page ends.
    pub async fn search(&self, owner: &Owner, query: &SearchQuery) -> Result<Page<Hit>> {
        check_limit(query.limit)?;
        let parsed = search::Query::parse(&query.text)?;
        let scope = cursor::Scope::search(owner, &query.text);
        let after = query
            .cursor
            .as_deref()
            .map(|text| cursor::to_search(&scope, text))
            .transpose()?;
        let found = self
            .store
            .search(owner, &parsed, after, query.limit)
            .await?;
        let last = found.items.last().filter(|_| found.more);
        let next_cursor = last.map(|hit| {
            let note = &hit.note;
            let position = HitPosition {
                score: parsed.score(note.title.as_str(), note.tags.iter().map(Tag::as_str)),
                updated_at: note.updated_at,
                id: note.id.clone(),
            };
            cursor::of_search(&scope, &position)
        });
        Ok(Page {
            items: found.items,
            next_cursor,
            total: found.total,
        })
    }

    /// Changes a note and returns it as it is then. With `expected_version` the change is done only
    /// if the note is at that version; otherwise [`crate::Error::Conflict`] has the note as it is.
    /// A patch that changes nothing is invalid.
    pub async fn update(
        &self,
        caller: &Caller,
        id: &NoteId,
        patch: NotePatch,
        expected_version: Option<u64>,
    ) -> Result<Note> {
        patch.check_not_empty()?;
        let stamp = Stamp {
            at: to_micros(self.clock.now()),
            by: caller.author.clone(),
        };
        self.store
            .update(&caller.owner, id, patch, expected_version, stamp)
            .await
    }

    /// Deletes a note; with `expected_version` only if the note is at that version.
    pub async fn delete(
        &self,
        caller: &Caller,
        id: &NoteId,
        expected_version: Option<u64>,
    ) -> Result<Deleted> {
        self.store.delete(&caller.owner, id, expected_version).await
    }

    /// Tags that complete what was typed (nothing typed: all): at most `limit` of those that start
    /// with it, then such that contain it; each group with the most used first.
    pub async fn tags(
        &self,
        owner: &Owner,
        typed: &str,
        limit: u32,
    ) -> Result<Completion<TagCount>> {
        check_limit(limit)?;
        let words: Vec<&str> = typed.trim_start_matches('#').split_whitespace().collect();
        let typed = words.join("-").to_lowercase();
        self.store.tags(owner, &typed, limit).await
    }

    /// Titles that complete what was typed (nothing typed: all): at most `limit` of those that
    /// start with it, then such that contain it; each group with the newest change first.
    pub async fn titles(
        &self,
        owner: &Owner,
        typed: &str,
        limit: u32,
    ) -> Result<Completion<TitleMatch>> {
        check_limit(limit)?;
        self.store.titles(owner, typed, limit).await
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    /// Returns when what the store runs in this process has taken a turn; never while it stands still.
    pub async fn turn(&self) -> Result<(), StoreError> {
        self.store.turn().await
    }

    /// Ends the store, once everything it accepted is written. Later calls fail with
    /// [`StoreError::Unavailable`].
    pub async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

fn check_limit(limit: u32) -> Result<(), Problem> {
    if (1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Ok(());
    }
    Err(Problem::new(
        "limit",
        ProblemCode::OutOfRange,
        format!("is {limit}; it must be between 1 and {PAGE_ITEMS_MAX}"),
    ))
}
