//! The three writes: each is one step on one document, runs to its end whoever waits for it, and is
//! told before it is answered.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ReturnDocument;
use tokio::sync::{Mutex, MutexGuard, TryAcquireError};
use tokio::time::{Instant, timeout_at};

use super::document::{self, signed};
use super::fault::{Fault, unsure};
use super::{Inner, TRIES};
use crate::error::{Error, Result, StoreError};
use crate::note::{Note, NoteId, NotePatch, Owner};
use crate::service::{Change, ChangeKind, Deleted};
use crate::store::{Stamp, closed};

/// How many notes can be written at the same time.
const LOCKS: usize = 256;

/// What keeps the changes of one note in order, and what is told of them. The server decides who wins;
/// this only makes the order in which its answers are told that of the versions.
pub(super) struct Locks {
    hasher: RandomState,
    locks: Vec<Mutex<()>>,
}

impl Locks {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
        }
    }

    async fn lock(
        &self,
        deadline: Instant,
        owner: &Owner,
        id: &NoteId,
    ) -> Result<MutexGuard<'_, ()>, StoreError> {
        let hash = self.hasher.hash_one((owner, id));
        let index = usize::try_from(hash % LOCKS as u64).unwrap_or(0);
        // Nothing was sent for this one.
        timeout_at(deadline, self.locks[index].lock())
            .await
            .map_err(|_| StoreError::Busy)
    }
}

/// What a write did.
struct Written<T> {
    answer: T,
    change: Change,
}

/// Runs a write to its end in a task of its own, after those of the same note, and tells what it did.
async fn run<T, F>(
    inner: &Arc<Inner>,
    owner: &Owner,
    id: &NoteId,
    write: impl FnOnce(Arc<Inner>, Instant) -> F + Send + 'static,
) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<Written<T>>> + Send,
{
    let deadline = inner.begin()?;
    let permit = inner.writes.clone().try_acquire_owned();
    let permit = permit.map_err(|error| match error {
        TryAcquireError::NoPermits => StoreError::Busy,
        TryAcquireError::Closed => closed(),
    })?;
    let (inner, owner, id) = (inner.clone(), owner.clone(), id.clone());
    let task = tokio::spawn(async move {
        let _permit = permit;
        let _turn = inner.locks.lock(deadline, &owner, &id).await?;
        let written = write(inner.clone(), deadline).await?;
        inner.listeners.tell(&written.change);
        Ok(written.answer)
    });
    match task.await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Unconfirmed("it ended in the middle".to_owned()).into()),
    }
}

/// Keeps a new note.
pub(super) async fn insert(inner: &Arc<Inner>, note: Note) -> Result<Note> {
    let (owner, id) = (note.owner.clone(), note.id.clone());
    run(inner, &owner, &id, |inner, deadline| async move {
        let name = ObjectId::new();
        let document = RawDocumentBuf::try_from(&document::document(&note, name))
            .map_err(|error| StoreError::Other(Box::new(error)))?;
        // It is known by its name, so the same can be sent again.
        let sent = inner
            .send(deadline, true, || async {
                inner.notes.insert_one(&document).await.map(drop)
            })
            .await;
        match sent {
            Ok(_) => {}
            Err((fault, earlier)) if fault.duplicate => {
                let ours = doc! { "_id": name };
                let is_ours = earlier && {
                    let found = inner.find_one(deadline, ours).await;
                    found.map_err(|error| unsure(error, true))?.is_some()
                };
                if !is_ours {
                    return Err(Error::Exists { id: note.id });
                }
            }
            Err((fault, _)) => return Err(fault.of_write().into()),
        }
        Ok(Written {
            change: change(&note, ChangeKind::Created),
            answer: note,
        })
    })
    .await
}

/// Changes a note.
pub(super) async fn update(
    inner: &Arc<Inner>,
    owner: &Owner,
    id: &NoteId,
    patch: NotePatch,
    expected: Option<u64>,
    stamp: Stamp,
) -> Result<Note> {
    let (of, which) = (owner.clone(), id.clone());
    run(inner, owner, id, move |inner, deadline| async move {
        let name = ObjectId::new();
        let filter = filter(&of, &which, expected);
        let update = document::update(&patch, &stamp, name);
        // A version is changed once, so the same can be sent again.
        let sent = inner
            .send(deadline, expected.is_some(), || async {
                let change = inner
                    .notes
                    .find_one_and_update(filter.clone(), update.clone())
                    .return_document(ReturnDocument::After);
                change.await
            })
            .await;
        let found = match sent {
            Ok((Some(changed), _)) => changed,
            Ok((None, earlier)) => {
                let current = inner.current(deadline, &of, &which).await;
                match current.map_err(|error| unsure(error, earlier))? {
                    Some(current) if earlier && is_named(&current, name) => current,
                    current => return Err(missed(current, &which, expected, earlier)),
                }
            }
            Err((fault, _)) => return Err(fault.of_write().into()),
        };
        let note = document::note(&found).map_err(|error| unsure(error, true))?;
        Ok(Written {
            change: change(&note, ChangeKind::Updated),
            answer: note,
        })
    })
    .await
}

/// Deletes a note.
pub(super) async fn delete(
    inner: &Arc<Inner>,
    owner: &Owner,
    id: &NoteId,
    expected: Option<u64>,
) -> Result<Deleted> {
    let (of, which) = (owner.clone(), id.clone());
    run(inner, owner, id, move |inner, deadline| async move {
        let filter = filter(&of, &which, expected);
        // What is gone cannot tell who deleted it, so nothing is sent again.
        let sent = inner
            .send(deadline, false, || async {
                inner.notes.find_one_and_delete(filter.clone()).await
            })
            .await;
        let note = match sent {
            Ok((Some(gone), _)) => document::note(&gone).map_err(|error| unsure(error, true))?,
            Ok((None, earlier)) => {
                let current = inner.current(deadline, &of, &which).await?;
                return Err(missed(current, &which, expected, earlier));
            }
            Err((fault, _)) => return Err(fault.of_write().into()),
        };
        Ok(Written {
            change: change(&note, ChangeKind::Deleted),
            answer: Deleted {
                id: note.id,
                version: note.version,
            },
        })
    })
    .await
}

impl Inner {
    /// Sends a write. What surely was not begun is sent again while there is time, and what may have
    /// been done only if it `can_repeat`. Tells with the answer, and with the last fault, whether an
    /// earlier one may have been done.
    pub(super) async fn send<T, F>(
        &self,
        deadline: Instant,
        can_repeat: bool,
        ask: impl Fn() -> F,
    ) -> Result<(T, bool), (Fault, bool)>
    where
        F: Future<Output = mongodb::error::Result<T>>,
    {
        let mut earlier = false;
        let mut tries = 1;
        loop {
            let mut fault = match self.ask(deadline, ask()).await {
                Ok(answer) => return Ok((answer, earlier)),
                Err(fault) => fault,
            };
            let again = fault.again() && (can_repeat || !fault.maybe_done);
            if again && tries < TRIES && Instant::now() < deadline {
                earlier |= fault.maybe_done;
                tries += 1;
                continue;
            }
            fault.maybe_done |= earlier;
            return Err((fault, earlier));
        }
    }

    /// The document of a note, with what is asked of it.
    pub(super) async fn current(
        &self,
        deadline: Instant,
        owner: &Owner,
        id: &NoteId,
    ) -> Result<Option<RawDocumentBuf>, StoreError> {
        self.find_one(deadline, filter(owner, id, None)).await
    }

    async fn find_one(
        &self,
        deadline: Instant,
        filter: Document,
    ) -> Result<Option<RawDocumentBuf>, StoreError> {
        self.read(deadline, || async {
            let find = self.notes.find_one(filter.clone());
            find.projection(document::note_fields())
                .max_time(Self::left(deadline))
                .await
        })
        .await
    }
}

fn filter(owner: &Owner, id: &NoteId, expected: Option<u64>) -> Document {
    let mut filter = doc! { "owner": owner.as_str(), "noteId": id.as_str() };
    if let Some(expected) = expected {
        // No version is so large that it cannot be kept.
        filter.insert("version", signed(expected));
    }
    filter
}

/// Whether the last change of the document is the one of this name.
fn is_named(document: &RawDocumentBuf, name: ObjectId) -> bool {
    document
        .get_object_id("change")
        .is_ok_and(|found| found == name)
}

/// Why a write found nothing to do. `earlier` if the same was sent before and may have been done.
fn missed(
    current: Option<RawDocumentBuf>,
    id: &NoteId,
    expected: Option<u64>,
    earlier: bool,
) -> Error {
    if earlier {
        let why = "the note has changed since it was sent";
        return StoreError::Unconfirmed(why.to_owned()).into();
    }
    let Some(current) = current else {
        return Error::NotFound { id: id.clone() };
    };
    match (expected, document::note(&current)) {
        (Some(expected), Ok(note)) if note.version != expected => Error::Conflict {
            expected,
            current: Box::new(note),
        },
        // It came to this version, or into being, after the write had missed it.
        (_, Ok(_)) => StoreError::Busy.into(),
        (_, Err(error)) => error.into(),
    }
}

fn change(note: &Note, kind: ChangeKind) -> Change {
    Change {
        owner: note.owner.clone(),
        id: note.id.clone(),
        kind,
        version: note.version,
    }
}
